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


class Cache:
    """Args:
    client: Redis, or whatever has its `get`, `set` and `ping`.
    ttl_s: seconds an answer stays.
    timeout_s: the longest a request waits for Redis.
    pause_s: how long Redis is left alone after it failed, so that not every request waits for a timeout.
    """

    def __init__(self, client: redis.Redis, ttl_s: int, timeout_s: float = 0.25, pause_s: float = 1.0) -> None:
        self._client = client
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._paused_until = 0.0

    @classmethod
    def connect(cls, url: str, ttl_s: int) -> Cache:
        # Retries are off: a request that has to wait for a second try is better served without the cache.
        return cls(redis.from_url(url, retry=None), ttl_s)

    async def get(self, model_version: str, hashed: str) -> Answer | None:
        """The answer that this version of the model gave to this input, or None."""
        found, reached = await self._try(lambda: self._client.get(key(model_version, hashed)))
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
