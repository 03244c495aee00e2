"""The answer of GET /health. This file is mounted over the one in the api's image."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Dependencies(Protocol):
    """What `check` is given. Each method answers within about a second, and never raises."""

    async def redis_ok(self) -> bool: ...

    async def postgres_ok(self) -> bool: ...

    async def model_server_ok(self) -> bool: ...


async def check(dependencies: Dependencies) -> tuple[int, dict[str, object]]:
    """The HTTP status and the JSON body of GET /health."""
    redis, postgres, model_server = await asyncio.gather(
        dependencies.redis_ok(), dependencies.postgres_ok(), dependencies.model_server_ok()
    )
    states = {"redis": redis, "postgres": postgres, "model-server": model_server}
    # Nobody can be answered without the model server: 503 makes the health check fail.
    if not model_server:
        return 503, {"status": "unavailable", **states}
    # Without the cache or the log digits are still read, so this is no reason to fail the health check.
    return 200, {"status": "ok" if redis and postgres else "degraded", **states}
