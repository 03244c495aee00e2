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
    # TODO: this says 200 whatever it has found out. Without redis or postgres the api still serves;
    # without the model server it cannot, and should say so with 503.
    return 200, {"status": "ok", "redis": redis, "postgres": postgres, "model-server": model_server}
