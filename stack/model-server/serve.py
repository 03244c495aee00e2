"""The model server: digits in, probabilities out. `python serve.py` listens on port 8000.

    POST /predict  {"pixels": [64 numbers 0..16]} -> {"digit", "probabilities", "model_version", "served_by"}
    GET /health    200 once the model is loaded, 503 before
    GET /version   {"model_version"}, 503 before the model is loaded
    GET /metrics   for Prometheus

Environment:
    MODEL_PATH     the weights, put there by model-init            /models/model.pt
    BATCH_SIZE     the most requests answered in one pass          32
    BATCH_WAIT_MS  how long a request waits for company            0: what comes during a pass is the next batch
    GPU_ENABLED    true: use the GPU, and refuse to start without  false
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import uvicorn
from batching import Batcher
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from model import Classifier

log = logging.getLogger("uvicorn.error")

# Otherwise every counter comes with a second series that says when it was made.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counter("model_server_requests_total", "Predictions asked for, by HTTP status", ["status"])
LATENCY = Histogram(
    "model_server_request_seconds",
    "Time from a request's arrival to its answer, the wait for a batch included",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
BATCH_SIZES = Histogram(
    "model_server_batch_size", "Requests answered in one pass", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
MODEL = Gauge("model_server_model_info", "1 for the version of the model that is loaded", ["model_version"])


class Measured:
    """Counts and times the predictions that `app` is asked for.

    Plain ASGI: `@app.middleware("http")` would be shorter, and gives each request a task, and its answer a queue.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/predict":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            REQUESTS.labels(status).inc()
            LATENCY.observe(time.perf_counter() - started)


class CannotServe(Exception):
    """The server must not start; the text says why and what to do."""


@dataclass(frozen=True)
class Settings:
    model_path: Path
    batch_size: int
    batch_wait_s: float
    gpu_enabled: bool

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Raises CannotServe for a value that makes no sense."""
        try:
            batch_size = int(environment.get("BATCH_SIZE", "32"))
            batch_wait_s = float(environment.get("BATCH_WAIT_MS", "0")) / 1000
        except ValueError as error:
            raise CannotServe(f"BATCH_SIZE and BATCH_WAIT_MS have to be numbers: {error}") from error
        if batch_size < 1 or not 0 <= batch_wait_s <= 1:
            raise CannotServe("BATCH_SIZE has to be 1 or more, and BATCH_WAIT_MS between 0 and 1000.")
        gpu = environment.get("GPU_ENABLED", "false").lower()
        if gpu not in ("true", "false"):
            raise CannotServe(f"GPU_ENABLED has to be true or false, not {gpu!r}.")
        path = Path(environment.get("MODEL_PATH", "/models/model.pt"))
        return cls(path, batch_size, batch_wait_s, gpu == "true")


def load_model(settings: Settings) -> Classifier:
    """Loads the weights and answers one digit, so that the first request is as quick as the second.

    Raises:
        CannotServe: there are no weights, or a GPU is asked for and there is none.
    """
    # PyTorch takes most of the start-up time: imported here, in a thread, while /health can already answer "not yet".
    import torch
    from model import PIXELS, load

    if settings.gpu_enabled and not torch.cuda.is_available():
        raise CannotServe(
            "GPU_ENABLED is true, but PyTorch sees no CUDA device in this container.\n"
            "Give it one (deploy.resources.reservations.devices, and a CUDA build of torch), or set GPU_ENABLED=false."
        )
    # The model is tiny: more threads would only get in each other's way, and in the other replicas'.
    torch.set_num_threads(1)
    try:
        classifier = load(settings.model_path, "cuda" if settings.gpu_enabled else "cpu")
    except FileNotFoundError as error:
        raise CannotServe(
            f"There are no weights at {settings.model_path}. model-init puts them there:"
            " has it run, and do both services mount the same volume?"
        ) from error
    classifier.probabilities([[0.0] * PIXELS])
    return classifier


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
    served_by: str


@dataclass(frozen=True)
class Ready:
    """What there is once the model is loaded."""

    classifier: Classifier
    batcher: Batcher


class Replica:
    """This process: loading at first, then ready, or failed."""

    def __init__(self, settings: Settings, load: Callable[[Settings], Classifier] = load_model) -> None:
        self.name = socket.gethostname()
        self.ready: Ready | None = None
        self.failure: str | None = None
        self._settings = settings
        self._load = load

    async def work(self, give_up: Callable[[], object]) -> None:
        """Loads the model and answers batches until it is cancelled; calls give_up when it cannot."""
        try:
            classifier = await asyncio.to_thread(self._load, self._settings)
            batcher = Batcher(
                classifier.probabilities,
                self._settings.batch_size,
                self._settings.batch_wait_s,
                BATCH_SIZES.observe,
            )
            MODEL.labels(classifier.version).set(1)
            self.ready = Ready(classifier, batcher)
            log.info("Model %s is loaded on %s", classifier.version, classifier.device)
            await batcher.run_forever()
        except Exception as error:
            self.ready = None
            self.failure = str(error)
            if not isinstance(error, CannotServe):
                log.exception("The model server cannot go on")
            give_up()

    def get_ready(self) -> Ready:
        if self.ready is None:
            raise HTTPException(503, "The model is not loaded yet.", {"Retry-After": "1"})
        return self.ready


def create_app(replica: Replica, give_up: Callable[[], object] = lambda: None) -> FastAPI:
    """The web application of this replica; `give_up` is called when its model cannot be loaded."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        work = asyncio.create_task(replica.work(give_up))
        yield
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work

    app = FastAPI(title="Model server", lifespan=lifespan)

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
    async def predict(digit: Digit) -> Prediction:
        ready = replica.get_ready()
        probabilities = await ready.batcher.predict(digit.pixels)
        return Prediction(
            digit=probabilities.index(max(probabilities)),
            probabilities=probabilities,
            model_version=ready.classifier.version,
            served_by=replica.name,
        )

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "model_version": replica.get_ready().classifier.version}

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"model_version": replica.get_ready().classifier.version}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app


def main() -> None:
    try:
        replica = Replica(Settings.read(os.environ))
    except CannotServe as error:
        sys.exit(f"model-server: {error}")

    def give_up() -> None:
        server.should_exit = True

    app = create_app(replica, give_up)
    # On SIGTERM uvicorn takes no new requests and finishes those it has.
    server = uvicorn.Server(
        uvicorn.Config(app, host="0.0.0.0", port=8000, access_log=False, timeout_graceful_shutdown=5)
    )
    server.run()
    if replica.failure:
        sys.exit(f"model-server: {replica.failure}")


if __name__ == "__main__":
    main()
