"""What the api counts for Prometheus. Every name starts with `api_`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

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
