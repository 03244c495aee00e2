"""The cache: answers that were computed before, in Redis.

An answer is kept under the version of the model that gave it and a hash of its input, so a new model never serves the
old one's answers. The cache is a help, never a need: without Redis every lookup is a miss, and a quick one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import redis.asyncio as redis
from metrics import CACHE_LOOKUPS
from pydantic import BaseModel, ConfigDict

log = logging.getLogger("uvicorn.error")
T = TypeVar("T")


class Answer(BaseModel):
    """What the model server answers, and what the cache keeps."""

    model_config = ConfigDict(protected_namespaces=())
    digit: int
    probabilities: list[float]
    model_version: str
    served_by: str


def input_hash(pixels: Sequence[float]) -> str:
    """sha256 of the input as the model sees it, in 32-bit floats: 3 and 3.0 are the same input, so are 0 and -0.0."""
    return hashlib.sha256(struct.pack(f"<{len(pixels)}f", *(pixel + 0.0 for pixel in pixels))).hexdigest()


def key(model_version: str, hashed: str) -> str:
    return f"prediction:{model_version}:{hashed}"


@dataclass(frozen=True)
class Lookup:
    """A request that wants to know what is kept under a key; and whether Redis could be asked at all."""

    key: str
    found: asyncio.Future[tuple[bytes | None, bool]]

    def answer(self, value: bytes | None, reached: bool) -> None:
        """The first answer counts; whoever asked may have gone meanwhile."""
        if not self.found.done():
            self.found.set_result((value, reached))


class Cache:
    """Lookups that come while another is on its way travel together: a command costs more than a key.

    Args:
    client: Redis, or whatever has its `mget`, `set` and `ping`.
    ttl_s: seconds an answer stays.
    timeout_s: the longest that Redis may take for a command.
    pause_s: how long Redis is left alone after it failed, so that not every request waits for a timeout.
    """

    def __init__(self, client: redis.Redis, ttl_s: int, timeout_s: float = 0.25, pause_s: float = 1.0) -> None:
        self._client = client
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._paused_until = 0.0
        self._waiting: list[Lookup] = []
        self._looking: asyncio.Task[None] | None = None

    @classmethod
    def connect(cls, url: str, ttl_s: int) -> Cache:
        # Retries are off: a request that has to wait for a second try is better served without the cache.
        return cls(redis.from_url(url, retry=None), ttl_s)

    async def get(self, model_version: str, hashed: str) -> Answer | None:
        """The answer that this version of the model gave to this input, or None."""
        lookup = Lookup(key(model_version, hashed), asyncio.get_running_loop().create_future())
        self._waiting.append(lookup)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_up())
        found, reached = await lookup.found
        CACHE_LOOKUPS.labels("unavailable" if not reached else "hit" if found else "miss").inc()
        if not found:
            return None
        return Answer.model_validate_json(found)

    async def put(self, hashed: str, answer: Answer) -> None:
        """Keeps the answer under the version that gave it, whatever version was asked for."""
        where = key(answer.model_version, hashed)
        await self._try(lambda: self._client.set(where, answer.model_dump_json(), ex=self._ttl_s))

    async def ok(self) -> bool:
        """Does Redis answer, now?"""
        try:
            async with asyncio.timeout(1):
                return bool(await self._client.ping())
        except (redis.RedisError, OSError, TimeoutError):
            return False

    async def close(self) -> None:
        await self._client.aclose()

    async def _look_up(self) -> None:
        """Answers all lookups that wait, in one command, and those that came meanwhile in the next."""
        asked: list[Lookup] = []
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                keys = [lookup.key for lookup in asked]
                values, reached = await self._try(partial(self._client.mget, keys))
                for lookup, value in zip(asked, values or [None] * len(asked), strict=True):
                    lookup.answer(value, reached)
        finally:
            left, self._waiting, self._looking = [*asked, *self._waiting], [], None
            for lookup in left:  # whatever went wrong, nobody waits for ever
                lookup.answer(None, False)

    async def _try(self, ask: Callable[[], Awaitable[T]]) -> tuple[T | None, bool]:
        """What Redis answers, and True; or None and False when it cannot be asked, in at most timeout_s."""
        if time.monotonic() < self._paused_until:
            return None, False
        try:
            async with asyncio.timeout(self._timeout_s):
                return await ask(), True
        except (redis.RedisError, OSError, TimeoutError) as error:
            if time.monotonic() >= self._paused_until:
                log.warning("Redis does not answer (%s): serving without the cache", str(error) or "too slow")
            self._paused_until = time.monotonic() + self._pause_s
            return None, False
