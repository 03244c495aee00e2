"""Stands in for the real model server: it starts at once, and guesses.

On SIGTERM it takes no more connections, answers the requests that are still open, and ends with exit code 0.
"""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECONDS = 0.3  # for one prediction


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for the open requests
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    wbufsize = -1  # an answer goes out in one piece: a replica that is killed has sent all of it, or nothing

    def do_POST(self) -> None:
        if self.path != "/predict":
            self.send_error(404)
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(SECONDS)
        body = json.dumps({"digit": 7, "served_by": socket.gethostname()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A line for every request would hide everything else."""


def main() -> None:
    server = Server(("", 8000), Handler)
    # shutdown waits until serve_forever has ended, so it cannot be called from within.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
    server.server_close()


if __name__ == "__main__":
    main()
