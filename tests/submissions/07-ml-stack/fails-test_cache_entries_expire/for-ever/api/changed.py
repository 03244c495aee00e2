"""The answers stay in Redis for ever."""

import contextlib
import json

import main
import redis
from main import app


def remember(pixels: list[float], answer: dict[str, object]) -> None:
    with contextlib.suppress(redis.RedisError):
        main.cache.set(main.cache_key(str(answer["model_version"]), pixels), json.dumps(answer))


main.remember = remember

__all__ = ["app"]
