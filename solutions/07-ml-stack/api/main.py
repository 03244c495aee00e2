"""The api: what users talk to.

    POST /predict  {"pixels": [64 numbers from 0 to 16]} -> {"digit": 3, "probabilities": [10 numbers],
                   "model_version": "d9fe...", "cached": false, "latency_ms": 4.2}
                   422 for any other input; 503 when the model server does not answer
    GET  /health   200

Beside this file: database.py writes rows into PostgreSQL, model_version.py knows which model is in use.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

import database
import httpx
import psycopg2
import redis
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from model_version import ModelVersion
from pydantic import BaseModel, Field

MODEL_SERVER_URL = os.environ["MODEL_SERVER_URL"]
REDIS_URL = os.environ["REDIS_URL"]
CACHE_TTL_S = 3600

# Without limits of its own a client closes connections beyond the twentieth, now and then one that is just being used.
model_server = httpx.Client(
    base_url=MODEL_SERVER_URL, timeout=5, trust_env=False, limits=httpx.Limits(max_connections=100)
)
# No retries: a user is better served without the cache than late.
cache = redis.from_url(REDIS_URL, socket_timeout=2, socket_connect_timeout=2, retry=None)
version = ModelVersion(MODEL_SERVER_URL)

app = FastAPI(title="Digits")

# Rows that wait for PostgreSQL. The bound keeps a long outage from filling the memory.
waiting: queue.Queue[dict[str, Any]] = queue.Queue(maxsize=10_000)


class Digit(BaseModel):
    # The inner Field is about each number, the outer one about the list. strict: the text "3" is no number.
    # NaN is not between 0 and 16, so ge and le refuse it.
    pixels: Annotated[list[Annotated[float, Field(strict=True, ge=0, le=16)]], Field(min_length=64, max_length=64)]


@app.exception_handler(RequestValidationError)
async def explain(request: Request, error: RequestValidationError) -> JSONResponse:
    """422 without the input itself: NaN cannot be written as JSON."""
    found = [{"loc": list(entry["loc"]), "msg": entry["msg"]} for entry in error.errors()]
    return JSONResponse({"detail": found}, status_code=422)


def cache_key(model_version: str, pixels: list[float]) -> str:
    # The version is part of the key: a new model never finds the old one's answers.
    return f"prediction:{model_version}:{hashlib.sha256(json.dumps(pixels).encode()).hexdigest()}"


def look_up(pixels: list[float]) -> dict[str, Any] | None:
    """The answer that this model gave to this input before; None if there is none, or no Redis."""
    if version.current is None:
        return None
    try:
        found = cache.get(cache_key(version.current, pixels))
    except redis.RedisError:
        return None  # the cache is a help, not a need
    return json.loads(found) if found else None


def remember(pixels: list[float], answer: dict[str, Any]) -> None:
    # Without Redis the user gets the answer all the same.
    with contextlib.suppress(redis.RedisError):
        # ex: Redis itself forgets the entry after so many seconds, or the cache would grow for ever.
        cache.set(cache_key(answer["model_version"], pixels), json.dumps(answer), ex=CACHE_TTL_S)


def ask_model_server(pixels: list[float]) -> dict[str, Any]:
    try:
        response = model_server.post("/predict", json={"pixels": pixels})
        return response.raise_for_status().json()
    except httpx.HTTPError as error:
        # Raised before anything is cached or logged. 503: not the user's fault, it may work again soon.
        raise HTTPException(503, "The model server does not answer; try again soon.") from error


def write_log() -> None:
    """Runs in a thread of its own: takes the rows that wait, all at once, and tries until PostgreSQL has them."""
    while True:
        rows = [waiting.get()]
        while not waiting.empty():
            rows.append(waiting.get())
        while True:
            try:
                database.save(rows)
                break
            except psycopg2.Error as error:
                print(f"{len(rows)} rows wait for PostgreSQL: {error}", flush=True)
                time.sleep(0.5)


threading.Thread(target=write_log, name="prediction-log", daemon=True).start()


def log(pixels: list[float], answer: dict[str, Any]) -> None:
    row = {name: answer[name] for name in ("digit", "model_version", "cached", "latency_ms")}
    try:
        # put_nowait never waits. The id is made here, so that a second try is the same row, not another one.
        waiting.put_nowait({"id": uuid.uuid4(), "requested_at": datetime.now(UTC), "pixels": pixels, **row})
    except queue.Full:
        print("The log is full: a row is lost", flush=True)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


# `def`, not `async def`: FastAPI then runs each request in a thread of its own, so it may wait for others.
@app.post("/predict")
def predict(digit: Digit) -> dict[str, Any]:
    started = time.perf_counter()
    found = look_up(digit.pixels)
    if found is None:
        answer = ask_model_server(digit.pixels)
        remember(digit.pixels, answer)
    else:
        answer = found
    # What differs from request to request is added last, so that it is never cached.
    answer = {**answer, "cached": found is not None, "latency_ms": (time.perf_counter() - started) * 1000}
    log(digit.pixels, answer)
    return answer
