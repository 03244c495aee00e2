"""The api and the model server in this process: their real code, the real model, and no container.

Only what lives in another process is stood in for: Redis by a dictionary, PostgreSQL by a table in memory. What they
really do is tested on the live stack.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

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
