"""The prediction log: one row a request, in PostgreSQL, written off the request's path.

A request only puts its row into memory. A thread writes what waits there, many rows in one statement. When PostgreSQL
is down the rows wait, up to a bound, and are written once it is back; beyond it new rows are dropped, and counted.
Nothing waits any more when an orderly stop has ended.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from metrics import LOG_DROPPED, LOG_FAILURES, LOG_WAITING, LOG_WRITTEN

log = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class Row:
    """One answered request, in the order of the table's columns (stack/postgres/init.sql)."""

    id: str
    requested_at: datetime
    input_hash: str
    digit: int
    probabilities: list[float]
    model_version: str
    cached: bool
    latency_ms: float
    served_by: str


class PredictionLog:
    """Args:
    write: writes these rows, or raises. It may be given a row again that it has written: it has to ignore that one.
    capacity: the most rows that wait.
    batch_rows: the most rows given to `write` at once.
    flush_after_s: how long a row waits for company.
    retry_after_s: how long to wait after `write` has failed.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Row]], None],
        capacity: int,
        batch_rows: int = 1000,
        flush_after_s: float = 0.2,
        retry_after_s: float = 0.5,
    ) -> None:
        self._write = write
        self._capacity = capacity
        self._batch_rows = batch_rows
        self._flush_after_s = flush_after_s
        self._retry_after_s = retry_after_s
        self._rows: deque[Row] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._failing = False
        self._dropping = False
        # A daemon: a write that hangs must not keep the process alive beyond the deadline of close().
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)

    def start(self) -> None:
        LOG_WAITING.set_function(lambda: len(self._rows))
        self._thread.start()

    def append(self, row: Row) -> None:
        """Never waits, never raises. A row too many is dropped: those that wait are older, and stay."""
        with self._changed:
            if len(self._rows) >= self._capacity:
                if not self._dropping:
                    log.error("%d rows wait for PostgreSQL; from now on rows are dropped", self._capacity)
                self._dropping = True
                LOG_DROPPED.inc()
                return
            self._dropping = False
            self._rows.append(row)
            # Not for each row: the thread that writes would take the processor from the requests, only to wait again.
            if len(self._rows) in (1, self._batch_rows):
                self._changed.notify()

    def close(self, within_s: float) -> None:
        """Writes all that waits. What is still unwritten after within_s seconds is lost, and the log says how much."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(within_s)
        if self._rows:
            log.error(
                "%d rows of the prediction log are lost: PostgreSQL did not take them in time",
                len(self._rows),
            )

    def _work(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                return
            if not self._written(batch):
                time.sleep(self._retry_after_s)

    def _next_batch(self) -> list[Row]:
        """The oldest rows, once there are some; they stay in memory until they are written. Empty: all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._closing)
            self._changed.wait_for(lambda: len(self._rows) >= self._batch_rows or self._closing, self._flush_after_s)
            return list(islice(self._rows, self._batch_rows))

    def _written(self, batch: Sequence[Row]) -> bool:
        try:
            self._write(batch)
        except Exception as error:  # whatever it is, the rows are kept and tried again
            LOG_FAILURES.inc()
            if not self._failing:
                log.warning("PostgreSQL does not take the prediction log, rows wait in memory: %s", error)
            self._failing = True
            return False
        if self._failing:
            log.info("PostgreSQL takes the prediction log again")
        self._failing = False
        with self._changed:
            for _ in batch:
                self._rows.popleft()
        LOG_WRITTEN.inc(len(batch))
        return True
