"""The batch jobs: they run on demand, and nobody knows beforehand how much memory they take.

GET  /health          "ok"
POST /work?mib=100    takes so much memory, MiB by MiB, and gives it back
"""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MIB = 2**20


class Batch(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(b"ok\n")

    def do_POST(self) -> None:
        mib = int(parse_qs(urlsplit(self.path).query).get("mib", ["100"])[0])
        # Every byte is written, so that the memory is really used and not only promised.
        taken = [b"x" * MIB for _ in range(mib)]
        self.answer(f"done with {len(taken)} MiB\n".encode())

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8000), Batch).serve_forever()
