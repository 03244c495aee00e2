"""What is typed for a class, as far as it needs no engine: mistakes, and a class in which nothing can be graded."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import pytest

from grader import catalog
from grader.batch import command
from grader.batch.desk import Desk, Wish
from grader.batch.grades import Status
from grader.batch.job import Job, Outcome, Result
from grader.batch.run import Ended
from grader.batch.store import Store
from grader.cli import app
from grader.errors import UsageError
from grader.grading import REFUSED, checks_of
from grader.results import CheckResult, Refusal, Report, Verdict

EXERCISE = catalog.find("exercise-10")
CHECKS = checks_of(EXERCISE)


@pytest.fixture
def submissions(tmp_path: Path) -> Path:
    """Two that can be read as files of the exercise, one that cannot."""
    folder = tmp_path / "submissions"
    for name in ("alice", "bob"):
        (folder / name).mkdir(parents=True)
        (folder / name / "compose.yml").write_text(f"services: {{{name}: {{image: redis}}}}\n")
    (folder / "carol.zip").write_bytes(b"not a zip")
    return folder


def desk(submissions: Path, **wish: object) -> Desk:
    return Desk(Wish(EXERCISE, submissions, **wish), Store(submissions.parent / "results"))  # type: ignore[arg-type]


def keys(desk: Desk, tmp_path: Path) -> list[str]:
    return [parcel.job.key for parcel in desk.parcels(tmp_path, "")]


def report(verdict: Verdict = Verdict.PASSED, *names: str, refused: bool = False) -> Report:
    return Report(
        exercise=EXERCISE.key,
        title=EXERCISE.title,
        submission="s",
        started_at="2026-01-01T00:00:00+00:00",
        checks=[
            CheckResult(name=name, title=title, verdict=verdict, points=points, seconds=1)
            for name, (title, points) in CHECKS.items()
            if not names or name in names
        ],
        refused=[Refusal(at="compose.yml:1", what="it", why="why", instead="that")] if refused else [],
    )


def ended(key: str, report: Report, only: tuple[str, ...] = ()) -> Ended:
    result = Result(outcome=Outcome.REPORT, report=report, worker="lab/1", graded_at="2026-01-01T00:00:01+00:00")
    return Ended(Job(key, key, (), EXERCISE.key, only), result, killed=False, tries=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "--workers is for this machine"),
        (["--only-check", "test_nothing"], "no check called test_nothing"),
        (["--only-student", "dave"], "no student called dave"),
        (["--rubric", "missing.toml"], "missing.toml"),
        (["--roster", "missing.csv"], "missing.csv"),
    ],
)
def test_a_mistake_is_said_before_anything_is_graded(
    submissions: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        app(
            ["batch", "exercise-10", str(submissions), "--out", str(tmp_path / "results"), *arguments],
            standalone_mode=False,
        )
    assert caught.value.fix


def test_a_class_in_which_nothing_can_be_read_needs_no_engine(
    submissions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("alice", "bob"):
        (submissions / name / "compose.yml").rename(submissions / name / "essay.txt")
        with zipfile.ZipFile(submissions / name / "work.zip", "w") as archive:
            archive.writestr("../outside.txt", "x")
    out = tmp_path / "results"
    assert command.grade(Wish(EXERCISE, submissions), out, None, None) == 0
    assert "3  cannot be read" in capsys.readouterr().out
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [(row["key"], row["score"]) for row in rows] == [("alice", "0"), ("bob", "0"), ("carol", "0")]
    for name in ("class.html", "canvas.csv", "moodle.csv", "junit.xml", "feedback/alice.html", "gradescope/bob.json"):
        assert (out / name).read_text("utf-8")
    assert "is neither a folder" in (out / "feedback" / "carol.html").read_text("utf-8")


def test_only_what_is_new_or_changed_is_graded(submissions: Path, tmp_path: Path) -> None:
    first = desk(submissions)
    assert keys(first, tmp_path) == ["alice", "bob"]
    first.save(ended("alice", report()))
    first.save(ended("bob", report()))
    assert keys(desk(submissions), tmp_path) == []
    (submissions / "bob" / "compose.yml").write_text("services: {}\n")
    assert keys(desk(submissions), tmp_path) == ["bob"]
    assert keys(desk(submissions, isolation="none"), tmp_path) == ["alice", "bob"]
    assert keys(desk(submissions, timeout=30.0), tmp_path) == ["alice", "bob"]
    assert keys(desk(submissions, again=True), tmp_path) == ["alice", "bob"]
    assert keys(desk(submissions, students=("alice",)), tmp_path) == ["alice"]


def test_where_the_grader_was_at_fault_is_graded_again_the_next_time(submissions: Path, tmp_path: Path) -> None:
    first = desk(submissions)
    keys(first, tmp_path)
    first.save(ended("alice", report(Verdict.ERROR)))
    first.save(ended("bob", report()))
    assert {grade.student.key: grade.status for grade in first.course().grades} == {
        "alice": Status.FAULT,
        "bob": Status.GRADED,
        "carol": Status.UNREADABLE,
    }
    assert keys(desk(submissions), tmp_path) == ["alice"]


def test_single_checks_are_put_into_the_report_that_is_there(submissions: Path, tmp_path: Path) -> None:
    name, *_ = CHECKS
    first = desk(submissions)
    keys(first, tmp_path)
    first.save(ended("alice", report(Verdict.FAILED)))
    again = desk(submissions, checks=(name,))
    only = {parcel.job.key: parcel.job.only for parcel in again.parcels(tmp_path, "")}
    assert only == {"alice": (name,), "bob": ()}  # of bob there is no report yet
    again.save(ended("alice", report(Verdict.PASSED, name), (name,)))
    found = again.store.load("alice")
    assert found
    assert found[1]
    assert [check.verdict for check in found[1].checks] == [Verdict.PASSED] + [Verdict.FAILED] * (len(CHECKS) - 1)
    again.save(ended("alice", report(Verdict.BLOCKED, name, refused=True), (name,)))
    found = again.store.load("alice")
    assert found
    assert found[1]
    assert {(check.verdict, check.message) for check in found[1].checks} == {(Verdict.BLOCKED, REFUSED)}
    assert found[1].refused


def test_another_rubric_grades_nothing_and_counts_anew(submissions: Path, tmp_path: Path) -> None:
    first = desk(submissions)
    keys(first, tmp_path)
    first.save(ended("alice", report()))
    rubric = tmp_path / "rubric.toml"
    rubric.write_text(f"out_of = 10\n[points]\n{next(iter(CHECKS))} = 0\n")
    again = desk(submissions, rubric=rubric)
    assert keys(again, tmp_path) == ["bob"]
    [alice, bob, carol] = again.course().grades
    assert (alice.score, alice.maximum, bob.status, bob.score, carol.score) == (10, 10, Status.WAITING, None, 0)


def test_files_of_those_who_have_left_the_class_are_removed(submissions: Path, tmp_path: Path) -> None:
    first = desk(submissions)
    keys(first, tmp_path)
    first.save(ended("alice", report()))
    first.write()
    feedback = tmp_path / "results" / "feedback"
    assert {path.name for path in feedback.iterdir()} == {"alice.html", "carol.html"}
    (submissions / "carol.zip").unlink()
    desk(submissions).write()
    assert {path.name for path in feedback.iterdir()} == {"alice.html"}


def test_two_results_are_compared(submissions: Path, tmp_path: Path) -> None:
    first = desk(submissions)
    keys(first, tmp_path)
    first.save(ended("alice", report(Verdict.FAILED)))
    first.write()
    (tmp_path / "results").rename(tmp_path / "old")
    second = desk(submissions)
    keys(second, tmp_path)
    second.save(ended("alice", report()))
    second.write()
    text = command.compare(tmp_path / "old", tmp_path / "results", "text", to_terminal=False)
    assert "alice" in text
    assert "carol" not in text
    assert "alice" in json.dumps(
        json.loads(command.compare(tmp_path / "old", tmp_path / "results", "json", to_terminal=False))
    )
    with pytest.raises(UsageError, match="no results folder"):
        command.compare(tmp_path / "old", submissions, "text", to_terminal=False)
