"""The api: what users talk to.

    POST /predict  {"pixels": [64 numbers from 0 to 16]} -> {"digit": 3, "probabilities": [10 numbers],
                   "model_version": "d9fe...", "cached": false, "latency_ms": 4.2}
                   422 for any other input; 503 when the model server does not answer
    GET  /health   200

Beside this file: database.py writes rows into PostgreSQL, model_version.py knows which model is in use.
"""

from __future__ import annotations

import os
import time

import httpx
import redis
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from model_version import ModelVersion
from pydantic import BaseModel

MODEL_SERVER_URL = os.environ["MODEL_SERVER_URL"]
REDIS_URL = os.environ.get("REDIS_URL", "redis://not-set-in-compose-yml:6379/0")
CACHE_TTL_S = 3600

# Without limits of its own a client closes connections beyond the twentieth, now and then one that is just being used.
model_server = httpx.Client(
    base_url=MODEL_SERVER_URL, timeout=5, trust_env=False, limits=httpx.Limits(max_connections=100)
)
# No retries: a user is better served without the cache than late.
cache = redis.from_url(REDIS_URL, socket_timeout=2, socket_connect_timeout=2, retry=None)
version = ModelVersion(MODEL_SERVER_URL)

app = FastAPI(title="Digits")


class Digit(BaseModel):
    # TODO: accept exactly 64 numbers, each from 0 to 16, and nothing else. Pydantic's Field has what you need:
    # min_length, max_length, ge, le; and strict=True, or else the text "3" would count as a number.
    pixels: list


@app.exception_handler(RequestValidationError)
async def explain(request: Request, error: RequestValidationError) -> JSONResponse:
    """422 without the input itself: NaN cannot be written as JSON."""
    found = [{"loc": list(entry["loc"]), "msg": entry["msg"]} for entry in error.errors()]
    return JSONResponse({"detail": found}, status_code=422)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


# `def`, not `async def`: FastAPI then runs each request in a thread of its own, so it may wait for others.
@app.post("/predict")
def predict(digit: Digit) -> dict[str, object]:
    started = time.perf_counter()

    # TODO 1: look into the cache. The key has to depend on the model's version (version.current) and on the input.
    # Without Redis (redis.RedisError) the user still gets an answer.

    # TODO 2: if it is not there, ask the model server: model_server.post("/predict", json=...).
    # If that fails (httpx.HTTPError, or another status than 200), answer with 503: HTTPException(503, "...").

    # TODO 3: put the answer into the cache, under the version that gave it, for CACHE_TTL_S seconds at most.

    # TODO 4: log the answer, cached or not: one row with a uuid.uuid4() as id. The user does not wait for PostgreSQL.
    # So hand the row to a thread that you start once. It calls database.save, and tries again when that fails.

    raise HTTPException(501, f"Not done yet, after {(time.perf_counter() - started) * 1000:.3f} ms: see api/main.py")
