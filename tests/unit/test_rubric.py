from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.batch import rubric
from grader.batch.rubric import Late, Rubric
from grader.errors import UsageError
from grader.results import CheckResult, Refusal, Report, Verdict

CHECKS = {"test_a": ("A", 2.0), "test_b": ("B", 3.0)}
DEADLINE = datetime(2026, 11, 30, 23, 59, tzinfo=timezone(timedelta(hours=1)))
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def read(tmp_path: Path, text: str) -> Rubric:
    path = tmp_path / "rubric.toml"
    path.write_text(text, "utf-8")
    return rubric.read(path, CHECKS)


def report(*checks: tuple[str, Verdict, float], **fields: object) -> Report:
    results = [CheckResult(name=n, title=n, verdict=v, points=p, seconds=0) for n, v, p in checks]
    given = {"exercise": "04-x", "title": "T", "submission": "alice", "started_at": "2026-01-01T00:00:00+00:00"}
    return Report.model_validate(given | {"checks": results} | fields)


# --- reading -------------------------------------------------------------------------------------------


def test_the_example_of_the_module_is_a_rubric(tmp_path: Path) -> None:
    assert rubric.__doc__
    example = rubric.__doc__.partition("\n")[2].replace("test_every_probe_works", "test_a")
    read_ = read(tmp_path, example.replace("test_postgres_recovers", "test_b"))
    assert read_.out_of == 100
    assert read_.time_budget == 120
    assert read_.points == {"test_a": 3}
    assert read_.hidden.checks == ("test_b",)
    assert read_.late
    assert read_.late.deadline == DEADLINE


def test_an_empty_rubric_changes_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Rubric()


def test_a_windows_editor_may_have_written_it(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffout_of = 10\r\n[points]\r\ntest_a = 0.5\r\n").points == {"test_a": 0.5}


LATE = "[late]\ndeadline = 2026-11-30T23:59:00+01:00\nper_day = 0.1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("out_off = 1", "out_off: is nothing that a rubric has"),
        ("out_of = 0", "out_of: has to be more than 0"),
        ("out_of = inf", "out_of: has to be an ordinary number"),
        ("out_of = true", "out_of: has to be a number"),
        ('out_of = "10"', "out_of: has to be a number"),
        ("time_budget = 0.5", "time_budget: has to be 1 or more"),
        ("points = 3", "points: has to be a section, [points]"),
        ("[points]\ntest_a = -1", "points.test_a: has to be 0 or more"),
        ("[points]\ntest_a = nan", "points.test_a: has to be an ordinary number"),
        ('hidden = ["test_a"]', "hidden: has to be a section"),
        ('[hidden]\nchecks = "test_a"', "hidden.checks: has to be a list"),
        ("[hidden]\nchecks = [1]", "hidden.checks.0: has to be text, in quotes"),
        ("[late]\nper_day = 0.1", "late.deadline: has to be there"),
        ("[late]\nper_day = 0.1\ndeadline = 2026-11-30", "late.deadline: has to be a date with a time and a zone"),
        ("[late]\nper_day = 0.1\ndeadline = 2026-11-30T10:00:00", "late.deadline: has to say its time zone"),
        ('[late]\nper_day = 0.1\ndeadline = "2026-11-30T10:00:00Z"', "without quotes"),
        (LATE.replace("0.1", "10"), "late.per_day: has to be 1 or less"),
        (LATE + "at_most = 2", "late.at_most: has to be 1 or less"),
        (LATE + "grace_minutes = -1", "late.grace_minutes: has to be 0 or more"),
        (LATE + 'times = "canvas"', "late.times: has to be 'roster' or 'files'"),
        ("out_of =", "is no TOML"),
        ("[points]\ntest_c = 1", "points.test_c"),
        ('[hidden]\nchecks = ["test_d"]', "hidden.checks: test_d"),
        ("[points]\ntest_a = 0\ntest_b = 0", "no points to be earned"),
        # Scaled to 100, nothing is still nothing.
        ("out_of = 100\n[points]\ntest_a = 0\ntest_b = 0", "no points to be earned"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_the_rubric(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, text)
    assert said in raised.value.what
    assert str(tmp_path / "rubric.toml") in raised.value.what
    assert raised.value.fix
    # What pydantic says is meant for people who write Python.
    assert "Input" not in raised.value.what


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, "out_of = 0\ntime_budget = 0\nx = 1")
    assert len(raised.value.what.splitlines()) == 4


def test_a_check_that_does_not_exist_is_answered_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, "[points]\ntest_A = 1")
    assert all(f"    {name}" in raised.value.fix for name in CHECKS)


def test_a_file_that_cannot_be_read_is_said_without_codecs_and_numbers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        rubric.read(tmp_path / "none.toml", CHECKS)
    with pytest.raises(UsageError, match="Is a directory"):
        rubric.read(tmp_path, CHECKS)
    (tmp_path / "latin.toml").write_bytes("# für".encode("latin-1"))
    with pytest.raises(UsageError, match=r"is not written in UTF-8\.$"):
        rubric.read(tmp_path / "latin.toml", CHECKS)


# --- points --------------------------------------------------------------------------------------------


def test_the_rubric_s_points_replace_those_of_its_checks_only() -> None:
    graded = report(("test_a", Verdict.PASSED, 2), ("test_b", Verdict.PASSED, 3))
    applied = Rubric(points={"test_a": 5}).apply(graded)
    assert [check.points for check in applied.checks] == [5, 3]
    assert (applied.points, applied.maximum) == (8, 8)
    assert [check.points for check in graded.checks] == [2, 3]


def test_the_maximum_is_what_all_checks_bring_unless_the_rubric_scales_it() -> None:
    assert Rubric().maximum(CHECKS) == 5
    assert Rubric(points={"test_a": 0}).maximum(CHECKS) == 3
    assert Rubric(points={"test_a": 0}, out_of=100).maximum(CHECKS) == 100


@pytest.mark.parametrize(
    ("verdict", "score"),
    [
        (Verdict.PASSED, 5),
        (Verdict.FAILED, 3),
        (Verdict.BLOCKED, 3),
        (Verdict.ERROR, 3),
        # What this machine could not show counts neither for nor against.
        (Verdict.NOT_RUN, 5),
    ],
)
def test_a_score_is_the_share_of_what_counts(verdict: Verdict, score: float) -> None:
    graded = report(("test_a", verdict, 2), ("test_b", Verdict.PASSED, 3))
    assert Rubric().score(graded, 5, None) == (score, 0)
    assert Rubric(out_of=100).score(graded, 100, None) == (score * 20, 0)


def test_a_check_worth_nothing_changes_no_score() -> None:
    graded = Rubric(points={"test_a": 0}).apply(report(("test_a", Verdict.FAILED, 2), ("test_b", Verdict.PASSED, 3)))
    assert Rubric().score(graded, 3, None) == (3, 0)


@pytest.mark.parametrize("checks", [[], [("test_a", Verdict.NOT_RUN, 2)], [("test_a", Verdict.FAILED, 0)]])
def test_where_nothing_counts_nobody_has_decided_on_a_zero(checks: list[tuple[str, Verdict, float]]) -> None:
    assert Rubric().score(report(*checks), 5, None) == (None, 0)


def test_a_refused_submission_has_a_zero() -> None:
    refusal = Refusal(at="compose.yml:1", what="x", why="y", instead="z")
    assert Rubric().score(report(("test_a", Verdict.BLOCKED, 2), refused=[refusal]), 5, None) == (0, 0)


# --- late ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "days"),
    [
        (-DAY, 0),
        (timedelta(), 0),
        (10 * MINUTE, 0),
        # From here on the grace does not count any more.
        (10 * MINUTE + SECOND, 1),
        (DAY, 1),
        (DAY + SECOND, 2),
        (4 * DAY, 4),
        (5 * DAY, 4.5),
        (400 * DAY, 4.5),
    ],
)
def test_each_day_begun_costs_up_to_the_most(after: timedelta, days: float) -> None:
    late = Late(deadline=DEADLINE, grace_minutes=10, per_day=0.1, at_most=0.45)
    assert late.share(DEADLINE + after) == pytest.approx(days * 0.1)


def test_without_a_time_nothing_is_taken() -> None:
    assert Late(deadline=DEADLINE, per_day=1).share(None) == 0


@given(st.integers(-12, 14), st.integers(-12, 14), st.integers(-100, 100))
def test_the_zone_in_which_a_time_is_written_changes_nothing(here: int, there: int, hours: int) -> None:
    late = Late(deadline=DEADLINE.astimezone(timezone(timedelta(hours=here))), per_day=0.25)
    handed_in = (DEADLINE + timedelta(hours=hours)).astimezone(timezone(timedelta(hours=there)))
    assert late.share(handed_in) == min(1, 0.25 * max(0, math.ceil(hours / 24)))


def test_the_late_policy_takes_of_what_was_earned() -> None:
    late = Late(deadline=DEADLINE, per_day=0.1)
    graded = report(("test_a", Verdict.FAILED, 2), ("test_b", Verdict.PASSED, 3))
    assert Rubric(late=late).score(graded, 100, DEADLINE + SECOND) == (54, 6)
    assert Rubric(late=late).score(graded, 100, DEADLINE) == (60, 0)
    assert Rubric(late=late).score(graded, 100, DEADLINE + 20 * DAY) == (0, 60)


amounts = st.floats(0, 1000, allow_subnormal=False)


@given(
    st.lists(st.tuples(st.sampled_from(Verdict), amounts), min_size=1, max_size=5),
    st.floats(0.5, 1000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(-3, 30),
)
def test_no_score_leaves_its_range_and_what_was_taken_adds_up(
    checks: list[tuple[Verdict, float]], maximum: float, per_day: float, at_most: float, days: int
) -> None:
    late = Late(deadline=DEADLINE, per_day=per_day, at_most=at_most)
    graded = report(*((f"test_{n}", verdict, points) for n, (verdict, points) in enumerate(checks)))
    earned, nothing = Rubric().score(graded, maximum, None)
    score, deducted = Rubric(late=late).score(graded, maximum, datetime(2026, 11, 30, tzinfo=UTC) + days * DAY)
    assert nothing == 0
    if earned is None or score is None:
        assert earned == score
        assert deducted == 0
    else:
        assert 0 <= score <= earned <= maximum + 0.01
        assert round(score + deducted, 2) == earned
