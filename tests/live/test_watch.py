"""A watch session on live containers: what it says after each save, and that nothing of it stays."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import queue
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from grader import catalog
from grader.catalog import ROOT
from grader.engine.connection import connect
from grader.engine.sweep import Owner
from grader.events import PROJECT_LABEL, SERVICE_LABEL
from grader.rewrite import LABEL
from tests.live.grading import left_behind, start, wait_for

pytestmark = pytest.mark.live

EXERCISE = catalog.find("exercise-05")
PATIENCE = 240.0  # seconds for anything, on a busy machine
RIGHT, WRONG = "HOST: 0.0.0.0", "HOST: 127.0.0.1"
CHECK = "test_nginx_reaches_api"


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    client = connect()
    yield client
    client.close()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The solution with one mistake, to work in."""
    folder = Path(shutil.copytree(catalog.SOLUTIONS / EXERCISE.key, tmp_path / "my work"))
    change(folder, RIGHT, WRONG)
    return folder


def change(folder: Path, old: str, new: str) -> None:
    file = folder / "compose.yml"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


class Session:
    """A watch whose messages are read."""

    def __init__(self, folder: Path) -> None:
        self.process = start("watch", EXERCISE.name, "--submission", str(folder))
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._messages.put(json.loads(line))

    def until(self, **wanted: object) -> list[dict[str, Any]]:
        """All messages up to the first that has all of ``wanted``."""
        found: list[dict[str, Any]] = []
        end = time.monotonic() + PATIENCE
        while not found or any(found[-1].get(key) != value for key, value in wanted.items()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, found
            try:
                found.append(self._messages.get(timeout=1))
            except queue.Empty:
                continue
        return found

    def leave(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode


@pytest.fixture
def session(work: Path) -> Iterator[Session]:
    session = Session(work)
    try:
        yield session
    finally:
        session.process.kill()
        session.process.communicate()


def owned(client: docker.DockerClient, session: int) -> dict[str, dict[str, str]]:
    """Project -> service -> container, of everything that the processes of a session have started."""
    pids = {process.pid for process in psutil.Process(session).children(recursive=True)}
    found: dict[str, dict[str, str]] = {}
    for container in client.api.containers(all=True, filters={"label": LABEL}):
        labels, owner = container["Labels"], Owner.parse(container["Labels"][LABEL])
        if owner and owner.pid in pids and SERVICE_LABEL in labels:
            found.setdefault(labels[PROJECT_LABEL], {})[labels[SERVICE_LABEL]] = container["Id"]
    return found


def processes_of(session: int) -> set[int]:
    return {session, *(process.pid for process in psutil.Process(session).children(recursive=True))}


def test_a_mended_check_passes_on_the_running_stack_first_and_then_from_scratch(
    client: docker.DockerClient, work: Path, session: Session
) -> None:
    first = session.until(kind="reported", final=True)[-1]["report"]
    assert {check["name"] for check in first["checks"] if check["verdict"] == "failed"} == {CHECK}
    session.until(kind="done", work="prepare")
    wait_for(lambda: len(owned(client, session.process.pid)) == 1, "the running stack alone", PATIENCE)
    wait_for(lambda: len(next(iter(owned(client, session.process.pid).values()))) == 4, "its services", PATIENCE)
    [(project, before)] = owned(client, session.process.pid).items()

    change(work, WRONG, RIGHT)

    look = session.until(kind="done", work="look", round=2)
    static = [m for m in look if m["kind"] == "reported"]
    assert [m["final"] for m in static] == [False]
    seen = {m["result"]["name"]: m["result"]["verdict"] for m in look if m["kind"] == "checked" and m["running"]}
    assert seen[CHECK] == "passed"
    after = owned(client, session.process.pid)[project]
    assert {service for service in before if before[service] != after[service]} == {"api"}
    final = session.until(kind="reported", final=True)[-1]["report"]
    assert final["points"] == final["maximum"] > 0

    pids = processes_of(session.process.pid)
    assert session.leave() == 0
    assert left_behind(client, *pids) == []


def test_a_save_gives_the_grading_before_up_and_mistakes_of_every_kind_are_said(
    client: docker.DockerClient, work: Path, session: Session
) -> None:
    session.until(kind="stage", text="starting the stack")
    change(work, "services:", "services")
    problem = session.until(kind="problem")[-1]
    assert problem["round"] >= 2
    assert "compose.yml" in problem["what"]

    change(work, "services\n", "services:\n")
    change(work, "  redis:\n", "  redis:\n    privileged: true\n")
    refused = session.until(kind="reported", final=False, round=problem["round"] + 1)
    while not refused[-1]["report"]["refused"]:  # the two changes may have been two saves
        refused = session.until(kind="reported", final=False)
    assert refused[-1]["report"]["refused"][0]["what"] == "services.redis.privileged"

    change(work, "    privileged: true\n", "")
    report = session.until(kind="reported", final=True)[-1]
    assert report["round"] > refused[-1]["round"]
    assert report["report"]["checks"]
    pids = processes_of(session.process.pid)
    assert session.leave() == 1
    assert left_behind(client, *pids) == []


def test_after_a_kill_the_session_leaves_nothing(client: docker.DockerClient, session: Session) -> None:
    session.until(kind="stage", text="waiting until every service is healthy")
    pids = processes_of(session.process.pid)
    wait_for(lambda: left_behind(client, *pids), "a container", PATIENCE)
    session.process.kill()
    session.process.communicate()
    wait_for(lambda: not left_behind(client, *pids), "the workers to remove what they started", PATIENCE)
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids), "the workers to end", PATIENCE)


def test_on_a_terminal_a_hint_unfolds_and_q_leaves(client: docker.DockerClient, work: Path) -> None:
    terminal, of_the_session = pty.openpty()
    fcntl.ioctl(of_the_session, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 110, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "grader", "watch", EXERCISE.name, "--submission", str(work)],
        cwd=ROOT, stdin=of_the_session, stdout=of_the_session, stderr=of_the_session,
        env=os.environ | {"TERM": "xterm-256color"}, start_new_session=True,
    )  # fmt: skip
    os.close(of_the_session)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        end = time.monotonic() + PATIENCE
        while text not in shown:
            assert time.monotonic() < end, shown[-4000:]
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 65536).decode("utf-8", "replace")

    try:
        until("The first problem:")
        until("h: a hint (0 of")
        until("Waiting for you to save a file.")
        pids = processes_of(process.pid)
        os.write(terminal, b"h")
        until("h: a hint (1 of")
        os.write(terminal, b"q")
        until("The last grading:")
        assert process.wait(PATIENCE) == 1
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert left_behind(client, *pids) == []
