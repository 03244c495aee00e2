"""Says in the body that the model server is down, and yet 200: programs look at the status only."""

import asyncio


async def check(dependencies):
    redis, postgres, model_server = await asyncio.gather(
        dependencies.redis_ok(), dependencies.postgres_ok(), dependencies.model_server_ok()
    )
    well = "ok" if model_server else "unavailable"
    return 200, {"status": well, "redis": redis, "postgres": postgres, "model-server": model_server}
