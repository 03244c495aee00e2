"""FastAPI's background tasks write the log, with SQL of their own; the version is asked for at each request."""

import contextlib
import hashlib
import os
import pickle
import time
import uuid
from typing import Annotated

import httpx
import psycopg2
import redis
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

MODEL_SERVER = os.environ["MODEL_SERVER_URL"]
cache = redis.from_url(os.environ["REDIS_URL"], retry=None)
app = FastAPI()
last_version = "none"


class Digit(BaseModel):
    pixels: list[Annotated[float, Field(strict=True, ge=0, le=16)]] = Field(min_length=64, max_length=64)


@app.exception_handler(RequestValidationError)
def refuse(request: Request, error: RequestValidationError) -> Response:
    return Response("not a digit", 422)


@app.get("/health")
def health() -> dict[str, bool]:
    return {"up": True}


def version() -> str:
    global last_version
    with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
        last_version = httpx.get(f"{MODEL_SERVER}/version", timeout=1).json()["model_version"]
    return last_version


def write(row: tuple[object, ...]) -> None:
    while True:
        try:
            connection = psycopg2.connect(os.environ["DATABASE_URL"])
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute(
                        "INSERT INTO predictions VALUES (%s, now(), %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", row
                    )
            finally:
                connection.close()
            return
        except psycopg2.OperationalError:
            time.sleep(1)


@app.post("/predict")
def predict(digit: Digit, tasks: BackgroundTasks) -> dict[str, object]:
    start = time.time()
    key = hashlib.md5(pickle.dumps((version(), digit.pixels))).hexdigest()
    answer = None
    cached = False
    try:
        if (found := cache.get(key)) is not None:
            answer, cached = pickle.loads(found), True
    except redis.RedisError:
        pass
    if answer is None:
        try:
            response = httpx.post(f"{MODEL_SERVER}/predict", json=digit.model_dump(), timeout=5)
            response.raise_for_status()
        except httpx.HTTPError:
            raise HTTPException(503, "no model server") from None
        answer = response.json()
        with contextlib.suppress(redis.RedisError):
            cache.set(key, pickle.dumps(answer), px=900_000)
    took = (time.time() - start) * 1000
    tasks.add_task(write, (str(uuid.uuid4()), digit.pixels, answer["digit"], answer["model_version"], cached, took))
    return {**answer, "cached": cached, "latency_ms": took}
