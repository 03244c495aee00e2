"""Submissions whose verdict is known, graded on live containers through the command line.

tests/submissions/NN-slug/passes/NAME/ and tests/submissions/NN-slug/fails-CHECK/NAME/ hold what differs from the
solution: they are laid over a copy of it and handed in. A wrong one has to fail CHECK and no other check.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grader import catalog
from grader.catalog import Exercise
from grader.grading import checks_of
from grader.submission import COMPOSE_FILES

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


def grade(exercise: Exercise, submission: Path, tmp_path: Path) -> Graded:
    """Grade as a student does. Whatever the submission is, the grader's own part of the work has to be faultless."""
    output = tmp_path / "report.json"
    command = [sys.executable, "-m", "grader", exercise.name, "--submission", str(submission)]
    done = subprocess.run(
        [*command, "--format", "json", "--output", str(output)],
        cwd=catalog.ROOT,
        capture_output=True,
        text=True,
        timeout=exercise.time_budget + BESIDES,
        check=False,
    )
    assert output.exists(), f"no report, exit status {done.returncode}:\n{done.stderr}"
    report = json.loads(output.read_text("utf-8"))
    lines = [f"{report['points']:g} of {report['maximum']:g} points, exit status {done.returncode}"]
    for check in report["checks"]:
        lines.append(f"{check['verdict']:8}{check['name']}: {check['message']} {check['actual']}")
    lines += [f"{service['service']}: {service}" for service in report["services"]]
    graded = Graded(done.returncode, report, "\n".join([*lines, report["start_problem"], done.stderr]))

    assert [check["name"] for check in report["checks"]] == list(checks_of(exercise)), graded.shown
    assert not graded.names("error"), graded.shown
    assert not report["out_of_time"], graded.shown
    earned = sum(check["points"] for check in report["checks"] if check["verdict"] == "passed")
    assert report["points"] == earned, graded.shown
    for check in report["checks"]:
        if check["verdict"] == "failed":
            unsaid = [key for key in ("message", "at", "hint", "section", "reproduce") if not check[key]]
            assert not unsaid, f"{check['name']} does not say: {unsaid}\n{graded.shown}"
    return graded


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


def variants(pattern: str) -> list[object]:
    """Every exercise with each of its variants whose verdict matches ``pattern``, as parameters of a test."""
    return [
        pytest.param(exercise, variant, id=variant.relative_to(SUBMISSIONS).as_posix())
        for exercise in catalog.exercises()
        for variant in sorted((SUBMISSIONS / exercise.key).glob(f"{pattern}/*"))
    ]


EXERCISES = [pytest.param(exercise, id=exercise.key) for exercise in catalog.exercises()]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_solution_gets_full_marks(exercise: Exercise, tmp_path: Path) -> None:
    assert_full_marks(grade(exercise, catalog.SOLUTIONS / exercise.key, tmp_path))


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_starter_gets_something_but_not_all(exercise: Exercise, tmp_path: Path) -> None:
    graded = grade(exercise, exercise.folder, tmp_path)
    assert 0 < graded.report["points"] < graded.report["maximum"], graded.shown
    assert graded.status == 1, graded.shown


@pytest.mark.parametrize(("exercise", "variant"), variants("passes"))
def test_another_correct_way_gets_full_marks(exercise: Exercise, variant: Path, tmp_path: Path) -> None:
    assert_full_marks(grade(exercise, laid_over_solution(exercise.key, variant, tmp_path / "handed-in"), tmp_path))


@pytest.mark.parametrize(("exercise", "variant"), variants("fails-*"))
def test_a_mistake_fails_its_check_and_no_other(exercise: Exercise, variant: Path, tmp_path: Path) -> None:
    graded = grade(exercise, laid_over_solution(exercise.key, variant, tmp_path / "handed-in"), tmp_path)
    assert graded.names("failed") == {variant.parent.name.removeprefix("fails-")}, graded.shown
    assert graded.status == 1, graded.shown
