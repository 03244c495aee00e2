"""How healthy is the api? The answer of GET /health.

The api asks its three dependencies, all at the same time, and each has a second to answer.
Only one of them is needed to serve: without Redis every answer is computed anew, without PostgreSQL the log waits in
memory, but without the model server there is no answer at all.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Dependencies(Protocol):
    """What `check` is given. Each method answers within about a second, and never raises."""

    async def redis_ok(self) -> bool: ...

    async def postgres_ok(self) -> bool: ...

    async def model_server_ok(self) -> bool: ...


async def check(dependencies: Dependencies) -> tuple[int, dict[str, object]]:
    """The HTTP status and the JSON body of GET /health.

    200 "ok": all is well. 200 "degraded": something is down, but digits are still read.
    503 "unavailable": the api cannot serve. The body says of each dependency whether it is "up" or "down".
    """
    redis, postgres, model_server = await asyncio.gather(
        dependencies.redis_ok(),
        dependencies.postgres_ok(),
        dependencies.model_server_ok(),
    )
    states = {
        "redis": "up" if redis else "down",
        "postgres": "up" if postgres else "down",
        "model-server": "up" if model_server else "down",
    }
    if not model_server:
        return 503, {"status": "unavailable", "dependencies": states}
    if not (redis and postgres):
        return 200, {"status": "degraded", "dependencies": states}
    return 200, {"status": "ok", "dependencies": states}
