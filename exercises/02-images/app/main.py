"""A small HTTP service that tells which iris a flower is, from four lengths in centimetres.

GET /         what this is
GET /health   200 while it can serve
GET /version  the version of the image
GET /predict?sepal_length=5.1&sepal_width=3.5&petal_length=1.4&petal_width=0.2
GET /metrics  counters for Prometheus
"""

from __future__ import annotations

import json
import math
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest

ABOUT = "Ask /predict which iris it is."
PORT = 8000

# The model: the typical flower of each species. The nearest one is the answer.
MODEL = json.loads((Path(__file__).parent / "model.json").read_text("utf-8"))
PREDICTIONS = Counter("predictions", "Flowers that were looked at.", ["species"])


def species_of(flower: list[float]) -> str:
    """The species whose typical flower is nearest."""
    return min(MODEL["species"], key=lambda name: math.dist(flower, MODEL["species"][name]))


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match url.path:
            case "/":
                self.answer(200, {"about": ABOUT})
            case "/health":
                self.answer(200, {"status": "healthy"})
            case "/version":
                self.answer(200, {"version": os.environ.get("APP_VERSION", "unknown")})
            case "/predict":
                self.predict(parse_qs(url.query))
            case "/metrics":
                self.send(200, CONTENT_TYPE_LATEST, generate_latest())
            case _:
                self.answer(404, {"error": "not found"})

    def predict(self, query: dict[str, list[str]]) -> None:
        try:
            flower = [float(query[name][0]) for name in MODEL["features"]]
        except (KeyError, ValueError):
            self.answer(422, {"error": "give four numbers: " + ", ".join(MODEL["features"])})
            return
        species = species_of(flower)
        PREDICTIONS.labels(species).inc()
        self.answer(200, {"species": species})

    def answer(self, status: int, content: dict[str, str]) -> None:
        self.send(status, "application/json", json.dumps(content).encode())

    def send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
