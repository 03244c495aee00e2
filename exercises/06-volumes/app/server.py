"""Keeps pictures: PUT and GET /uploads/NAME, /cache/NAME and /scratch/NAME; GET /settings shows the settings."""

import re
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SETTINGS = Path("/config/settings.json")
FILE = re.compile(r"/(uploads|cache|scratch)/[A-Za-z0-9][A-Za-z0-9._-]*")


class Handler(BaseHTTPRequestHandler):
    """Each path is a file of the same name in the container."""

    def do_GET(self) -> None:
        """Answer with a file."""
        path = SETTINGS if self.path == "/settings" else self.file()
        if path is None:
            return
        try:
            self.answer(200, path.read_bytes())
        except OSError as error:
            self.answer(404 if isinstance(error, FileNotFoundError) else 500, f"{error}\n".encode())

    def do_PUT(self) -> None:
        """Keep a file."""
        path = self.file()
        if path is None:
            return
        try:
            path.write_bytes(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.answer(201, b"kept\n")
        except OSError as error:
            self.answer(500, f"{error}\n".encode())

    def file(self) -> Path | None:
        """The file that the request is about; answers with 404 if it is about none."""
        if FILE.fullmatch(self.path):
            return Path(self.path)
        self.answer(404, b"There are /settings, /uploads/NAME, /cache/NAME and /scratch/NAME.\n")
        return None

    def answer(self, status: int, body: bytes) -> None:
        """Send one whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("", 8000), Handler).serve_forever()
