from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.batch.diff import Comparison, compare, render, to_json
from grader.batch.grades import Course, Grade, Status
from grader.batch.students import Student
from grader.results import CheckResult, Refusal, Report, Verdict

TITLES = {"test_a": "api waits", "test_b": "redis is healthy", "test_c": "nginx answers"}
ALL = dict.fromkeys(TITLES, "passed")


def graded(key: str, verdicts: dict[str, str] | None = None, message: str = "", **fields: Any) -> Grade:
    """A grade of 1, 2 and 4 points; ``fields`` are the grade's, but ``refused`` is the report's."""
    refused = fields.pop("refused", [])
    checks = [
        CheckResult(
            name=name, title=TITLES[name], verdict=Verdict(verdict), points=2**n, seconds=0,
            message="" if verdict == "passed" else message,
        )
        for n, (name, verdict) in enumerate((verdicts or ALL).items())
    ]  # fmt: skip
    started_at = "2026-01-01T00:00:00+00:00"
    report = Report(exercise="04-x", title="T", submission=key, started_at=started_at, checks=checks, refused=refused)
    given = {"student": Student(key, key), "status": Status.GRADED, "report": report, "maximum": 7.0}
    return Grade(**given | {"score": report.points} | fields)


def ungraded(key: str, status: Status, message: str = "", score: float | None = None) -> Grade:
    return Grade(Student(key, key), status, None, score, 7.0, message=message)


def course(*grades: Grade, maximum: float = 7.0, **worth: float) -> Course:
    checks = {name: (title, worth.get(name, 2.0**n)) for n, (name, title) in enumerate(TITLES.items())}
    return Course("04-x", "Health checks", maximum, grades, checks)


def plain(comparison: Comparison) -> str:
    return render(comparison, colour=False)


def test_nothing_changed_and_says_so() -> None:
    same = course(graded("alice"), ungraded("bob", Status.MISSING))
    comparison = compare(same, same)
    assert [*comparison.changed, *comparison.appeared, *comparison.disappeared, *comparison.worth] == []
    assert comparison.unchanged == 2
    assert plain(comparison).endswith("Nobody's score, status or checks changed (2 students).\n")


def test_two_empty_classes_do_not_differ() -> None:
    assert "Nobody's" in plain(compare(course(), course()))


def test_a_change_is_said_with_its_size_and_its_reason() -> None:
    old = course(graded("alice", ALL | {"test_b": "failed"}, "redis was never healthy"), graded("bob"))
    new = course(graded("alice"), graded("bob", ALL | {"test_c": "failed"}, "nginx answered 502"))
    comparison = compare(old, new)
    bob, alice = comparison.changed
    assert (alice.before, alice.after, alice.difference) == (5, 7, 2)
    assert [(check.name, check.before, check.after, check.message) for check in alice.checks] == [
        ("test_b", "failed", "passed", "")
    ]
    assert (bob.before, bob.after, bob.difference) == (7, 3, -4)
    text = plain(comparison)
    assert "   +2  alice  5 → 7" in text
    assert "✓ redis is healthy  [failed → passed]\n" in text
    assert "   -4  bob  7 → 3" in text
    assert "✗ nginx answers  [passed → failed]: nginx answered 502" in text
    assert text.endswith("1 higher, 1 lower\n")


def test_verdicts_that_change_without_the_score_are_a_change_too() -> None:
    old = course(graded("alice", ALL | {"test_a": "failed"}))
    new = course(graded("alice", ALL | {"test_a": "blocked"}, "postgres has to be mended first"))
    (change,) = compare(old, new).changed
    assert change.difference == 0
    assert "‖ api waits  [failed → blocked]: postgres has to be mended first" in plain(compare(old, new))


def test_the_largest_change_is_first() -> None:
    names = ["small", "lost", "large", "equal"]
    old = course(*map(graded, names))
    new = course(
        graded("small", ALL | {"test_a": "failed"}),
        ungraded("lost", Status.KILLED, "its worker died"),
        graded("large", dict.fromkeys(TITLES, "failed")),
        graded("equal", ALL | {"test_a": "not run"}, score=7),
    )
    assert [change.key for change in compare(old, new).changed] == ["lost", "large", "small", "equal"]


def test_a_status_that_changed_says_what_there_is_to_know() -> None:
    old, new = course(graded("alice")), course(ungraded("alice", Status.UNREADABLE, "It is\nencrypted.", score=0))
    (change,) = compare(old, new).changed
    assert (change.difference, change.checks) == (-7, [])
    text = plain(compare(old, new))
    assert "graded → cannot be read" in text
    assert "It is encrypted." in text
    text = plain(compare(new, old))
    assert "cannot be read → graded" in text
    assert "encrypted" not in text


def test_a_score_that_came_or_went_has_no_difference() -> None:
    old, new = course(ungraded("alice", Status.MISSING)), course(graded("alice"))
    (change,) = compare(old, new).changed
    assert change.difference is None
    assert "no score → 7" in plain(compare(old, new))


def test_a_submission_that_is_refused_now_says_why() -> None:
    refusal = Refusal(at="compose.yml:3", what="privileged: true", why="y", instead="z")
    new = course(graded("alice", dict.fromkeys(TITLES, "blocked"), refused=[refusal]))
    assert "compose.yml:3: privileged: true" in plain(compare(course(graded("alice")), new))


def test_what_the_late_policy_took_is_a_reason() -> None:
    old, new = course(graded("alice")), course(graded("alice", score=6.3, deducted=0.7))
    (change,) = compare(old, new).changed
    assert change.late == (0, 0.7)
    assert "points taken for handing in late: 0 → 0.7\n" in plain(compare(old, new))


def test_points_that_the_rubric_changed_are_said_once_for_all() -> None:
    old = course(graded("alice"), graded("bob"))
    new = course(graded("alice"), graded("bob"), test_a=3)
    comparison = compare(old, new)
    assert [(worth.name, worth.before, worth.after) for worth in comparison.worth] == [("test_a", 1, 3)]
    assert plain(comparison).count("api waits (test_a), worth in points: 1 → 3\n") == 1
    assert comparison.unchanged == 2


def test_a_check_that_is_new_or_gone_is_said() -> None:
    old, new = course(), course()
    del old.checks["test_a"], new.checks["test_c"]
    text = plain(compare(old, new))
    assert "api waits (test_a), worth in points: not there → 1\n" in text
    assert "nginx answers (test_c), worth in points: 4 → not there\n" in text
    only_two = dict.fromkeys(("test_a", "test_b"), "passed")
    (change,) = compare(course(graded("alice")), course(graded("alice", only_two))).changed
    assert [(check.name, check.before, check.after) for check in change.checks] == [("test_c", "passed", "")]


@given(st.integers(0, 700), st.sampled_from([7.0, 10.0, 20.0, 100.0, 0.7]), st.sampled_from([7.0, 12.5, 100.0, 1000.0]))
def test_scores_that_are_only_scaled_have_not_changed(earned: int, before: float, after: float) -> None:
    old = course(graded("alice", score=round(before * earned / 700, 2), maximum=before), maximum=before)
    new = course(graded("alice", score=round(after * earned / 700, 2), maximum=after), maximum=after)
    comparison = compare(old, new)
    assert comparison.unchanged == 1
    assert ("The maximum was" in plain(comparison)) == (before != after)


def test_a_difference_of_the_smallest_amount_is_one() -> None:
    (change,) = compare(course(graded("alice", score=5.01)), course(graded("alice", score=5.02))).changed
    assert change.difference == 0.01
    assert " +0.01  alice" in plain(compare(course(graded("alice", score=5.01)), course(graded("alice", score=5.02))))


def test_who_came_and_who_went_is_said() -> None:
    comparison = compare(course(graded("alice")), course(ungraded("bob", Status.MISSING)))
    text = plain(comparison)
    assert "bob is new: nothing handed in" in text
    assert "alice is not there any more: graded, 7 points" in text
    assert text.endswith("1 new, 1 gone\n")


@pytest.mark.parametrize("colour", [False, True])
def test_names_and_messages_are_text_whatever_is_in_them(colour: bool) -> None:
    evil = "[red]x[/red]\x1b[31m\u202e\n\r:boom: \udcff"
    old, new = graded("k1", student=Student("k1", evil)), ungraded("k1", Status.FAULT, evil)
    new = Grade(Student("k1", evil), Status.FAULT, None, None, 7.0, message=evil)
    other = graded("k2", student=Student("k2", evil))
    comparison = compare(course(old), course(new, other))
    text = render(comparison, colour=colour)
    assert "[red]x[/red] :boom:" in text
    assert "\x1b[31m\u202e" not in text
    assert not set(text) & set("\u202e\r\udcff")
    text.encode()
    to_json(comparison).encode()


def test_colour_changes_nothing_but_colours() -> None:
    old, new = course(graded("alice")), course(graded("alice", ALL | {"test_a": "failed"}))
    assert "\x1b[" in render(compare(old, new), colour=True)
    assert "\x1b" not in plain(compare(old, new))
    assert all(line == line.rstrip() for line in plain(compare(old, new)).splitlines())


def test_json_has_everything() -> None:
    old = course(graded("alice"), graded("bob"), graded("eve"))
    new = course(graded("alice", ALL | {"test_a": "failed"}, "why"), graded("bob"), graded("mia"), test_a=3)
    data = json.loads(to_json(compare(old, new)))
    assert data["unchanged"] == 1
    assert data["maximum"] == [7, 7]
    assert data["worth"] == [{"name": "test_a", "title": "api waits", "before": 1, "after": 3}]
    (change,) = data["changed"]
    assert change["status_after"] == "graded"
    assert change["difference"] == -1
    assert change["checks"] == [
        {"name": "test_a", "title": "api waits", "before": "passed", "after": "failed", "message": "why"}
    ]
    assert [each["key"] for each in data["appeared"] + data["disappeared"]] == ["mia", "eve"]


verdict_sets = st.fixed_dictionaries({name: st.sampled_from([v.value for v in Verdict]) for name in TITLES})
classes = st.dictionaries(st.sampled_from("abcdef"), verdict_sets)


@given(classes, classes)
def test_every_student_is_counted_once_and_turning_it_round_turns_the_signs(
    one: dict[str, dict[str, str]], other: dict[str, dict[str, str]]
) -> None:
    old, new = (course(*(graded(key, verdicts) for key, verdicts in each.items())) for each in (one, other))
    there, back = compare(old, new), compare(new, old)
    assert len(there.changed) + there.unchanged == len(one.keys() & other.keys())
    assert {each.key for each in there.appeared} == other.keys() - one.keys()
    assert {each.key for each in there.disappeared} == one.keys() - other.keys()
    assert {c.key: -(c.difference or 0) for c in there.changed} == {c.key: c.difference or 0 for c in back.changed}
    sizes = [abs(change.difference or 0) for change in there.changed]
    assert sizes == sorted(sizes, reverse=True)
