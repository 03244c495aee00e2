"""The api and the model server in this process: their real code, the real model, and no container.

Only what lives in another process is stood in for: Redis by a dictionary, PostgreSQL by a table in memory. What they
really do is tested on the live stack.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from serve import Replica

STACK = Path(__file__).parents[3] / "stack"
# In the images these modules lie in the working directory of the process.
sys.path[:0] = [str(STACK / "api"), str(STACK / "model-server")]


def train(folder: Path) -> Path:
    """Runs the training as the image's build does, in a process of its own; returns the folder with the result."""
    subprocess.run(
        [sys.executable, STACK / "model-server/train.py", folder], check=True, capture_output=True, text=True
    )
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with model.pt and model.json of one training."""
    return train(tmp_path_factory.mktemp("model"))


@contextlib.asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The running app, and a client that reaches it without a network."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


async def until_ready(replica: Replica) -> None:
    async with asyncio.timeout(30):
        while replica.ready is None:
            assert replica.failure is None, replica.failure
            await asyncio.sleep(0.01)


def reference(trained: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((trained / "model.json").read_text())["reference"]
    return found


def samples(text: str) -> dict[str, float]:
    """{"name{label=value}": value} of everything that /metrics shows."""
    return {
        f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sample.labels.items())}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
