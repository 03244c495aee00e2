"""What the machine does to a grading: it ends in time, says what happened, and after `clean` nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import psutil
import pytest

from grader.catalog import ROOT
from grader.engine import sweep
from grader.engine.connection import connect
from tests.hostile.target import clean, folders_of, start
from tests.live.grading import finish, left_behind, wait_for

pytestmark = pytest.mark.live

SLOW = "services:\n  web:\n    image: python:3.11-slim\n    command: [sleep, infinity]\n    init: true\n"
SLOW += "    healthcheck: {test: 'false'}\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starts an engine of its own, which only root may")


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A submission whose stack never gets well, so that there is time to do something to it."""
    path = tmp_path / "compose.yml"
    path.write_text(SLOW)
    return path


# --- the grader is killed -----------------------------------------------------------------------


@pytest.mark.parametrize("number", range(5))
def test_after_a_kill_at_any_moment_one_clean_removes_everything(number: int) -> None:
    client = connect()
    process = start("--isolation", "no-egress")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(random.uniform(0.2, 1.8))
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    clean()
    assert left_behind(client, process.pid) == []
    assert folders_of(process.pid) == []
    client.close()


def test_clean_ends_the_compose_commands_of_a_killed_grading(tmp_path: Path) -> None:
    """They would go on and create what `clean` has just removed."""
    (tmp_path / "compose.yml").write_text(SLOW + "  waits:\n    image: python:3.11-slim\n"
                                          "    depends_on: {web: {condition: service_healthy}}\n")  # fmt: skip
    client = connect()
    process = start("-s", str(tmp_path))
    wait_for(lambda: left_behind(client, process.pid), "a container")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    [owner] = [owner for folder in folders_of(process.pid) if (owner := sweep.Owner.of_folder(folder))]
    clean()
    assert not [p for p in psutil.process_iter(["cmdline"]) if owner.project in (p.info["cmdline"] or [])]
    assert left_behind(client, process.pid) == []
    client.close()


# --- the engine goes -----------------------------------------------------------------------------


# Brings up the loopback interface of a new network namespace and becomes the command that follows.
WITH_LOOPBACK = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x41))
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Engine:
    """A Docker engine of the tests' own, beside the machine's, with the one image that the exercise needs.

    It has a network namespace of its own: an engine without a default bridge removes the one that it finds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {"data-root": "data/docker", "exec-root": "exec", "pidfile": "pid"}
        command = ["unshare", "--net", sys.executable, "-c", WITH_LOOPBACK]
        command += ["dockerd", "--host", self.host, "--bridge=none", "--iptables=false", "--ip6tables=false"]
        command += [f"--{name}={self.folder / path}" for name, path in options.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_for(self.answers, f"the engine to answer:\n{(self.folder / 'log').read_text()[-2000:]}")

    def answers(self) -> bool:
        try:
            with contextlib.closing(docker.DockerClient(base_url=self.host, timeout=5)) as client:
                return bool(client.ping())
        except docker.errors.DockerException:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(60)
        if number == signal.SIGKILL:
            # It cannot take its own containerd with it.
            for process in psutil.process_iter(["cmdline"]):
                if "containerd" in " ".join(process.info["cmdline"] or []) and str(self.folder) in " ".join(
                    process.info["cmdline"]
                ):
                    process.kill()
            (self.folder / "pid").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Its data lies on a small disk of its own: 1.6 GB of memory."""
    folder = Path("/tmp") / f"engine-{os.getpid()}"  # a socket's path may not be long
    (folder / "data").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1600m", "tmpfs", folder / "data"], check=True)
    engine = Engine(folder)
    try:
        engine.start()
        save = subprocess.Popen(["docker", "save", "python:3.11-slim"], stdout=subprocess.PIPE)
        subprocess.run(["docker", "--host", engine.host, "load"], stdin=save.stdout, check=True, capture_output=True)
        assert save.wait() == 0
        yield engine
        engine.stop()
    finally:
        subprocess.run(["umount", "--lazy", folder / "data"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@needs_root
@pytest.mark.parametrize("back", [True, False], ids=["and comes back", "and stays away"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stops", "crashes"])
def test_an_engine_that_goes_ends_the_grading_with_a_clear_error(
    engine: Engine, slow: Path, number: signal.Signals, back: bool
) -> None:
    process = start("-s", str(slow), DOCKER_HOST=engine.host)
    client = docker.DockerClient(base_url=engine.host)
    wait_for(lambda: any(c["State"] == "running" for c in _containers(client, process.pid)), "a running container")
    engine.stop(number)
    if back:
        engine.start()
    graded = finish(process, timeout=90)
    if not back:
        engine.start()
    assert graded.status == 3, graded.stdout + graded.stderr
    assert "The Docker engine stopped" in graded.stderr
    assert "python -m grader clean" in graded.stderr
    assert "Traceback" not in graded.stderr
    clean(DOCKER_HOST=engine.host)
    assert left_behind(client, process.pid) == []
    assert folders_of(process.pid) == []
    client.close()


def _containers(client: docker.DockerClient, pid: int) -> list[dict[str, str]]:
    found = client.api.containers(all=True, filters={"label": "com.docker.compose.service=web"})
    return [c for c in found if f"/{pid}/" in c["Labels"]["org.compose-course.grading"]]


# --- the disk is full -------------------------------------------------------------------------------


@contextlib.contextmanager
def filled(folder: Path, leave: int) -> Iterator[None]:
    """Somebody else takes all of the disk but ``leave`` bytes."""
    path = folder / "somebody-elses"
    try:
        with path.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(folder).free - leave)
        yield
    finally:
        path.unlink()


@needs_root
def test_a_submission_that_fills_the_engines_disk_is_ended_and_gives_it_back(engine: Engine, tmp_path: Path) -> None:
    writer = "open('/tmp/big', 'wb').writelines(iter(lambda: bytes(1 << 20), None))"
    command = f'[sh, -c, "python -c \\"{writer}\\"; sleep infinity"]'
    (tmp_path / "compose.yml").write_text(SLOW.replace("[sleep, infinity]", command))
    before = shutil.disk_usage(engine.folder / "data").free
    process = start("-s", str(tmp_path), "-f", "json", DOCKER_HOST=engine.host)
    graded = finish(process, timeout=90)
    assert graded.status == 1, graded.stdout + graded.stderr
    assert ["MiB were left" in note for note in graded.report["notes"]] == [True]
    assert "blocked" in graded.verdicts().values()
    assert shutil.disk_usage(engine.folder / "data").free > before - 100 * 2**20


@needs_root
def test_a_disk_that_somebody_else_fills_is_not_the_submissions_fault(engine: Engine, slow: Path) -> None:
    process = start("-s", str(slow), DOCKER_HOST=engine.host)
    client = docker.DockerClient(base_url=engine.host)
    wait_for(lambda: _containers(client, process.pid), "a container")
    with filled(engine.folder / "data", leave=100 * 2**20):
        graded = finish(process, timeout=90)
    assert graded.status == 3, graded.stdout + graded.stderr
    assert "left on the machine's disk" in graded.stderr
    assert left_behind(client, process.pid) == []
    client.close()


@needs_root
def test_nothing_is_started_on_a_full_disk(engine: Engine, slow: Path) -> None:
    with filled(engine.folder / "data", leave=100 * 2**20):
        graded = finish(start("-s", str(slow), DOCKER_HOST=engine.host), timeout=60)
    assert graded.status == 3
    assert "is full" in graded.stderr


@needs_root
def test_a_full_temporary_folder_is_the_machines_fault(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        with filled(tmp_path, leave=8192):  # a folder in which nothing can be written at all would not be used
            graded = finish(start(TMPDIR=str(tmp_path)), timeout=60)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert graded.status == 3, graded.stderr
    assert "space" in graded.stderr
    assert "Traceback" not in graded.stderr


# --- what will not go ---------------------------------------------------------------------------------


class StubbornEngine:
    """The machine's engine, behind a socket that refuses to end or remove a container, in the words it has for that."""

    REFUSAL = b'{"message":"tried to kill container, but did not receive an exit event"}'

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)

    def __enter__(self) -> str:
        threading.Thread(target=self._accept, daemon=True).start()
        return f"unix://{self._path}"

    def __exit__(self, *exception: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect("/var/run/docker.sock")
                threading.Thread(target=self._pass_on, args=(client, engine, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(engine, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, requests: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                words = data.split(b" ", 2)
                if requests and self._refuses(words):
                    head = (
                        f"HTTP/1.1 500 Cannot\r\nContent-Type: application/json\r\nContent-Length: {len(self.REFUSAL)}"
                    )
                    source.sendall(head.encode() + b"\r\n\r\n" + self.REFUSAL)
                else:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        if not requests:  # the engine has said its last word
            source.close()
            target.close()

    @staticmethod
    def _refuses(words: list[bytes]) -> bool:
        if len(words) < 3 or b"/containers/" not in words[1]:
            return False
        path = words[1].split(b"?")[0]
        return words[0] == b"DELETE" or (words[0] == b"POST" and path.endswith((b"/kill", b"/stop")))


def test_a_container_that_cannot_be_killed_is_said_and_removed_once_it_can(slow: Path, tmp_path: Path) -> None:
    """As one whose process waits for a broken disk."""
    client = connect()
    with StubbornEngine(tmp_path / "sock") as host:
        process = start("-s", str(slow), DOCKER_HOST=host)
        graded = finish(process, timeout=200)
    assert graded.status == 4, graded.stdout + graded.stderr
    assert "could not be removed" in graded.stderr
    assert "python -m grader clean" in graded.stderr
    wait_for(lambda: clean() and not left_behind(client, process.pid), "the container to go", timeout=60)
    client.close()


# --- another user --------------------------------------------------------------------------------------


@needs_root
def test_files_that_containers_make_as_root_go_with_an_ordinary_users_grading(tmp_path: Path) -> None:
    endpoint = Path("/var/run/docker.sock")
    python = Path("/usr/bin") / Path(sys.executable).resolve().name
    version = [python, "-c", "import sys; print(sys.version_info[:2])"]
    if not endpoint.exists() or not python.exists():
        pytest.skip("there is no Python for all users here")
    if subprocess.run(version, capture_output=True, text=True).stdout.strip() != str(sys.version_info[:2]):
        pytest.skip("the Python for all users is another one")
    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    (work / "data" / "keep").write_text("x")
    (work / "compose.yml").write_text(
        "services:\n  web:\n    image: python:3.11-slim\n    init: true\n    volumes: ['./data:/data']\n"
        "    command: [sh, -c, 'mkdir -m 700 /data/roots && touch /data/roots/file && sleep infinity']\n"
    )
    pytests = [folder for folder in tmp_path.parents if Path(tempfile.gettempdir()) in folder.parents]
    for folder in (tmp_path, *pytests, work, work / "data"):
        folder.chmod(0o755)
    temporary = tmp_path / "tmp"
    temporary.mkdir(mode=0o777)
    temporary.chmod(0o777)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", f"--regid={endpoint.stat().st_gid}", "--clear-groups",
         python, "-B", "-m", "tests.hostile.on_target", "-s", work],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": sysconfig.get_path("purelib"), "TMPDIR": str(temporary),
             "HOME": str(temporary)},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    left = [path for path in temporary.rglob("*") if "grading-" in path.name]
    assert left == [], done.stderr
