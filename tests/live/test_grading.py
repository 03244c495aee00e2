"""The grader on live containers: whatever happens to it, nothing of it stays and nothing else goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from grader.catalog import EXERCISES, SOLUTIONS
from grader.engine.connection import connect
from tests.live.grading import finish, grade, left_behind, run, start, wait_for

pytestmark = pytest.mark.live

KEY = "04-health-checks"
SOLUTION = SOLUTIONS / KEY


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    client = connect()
    yield client
    client.close()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A copy of the solution to change."""
    return Path(shutil.copytree(SOLUTION, tmp_path / "a student's wörk"))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_solution_gets_full_marks_as_a_zip_with_the_usual_ports_taken(
    client: docker.DockerClient, tmp_path: Path
) -> None:
    archive = tmp_path / "Ann O'Neil_12345_assignsubmission_file_.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in SOLUTION.rglob("*"):
            target.write(path, Path("ann") / path.relative_to(SOLUTION))
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else has it, which does as well
            taken.bind(("127.0.0.1", 8000))
        process = start("exercise-04", "-s", str(archive), "-f", "json")
        graded = finish(process)
    assert graded.status == 0, graded.stdout + graded.stderr
    assert graded.report["points"] == graded.report["maximum"] > 0
    assert left_behind(client, process.pid) == []


def test_two_gradings_of_one_folder_run_side_by_side(client: docker.DockerClient) -> None:
    both = [start("exercise-04", "-s", str(SOLUTION), "-f", "json") for _ in range(2)]
    for graded in [finish(process) for process in both]:
        assert graded.status == 0, graded.stdout + graded.stderr
    assert [left_behind(client, process.pid) for process in both] == [[], []]


def test_on_a_timeout_finished_checks_count_and_everything_is_removed(client: docker.DockerClient, work: Path) -> None:
    # model-init never ends, so the stack never comes up; the checks beside it do not need it.
    change(work / "compose.yml", 'command: ["python", "init.py"]', 'command: ["sleep", "infinity"]')
    process = start("exercise-04", "-s", str(work), "-f", "json", "--timeout", "15")
    graded = finish(process)
    assert graded.status == 1, graded.stdout + graded.stderr
    assert graded.report["out_of_time"]
    verdicts = graded.verdicts()
    assert verdicts["test_postgres_probe_is_not_fooled"] == "passed"
    assert verdicts["test_api_health_turns_503"] == "blocked"
    assert "error" not in verdicts.values()
    assert left_behind(client, process.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_grading_tears_down(client: docker.DockerClient, number: signal.Signals) -> None:
    process = start("exercise-04", "-s", str(SOLUTION))
    wait_for(lambda: len(left_behind(client, process.pid)) > 3, "containers to interrupt")
    process.send_signal(number)
    graded = finish(process, timeout=90)
    assert graded.status == 130, graded.stderr
    assert "removed" in graded.stderr
    assert left_behind(client, process.pid) == []


@pytest.fixture
def bystanders(client: docker.DockerClient) -> Iterator[list[str]]:
    """Somebody else's container, network, volume and compose project, which have nothing to do with us."""
    name = f"bystander-{os.getpid()}"
    network = client.networks.create(name)
    volume = client.volumes.create(name)
    labels = {"com.docker.compose.project": name, "com.docker.compose.service": "api"}
    container = client.containers.run(
        "python:3.11-slim", ["sleep", "infinity"], name=name, detach=True, init=True, network=name,
        volumes={name: {"bind": "/data", "mode": "rw"}}, labels=labels,
    )  # fmt: skip
    yield [container.id, network.id, volume.id]
    container.remove(force=True, v=True)
    network.remove()
    volume.remove()


def test_clean_removes_what_a_killed_grading_left_and_only_that(
    client: docker.DockerClient, bystanders: list[str]
) -> None:
    alive = start("exercise-04", "-s", str(SOLUTION), "-f", "json")
    killed = start("exercise-04", "-s", str(SOLUTION))
    wait_for(lambda: len(left_behind(client, killed.pid)) > 5, "containers of the grading to be killed")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert left_behind(client, killed.pid)

    # What compose was doing in its own session at the moment of the kill may still be arriving.
    def clean() -> bool:
        cleaned = run("clean")
        assert cleaned.status == 0, cleaned.stderr
        return not left_behind(client, killed.pid)

    wait_for(clean, "everything of the killed grading to be removed", timeout=30)
    container, network, volume = bystanders
    assert client.containers.get(container).status == "running"
    assert client.networks.get(network)
    assert client.volumes.get(volume)
    graded = finish(alive)
    assert graded.status == 0, graded.stdout + graded.stderr


def test_a_kept_stack_is_left_running_and_removed_on_request(client: docker.DockerClient) -> None:
    process = start("exercise-04", "-s", str(SOLUTION), "--keep", "--only", "test_every_probe_works")
    graded = finish(process)
    assert graded.status == 0, graded.stderr
    assert "docker compose -p grading-" in graded.stderr
    assert left_behind(client, process.pid)
    run("clean")
    assert left_behind(client, process.pid), "clean alone must spare what was kept on purpose"
    assert run("clean", "--kept").status == 0
    assert left_behind(client, process.pid) == []


def test_a_service_that_dies_is_shown_with_its_last_words_once(work: Path) -> None:
    change(
        work / "compose.yml",
        "image: redis:7-alpine",
        "image: redis:7-alpine\n    command: [redis-server, --no-such-option]",
    )
    graded = run("exercise-04", "-s", str(work))
    assert graded.status == 1, graded.stderr
    report = graded.stdout
    assert "redis" in report
    assert "exit code 1" in report
    assert report.count("Bad directive") == 1, report


def test_static_needs_no_engine(work: Path) -> None:
    graded = grade(work, "--static", DOCKER_HOST="unix:///nonexistent.sock")
    assert graded.status == 1, graded.stderr
    assert graded.report["checks"] == []


def test_without_an_engine_it_says_so_and_ends_with_3() -> None:
    graded = run("exercise-04", DOCKER_HOST="unix:///nonexistent.sock")
    assert graded.status == 3
    assert "doctor" in graded.stderr
    assert "Traceback" not in graded.stderr


def test_what_must_not_run_is_never_started(client: docker.DockerClient, work: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    hook = f"image: redis:7-alpine\n    volumes: ['{tmp_path}:/host']\n    command: ['touch', '/host/marker']"
    change(work / "compose.yml", "image: redis:7-alpine", hook)
    graded = grade(work)
    assert graded.status == 1
    assert [refusal["what"] for refusal in graded.report["refused"]] == ["services.redis.volumes.0.source"]
    assert not marker.exists()


def test_a_learners_build_runs_without_network_and_its_image_goes(client: docker.DockerClient, work: Path) -> None:
    shutil.copytree(EXERCISES / KEY / "api", work / "api", dirs_exist_ok=True)
    shutil.copy(SOLUTION / "api/health.py", work / "api/health.py")
    (work / "api/Dockerfile").write_text("FROM compose-course/api:1\nCOPY health.py /app/health.py\n")
    change(work / "compose.yml", "image: compose-course/api:1", "build: ./api")
    process = start("exercise-04", "-s", str(work), "-f", "json")
    graded = finish(process)
    assert graded.status == 0, graded.stdout + graded.stderr
    assert left_behind(client, process.pid) == []


def test_the_report_can_be_written_to_a_file(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    graded = grade(SOLUTION, "--static", "--output", str(target))
    assert graded.stdout == ""
    assert '"schema_version"' in target.read_text()
    assert run("exercise-04", "-o", str(tmp_path / "no" / "folder")).status == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["exercise-99"], "exercise-04"),
        (["exercise-04", "--only", "test_nothing"], "test_every_probe_works"),
        (["exercise-04", "-s", "/nonexistent"], "no submission"),
        (["exercise-04", "--format", "pdf"], "json"),
    ],
)
def test_wrong_usage_is_explained_and_ends_with_2(arguments: list[str], says: str) -> None:
    graded = run(*arguments)
    assert graded.status == 2
    assert says in graded.stderr
    assert "Traceback" not in graded.stderr


def test_doctor_says_what_this_machine_has() -> None:
    done = run("doctor")
    assert done.status == 0, done.stdout + done.stderr
    for line in ("Engine", "Compose", "buildx", "postgres:15-alpine"):
        assert line.lower() in done.stdout.lower()
    assert subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0
