"""Answers every GET with what Redis says to a PING."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASSWORD = os.environ["REDIS_PASSWORD"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            with socket.create_connection(("redis", 6379), timeout=3) as redis:
                redis.sendall(f"AUTH {PASSWORD}\r\nPING\r\n".encode())
                said = redis.makefile("r")
                status, text = 200, f"{said.readline().strip()} {said.readline().strip()}"
        except OSError as error:
            status, text = 503, f"cannot reach redis: {error}"
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8000), Handler).serve_forever()
