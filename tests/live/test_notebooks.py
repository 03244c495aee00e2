"""Every lesson from top to bottom on the live engine, and whether it shows what its text claims."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from importlib import import_module
from pathlib import Path
from typing import Any

import docker
import nbformat
import pytest
import yaml
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from grader.events import PROJECT_LABEL
from tests.live.ahead import ahead
from tests.live.lessons.shown import Shown

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
SECONDS_PER_CELL = 400  # the longest grades exercise 11, twenty seconds on an idle machine

SMALL = """
services:
  sleeper: {image: "redis:7-alpine", volumes: [kept:/kept]}
volumes: {kept: {}}
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def project(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The name that the lesson's project gets, so that a lesson open on this machine is left alone."""
    monkeypatch.setenv("LESSONS_FOLDER", str(tmp_path))
    name = f"test-lesson-{os.getpid()}-{abs(hash(request.node.nodeid)) % 10_000}"
    monkeypatch.setenv("LESSON_PROJECT", name)
    return name


def left_behind(engine: docker.DockerClient, project: str) -> list[str]:
    mine = {"label": f"{PROJECT_LABEL}={project}"}
    return [
        *(container.name for container in engine.containers.list(all=True, filters=mine)),
        *(network.name for network in engine.networks.list(filters=mine)),
        *(volume.name for volume in engine.volumes.list(filters=mine)),
        *(image.id for image in engine.images.list(filters=mine)),
    ]


# --- the lessons --------------------------------------------------------------------------------


def project_of(path: Path) -> str:
    return f"test-lesson-{os.getpid()}-{path.stem[:2]}"


@pytest.fixture(scope="module")
def lessons(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Shown]]]:
    """What every lesson showed that this run's tests ask for, by the test's id."""
    folder = tmp_path_factory.mktemp("lessons")

    def run(path: Path) -> Shown:
        notebook = nbformat.read(path, nbformat.NO_CONVERT)
        environment = os.environ | {"LESSON_PROJECT": project_of(path), "LESSONS_FOLDER": str(folder)}
        client = NotebookClient(notebook, timeout=SECONDS_PER_CELL, resources={"metadata": {"path": str(path.parent)}})
        asyncio.run(client.async_execute(env=environment))
        return Shown.by(notebook)

    with ahead(request, "lessons", run) as running:
        yield running


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_and_shows_what_it_claims(
    request: pytest.FixtureRequest, path: Path, lessons: Mapping[str, Future[Shown]], engine: docker.DockerClient
) -> None:
    shown = lessons[request.node.nodeid].result()
    assert left_behind(engine, project_of(path)) == []
    import_module(f"tests.live.lessons.lesson_{path.stem[:2]}").claims(shown)


# --- what the lessons share ---------------------------------------------------------------------


def lab(script: str) -> subprocess.CompletedProcess[str]:
    """Run Python lines after the ones that open a lesson, in a process of their own."""
    opening = f"import os\nfrom lab import Lab\nSMALL = {SMALL!r}\nlab = Lab('lesson-test')\n"
    return subprocess.run(
        [sys.executable, "-c", opening + script],
        cwd=NOTEBOOKS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


START = "lab.compose('', SMALL)\nlab.terminal('docker compose up -d')\nlab.wait('sleeper', 'running')\n"


def test_lesson_that_was_killed_starts_clean(project: str, engine: docker.DockerClient) -> None:
    assert lab(START + "os._exit(9)").returncode == 9
    assert len(left_behind(engine, project)) == 3
    again = lab("print(lab.state('sleeper'))")
    assert again.stdout.splitlines()[1] == "absent", again.stderr
    assert left_behind(engine, project) == []


def test_closing_the_kernel_removes_everything(project: str, engine: docker.DockerClient) -> None:
    done = lab(START)
    assert "sleeper is running" in done.stdout, done.stderr
    assert left_behind(engine, project) == []


def reply(client: BlockingKernelClient, request: str) -> dict[str, Any]:
    """The kernel's reply to this request; a slow kernel's replies to earlier ones may come before it."""
    while (message := client.get_shell_msg(timeout=SECONDS_PER_CELL))["parent_header"]["msg_id"] != request:
        pass
    content: dict[str, Any] = message["content"]
    return content


def test_lesson_goes_on_after_an_interrupt(project: str, engine: docker.DockerClient) -> None:
    """A cell that waits is stopped with the stop button; the first cell puts everything in a known state again."""
    opening = "from lab import Lab\nlab = Lab('lesson-test')\n"
    manager, client = start_new_kernel(cwd=str(NOTEBOOKS))
    try:
        waiting = opening + f"lab.compose('', {SMALL!r})\nlab.terminal('docker compose up')"
        # After an error the kernel would refuse what comes too soon.
        interrupted = client.execute(waiting, stop_on_error=False)
        deadline = time.monotonic() + SECONDS_PER_CELL
        while not engine.containers.list(filters={"label": f"{PROJECT_LABEL}={project}"}):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        manager.interrupt_kernel()
        assert reply(client, interrupted)["ename"] == "KeyboardInterrupt"
        again = client.execute(opening + "assert lab.state('sleeper') == 'absent'\nlab.close()")
        assert reply(client, again)["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert left_behind(engine, project) == []


def test_command_beside_a_block_ends_with_it(project: str) -> None:
    command = "echo began; touch there; sleep 600 & wait; echo not reached"
    done = lab(f"with lab.beside({command!r}):\n    while not os.path.exists('there'): pass\n    print('inside')")
    assert done.returncode == 0, done.stderr
    assert re.search(r"inside\n.*\(ran beside the above\)\nbegan\n", done.stdout, re.DOTALL), done.stdout
    assert "\nnot reached" not in done.stdout


def test_memory_is_drawn_until_it_runs_out(project: str) -> None:
    hog = "x = []\nfor i in range(10000): x.append(b'x' * (10**6 + i)); __import__('time').sleep(0.02)"
    service = {
        "image": "python:3.11-slim",
        "command": ["python", "-c", hog],
        "mem_limit": "96m",
        "memswap_limit": "96m",
    }
    file = yaml.safe_dump({"services": {"hog": service}})
    done = lab(f"lab.compose('', {file!r})\nlab.terminal('docker compose up -d')\nprint(lab.memory('hog', 60))")
    assert "Memory of hog, exit code 137, OOM-killed" in done.stdout, done.stdout + done.stderr
    assert "limit: 96 MiB" in done.stdout


def test_files_of_an_earlier_run_are_gone(project: str, tmp_path: Path) -> None:
    (tmp_path / project).mkdir()
    (tmp_path / project / "compose.override.yml").write_text("services: {}")
    done = lab("print(os.listdir(lab.folder), os.getcwd() == str(lab.folder))")
    assert "[] True" in done.stdout, done.stderr


def test_missing_image_is_answered_with_what_to_do(project: str) -> None:
    done = lab("lab.compose('', 'services: {a: {image: \"compose-course/there-is-none:1\"}}')")
    assert "The image compose-course/there-is-none:1 is not on this machine." in done.stderr


def test_file_that_compose_does_not_understand_is_explained(project: str) -> None:
    done = lab("lab.compose('', 'services: {a: {imag: x}}')")
    assert "Compose does not understand this file" in done.stderr
    assert "imag" in done.stderr


def test_closed_lesson_says_so(project: str) -> None:
    done = lab("lab.close()\nlab.terminal('docker compose ps')")
    assert "This lesson has been closed" in done.stderr
