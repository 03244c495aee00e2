from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

import grader
from grader.render import render
from grader.results import CheckResult, PostMortem, Refusal, Report, Verdict, schema

SCHEMA = Path(grader.__file__).parent / "report.schema.json"


def result(verdict: Verdict, points: float = 2, **extra: str) -> CheckResult:
    return CheckResult(
        name=f"test_{verdict.name.lower()}", title="A title", verdict=verdict, points=points, seconds=1, **extra
    )


def report(*checks: CheckResult, **extra: object) -> Report:
    return Report(
        exercise="04-x",
        title="Title",
        submission="alice",
        started_at="2026-01-01T00:00:00+00:00",
        checks=list(checks),
        **extra,
    )


def test_only_what_was_not_run_leaves_the_maximum() -> None:
    graded = report(*(result(verdict) for verdict in Verdict))
    assert (graded.points, graded.maximum) == (2, 8)


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ([Verdict.PASSED], 0),
        ([Verdict.PASSED, Verdict.NOT_RUN], 0),
        ([Verdict.PASSED, Verdict.FAILED], 1),
        ([Verdict.PASSED, Verdict.BLOCKED], 1),
        ([Verdict.NOT_RUN], 1),
        ([], 1),
        ([Verdict.PASSED, Verdict.ERROR], 4),
    ],
)
def test_the_exit_status_says_what_happened(verdicts: list[Verdict], status: int) -> None:
    assert report(*map(result, verdicts)).exit_status == status


def test_a_refused_submission_never_has_full_marks() -> None:
    refusal = Refusal(at="compose.yml:1", what="x", why="y", instead="z")
    assert report(result(Verdict.PASSED), refused=[refusal]).exit_status == 1


def test_the_schema_in_the_repository_is_the_one_in_the_code() -> None:
    assert json.loads(SCHEMA.read_text()) == schema(), (
        "Write it anew: python -m grader schema > grader/report.schema.json"
    )


def test_a_report_survives_json() -> None:
    graded = report(result(Verdict.FAILED, message="a \x1b[31m"), services=[PostMortem(service="s", state="exited")])
    data = json.loads(render(graded, "json", to_terminal=False))
    points, maximum = data.pop("points"), data.pop("maximum")
    assert Report.model_validate(data) == graded
    assert (points, maximum) == (0, 2)


def test_a_report_with_unknown_fields_is_no_report() -> None:
    with pytest.raises(ValidationError):
        Report.model_validate(report().model_dump(exclude={"points", "maximum"}) | {"score": 100})


def test_a_failed_check_shows_all_that_helps() -> None:
    helps = {
        "message": "api started early",
        "expected": "later",
        "actual": "1.8 s early",
        "at": "compose.yml:14",
        "hint": "a condition",
        "section": "lesson: x",
        "reproduce": "curl http://localhost",
    }
    text = render(report(result(Verdict.FAILED, **helps)), "text", to_terminal=False)
    for value in helps.values():
        assert value in text
    assert "0 of 2 points" in text


def test_plain_text_has_no_escape_sequences_and_no_trailing_blanks() -> None:
    text = render(report(*(result(v, message="[bold]m[/]") for v in Verdict)), "text", to_terminal=False)
    assert "\x1b" not in text
    assert "[bold]m[/]" in text  # what a service prints is no markup
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_dead_service_is_shown_once_with_its_last_words() -> None:
    dead = PostMortem(service="redis", state="exited", exit_code=137, out_of_memory=True, log=["last word"])
    text = render(
        report(result(Verdict.BLOCKED), services=[dead], start_problem="redis died"), "text", to_terminal=False
    )
    assert text.count("last word") == 1
    for words in ("exit code 137", "out of memory", "redis died"):
        assert words in text
