"""What the live tests of the grader share: the command line as a student types it, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from grader.catalog import ROOT
from grader.rewrite import LABEL

DEADLINE = 240.0  # seconds for one grading on a machine that is busy with something else


@dataclass(frozen=True)
class Graded:
    """One run of the command line."""

    status: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.stdout)
        return data

    def verdicts(self) -> dict[str, str]:
        return {check["name"]: check["verdict"] for check in self.report["checks"]}


def start(*arguments: str, module: str = "grader", **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout: float = DEADLINE) -> Graded:
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        raise AssertionError(f"still running after {timeout} s:\n{stderr}") from None
    return Graded(process.returncode, stdout, stderr)


def run(*arguments: str, **environment: str) -> Graded:
    return finish(start(*arguments, **environment))


def grade(submission: Path, *arguments: str, exercise: str = "exercise-04", **environment: str) -> Graded:
    return run(exercise, "--submission", str(submission), "--format", "json", *arguments, **environment)


def left_behind(client: docker.DockerClient, *pids: int) -> list[str]:
    """Everything on the engine that belongs to gradings of those processes."""
    mine = {"label": LABEL}
    found = [(c["Names"][0], c["Labels"]) for c in client.api.containers(all=True, filters=mine)]
    found += [(n["Name"], n["Labels"]) for n in client.api.networks(filters=mine)]
    found += [(v["Name"], v["Labels"]) for v in client.api.volumes(filters=mine)["Volumes"] or []]
    found += [(i["Id"], i["Labels"]) for i in client.api.images(filters=mine)]
    return [name for name, labels in found if any(f"/{pid}/" in labels[LABEL] for pid in pids)]


def wait_for(condition: Callable[[], object], what: str, timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout} s in vain for: {what}"
        time.sleep(0.05)
