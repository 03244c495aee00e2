"""Hints unfold one at a time, and only on what was seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from grader import catalog
from grader.catalog import Exercise
from grader.errors import UsageError
from grader.hints import hints, remember, seen, unfold
from grader.results import CheckResult, Report, Verdict


@pytest.fixture
def exercise(tmp_path: Path) -> Exercise:
    folder = tmp_path / "exercise"
    folder.mkdir()
    (folder / "compose.yml").write_text("services: {}")
    return replace(catalog.find("exercise-04"), folder=folder, student_files=("compose.yml",))


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def check(name: str = "test_a", verdict: Verdict = Verdict.FAILED, message: str = "api did not wait") -> CheckResult:
    return CheckResult(
        name=name,
        title=f"{name} works",
        verdict=verdict,
        points=1,
        seconds=0,
        message=message,
        expected="later",
        at="compose.yml:3",
        hint="depends_on has a long form",
        section="Lesson 4: Waiting",
        reproduce="docker compose events",
    )


def report(*checks: CheckResult) -> Report:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(exercise="04-health-checks", title="t", submission="here", started_at=now, checks=list(checks))


def test_what_was_seen_is_no_hint_and_the_first_hint_gives_least_away() -> None:
    assert [label for label, _ in seen(check())] == ["", "expected"]
    assert [label for label, _ in hints(check())] == ["where", "lesson", "hint", "try"]


def test_one_more_each_time_and_the_solution_after_the_last(exercise: Exercise, memory: Path) -> None:
    remember(report(check("test_good", Verdict.PASSED), check()), exercise, memory)
    steps = ("compose.yml:3", "Lesson 4", "depends_on has a long form", "docker compose events")
    for number in range(1, 5):
        text = unfold(exercise, memory)
        assert "api did not wait" in text
        assert [step in text for step in steps] == [True] * number + [False] * (4 - number)
        assert f"Hint {number} of 4" in text
        assert "solutions/" not in text
    assert "solutions/04-health-checks" in unfold(exercise, memory)


def test_hints_begin_anew_when_the_check_says_something_else(exercise: Exercise, memory: Path) -> None:
    remember(report(check()), exercise, memory)
    unfold(exercise, memory)
    unfold(exercise, memory)
    remember(report(check()), exercise, memory)
    assert "Hint 3 of 4" in unfold(exercise, memory)
    remember(report(check(message="api was never started")), exercise, memory)
    assert "Hint 1 of 4" in unfold(exercise, memory)


def test_without_a_grading_it_says_how_to_get_one(exercise: Exercise, memory: Path) -> None:
    with pytest.raises(UsageError) as caught:
        unfold(exercise, memory)
    assert "python -m grader exercise-04" in caught.value.fix


@pytest.mark.parametrize("content", ["", "{", "[]", '{"report": 1}', "\x00"])
def test_a_damaged_memory_is_none(exercise: Exercise, memory: Path, content: str) -> None:
    memory.mkdir()
    (memory / "04-health-checks.json").write_text(content)
    with pytest.raises(UsageError):
        unfold(exercise, memory)
    remember(report(check()), exercise, memory)
    assert "Hint 1 of 4" in unfold(exercise, memory)


def test_a_report_that_cannot_be_kept_costs_nobody_the_grading(exercise: Exercise, memory: Path) -> None:
    memory.write_text("a file where the folder has to be")
    remember(report(check()), exercise, memory)


def test_when_nothing_failed_it_says_so(exercise: Exercise, memory: Path) -> None:
    remember(report(check(verdict=Verdict.PASSED)), exercise, memory)
    assert "Nothing failed" in unfold(exercise, memory)


def test_files_changed_since_the_grading_are_pointed_out(exercise: Exercise, memory: Path) -> None:
    old = report(check()).model_copy(update={"started_at": "2026-01-01T00:00:00+00:00"})
    remember(old, exercise, memory)
    assert "have changed since" in unfold(exercise, memory)
    remember(report(check()).model_copy(update={"started_at": "2126-01-01T00:00:00+00:00"}), exercise, memory)
    assert "have changed since" not in unfold(exercise, memory)
