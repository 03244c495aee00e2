"""The api's web application, with the real model server behind it, and Redis and PostgreSQL stood in for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import redis.exceptions
from cache import Cache, input_hash
from health import check
from hypothesis import given
from hypothesis import strategies as st
from main import Services, create_app
from model_client import ModelClient
from prediction_log import PredictionLog, Row
from serve import Replica
from serve import Settings as ServerSettings
from serve import create_app as create_model_server
from settings import BadSetting, Settings

from tests.unit.stack.bad_input import BAD_BODIES
from tests.unit.stack.conftest import reference, samples, serving, until_ready

PIXELS = [number % 17 for number in range(64)]


class MemoryRedis:
    """The three commands that the cache uses. `down`: refuses. `frozen`: never answers."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.expiries: dict[str, int] = {}
        self.down = False
        self.frozen = False
        self.asked = 0

    async def _answer(self) -> None:
        self.asked += 1
        if self.down:
            raise redis.exceptions.ConnectionError("refused")
        if self.frozen:
            await asyncio.sleep(3600)

    async def mget(self, keys: list[str]) -> list[str | None]:
        await self._answer()
        return [self.values.get(key) for key in keys]

    async def set(self, key: str, value: str, ex: int) -> None:
        await self._answer()
        self.values[key] = value
        self.expiries[key] = ex

    async def ping(self) -> bool:
        await self._answer()
        return True

    async def aclose(self) -> None:
        pass


class MemoryPulse:
    up = True

    async def ok(self) -> bool:
        return self.up


class ModelNetwork(httpx.AsyncBaseTransport):
    """The way from the api to the model server; it can be cut, and counts the predictions that pass."""

    def __init__(self, app: httpx.ASGITransport) -> None:
        self.app = app
        self.down = False
        self.predictions = 0
        self.breaks_once = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused")
        if request.url.path == "/predict":
            if self.breaks_once:
                self.breaks_once = False
                raise httpx.ReadError("connection reset")
            self.predictions += 1
        return await self.app.handle_async_request(request)


@dataclass
class Api:
    """A running api, and handles on all that it depends on."""

    client: httpx.AsyncClient
    redis: MemoryRedis
    network: ModelNetwork
    pulse: MemoryPulse
    model: ModelClient
    rows: list[Row] = field(default_factory=list)

    async def predict(self, pixels: Sequence[float] = PIXELS) -> httpx.Response:
        return await self.client.post("/predict", json={"pixels": list(pixels)})


@contextlib.asynccontextmanager
async def running(trained: Path, redis_pause_s: float = 0) -> AsyncIterator[Api]:
    """An api that knows the model's version already; its rows are all written when it has ended."""
    replica = Replica(ServerSettings.read({"MODEL_PATH": str(trained / "model.pt")}))
    async with serving(create_model_server(replica)) as model_server:
        await until_ready(replica)
        network = ModelNetwork(model_server._transport)  # type: ignore[arg-type]
        model = ModelClient(httpx.AsyncClient(transport=network, base_url="http://model-server"), refresh_s=0.02)
        store, pulse, rows = MemoryRedis(), MemoryPulse(), list[Row]()
        services = Services(
            cache=Cache(store, ttl_s=60, timeout_s=0.05, pause_s=redis_pause_s),  # type: ignore[arg-type]
            model=model,
            log=PredictionLog(rows.extend, capacity=1000),
            pulse=pulse,  # type: ignore[arg-type]
        )
        async with serving(create_app(lambda: services)) as client:
            async with asyncio.timeout(10):
                while model.version is None:
                    await asyncio.sleep(0.005)
            yield Api(client, store, network, pulse, model, rows)


def test_the_answer_is_the_contract(trained: Path) -> None:
    known = reference(trained)

    async def scenario() -> tuple[httpx.Response, list[Row]]:
        async with running(trained) as api:
            response = await api.predict(known["pixels"])  # type: ignore[arg-type]
        return response, api.rows

    response, rows = asyncio.run(scenario())
    body = response.json()
    assert response.status_code == 200
    assert list(body) == ["digit", "probabilities", "model_version", "cached", "latency_ms", "served_by"]
    assert body["digit"] == known["digit"]
    assert body["cached"] is False
    assert body["latency_ms"] > 0
    [row] = rows
    assert row.id == response.headers["X-Request-ID"]
    assert (row.digit, row.cached, row.served_by) == (body["digit"], False, body["served_by"])
    assert row.requested_at.tzinfo is not None


def test_the_second_identical_request_never_reaches_the_model_server(trained: Path) -> None:
    async def scenario() -> None:
        async with running(trained) as api:
            first = (await api.predict([3] * 64)).json()
            second = (await api.predict([3.0] * 64)).json()
            assert api.network.predictions == 1
            assert (first["cached"], second["cached"]) == (False, True)
            for same in ("digit", "probabilities", "model_version", "served_by"):
                assert first[same] == second[same]
            assert (await api.predict([4] * 64)).json()["cached"] is False
            assert set(api.redis.expiries.values()) == {60}
        assert [row.cached for row in api.rows] == [False, True, False], "one row a request, cached or not"

    asyncio.run(scenario())


def test_another_model_does_not_serve_the_answers_of_its_predecessor(trained: Path) -> None:
    async def scenario() -> None:
        async with running(trained) as api:
            current = (await api.predict()).json()["model_version"]
            api.redis.values = {
                key.replace(current, "old"): value.replace(current, "old") for key, value in api.redis.values.items()
            }
            answer = (await api.predict()).json()
            assert (answer["cached"], answer["model_version"]) == (False, current)

    asyncio.run(scenario())


def test_a_version_that_changes_is_noticed_and_an_answer_is_kept_under_the_version_that_gave_it(
    trained: Path,
) -> None:
    async def scenario() -> None:
        async with running(trained) as api:
            current = api.model.version
            api.network.down = True  # the refresh cannot interfere
            api.model.version = "outdated"
            api.network.down = False
            assert (await api.predict()).json()["model_version"] == current
            assert [key.split(":")[1] for key in api.redis.values] == [current]
            assert api.model.version == current, "learnt from the answer"
            api.model.version = "outdated"
            async with asyncio.timeout(10):
                while api.model.version != current:
                    await asyncio.sleep(0.005)

    asyncio.run(scenario())


@pytest.mark.parametrize("trouble", ["down", "frozen"])
def test_without_redis_answers_are_computed_and_only_the_first_one_waits(trained: Path, trouble: str) -> None:
    async def scenario() -> None:
        async with running(trained, redis_pause_s=3600) as api:
            assert (await api.predict()).json()["cached"] is False
            assert (await api.predict()).json()["cached"] is True
            setattr(api.redis, trouble, True)
            asked = api.redis.asked
            answers = [(await api.predict()).json() for _ in range(5)]
            assert [answer["cached"] for answer in answers] == [False] * 5
            assert api.redis.asked == asked + 1, "Redis is left alone for a while after it failed"

    asyncio.run(scenario())


@pytest.mark.parametrize("trouble", ["down", "frozen"])
def test_the_cache_is_used_again_once_redis_is_back(trained: Path, trouble: str) -> None:
    async def scenario() -> None:
        async with running(trained) as api:
            await api.predict()
            setattr(api.redis, trouble, True)
            assert (await api.predict()).json()["cached"] is False
            setattr(api.redis, trouble, False)
            assert (await api.predict()).json()["cached"] is True

    asyncio.run(scenario())


def test_without_the_model_server_it_says_503_and_keeps_nothing(trained: Path) -> None:
    async def scenario() -> None:
        async with running(trained) as api:
            api.network.down = True
            response = await api.predict()
            assert response.status_code == 503
            assert "model server" in response.json()["detail"]
            assert "Retry-After" in response.headers
            assert not api.redis.values
            api.network.down = False
            assert (await api.predict()).json()["cached"] is False
        assert len(api.rows) == 1, "the request that was not answered is not in the log"

    asyncio.run(scenario())


def test_what_is_cached_is_served_while_the_model_server_is_down(trained: Path) -> None:
    async def scenario() -> None:
        async with running(trained) as api:
            await api.predict()
            api.network.down = True
            assert (await api.predict()).json()["cached"] is True

    asyncio.run(scenario())


def test_a_connection_that_breaks_is_tried_again(trained: Path) -> None:
    async def scenario() -> None:
        async with running(trained) as api:
            api.network.breaks_once = True
            assert (await api.predict()).status_code == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [b"hello", b"{}", b"[]", b"null"])
def test_an_answer_that_is_none_is_503(answer: bytes) -> None:
    async def scenario() -> None:
        transport = httpx.MockTransport(lambda request: httpx.Response(200, content=answer))
        model = ModelClient(httpx.AsyncClient(transport=transport, base_url="http://stranger"), refresh_s=0.01)
        services = Services(
            cache=Cache(MemoryRedis(), ttl_s=60),  # type: ignore[arg-type]
            model=model,
            log=PredictionLog(lambda rows: None, capacity=10),
            pulse=MemoryPulse(),  # type: ignore[arg-type]
        )
        async with serving(create_app(lambda: services)) as client:
            response = await client.post("/predict", json={"pixels": PIXELS})
            assert response.status_code == 503
            assert model._refreshing is not None
            assert not model._refreshing.done()

    asyncio.run(scenario())


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_input_is_refused(trained: Path, body: bytes) -> None:
    async def scenario() -> httpx.Response:
        async with running(trained) as api:
            response = await api.client.post("/predict", content=body, headers={"Content-Type": "application/json"})
            assert api.network.predictions == 0
            assert not api.redis.values
        assert not api.rows
        return response

    response = asyncio.run(scenario())
    assert response.status_code == 422
    assert response.json()["detail"]


def test_a_huge_body_is_refused_unread(trained: Path) -> None:
    async def scenario() -> int:
        async with running(trained) as api:
            return (await api.predict([1] * 1_000_000)).status_code

    assert asyncio.run(scenario()) == 413


@pytest.mark.parametrize("model_server", [True, False])
@pytest.mark.parametrize("postgres", [True, False])
@pytest.mark.parametrize("redis_up", [True, False])
def test_health_of_every_combination(trained: Path, redis_up: bool, postgres: bool, model_server: bool) -> None:
    async def scenario() -> httpx.Response:
        async with running(trained) as api:
            api.redis.down = not redis_up
            api.pulse.up = postgres
            api.network.down = not model_server
            return await api.client.get("/health")

    response = asyncio.run(scenario())
    body = response.json()
    assert response.status_code == (200 if model_server else 503)
    assert body["dependencies"] == {
        "redis": "up" if redis_up else "down",
        "postgres": "up" if postgres else "down",
        "model-server": "up" if model_server else "down",
    }
    everything = redis_up and postgres and model_server
    assert body["status"] == ("ok" if everything else "degraded" if model_server else "unavailable")


def test_health_asks_all_dependencies_at_the_same_time() -> None:
    class Slow:
        """Each dependency answers only when the other two have been asked too."""

        def __init__(self) -> None:
            self.barrier = asyncio.Barrier(3)

        async def _answer(self) -> bool:
            async with asyncio.timeout(10):
                await self.barrier.wait()
            return True

        redis_ok = postgres_ok = model_server_ok = _answer

    async def scenario() -> tuple[int, dict[str, object]]:
        return await check(Slow())

    assert asyncio.run(scenario())[0] == 200


def test_metrics_count_what_happened(trained: Path) -> None:
    async def scenario() -> tuple[dict[str, float], dict[str, float]]:
        async with running(trained) as api:
            before = samples((await api.client.get("/metrics")).text)
            await api.predict()
            await api.predict()
            await api.client.post("/predict", json={})
            for guess in ("/admin", "/.env"):
                await api.client.get(guess)
            return before, samples((await api.client.get("/metrics")).text)

    before, after = asyncio.run(scenario())

    def more(sample: str) -> float:
        return after[sample] - before.get(sample, 0)

    assert more("api_requests_total{path=/predict,status=200}") == 2
    assert more("api_requests_total{path=/predict,status=422}") == 1
    assert more("api_requests_total{path=other,status=404}") == 2
    assert more("api_request_seconds_count{path=/predict}") == 3
    assert more("api_cache_lookups_total{result=hit}") == 1
    assert more("api_cache_lookups_total{result=miss}") == 1
    assert "api_log_rows_waiting{}" in after


def test_version(trained: Path) -> None:
    async def scenario() -> dict[str, str]:
        async with running(trained) as api:
            found: dict[str, str] = (await api.client.get("/version")).json()
            return found

    version = asyncio.run(scenario())
    assert re.fullmatch(r"\d+\.\d+\.\d+", version["version"])
    assert version["model_version"] == json.loads((trained / "model.json").read_text())["version"]


@given(st.lists(st.floats(0, 16, width=32), min_size=64, max_size=64), st.integers(0, 63))
def test_the_hash_tells_inputs_apart_and_nothing_else(pixels: list[float], at: int) -> None:
    assert input_hash(pixels) == input_hash([-0.0 if pixel == 0 else pixel for pixel in pixels])
    assert input_hash(pixels) == input_hash([int(p) if p == int(p) else p for p in pixels])
    changed = [*pixels[:at], 16 - pixels[at] if pixels[at] != 8 else 9, *pixels[at + 1 :]]
    assert input_hash(pixels) != input_hash(changed)


REQUIRED = {"MODEL_SERVER_URL": "http://m", "REDIS_URL": "redis://r", "DATABASE_URL": "postgresql://p"}


def test_a_secret_is_read_from_its_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    assert Settings.read({**REQUIRED, "DATABASE_PASSWORD_FILE": str(secret)}).database_password == "s3cret"
    assert Settings.read({**REQUIRED, "DATABASE_PASSWORD": "other"}).database_password == "other"
    assert Settings.read(REQUIRED).database_password is None


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({**REQUIRED, "REDIS_URL": ""}, "REDIS_URL is not set"),
        ({**REQUIRED, "DATABASE_PASSWORD_FILE": "/nowhere"}, "/nowhere, and it cannot be read"),
        ({**REQUIRED, "DATABASE_PASSWORD_FILE": "/x", "DATABASE_PASSWORD": "y"}, "keep one of them"),
        ({**REQUIRED, "CACHE_TTL_S": "0"}, "above 0"),
        ({**REQUIRED, "LOG_BUFFER_ROWS": "lots"}, "whole number"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        Settings.read(environment)
