"""The api of this exercise: hands each picture on to model-server, and counts what it does for Prometheus."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, disable_created_metrics, generate_latest

MODEL_SERVER_URL = os.environ["MODEL_SERVER_URL"]
PATHS = ("/predict", "/health")

disable_created_metrics()
REQUESTS = Counter("api_requests_total", "Requests answered", ["path", "status"])
LATENCY = Histogram(
    "api_request_seconds",
    "Time from a request's arrival to its answer",
    ["path"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
# A counter that is there from the beginning, with 0, can be seen to grow.
for status in (200, 422, 503):
    REQUESTS.labels("/predict", str(status))
for path in PATHS:
    LATENCY.labels(path)


def predict(body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer."""
    try:
        pixels = json.loads(body)["pixels"]
        good = len(pixels) == 64 and all(isinstance(pixel, int | float) and 0 <= pixel <= 16 for pixel in pixels)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        return 422, b'{"detail": "pixels: 64 numbers from 0 to 16"}'
    try:
        with urllib.request.urlopen(f"{MODEL_SERVER_URL}/predict", data=body, timeout=2) as answer:
            return 200, answer.read()
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return 503, b'{"detail": "no model-server answers"}'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/metrics":
            self.reply(200, generate_latest(), CONTENT_TYPE_LATEST)
        elif self.path == "/health":
            self.counted(lambda: (200, b'{"status": "ok"}'))
        else:
            self.reply(404, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 100_000))
        if self.path == "/predict":
            self.counted(lambda: predict(body))
        else:
            self.reply(404, b"{}")

    def counted(self, answer: Callable[[], tuple[int, bytes]]) -> None:
        began = time.perf_counter()
        status, body = answer()
        # Counted first: whoever has the answer finds it in the numbers.
        LATENCY.labels(self.path).observe(time.perf_counter() - began)
        REQUESTS.labels(self.path, str(status)).inc()
        self.reply(status, body)

    def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *args: object) -> None:
        """Says nothing: health checks and scrapes would fill the log."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
