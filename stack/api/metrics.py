"""What the api counts for Prometheus. Every name starts with `api_`."""

from __future__ import annotations

import time

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Otherwise every counter comes with a second series that says when it was made.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counter("api_requests_total", "Requests answered", ["path", "status"])
LATENCY = Histogram(
    "api_request_seconds",
    "Time from a request's arrival to its answer",
    ["path"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

# unavailable: Redis is down or slow, and the answer is computed as if there were no cache
CACHE_LOOKUPS = Counter("api_cache_lookups_total", "Looks into the cache", ["result"])
for result in ("hit", "miss", "unavailable"):
    CACHE_LOOKUPS.labels(result)

LOG_WAITING = Gauge("api_log_rows_waiting", "Rows of the prediction log that are not yet in PostgreSQL")
LOG_WRITTEN = Counter("api_log_rows_written_total", "Rows of the prediction log written to PostgreSQL")
LOG_DROPPED = Counter("api_log_rows_dropped_total", "Rows of the prediction log lost because too many waited")
LOG_FAILURES = Counter("api_log_write_failures_total", "Batches that PostgreSQL did not take at the first try")


class Measured:
    """Counts and times every request to `app`.

    Plain ASGI: `@app.middleware("http")` would be shorter, and gives each request a task, and its answer a queue.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
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
            # Paths that do not exist are one path to Prometheus: otherwise any visitor could fill its memory.
            route = scope.get("route")
            path = route.path if route else "other"
            REQUESTS.labels(path, status).inc()
            LATENCY.labels(path).observe(time.perf_counter() - started)
