"""One grading in a process of its own: whatever becomes of that process, the worker says what it was."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import PurePosixPath

import psutil
import pytest

from grader import catalog
from grader.batch import work
from grader.batch.job import Job, Outcome
from grader.unpack import File

ESSAY = File(PurePosixPath("essay.txt"), b"no compose file", False)
KEY = catalog.find("exercise-04").key


def job(exercise: str = KEY, timeout: float | None = None) -> Job:
    return Job("alice", "alice.zip", (ESSAY,), exercise, timeout=timeout)


def children(word: str) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if word in child.cmdline()]


def test_what_cannot_be_read_says_why_as_a_single_grading_does() -> None:
    result = work.in_a_process(job())
    assert result.outcome is Outcome.UNREADABLE
    assert result.message.startswith(
        f"alice.zip holds none of the files of {KEY}.\nExpected at least one of: compose.yml"
    )


def test_an_exercise_that_the_worker_lacks_is_the_graders_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work.catalog, "find", lambda key: catalog.exercises()[0])  # in this process only
    result = work.in_a_process(job("77-missing"))
    assert result.outcome is Outcome.FAULT
    assert "77-missing" in result.message


def test_a_process_that_is_killed_is_said_to_have_been() -> None:
    def kill() -> None:
        end = time.monotonic() + 60
        while not (found := children("grader.batch.single")) and time.monotonic() < end:
            time.sleep(0.005)
        found[0].kill()

    killing = threading.Thread(target=kill)
    killing.start()
    result = work.in_a_process(job())
    killing.join()
    assert result.outcome is Outcome.FAULT
    assert "killed by SIGKILL" in result.message
    assert "out of memory" in result.message


def test_a_process_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "SLACK", 0.0)
    monkeypatch.setattr(work, "stretched", lambda seconds: 0.05)
    result = work.in_a_process(job())
    assert result.outcome is Outcome.FAULT
    assert "took more than 0 s and was ended" in result.message


def test_a_process_whose_worker_is_gone_ends_by_itself() -> None:
    reading, writing = os.pipe()
    process = psutil.Popen(
        [work.sys.executable, "-m", "grader.batch.single", "alice"],
        cwd=catalog.ROOT,
        stdin=reading,
        stdout=-3,
        stderr=-3,
    )
    os.close(reading)
    os.close(writing)  # before it was told what to grade
    assert process.wait(timeout=60) is not None
    assert process.returncode != -signal.SIGKILL
