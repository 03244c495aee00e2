"""The model server's web application, with the real model."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import httpx
import pytest
from serve import CannotServe, Replica, Settings, create_app, load_model

from tests.unit.stack.bad_input import BAD_BODIES
from tests.unit.stack.conftest import reference, samples, serving, until_ready


def settings_for(trained: Path, **environment: str) -> Settings:
    return Settings.read({"MODEL_PATH": str(trained / "model.pt"), **environment})


def test_a_digit_is_read(trained: Path) -> None:
    known = reference(trained)

    async def scenario() -> httpx.Response:
        replica = Replica(settings_for(trained))
        async with serving(create_app(replica)) as client:
            await until_ready(replica)
            return await client.post("/predict", json={"pixels": known["pixels"]})

    response = asyncio.run(scenario())
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"digit", "probabilities", "model_version", "served_by"}
    assert body["digit"] == known["digit"]
    assert body["probabilities"] == pytest.approx(known["probabilities"], abs=1e-5)
    assert sum(body["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert body["model_version"] == json.loads((trained / "model.json").read_text())["version"]


def test_until_the_model_is_loaded_it_says_503(trained: Path) -> None:
    may_load = threading.Event()

    def slowly(settings: Settings) -> object:
        assert may_load.wait(10)
        return load_model(settings)

    async def scenario() -> None:
        replica = Replica(settings_for(trained), load=slowly)  # type: ignore[arg-type]
        async with serving(create_app(replica)) as client:
            for path in ("/health", "/version"):
                assert (await client.get(path)).status_code == 503
            assert (await client.post("/predict", json={"pixels": [0] * 64})).status_code == 503
            assert (await client.get("/metrics")).status_code == 200
            may_load.set()
            await until_ready(replica)
            assert (await client.get("/health")).status_code == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_input_is_refused(trained: Path, body: bytes) -> None:
    async def scenario() -> httpx.Response:
        replica = Replica(settings_for(trained))
        async with serving(create_app(replica)) as client:
            await until_ready(replica)
            return await client.post("/predict", content=body, headers={"Content-Type": "application/json"})

    response = asyncio.run(scenario())
    assert response.status_code == 422
    assert response.json()["detail"]


def test_batches_hold_batch_size_at_most_and_are_counted(trained: Path) -> None:
    async def scenario() -> tuple[list[httpx.Response], dict[str, float], dict[str, float]]:
        replica = Replica(settings_for(trained, BATCH_SIZE="8", BATCH_WAIT_MS="50"))
        async with serving(create_app(replica)) as client:
            await until_ready(replica)
            before = samples((await client.get("/metrics")).text)
            answers = await asyncio.gather(
                *(client.post("/predict", json={"pixels": [number % 17] * 64}) for number in range(40))
            )
            return answers, before, samples((await client.get("/metrics")).text)

    answers, before, after = asyncio.run(scenario())
    assert [answer.status_code for answer in answers] == [200] * 40

    def more(sample: str) -> float:
        return after[sample] - before.get(sample, 0)

    assert more("model_server_batch_size_sum{}") == 40
    assert more("model_server_batch_size_bucket{le=8.0}") == more("model_server_batch_size_count{}")
    assert more("model_server_batch_size_count{}") < 40, "nothing was gathered"
    assert more("model_server_requests_total{status=200}") == 40
    assert more("model_server_request_seconds_count{}") == 40


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"BATCH_SIZE": "0"}, "1 or more"),
        ({"BATCH_SIZE": "many"}, "numbers"),
        ({"BATCH_WAIT_MS": "nan"}, "between 0 and 1000"),
        ({"GPU_ENABLED": "maybe"}, "true or false"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(CannotServe, match=says):
        Settings.read(environment)


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(trained: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(CannotServe, match="no CUDA device"):
        load_model(settings_for(trained, GPU_ENABLED="true"))


def test_without_weights_the_replica_gives_up_and_says_why(tmp_path: Path) -> None:
    async def scenario() -> Replica:
        replica, gave_up = Replica(settings_for(tmp_path)), asyncio.Event()
        async with serving(create_app(replica, gave_up.set)) as client, asyncio.timeout(30):
            await gave_up.wait()
            assert (await client.get("/health")).status_code == 503
        return replica

    assert "There are no weights at" in (asyncio.run(scenario()).failure or "")
