"""Keeps one note: POST stores it in /data, GET shows it."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NOTE = Path("/data/note.txt")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if NOTE.exists():
            self.answer(200, NOTE.read_bytes())
        else:
            self.answer(404, b"There is no note yet.\n")

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            NOTE.write_bytes(text)
            self.answer(201, b"Stored.\n")
        except OSError as error:
            self.answer(500, f"Cannot store the note: {error}\n".encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8000), Handler).serve_forever()
