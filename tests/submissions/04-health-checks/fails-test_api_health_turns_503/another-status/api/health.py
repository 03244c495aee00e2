"""500 means that the program itself has a fault; one that cannot serve at the moment says 503."""


async def check(dependencies):
    if not await dependencies.model_server_ok():
        return 500, {"status": "model-server is down"}
    return 200, {"redis": await dependencies.redis_ok(), "postgres": await dependencies.postgres_ok()}
