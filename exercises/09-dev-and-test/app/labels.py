"""Which digits people have seen, kept in Redis."""

from __future__ import annotations

import os

import redis

KEY = "labels"
store = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://redis:6379/0"), decode_responses=True)


def add(digit: int) -> None:
    """Keep one more label."""
    store.rpush(KEY, digit)


def everything() -> list[int]:
    """All labels, in the order in which they came."""
    return [int(digit) for digit in store.lrange(KEY, 0, -1)]
