"""The engine's process: its options, and the pid files of processes that are gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grader.errors import MachineError
from grader.setup import dockerd
from grader.setup.dockerd import packet_options, remove_stale_pid_files, stop_engine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

NETWORKS = "--default-network-opt=bridge=com.docker.network.driver.mtu=1400"


@pytest.mark.parametrize(
    ("uplink", "version", "config", "options"),
    [
        (1400, "26.1.5+dfsg1", {}, ["--mtu=1400", NETWORKS]),
        (1400, "20.10.24", {}, ["--mtu=1400"]),
        (1400, None, {}, ["--mtu=1400"]),
        (1400, "26.1.5", {"mtu": 1300}, [NETWORKS]),
        (1400, "26.1.5", {"mtu": 1300, "default-network-opts": {}}, []),
        (1500, "26.1.5", {}, []),
        (9000, "26.1.5", {}, []),
        (None, "26.1.5", {}, []),
    ],
)
def test_packets_are_made_to_fit_the_uplink(
    uplink: int | None, version: str | None, config: dict[str, object], options: list[str]
) -> None:
    assert packet_options(uplink, version, config) == options


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives, its name "sleep"."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            # The kernel gives the new name a moment after Popen has returned.
            deadline = time.monotonic() + 30
            while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


def removed(file: Path, program: str) -> bool:
    said: list[str] = []
    remove_stale_pid_files(said.append, {file: program})
    assert bool(said) == (not file.exists())
    assert all(str(file) in line for line in said)
    return not file.exists()


def test_the_pid_file_of_a_living_program_stays(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    file = tmp_path / "pid"
    file.write_text(f"{sleeper.pid}\n")
    assert not removed(file, "sleep")


def test_the_pid_file_that_names_another_program_goes(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    file = tmp_path / "pid"
    file.write_text(str(sleeper.pid))
    assert removed(file, "dockerd")


def test_the_pid_file_of_a_zombie_goes(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
    file = tmp_path / "pid"
    file.write_text(str(sleeper.pid))
    assert Path(f"/proc/{sleeper.pid}/comm").read_text() == "sleep\n"
    assert removed(file, "sleep")


@pytest.mark.parametrize("text", ["", "no number", "4194305", "-1"])
def test_a_pid_file_without_a_process_goes(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pid"
    file.write_text(text)
    assert removed(file, "dockerd")


def test_no_pid_file_is_no_trouble(tmp_path: Path) -> None:
    remove_stale_pid_files(pytest.fail, {tmp_path / "none": "dockerd"})


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "engine.json"
    monkeypatch.setattr(dockerd, "RECORD", path)
    return path


def test_what_was_recorded_is_stopped(record: Path, sleeper: subprocess.Popen[bytes]) -> None:
    dockerd._record_process(sleeper.pid)
    stop_engine(lambda line: None)
    assert sleeper.wait(10) != 0
    assert not record.exists()


def test_a_process_that_only_has_the_recorded_number_lives_on(record: Path, sleeper: subprocess.Popen[bytes]) -> None:
    record.write_text(json.dumps({"pid": sleeper.pid, "started": "12345"}))
    stop_engine(lambda line: None)
    assert sleeper.poll() is None
    assert not record.exists()


def test_an_engine_that_does_not_end_is_an_error(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dockerd, "STOP_WITHIN", 0.3)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        dockerd._record_process(process.pid)
        with pytest.raises(MachineError, match="still runs") as caught:
            stop_engine(lambda line: None)
        process.kill()
    assert f"sudo kill -9 {process.pid}" in caught.value.fix


def test_without_a_record_nothing_is_stopped(record: Path) -> None:
    said: list[str] = []
    stop_engine(said.append)
    assert said == ["The set-up has started no engine here: nothing to stop."]
