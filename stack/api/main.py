"""The api: the one door to the stack.

    POST /predict  {"pixels": [64 numbers 0..16]} -> {"digit", "probabilities", "model_version", "cached", "latency_ms",
                   "served_by"}; 422 for any other input, 503 when no model server answers
    GET /health    200 with each dependency's state, 503 when the api cannot serve (health.py)
    GET /version   the api's version and the model's, as far as it is known
    GET /metrics   for Prometheus

`served_by` is the replica that computed the answer; for a cached answer that was some time ago.
Settings come from the environment: settings.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import health
from cache import Cache, input_hash
from database import Pulse, Writer, connector
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from metrics import Measured
from model_client import ModelClient, Unavailable
from prediction_log import PredictionLog, Row
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from settings import BadSetting, Settings

VERSION = "1.0.0"
# How long an orderly stop waits for PostgreSQL. With the 5 s that uvicorn gives to open requests, it has to fit into
# `stop_grace_period` of the Compose file, or the engine kills the process before the last rows are written.
LAST_ROWS_WITHIN_S = 8.0


class Digit(BaseModel):
    """64 numbers from 0 (white) to 16 (black), row by row; nothing else."""

    model_config = ConfigDict(extra="forbid")
    pixels: Annotated[
        list[Annotated[float, Field(strict=True, ge=0, le=16, allow_inf_nan=False)]],
        Field(min_length=64, max_length=64),
    ]


class Prediction(BaseModel):
    model_config = ConfigDict(protected_namespaces=())
    digit: int
    probabilities: list[float]
    model_version: str
    cached: bool
    latency_ms: float
    served_by: str


@dataclass(frozen=True)
class Services:
    """Everything the api talks to. It is also what health.check is given."""

    cache: Cache
    model: ModelClient
    log: PredictionLog
    pulse: Pulse

    @classmethod
    def from_environment(cls) -> Services:
        settings = Settings.read(os.environ)
        connect = connector(settings.database_url, settings.database_password)
        return cls(
            cache=Cache.connect(settings.redis_url, settings.cache_ttl_s),
            model=ModelClient.connect(settings.model_server_url),
            log=PredictionLog(Writer(connect), settings.log_buffer_rows),
            pulse=Pulse(connect),
        )

    async def redis_ok(self) -> bool:
        return await self.cache.ok()

    async def postgres_ok(self) -> bool:
        return await self.pulse.ok()

    async def model_server_ok(self) -> bool:
        return await self.model.ok()


def create_app(connect: Callable[[], Services] = Services.from_environment) -> FastAPI:
    """The web application; `connect` is called when it starts."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            services = connect()
        except BadSetting as error:
            sys.exit(f"api: {error}")
        services.log.start()
        services.model.start()
        app.state.services = services
        yield
        # The requests are answered by now; their rows may still wait.
        await asyncio.to_thread(services.log.close, LAST_ROWS_WITHIN_S)
        await services.model.close()
        await services.cache.close()

    # A body is read into memory as a whole: beyond this it is refused unread, with 413.
    app = FastAPI(title="Digits", version=VERSION, lifespan=lifespan, max_body_size=1024 * 1024)

    app.add_middleware(Measured)

    @app.exception_handler(RequestValidationError)
    async def explain(request: Request, error: RequestValidationError) -> JSONResponse:
        # Without the offending values: a NaN among them could not be written as JSON.
        return JSONResponse(
            {"detail": [{"loc": list(e["loc"]), "msg": e["msg"]} for e in error.errors()]}, status_code=422
        )

    @app.exception_handler(400)
    async def unreadable(request: Request, error: Exception) -> JSONResponse:
        # FastAPI's answer to a body that is no text, or nested a thousand deep; to the caller it is one more bad input.
        return JSONResponse({"detail": "The body is not JSON."}, status_code=422)

    @app.post("/predict")
    async def predict(digit: Digit, request: Request, response: Response) -> Prediction:
        services: Services = request.app.state.services
        requested_at, started = datetime.now(UTC), time.perf_counter()
        hashed = input_hash(digit.pixels)

        version = services.model.version
        answer = await services.cache.get(version, hashed) if version else None
        cached = answer is not None
        if answer is None:
            try:
                answer = await services.model.predict(digit.pixels)
            except Unavailable as error:
                raise HTTPException(
                    503,
                    f"The model server does not answer: {error}. Nothing was cached; try again soon.",
                    {"Retry-After": "1"},
                ) from error
            await services.cache.put(hashed, answer)

        latency_ms = (time.perf_counter() - started) * 1000
        row = Row(
            id=str(uuid.uuid4()),
            requested_at=requested_at,
            input_hash=hashed,
            digit=answer.digit,
            probabilities=answer.probabilities,
            model_version=answer.model_version,
            cached=cached,
            latency_ms=latency_ms,
            served_by=answer.served_by,
        )
        services.log.append(row)
        response.headers["X-Request-ID"] = row.id  # finds the request in the log again
        return Prediction(**answer.model_dump(), cached=cached, latency_ms=round(latency_ms, 3))

    @app.get("/health")
    async def get_health(request: Request) -> JSONResponse:
        status, body = await health.check(request.app.state.services)
        return JSONResponse(body, status)

    @app.get("/version")
    async def version(request: Request) -> dict[str, str | None]:
        return {"version": VERSION, "model_version": request.app.state.services.model.version}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app


app = create_app()
