"""Exercise 04 graded without this grader: testcontainers and pytest, on the learner's file as it is.

Fewer and simpler assertions than the grader's; the folder is in PLAIN_FOLDER.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from testcontainers.compose import DockerCompose

PROBED = ("api", "model-server", "redis", "postgres")
PATIENCE = 300.0  # seconds


class Stack:
    def __init__(self, compose: DockerCompose) -> None:
        self.ids = {name: str(compose.get_container(name, include_all=True).ID) for name in (*PROBED, "model-init")}

    def state(self, service: str) -> dict[str, Any]:
        shown = subprocess.run(["docker", "inspect", self.ids[service]], check=True, capture_output=True, text=True)
        state: dict[str, Any] = json.loads(shown.stdout)[0]["State"]
        return state

    def are(self, services: Sequence[str], health: str) -> bool:
        return all(self.state(name).get("Health", {}).get("Status") == health for name in services)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with DockerCompose(os.environ["PLAIN_FOLDER"], wait=True) as compose:
        yield Stack(compose)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_everything_becomes_healthy(stack: Stack) -> None:
    until(lambda: stack.are(PROBED, "healthy"))


def test_api_started_last(stack: Stack) -> None:
    began = stack.state("api")["StartedAt"]
    assert all(stack.state(name)["StartedAt"] < began for name in PROBED[1:])
    assert stack.state("model-init")["FinishedAt"] < stack.state("model-server")["StartedAt"]


def test_frozen_services_are_noticed(stack: Stack) -> None:
    # Not `docker pause`: the engine does not probe what it has paused itself.
    pids = []
    for name in PROBED:
        top = subprocess.run(
            ["docker", "top", stack.ids[name], "-eo", "pid"], check=True, capture_output=True, text=True
        )
        pids += [int(pid) for pid in top.stdout.split()[1:]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: stack.are(PROBED, "unhealthy"))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    until(lambda: stack.are(PROBED, "healthy"))


def test_crashed_services_come_back(stack: Stack) -> None:
    for name in PROBED:
        os.kill(stack.state(name)["Pid"], signal.SIGKILL)
    until(lambda: all(stack.state(name)["Running"] for name in PROBED))
    until(lambda: stack.are(PROBED, "healthy"))
