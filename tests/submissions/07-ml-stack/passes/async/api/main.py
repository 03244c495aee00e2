"""Everything asynchronous: one thread for all requests, redis.asyncio, an asyncio.Queue and a task for the log."""

import asyncio
import contextlib
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import database
import httpx
import psycopg2
import redis.asyncio as redis
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from model_version import ModelVersion
from pydantic import BaseModel, conlist, field_validator

version = ModelVersion(os.environ["MODEL_SERVER_URL"])
cache = redis.from_url(os.environ["REDIS_URL"], socket_timeout=2, retry=None)
rows: asyncio.Queue[dict[str, Any]] = asyncio.Queue(5000)


async def write_rows() -> None:
    while True:
        row = await rows.get()
        pause = 0.1
        while True:
            try:
                await asyncio.to_thread(database.save, [row])
                break
            except psycopg2.Error:
                await asyncio.sleep(pause)
                pause = min(2 * pause, 2)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(write_rows())
    async with httpx.AsyncClient(base_url=os.environ["MODEL_SERVER_URL"], timeout=3) as http:
        app.state.http = http
        yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


class Digit(BaseModel):
    pixels: conlist(float, min_length=64, max_length=64)  # type: ignore[valid-type]

    @field_validator("pixels", mode="before")
    @classmethod
    def only_numbers(cls, value: object) -> object:
        if not isinstance(value, list) or not all(type(n) in (int, float) and 0 <= n <= 16 for n in value):
            raise ValueError("64 numbers from 0 to 16")
        return value


@app.exception_handler(RequestValidationError)
async def explain(request: Request, error: RequestValidationError) -> JSONResponse:
    return JSONResponse({"detail": "64 numbers from 0 to 16, please"}, status_code=422)


@app.get("/health")
async def health() -> str:
    return "ok"


@app.post("/predict")
async def predict(digit: Digit, request: Request) -> dict[str, Any]:
    began = time.monotonic()
    name = ",".join(map(str, digit.pixels))
    kept = None
    with contextlib.suppress(redis.RedisError):
        kept = await cache.get(f"{version.current}/{name}")
    if kept is not None:
        answer = json.loads(kept)
    else:
        try:
            response = await request.app.state.http.post("/predict", json={"pixels": digit.pixels})
        except httpx.TransportError as error:
            raise HTTPException(503) from error
        if response.status_code != 200:
            raise HTTPException(503)
        answer = response.json()
        with contextlib.suppress(redis.RedisError):
            await cache.setex(f"{answer['model_version']}/{name}", 600, json.dumps(answer))
    answer["cached"] = kept is not None
    answer["latency_ms"] = round((time.monotonic() - began) * 1000, 2)
    row = {"id": uuid.uuid4(), "requested_at": datetime.now(UTC), "pixels": digit.pixels, **answer}
    with contextlib.suppress(asyncio.QueueFull):
        rows.put_nowait(row)
    return answer
