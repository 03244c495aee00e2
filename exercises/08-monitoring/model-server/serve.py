"""Stands in for the model server: answers at once with a digit that means nothing, and counts its answers."""

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, Counter, disable_created_metrics, generate_latest

disable_created_metrics()
REQUESTS = Counter("model_server_requests_total", "Requests answered")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/metrics":
            self.reply(generate_latest(), CONTENT_TYPE_LATEST)
        else:
            self.reply(b'{"status": "ok"}')

    def do_POST(self) -> None:
        pixels = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["pixels"]
        REQUESTS.inc()
        self.reply(json.dumps({"digit": int(sum(pixels)) % 10, "served_by": socket.gethostname()}).encode())

    def reply(self, body: bytes, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *args: object) -> None:
        """Says nothing: health checks and scrapes would fill the log."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
