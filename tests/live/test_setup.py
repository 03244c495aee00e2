"""The set-up on a machine that has everything, this one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grader.engine import images
from grader.engine.facts import read_facts, release
from grader.setup.dockerd import RECORD

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]


def grader(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "grader", *words]
    return subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment, timeout=600
    )


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def test_the_facts_are_what_docker_itself_says() -> None:
    found = read_facts()
    assert found.engine == docker("version", "--format", "{{.Server.Version}}")
    assert found.api == docker("version", "--format", "{{.Server.APIVersion}}")
    assert release(found.compose) == release(docker("compose", "version", "--short"))
    assert found.storage_driver == docker("info", "--format", "{{.Driver}}")
    assert found.data_root == docker("info", "--format", "{{.DockerRootDir}}")
    assert str(found.cpus) == docker("info", "--format", "{{.NCPU}}")
    assert str(found.memory) == docker("info", "--format", "{{.MemTotal}}")


def test_a_second_run_changes_nothing_and_takes_less_than_three_seconds() -> None:
    """With the start of the bootstrap, the quickest of three: the machine may be busy with other things."""
    assert grader("setup").returncode == 0
    before = state()
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        run = grader("setup")
        seconds.append(time.monotonic() - start)
        assert run.returncode == 0, run.stderr
        assert not [line for line in (run.stdout + run.stderr).splitlines() if not line.startswith("Note: ")]
    assert state() == before
    assert min(seconds) < 3


def state() -> object:
    """Everything the set-up may change."""
    files = [*(ROOT / "stack" / "secrets").iterdir(), ROOT / ".env", RECORD]
    changed = {str(file): file.stat().st_mtime_ns for file in files if file.exists()}
    return changed, [(one.image.tag, one.id, one.state) for one in images.status()]


def test_the_doctor_finds_this_machine_fit() -> None:
    run = grader("doctor")
    assert run.returncode == 0, run.stdout + run.stderr
    for name in ("Engine", "Compose", "buildx", "python:3.11-slim", "postgres:15-alpine", "GPU", "Memory", "Disk"):
        assert name in run.stdout
    assert "problem" not in run.stdout


def test_the_doctor_says_3_where_nothing_can_be_graded() -> None:
    run = grader("doctor", DOCKER_HOST="tcp://127.0.0.1:1")
    assert run.returncode == 3
    assert "unset DOCKER_HOST" in run.stdout


def test_the_set_up_says_3_and_what_to_type_where_the_chosen_engine_is_silent() -> None:
    run = grader("setup", DOCKER_HOST="tcp://127.0.0.1:1")
    assert run.returncode == 3
    assert "The engine that DOCKER_HOST names, tcp://127.0.0.1:1, does not answer" in run.stderr
    assert "    unset DOCKER_HOST" in run.stderr
