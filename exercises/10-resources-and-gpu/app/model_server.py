"""The model server, as far as this exercise goes: it looks for a GPU, and says which device it uses.

GET /device   {"device": "cuda", "name": "NVIDIA ..."} or {"device": "cpu", "name": ""}

Environment:
    GPU_ENABLED   true: use the GPU, and refuse to start without one; false: use the CPU
"""

import ctypes
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def gpu_name() -> str:
    """The first NVIDIA GPU that this container may use; empty if there is none.

    PyTorch's torch.cuda.is_available() asks the same library. The container gets it, together with the devices, from
    the machine's driver, but only if the compose file asks for a GPU.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    count, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(100)
    # Each of these answers 0 if all went well.
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return ""
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuDeviceGetName(name, len(name), device)
    return name.value.decode()


wanted = os.environ.get("GPU_ENABLED", "false").lower() == "true"
gpu = gpu_name() if wanted else ""
if wanted and not gpu:
    sys.exit("model-server: GPU_ENABLED is true, and there is no GPU in this container. Give it one, or say false.")
ANSWER = json.dumps({"device": "cuda" if gpu else "cpu", "name": gpu}).encode()
print("model-server: uses", ANSWER.decode(), flush=True)


class ModelServer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/device" else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(ANSWER if self.path == "/device" else b"{}")


ThreadingHTTPServer(("", 8000), ModelServer).serve_forever()
