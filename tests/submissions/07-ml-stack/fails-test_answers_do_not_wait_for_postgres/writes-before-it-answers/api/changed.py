"""Each row is written before the request is answered; only if that fails, it waits."""

import uuid
from datetime import UTC, datetime

import main
import psycopg2
from main import app


def log(pixels: list[float], answer: dict[str, object]) -> None:
    row = {name: answer[name] for name in ("digit", "model_version", "cached", "latency_ms")}
    row |= {"id": uuid.uuid4(), "requested_at": datetime.now(UTC), "pixels": pixels}
    try:
        main.database.save([row])
    except psycopg2.Error:
        main.waiting.put(row)


main.log = log

__all__ = ["app"]
