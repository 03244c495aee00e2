"""Another runtime of the engine for a submission's containers."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from grader.engine.connection import connect
from grader.rewrite import LABEL
from tests.hostile.target import folders_of, start
from tests.live.grading import finish, left_behind, wait_for

pytestmark = pytest.mark.live

NEVER_HEALTHY = (
    "services:\n  web:\n    image: python:3.11-slim\n    command: [sleep, infinity]\n    init: true\n"
    "    healthcheck: {test: 'false'}\n"
)


def test_a_runtime_that_the_engine_lacks_is_said_before_anything_starts() -> None:
    process = start("--runtime", "no-such-runtime")
    graded = finish(process, timeout=60)
    assert graded.status == 3
    assert "no runtime called 'no-such-runtime'" in graded.stderr
    assert "runc" in graded.stderr, "it says which ones there are"
    assert folders_of(process.pid) == []


def test_every_container_of_the_submission_runs_with_the_runtime_that_is_asked_for(tmp_path: Path) -> None:
    """The engine's own runtime under its other name stands for another one."""
    (tmp_path / "compose.yml").write_text(NEVER_HEALTHY)
    with contextlib.closing(connect()) as client:
        process = start("-s", str(tmp_path), "--runtime", "io.containerd.runc.v2")

        def runtimes() -> list[str]:
            found = client.api.containers(filters={"label": [LABEL, "com.docker.compose.service=web"]})
            mine = [c["Id"] for c in found if f"/{process.pid}/" in c["Labels"][LABEL]]
            return [client.api.inspect_container(c)["HostConfig"]["Runtime"] for c in mine]

        wait_for(runtimes, "a running container")
        assert runtimes() == ["io.containerd.runc.v2"]
        assert finish(process, timeout=90).status == 1
        assert left_behind(client, process.pid) == []
