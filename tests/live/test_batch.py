"""A class graded side by side, whatever is killed meanwhile: every submission gets what a single grading gives it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from grader import catalog
from grader.catalog import ROOT
from grader.engine.connection import connect
from grader.engine.sweep import Owner
from grader.rewrite import LABEL
from tests.live import school
from tests.live.ahead import AT_ONCE
from tests.live.grading import Graded, finish, run, start, wait_for

pytestmark = pytest.mark.live

EXERCISE = school.EXERCISE
CLASS = 40
TIMEOUT = 600.0  # seconds for a class on a busy machine


@dataclass(frozen=True)
class Expected:
    """What single gradings give, by what was handed in: a report, or a message that says why there is none."""

    reports: Mapping[str, Mapping[str, Any]]
    messages: Mapping[str, str]


@pytest.fixture(scope="module")
def submissions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("class") / "submissions"
    folder.mkdir()
    assert school.fill(folder) == CLASS
    return folder


@pytest.fixture(scope="module")
def expected(submissions: Path, tmp_path_factory: pytest.TempPathFactory) -> Expected:
    reports, messages = {}, {}
    output = tmp_path_factory.mktemp("single")

    def grade(number: int, source: Path) -> None:
        file = output / f"{number}.json"
        handed_in = next(source.iterdir()) if "_assignsubmission_" in source.name else source
        said = run(EXERCISE.name, "-s", str(handed_in), "--format", "json", "--output", str(file))
        if file.exists():
            reports[str(source)] = json.loads(file.read_text("utf-8"))
        else:
            assert said.status == 2, said.stderr
            # The first line is of what the grading was doing.
            messages[str(source)] = said.stderr.split("reading the submission\n", 1)[1].strip()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(grade, range(CLASS), sorted(submissions.iterdir())))
    return Expected(reports, messages)


def batch(submissions: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    return start("batch", EXERCISE.name, str(submissions), "--out", str(out), *arguments)


def reports(out: Path) -> dict[str, Path]:
    return {path.stem: path for path in out.glob("*.json")}


def records(out: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text("utf-8")) for path in (out / ".batch" / "records").glob("*.json")}


def wait_for_reports(process: subprocess.Popen[str], out: Path, number: int) -> None:
    def there() -> bool:
        assert process.poll() is None, process.communicate()
        return len(reports(out)) >= number

    wait_for(there, f"{number} reports", TIMEOUT)


def facts(report: Mapping[str, Any]) -> object:
    """What does not depend on how long something took."""
    checks = [
        (check["name"], check["title"], check["verdict"], check["points"], check["hint"]) for check in report["checks"]
    ]
    return report["points"], report["maximum"], report["refused"], report["exercise"], checks


def assert_as_single_gradings(out: Path, expected: Expected) -> None:
    """Forty results, each what the command line says of the same submission."""
    found = records(out)
    assert len(found) == CLASS
    for key, record in found.items():
        if record["source"] in expected.messages:
            assert record["status"] == "cannot be read"
            assert record["message"] == expected.messages[record["source"]]
            assert key not in reports(out)
            continue
        source = record["source"] if record["source"] in expected.reports else str(Path(record["source"]).parent)
        report = json.loads(reports(out)[key].read_text("utf-8"))
        assert record["status"] == "graded", record
        assert facts(report) == facts(expected.reports[source])
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file, strict=True))) == CLASS


def assert_nothing_left() -> None:
    """No grading of a batch goes on, and nothing on the engine belongs to a process that has ended."""
    client = connect()

    def left() -> list[str]:
        mine = {"label": LABEL}
        found = [(c["Names"][0], c["Labels"]) for c in client.api.containers(all=True, filters=mine)]
        found += [(n["Name"], n["Labels"]) for n in client.api.networks(filters=mine)]
        found += [(v["Name"], v["Labels"]) for v in client.api.volumes(filters=mine)["Volumes"] or []]
        ownerless = [name for name, labels in found if not (owner := Owner.parse(labels[LABEL])) or owner.gone()]
        return ownerless + [str(p.pid) for p in gradings()]

    wait_for(lambda: not left(), "gradings removing what they started", 120)


def gradings(student: str = "") -> list[psutil.Process]:
    """The processes that grade one submission each."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "grader.batch.single" in words and words[-1].startswith(student):
            found.append(process)
    return found


# --- a cluster of processes of its own ------------------------------------------------------------


@dataclass
class Cluster:
    """A scheduler and two workers, each started as the README says."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}

    def dask(what: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (folder / f"{what}.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments],
                cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    workers = [
        dask(
            "worker", address, "--nthreads", "1", "--resources", "stacks=1", "--host", "127.0.0.1", "--no-dashboard",
            "--local-directory", str(folder),
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        yield Cluster(address, scheduler, workers)
    finally:
        for process in [*workers, scheduler]:
            kill(process)


def kill(process: subprocess.Popen[Any]) -> None:
    """kill -9 of a process and of those it has started, the gradings excepted: they have to see to themselves."""
    victims = [process]
    try:
        victims += psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for victim in victims:
        try:
            if isinstance(victim, subprocess.Popen) or "grader.batch.single" not in victim.cmdline():
                victim.kill()
        except psutil.NoSuchProcess:
            pass
    process.wait()


# --- the tests ------------------------------------------------------------------------------------------


def graded_at(out: Path) -> dict[str, str]:
    """When each submission that has its report was graded."""
    return {key: record["graded_at"] for key, record in records(out).items() if key in reports(out)}


def assert_kept(before: Mapping[str, str], out: Path) -> None:
    """What was done is not done again."""
    after = graded_at(out)
    assert {key: after[key] for key in before} == before


def test_whatever_is_killed_the_batch_goes_on_where_it_was(
    submissions: Path, expected: Expected, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    process = batch(submissions, out, "--workers", "2")
    wait_for_reports(process, out, 8)
    process.kill()
    process.communicate()
    before = graded_at(out)
    assert len(before) >= 7  # one may have had its report already, and not its record

    with cluster(tmp_path) as first:
        process = batch(submissions, out, "--scheduler", first.address)
        wait_for_reports(process, out, 14)
        kill(first.workers[0])
        wait_for_reports(process, out, 18)
        kill(first.scheduler)
        stopped = finish(process, TIMEOUT)
    assert stopped.status == 3, stopped.stderr
    assert "is gone" in stopped.stderr
    assert "same command again" in stopped.stderr
    assert_kept(before, out)
    before = graded_at(out)

    with cluster(tmp_path) as second:
        again = finish(batch(submissions, out, "--scheduler", second.address), TIMEOUT)
    assert again.status == 0, again.stderr
    assert_kept(before, out)
    assert_as_single_gradings(out, expected)
    assert_nothing_left()

    whole = records(out)
    nothing = finish(batch(submissions, out), TIMEOUT)
    assert "Nothing to grade" in nothing.stderr
    assert records(out) == whole


@pytest.fixture
def four(tmp_path: Path) -> Path:
    folder = tmp_path / "submissions"
    for name in ("alice", "bob", "carol", "mallory"):
        shutil.copytree(catalog.SOLUTIONS / EXERCISE.key, folder / name)
    return folder


def test_a_submission_that_kills_workers_stops_nobody_else(four: Path, tmp_path: Path) -> None:
    out, over = tmp_path / "results", threading.Event()

    def strike() -> None:
        while not over.wait(0.05):
            for process in gradings("mallory"):
                # Its worker; a worker that is gone already has left it to process 1, or is a zombie.
                with contextlib.suppress(psutil.Error):
                    worker = process.parent()
                    if worker and worker.pid != 1 and "grader.batch.single" not in worker.cmdline():
                        worker.kill()

    striking = threading.Thread(target=strike)
    striking.start()
    try:
        graded = finish(batch(four, out, "--workers", "2"), TIMEOUT)
    finally:
        over.set()
        striking.join()
    assert graded.status == 4, graded.stderr
    assert {key: record["status"] for key, record in records(out).items()} == {
        "alice": "graded",
        "bob": "graded",
        "carol": "graded",
        "mallory": "ended its worker",
    }
    assert records(out)["mallory"]["tries"] == 2
    assert "mallory" in graded.stdout
    assert_nothing_left()


def test_ctrl_c_keeps_what_is_graded_and_removes_the_rest(four: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    process = batch(four, out, "--workers", "1")
    wait_for_reports(process, out, 1)
    wait_for(lambda: gradings(), "the next grading")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
    stopped = finish(process)
    assert stopped.status == 130, stopped.stderr
    assert "same command" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert 1 <= len(reports(out)) < 4
    assert_nothing_left()


def scores(out: Path) -> dict[str, str]:
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["key"]: row["score"] for row in csv.DictReader(file, strict=True)}


def test_what_changed_is_graded_again_and_nothing_else(four: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    rubric = tmp_path / "rubric.toml"

    def grade(*arguments: str) -> Graded:
        graded = finish(batch(four, out, *arguments), TIMEOUT)
        assert graded.status == 0, graded.stderr
        return graded

    def contents() -> dict[str, str]:
        return {key: path.read_text("utf-8") for key, path in reports(out).items()}

    grade()
    first = contents()

    compose = four / "bob" / "compose.yml"
    compose.write_text(compose.read_text("utf-8").replace("memory: 64M", "memory: 65M"))
    shutil.copytree(out, tmp_path / "before")
    grade()
    second = contents()
    assert {key for key in first if first[key] != second[key]} == {"bob"}

    rubric.write_text("out_of = 100\n[points]\ntest_memory_is_limited = 0\n")
    assert "Nothing to grade" in grade("--rubric", str(rubric)).stderr
    assert contents() == second
    assert scores(out)["alice"] == "100"

    grade("--only-student", "carol")
    third = contents()
    assert {key for key in second if second[key] != third[key]} == {"carol"}

    grade("--only-check", "test_memory_is_limited")
    fourth = {key: json.loads(text) for key, text in contents().items()}
    assert all(len(report["checks"]) == 12 for report in fourth.values())
    failed = {key for key, report in fourth.items() for check in report["checks"] if check["verdict"] == "failed"}
    assert failed == {"bob"}

    changed = run("diff", str(tmp_path / "before"), str(out), "--format", "json")
    assert changed.status == 0, changed.stderr
    assert "bob" in changed.stdout
    assert "alice" not in changed.stdout
