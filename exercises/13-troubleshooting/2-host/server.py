"""Counts its visitors in Redis, and tells each his number."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = os.environ["REDIS_HOST"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            with socket.create_connection((HOST, 6379), timeout=3) as redis:
                redis.sendall(b"INCR visits\r\n")
                status, text = 200, redis.recv(100).decode().strip().lstrip(":")
        except OSError as error:
            status, text = 503, f"cannot reach {HOST}: {error}"
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8000), Handler).serve_forever()
