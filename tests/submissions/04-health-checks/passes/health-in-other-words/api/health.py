"""One after the other, and as few words as possible; an exception would make the status 500."""

from typing import Any


async def check(dependencies: Any) -> tuple[int, dict[str, object]]:
    checks = {
        "model": dependencies.model_server_ok,
        "cache": dependencies.redis_ok,
        "log": dependencies.postgres_ok,
    }
    up = [name for name, ask in checks.items() if await ask()]
    return (200 if "model" in up else 503), {"up": up}
