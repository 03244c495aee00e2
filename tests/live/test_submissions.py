"""Submissions whose verdict is known, graded on live containers through the command line.

tests/submissions/NN-slug/passes/NAME/ and tests/submissions/NN-slug/fails-CHECK/NAME/ hold what differs from the
solution: they are laid over a copy of it and handed in. A wrong one has to fail CHECK and no other check.

A few are graded at a time, as a class is. With --in-full all are graded, with every check. Without, to save an hour,
only every fifth correct one is; of the wrong ones the first for every second CHECK, graded with that check alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grader import catalog
from grader.catalog import Exercise
from grader.grading import checks_of
from grader.submission import COMPOSE_FILES
from tests.live.ahead import AT_ONCE, ahead

pytestmark = pytest.mark.live

SUBMISSIONS = catalog.ROOT / "tests" / "submissions"
# Beyond an exercise's time budget, seconds for reading the submission and for the teardown.
BESIDES = 120


@dataclass(frozen=True)
class Graded:
    """How a grading ended: its exit status, its JSON report, and all of it for a person to read."""

    status: int
    report: Mapping[str, Any]
    shown: str

    def names(self, verdict: str) -> set[str]:
        return {check["name"] for check in self.report["checks"] if check["verdict"] == verdict}


def grade(exercise: Exercise, submission: Path, only: Sequence[str], output: Path) -> Graded:
    """Grade as a student does, with the checks named in ``only``, or with all."""
    command = [sys.executable, "-m", "grader", exercise.name, "--submission", str(submission)]
    command += [word for name in only for word in ("--only", name)]
    done = subprocess.run(
        [*command, "--format", "json", "--output", str(output)],
        cwd=catalog.ROOT,
        capture_output=True,
        text=True,
        timeout=AT_ONCE * exercise.time_budget + BESIDES,
        check=False,
    )
    assert output.exists(), f"no report, exit status {done.returncode}:\n{done.stderr}"
    report = json.loads(output.read_text("utf-8"))
    lines = [f"{report['points']:g} of {report['maximum']:g} points, exit status {done.returncode}"]
    for check in report["checks"]:
        lines.append(f"{check['verdict']:8}{check['name']}: {check['message']} {check['actual']}")
    lines += [f"{service['service']}: {service}" for service in report["services"]]
    lines += [f"refused: {refusal}" for refusal in report["refused"]]
    return Graded(done.returncode, report, "\n".join([*lines, report["start_problem"], done.stderr]))


def assert_faultless(exercise: Exercise, only: Sequence[str], graded: Graded) -> None:
    """Whatever the submission is, the grader's own part of the work has to be faultless."""
    report = graded.report
    assert not report["refused"], graded.shown
    assert [check["name"] for check in report["checks"]] == list(only or checks_of(exercise)), graded.shown
    assert not graded.names("error"), graded.shown
    assert not report["out_of_time"], graded.shown
    earned = sum(check["points"] for check in report["checks"] if check["verdict"] == "passed")
    assert report["points"] == earned, graded.shown
    for check in report["checks"]:
        if check["verdict"] == "failed":
            unsaid = [key for key in ("message", "at", "hint", "section", "reproduce") if not check[key]]
            assert not unsaid, f"{check['name']} does not say: {unsaid}\n{graded.shown}"


def assert_full_marks(graded: Graded) -> None:
    assert graded.names("failed") | graded.names("blocked") == set(), graded.shown
    assert graded.report["points"] == graded.report["maximum"] > 0, graded.shown
    assert graded.status == 0, graded.shown


def laid_over_solution(key: str, variant: Path, folder: Path) -> Path:
    """A copy of the solution in ``folder`` with what ``variant`` brings in place of its own."""
    shutil.copytree(catalog.SOLUTIONS / key, folder)
    if any((variant / name).exists() for name in COMPOSE_FILES):
        # Of two compose files in one folder Compose would take only one, and perhaps not the variant's.
        for name in COMPOSE_FILES:
            (folder / name).unlink(missing_ok=True)
    shutil.copytree(variant, folder, dirs_exist_ok=True)
    return folder


def variants(exercise: Exercise, pattern: str) -> list[Path]:
    return sorted((SUBMISSIONS / exercise.key).glob(f"{pattern}/*"))


def check_of(mistake: Path) -> str:
    """The check that a wrong submission fails."""
    return mistake.parent.name.removeprefix("fails-")


def first_of_each_check(mistakes: Sequence[Path]) -> list[Path]:
    return [path for number, path in enumerate(mistakes) if check_of(path) not in map(check_of, mistakes[:number])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which submissions each test is about, and with which of the exercise's checks they are graded."""
    in_full = metafunc.config.getoption("--in-full")
    cases: list[tuple[Exercise, Path, tuple[str, ...]]] = []
    for exercise in catalog.exercises():
        mistakes = variants(exercise, "fails-*")
        match metafunc.function.__name__:
            case "test_the_solution_gets_full_marks":
                cases += [(exercise, catalog.SOLUTIONS / exercise.key, ())]
            case "test_the_starter_gets_something_but_not_half":
                cases += [(exercise, exercise.folder, ())]
            case "test_another_correct_way_gets_full_marks":
                cases += [(exercise, path, ()) for path in variants(exercise, "passes")[:: 1 if in_full else 5]]
            case "test_a_mistake_fails_its_check_and_no_other":
                cases += [(exercise, path, ()) for path in mistakes if in_full]
                alone = [] if in_full else first_of_each_check(mistakes)[::2]
                cases += [(exercise, path, (check_of(path),)) for path in alone]
    names = [
        path.relative_to(SUBMISSIONS).as_posix() if SUBMISSIONS in path.parents else exercise.key
        for exercise, path, _ in cases
    ]
    metafunc.parametrize(("exercise", "submission", "only"), cases, ids=names)


@pytest.fixture(scope="module")
def gradings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Graded]]]:
    """Every grading that this run's tests ask for, by the test's id; begun at once, a few at a time."""

    def handed_in(exercise: Exercise, submission: Path, only: Sequence[str]) -> Graded:
        folder = tmp_path_factory.mktemp("grading")
        if SUBMISSIONS in submission.parents:
            submission = laid_over_solution(exercise.key, submission, folder / "handed-in")
        return grade(exercise, submission, only, folder / "report.json")

    tmp_path_factory.getbasetemp()  # made at the first call, which several threads at once must not be
    with ahead(request, "graded", handed_in) as gradings:
        yield gradings


@pytest.fixture
def graded(
    request: pytest.FixtureRequest,
    gradings: Mapping[str, Future[Graded]],
    exercise: Exercise,
    submission: Path,
    only: Sequence[str],
) -> Graded:
    """How the test's own submission was graded."""
    result = gradings[request.node.nodeid].result()
    assert_faultless(exercise, only, result)
    return result


def test_the_solution_gets_full_marks(graded: Graded) -> None:
    assert_full_marks(graded)


def test_the_starter_gets_something_but_not_half(graded: Graded) -> None:
    assert 0 < graded.report["points"] < graded.report["maximum"] / 2, graded.shown
    assert graded.status == 1, graded.shown


def test_another_correct_way_gets_full_marks(graded: Graded) -> None:
    assert_full_marks(graded)


def test_a_mistake_fails_its_check_and_no_other(graded: Graded, submission: Path) -> None:
    assert graded.names("failed") == {check_of(submission)}, graded.shown
    assert graded.status == 1, graded.shown
