"""A small api: says whether it reaches its database and its cache."""

from __future__ import annotations

import json
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NEEDS = {
    "database": (os.environ.get("DATABASE_HOST", "db"), 5432),
    "cache": (os.environ.get("CACHE_HOST", "redis"), 6379),
}


def state_of(address: tuple[str, int]) -> str:
    """``reached``, or why not."""
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError as error:
        return f"{address[0]}:{address[1]}: {error}"
    return "reached"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer = {"service": "api", **{name: state_of(address) for name, address in NEEDS.items()}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    # 0.0.0.0 means: every address that this container has.
    ThreadingHTTPServer((os.environ.get("HOST", "0.0.0.0"), 8000), Handler).serve_forever()
