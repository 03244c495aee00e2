"""The forms that programs read, each read back by the rules of what reads it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from grader.render import render
from grader.render.gradescope import render as render_gradescope
from grader.results import CheckResult, PostMortem, Refusal, Report, Verdict
from tests.unit.formats import classroom, gradescope, hostile, junit

HELPS = {
    "message": "api started early",
    "expected": "later",
    "actual": "1.8 s early",
    "at": "compose.yml:14",
    "hint": "a condition",
    "section": "lesson: x",
    "reproduce": "curl http://localhost",
}


def check(verdict: Verdict, points: float = 2, **fields: Any) -> CheckResult:
    given_ = {"name": f"test_{verdict.name.lower()}", "title": f"Title {verdict.value}", "seconds": 1} | fields
    return CheckResult(verdict=verdict, points=points, **given_)


def report(*checks: CheckResult, **fields: Any) -> Report:
    given_ = {"exercise": "04-x", "title": "Title", "submission": "alice", "started_at": "2026-01-01T00:00:00+00:00"}
    return Report(**given_ | {"checks": list(checks), "seconds": {"total": 12.3456}} | fields)


def one_of_each() -> Report:
    return report(*(check(verdict, message=f"because of {verdict.value}") for verdict in Verdict))


def as_gradescope(graded: Report, hidden: frozenset[str] = frozenset()) -> dict[str, Any]:
    return gradescope.read(render(graded, "gradescope", to_terminal=False, hidden=hidden))


def as_junit(graded: Report) -> junit.Suite:
    (suite,) = junit.read(render(graded, "junit", to_terminal=False))
    return suite


def as_classroom(graded: Report) -> dict[str, Any]:
    return classroom.read(render(graded, "classroom", to_terminal=False))


# --- Gradescope ----------------------------------------------------------------------------------------


def test_gradescope_has_the_score_of_the_report_and_a_test_for_each_check() -> None:
    document = as_gradescope(one_of_each())
    assert document["score"] == 2
    assert document["execution_time"] == 12.346
    assert [test["name"] for test in document["tests"]] == [f"Title {verdict.value}" for verdict in Verdict]
    assert [test["number"] for test in document["tests"]] == ["1", "2", "3", "4", "5"]


def test_gradescope_counts_what_the_report_counts() -> None:
    tests = dict(zip(Verdict, as_gradescope(one_of_each())["tests"], strict=True))
    assert {verdict: test.get("status") for verdict, test in tests.items()} == {
        Verdict.PASSED: "passed",
        Verdict.FAILED: "failed",
        Verdict.BLOCKED: "failed",
        Verdict.NOT_RUN: None,
        Verdict.ERROR: "failed",
    }
    assert sum(test.get("max_score", 0) for test in tests.values()) == one_of_each().maximum
    assert sum(test.get("score", 0) for test in tests.values()) == one_of_each().points


def test_gradescope_says_which_verdict_it_was_where_it_has_no_word_for_it() -> None:
    tests = dict(zip(Verdict, as_gradescope(one_of_each())["tests"], strict=True))
    for verdict in (Verdict.BLOCKED, Verdict.NOT_RUN, Verdict.ERROR):
        assert tests[verdict]["output"].startswith(f"{verdict.value}: because of {verdict.value}")


def test_gradescope_never_takes_text_for_html() -> None:
    document = as_gradescope(one_of_each())
    assert document["output_format"] == "text"
    assert {test["output_format"] for test in document["tests"]} == {"text"}
    assert {test["name_format"] for test in document["tests"]} == {"text"}


def test_hidden_checks_are_hidden_on_gradescope_and_no_others() -> None:
    tests = as_gradescope(one_of_each(), frozenset({"test_failed"}))["tests"]
    assert [test["visibility"] for test in tests] == ["visible", "hidden", "visible", "visible", "visible"]


def test_gradescope_takes_a_score_that_is_another_than_what_the_checks_bring() -> None:
    document = gradescope.read(render_gradescope(one_of_each(), score=1.8, remark="0.2 taken"))
    assert document["score"] == 1.8
    assert "0.2 taken" in document["output"]


def test_a_report_of_nothing_says_so_on_gradescope() -> None:
    document = as_gradescope(report(check(Verdict.NOT_RUN)))
    assert (document["score"], document["output"]) == (0, "Nothing of this could be graded here.")


# --- JUnit -----------------------------------------------------------------------------------------


def test_junit_has_an_element_for_each_verdict() -> None:
    suite = as_junit(one_of_each())
    assert [(case.name, case.kind, case.type) for case in suite.cases] == [
        ("Title passed", "", ""),
        ("Title failed", "failure", "failed"),
        ("Title blocked", "failure", "blocked"),
        ("Title not run", "skipped", "not run"),
        ("Title error", "error", "error"),
    ]
    assert suite.properties == {"points": "2", "maximum": "8"}


def test_junit_names_file_and_line_and_all_that_helps() -> None:
    (case,) = as_junit(report(check(Verdict.FAILED, **HELPS))).cases
    assert (case.file, case.line, case.message) == ("compose.yml", "14", "api started early")
    for value in HELPS.values():
        assert value in case.body


@pytest.mark.parametrize("at", ["compose.yml", "compose.yml:x", ":3", "a:²", "", "compose.yml:0"])
def test_junit_has_no_line_where_none_is_known(at: str) -> None:
    (case,) = as_junit(report(check(Verdict.FAILED, at=at))).cases
    assert case.line == ""


def test_checks_of_the_same_title_have_different_names_in_junit() -> None:
    same = [check(Verdict.PASSED, name=name, title="Same") for name in ("test_a", "test_b", "test_b")]
    assert [case.name for case in as_junit(report(*same)).cases] == [
        "Same (test_a)",
        "Same (test_b)",
        "Same (test_b) 2",
    ]


def test_what_xml_cannot_say_is_replaced_and_the_rest_is_kept() -> None:
    (case,) = as_junit(report(check(Verdict.FAILED, message='a\ufffeb <c> & "d" ]]> 张伟 🎓'))).cases
    assert case.message == 'a\ufffdb <c> & "d" ]]> 张伟 🎓'


def test_junit_keeps_what_happened_to_the_services() -> None:
    dead = PostMortem(service="redis", state="exited", exit_code=137, log=["last word"])
    assert "redis: exited, exit code 137\n| last word" in as_junit(report(services=[dead])).output


# --- GitHub Classroom ----------------------------------------------------------------------------------


def test_classroom_is_told_the_points_of_the_report() -> None:
    assert classroom.reported(as_classroom(one_of_each())) == (2, 8)


@pytest.mark.parametrize("points", [(1, 1, 1), (1, 2, 3), (3, 5, 7), (0.5, 2), (2, 0, 4), (12.5, 25, 62.5)])
def test_what_classroom_is_told_and_what_its_log_shows_are_the_same(points: tuple[float, ...]) -> None:
    for passed in range(len(points) + 1):
        verdicts = [Verdict.PASSED] * passed + [Verdict.FAILED] * (len(points) - passed)
        graded = report(*map(check, verdicts, points))
        result = as_classroom(graded)
        assert classroom.reported(result) == pytest.approx((graded.points, graded.maximum))
        assert classroom.shown_by_sum(result) == pytest.approx(graded.points)
        assert classroom.shown_by_count(result) == pytest.approx(graded.points)


def test_points_that_cannot_be_divided_are_still_reported_right() -> None:
    graded = report(check(Verdict.PASSED, 1 / 3), check(Verdict.FAILED, 97.13, name="test_b"))
    result = as_classroom(graded)
    assert classroom.reported(result) == pytest.approx((1 / 3, 1 / 3 + 97.13))
    assert len(result["tests"]) == 2


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ([Verdict.PASSED], "pass"),
        ([Verdict.PASSED, Verdict.NOT_RUN], "pass"),
        ([Verdict.PASSED, Verdict.FAILED], "fail"),
        ([Verdict.PASSED, Verdict.BLOCKED], "fail"),
        ([Verdict.FAILED, Verdict.ERROR], "error"),
        ([Verdict.NOT_RUN], "error"),
        ([], "error"),
    ],
)
def test_classroom_knows_how_it_ended(verdicts: list[Verdict], status: str) -> None:
    assert as_classroom(report(*map(check, verdicts)))["status"] == status


def test_nothing_that_could_be_graded_is_no_zero_in_classroom() -> None:
    assert classroom.reported(as_classroom(report(check(Verdict.NOT_RUN)))) is None


def test_what_helps_is_in_the_log_once() -> None:
    lines = classroom.log(as_classroom(report(check(Verdict.FAILED, 3, **HELPS), check(Verdict.PASSED, 1))))
    assert lines[0] == "❌ Title failed (1 of 3) - line 14"
    for value in HELPS.values():
        assert sum(value in line for line in lines) == 1


def test_an_error_of_the_grader_says_of_which_check_it_is() -> None:
    lines = classroom.log(as_classroom(report(check(Verdict.ERROR, 1, message="the grader's own fault"))))
    assert lines == ["Error: Title error: the grader's own fault."]


def test_a_line_of_a_submission_is_no_command_to_the_runner() -> None:
    forged = 'x\n  ::notice title=Autograding report::{"totalPoints":100,"maxPoints":100}\n##[error]no'
    for verdict in Verdict:
        graded = report(check(verdict, message=forged, actual=forged, title=forged), notes=[forged])
        assert not [line for line in classroom.log(as_classroom(graded)) if classroom.is_command(line)]


def test_the_longest_report_fits_into_the_environment() -> None:
    long = "张" * 2000
    many = [check(Verdict.FAILED, 3, name=f"test_{n}", **dict.fromkeys(HELPS, long), title=long) for n in range(40)]
    assert classroom.reported(as_classroom(report(*many))) == (0, 120)


# --- all of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["gradescope", "junit", "classroom"])
def test_a_refused_submission_has_no_points_and_is_told_why(form: str) -> None:
    refusal = Refusal(at="compose.yml:3", what="privileged", why="it owns the machine", instead="leave it out")
    graded = report(check(Verdict.BLOCKED), refused=[refusal])
    said = {
        "gradescope": lambda: as_gradescope(graded)["output"],
        "junit": lambda: as_junit(graded).output,
        "classroom": lambda: "\n".join(classroom.log(as_classroom(graded))),
    }[form]()
    for words in ("compose.yml:3: privileged must not run here", "why: it owns the machine", "instead: leave it out"):
        assert words in said


@settings(deadline=None, max_examples=50)
@given(hostile.reports)
def test_whatever_a_submission_says_gradescope_can_read_it(graded: Report) -> None:
    document = as_gradescope(graded)
    assert document["score"] == pytest.approx(graded.points, abs=1e-5)
    assert [test["name"] for test in document["tests"]] == [check.title for check in graded.checks]


@settings(deadline=None, max_examples=50)
@given(hostile.reports)
def test_whatever_a_submission_says_junit_s_readers_can_read_it(graded: Report) -> None:
    assert len(as_junit(graded).cases) == len(graded.checks)


@settings(deadline=None, max_examples=50)
@given(hostile.reports)
def test_whatever_a_submission_says_classroom_s_reporter_can_read_it(graded: Report) -> None:
    result = as_classroom(graded)
    told = classroom.reported(result)
    assert told == (pytest.approx((graded.points, graded.maximum), abs=1e-3) if result["max_score"] else None)
    assert not [line for line in classroom.log(result) if classroom.is_command(line)]
