"""A bounded load: several clients send HTTP requests, and every one of them is recorded.

Nothing is tried twice and nothing is left out: a connection that is refused, reset or cut off is a failure. Every
request has a connection of its own, so that a failure is never that of an idle connection which was just being closed.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from grader.probes import MAX_BODY
from grader.text import printable


@dataclass(frozen=True)
class Sent:
    """One request and what became of it.

    Attributes:
        began, ended: on the clock ``time.monotonic``.
        status: of the HTTP answer; None if there was none, or not a whole one.
        error: why not; empty if there was one.
        json: the answer's body; None if it is no JSON.
    """

    began: float
    ended: float
    status: int | None
    error: str = ""
    json: Any = None

    @property
    def ok(self) -> bool:
        """Whether it was answered, and with a good status."""
        return self.status is not None and self.status < 400

    def __str__(self) -> str:
        return f"status {self.status}" if self.status is not None else self.error


class Load:
    """``burst`` sends a fixed number of requests; as a context manager it sends until the block ends.

    Args:
        json: makes the body of request number n; no body without it.
        clients: that many requests are open at a time.
        pause: seconds that each client waits between two requests.
        timeout: seconds after which a request has failed.
        at_most: requests; the load ends by itself then.
        seconds: likewise.
    """

    def __init__(
        self,
        url: str,
        method: str = "POST",
        json: Callable[[int], object] | None = None,
        *,
        clients: int = 4,
        pause: float = 0.0,
        timeout: float = 10.0,
        at_most: int = 5000,
        seconds: float = 120.0,
    ) -> None:
        self._url, self._method, self._json = url, method, json
        self._pause, self._timeout = pause, timeout
        self._left = at_most
        self._seconds = seconds
        self._number = 0
        self._lock = threading.Lock()
        self._open: dict[int, float] = {}  # number of a request -> when it began
        self._results: list[Sent] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, name="load", daemon=True) for _ in range(clients)]

    # --- sending ---------------------------------------------------------------------------

    def burst(self, count: int) -> list[Sent]:
        """Send ``count`` requests, wait for the answers, return them in the order in which they came."""
        self._left = min(self._left, count)
        self._begin()
        self._finish()
        return self.results

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> list[Sent]:
        """Begin no more requests, wait for the answers to those that are open."""
        self._stopped.set()
        self._finish()
        return self.results

    def _begin(self) -> None:
        self._end = time.monotonic() + self._seconds
        for thread in self._threads:
            thread.start()

    def _finish(self) -> None:
        # httpx limits the time between two bytes, not that of a whole answer: what drips on is not waited for.
        for thread in self._threads:
            while thread.is_alive() and (not self._stopped.is_set() or self._still_in_time()):
                thread.join(0.05)
                if time.monotonic() > self._end:
                    self._stopped.set()
        with self._lock:
            now = time.monotonic()
            for began in self._open.values():
                self._results.append(Sent(began, now, None, f"no whole answer within {self._timeout:g} s"))
            self._open.clear()

    def _still_in_time(self) -> bool:
        with self._lock:
            return any(time.monotonic() - began <= self._timeout + 1 for began in self._open.values())

    def _run(self) -> None:
        # A client of its own: one that several threads share can close a connection under another thread's request.
        with httpx.Client(
            timeout=self._timeout, trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0)
        ) as client:
            self._send_until_the_end(client)

    def _send_until_the_end(self, client: httpx.Client) -> None:
        while True:
            with self._lock:
                if self._stopped.is_set() or self._left <= 0 or time.monotonic() > self._end:
                    return
                self._left -= 1
                self._number += 1
                number, began = self._number, time.monotonic()
                self._open[number] = began
            sent = self._send(client, number, began)
            with self._lock:
                if self._open.pop(number, None) is None:
                    return  # given up meanwhile
                self._results.append(sent)
            self._stopped.wait(self._pause)

    def _send(self, client: httpx.Client, number: int, began: float) -> Sent:
        body = None if self._json is None else self._json(number)
        content = bytearray()
        try:
            with client.stream(self._method, self._url, json=body) as response:
                for chunk in response.iter_raw():
                    content.extend(chunk)
                    if len(content) > MAX_BODY:
                        break
        except Exception as error:  # refused, reset, cut off, too late, or no HTTP at all
            return Sent(began, time.monotonic(), None, printable(f"{type(error).__name__}: {error}", 200))
        return Sent(began, time.monotonic(), response.status_code, json=_parsed(bytes(content[:MAX_BODY])))

    # --- what was seen ---------------------------------------------------------------------

    @property
    def results(self) -> list[Sent]:
        """Every request that has ended by now."""
        with self._lock:
            return list(self._results)

    @property
    def open_since(self) -> list[float]:
        """When each request that has no answer yet began."""
        with self._lock:
            return list(self._open.values())

    @property
    def failures(self) -> list[Sent]:
        """Those without a good answer."""
        return [sent for sent in self.results if not sent.ok]

    def counts(self, key: str, after: float = 0.0) -> Counter[str]:
        """How often each value of ``key`` stands in the good answers to requests begun ``after`` that time."""
        values = (sent.json.get(key) for sent in self.results if _has(sent, key) and sent.began >= after)
        return Counter(str(value) for value in values)


def _has(sent: Sent, key: str) -> bool:
    return sent.ok and isinstance(sent.json, dict) and key in sent.json


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
