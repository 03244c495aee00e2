"""Answers GET /config with the settings that have reached it, and whether it gets into the database."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg2

SETTINGS = ("MODEL_NAME", "LOG_LEVEL", "BATCH_SIZE", "WORKERS", "TIMEOUT_SECONDS", "ANSWER_FORMAT")


def password() -> str:
    """What stands in the file that DB_PASSWORD_FILE names; without it, the value of DB_PASSWORD."""
    if path := os.environ.get("DB_PASSWORD_FILE"):
        return Path(path).read_text("utf-8").strip()
    return os.environ.get("DB_PASSWORD", "")


def database() -> str:
    """``connected``, or why not."""
    try:
        connection = psycopg2.connect(
            host=os.environ.get("DB_HOST", "postgres"),
            user=os.environ.get("DB_USER", "postgres"),
            dbname=os.environ.get("DB_NAME", "postgres"),
            password=password(),
            connect_timeout=3,
        )
    except (OSError, psycopg2.Error) as error:
        return str(error).strip()
    connection.close()
    return "connected"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Every path but /config answers only that the program runs."""
        answer: dict[str, object] = {"status": "ok"}
        if self.path == "/config":
            answer = {"settings": {name: os.environ.get(name) for name in SETTINGS}, "database": database()}
        body = json.dumps(answer, indent=2).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: nobody reads a line for every request."""


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
