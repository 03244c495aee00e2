"""What differs between two results of one class: whose score or status changed, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from grader.batch.grades import Course, Grade, Status
from grader.render.terminal import paper, written
from grader.render.words import MARKS, points
from grader.results import CheckResult, Verdict
from grader.text import printable

_CENT = 0.01  # scores are rounded to it
_MESSAGE = 300  # characters of what a check says


@dataclass(frozen=True)
class Check:
    """One check of one student that ended differently.

    Attributes:
        before: verdict; empty if it was not made.
        after: likewise.
        message: what was seen the second time.
    """

    name: str
    title: str
    before: str
    after: str
    message: str


@dataclass(frozen=True)
class Change:
    """One student whose score, status or checks changed.

    Attributes:
        before: points, in units of the old maximum; None if there was no score.
        after: points, in units of the new maximum.
        difference: in units of the new maximum; None unless there are two scores.
        late: points that the late policy took, before and after, each in units of its maximum; None if it took the
            same.
        message: why there is no report now, or why nothing was started; empty if neither is so.
    """

    key: str
    name: str
    status_before: Status
    status_after: Status
    before: float | None
    after: float | None
    difference: float | None
    checks: Sequence[Check]
    late: tuple[float, float] | None
    message: str


@dataclass(frozen=True)
class Worth:
    """A check that the rubric gives other points now; None where there is no such check."""

    name: str
    title: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Someone:
    """A student who is in one of the results only."""

    key: str
    name: str
    status: Status
    score: float | None


@dataclass(frozen=True)
class Comparison:
    """All that differs.

    Attributes:
        maximum: before and after.
        worth: the checks whose points changed.
        changed: the largest change first.
        unchanged: how many students have the same status, score and verdicts.
    """

    exercise: str
    title: str
    maximum: tuple[float, float]
    worth: Sequence[Worth]
    changed: Sequence[Change]
    appeared: Sequence[Someone]
    disappeared: Sequence[Someone]
    unchanged: int


def compare(old: Course, new: Course) -> Comparison:
    """What differs between ``old`` and ``new``, students being the same if their keys are."""
    before, after = ({grade.student.key: grade for grade in course.grades} for course in (old, new))
    both = [key for key in after if key in before]
    changes = [change for key in both if (change := _change(before[key], after[key]))]
    return Comparison(
        exercise=new.exercise,
        title=new.title,
        maximum=(old.maximum, new.maximum),
        worth=list(_worth(old, new)),
        changed=sorted(changes, key=_size),
        appeared=[_someone(after[key]) for key in after if key not in before],
        disappeared=[_someone(before[key]) for key in before if key not in after],
        unchanged=len(both) - len(changes),
    )


def _change(old: Grade, new: Grade) -> Change | None:
    difference = _difference(old, new)
    checks = list(_checks(old, new))
    same_score = (old.score is None) == (new.score is None) and not difference
    if old.status is new.status and same_score and not checks:
        return None
    late = (old.deducted, new.deducted)
    same_late = abs(_scaled(old.deducted, old, new) - new.deducted) <= _rounding(old, new)
    return Change(
        key=new.student.key,
        name=_shortened(new.student.name),
        status_before=old.status,
        status_after=new.status,
        before=old.score,
        after=new.score,
        difference=difference,
        checks=checks,
        late=None if same_late else late,
        message=_shortened(_reason(new)),
    )


def _reason(grade: Grade) -> str:
    if grade.report is None:
        return grade.message
    refused = [f"{refusal.at}: {refusal.what}" for refusal in grade.report.refused]
    return f"must not run here: {', '.join(refused)}" if refused else ""


def _difference(old: Grade, new: Grade) -> float | None:
    """In units of the new maximum, so that scaling all scores changes none."""
    if old.score is None or new.score is None:
        return None
    difference = new.score - _scaled(old.score, old, new)
    return 0.0 if abs(difference) <= _rounding(old, new) else round(difference, 2)


def _scaled(score: float, old: Grade, new: Grade) -> float:
    return score * new.maximum / old.maximum if old.maximum else 0.0


def _rounding(old: Grade, new: Grade) -> float:
    """How far two scores may be apart that are the same share of their maximum, each rounded."""
    if old.maximum == new.maximum:
        return _CENT / 10
    return _CENT / 2 * (1 + _scaled(1, old, new)) * 1.001


def _checks(old: Grade, new: Grade) -> Iterator[Check]:
    """The checks that ended differently, in the new order, if there are two reports to compare."""
    if not (old.report and new.report):
        return
    before, after = ({check.name: check for check in grade.report.checks} for grade in (old, new) if grade.report)
    for name in [*after, *(name for name in before if name not in after)]:
        was, now = before.get(name), after.get(name)
        if _verdict(was) != _verdict(now):
            title = (now or was or _NONE).title
            message = now.message if now and now.verdict is not Verdict.PASSED else ""
            yield Check(name, title, _verdict(was), _verdict(now), _shortened(message))


_NONE = CheckResult(name="", title="", verdict=Verdict.NOT_RUN, points=0, seconds=0)


def _verdict(check: CheckResult | None) -> str:
    return check.verdict.value if check else ""


def _worth(old: Course, new: Course) -> Iterator[Worth]:
    for name in [*new.checks, *(name for name in old.checks if name not in new.checks)]:
        (title, before), (title_now, after) = (course.checks.get(name, ("", None)) for course in (old, new))
        if before != after:
            yield Worth(name, title_now or title, before, after)


def _someone(grade: Grade) -> Someone:
    return Someone(grade.student.key, _shortened(grade.student.name), grade.status, grade.score)


def _size(change: Change) -> tuple[float, str]:
    """The order of changes: scores that came or went, then by difference, then statuses and checks alone."""
    if (change.before is None) != (change.after is None):
        return (-float("inf"), change.key)
    return (-abs(change.difference or 0.0), change.key)


def _shortened(text: str) -> str:
    """In one line, and harmless on a terminal."""
    return printable(" ".join(printable(text, limit=10_000).split()), limit=_MESSAGE)


# --- as text and as JSON -------------------------------------------------------------------------------


def to_json(comparison: Comparison) -> str:
    """The comparison for programs; its names are those of the dataclasses here."""
    return json.dumps(asdict(comparison), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def render(comparison: Comparison, *, colour: bool) -> str:
    """The comparison as text, coloured for a terminal if wanted."""
    console = paper(colour=colour)
    console.print(Text(f"{comparison.exercise}: {_shortened(comparison.title)}", style="bold"))
    console.print()
    before, after = comparison.maximum
    if before != after:
        console.print(f"The maximum was {points(before)} points and is {points(after)}; scores are compared as shares.")
    for worth in comparison.worth:
        console.print(
            Text(f"{_shortened(worth.title)} ({worth.name}), worth in points: {_was(worth.before, worth.after)}")
        )
    if comparison.worth or before != after:
        console.print()
    for change in comparison.changed:
        _change_to(console, change)
    for some, what in ((comparison.appeared, "is new"), (comparison.disappeared, "is not there any more")):
        for someone in some:
            score = "" if someone.score is None else f", {points(someone.score)} points"
            console.print(Text(f"{_who(someone.key, someone.name)} {what}: {someone.status.value}{score}"))
    if comparison.appeared or comparison.disappeared:
        console.print()
    console.print(Text(_summary(comparison), style="bold"))
    return written(console)


def _change_to(console: Console, change: Change) -> None:
    difference = change.difference or 0.0
    style = "green" if difference > 0 else "red" if difference < 0 else "yellow"
    sign = f"{difference:+.6g}" if change.difference else "·"
    line = Text.assemble((f"{sign:>6}  ", f"bold {style}"), (_who(change.key, change.name), "bold"))
    line.append(f"  {_scores(change)}", style="dim")
    console.print(line)
    if change.status_before is not change.status_after:
        _row(console, f"{change.status_before.value} → {change.status_after.value}")
    for check in change.checks:
        mark = MARKS[Verdict(check.after)] if check.after else " "
        said = f": {check.message}" if check.message else ""
        verdicts = f"{check.before or 'not there'} → {check.after or 'not there'}"
        _row(console, f"{mark} {_shortened(check.title)}  [{verdicts}]{said}")
    if change.late:
        _row(console, f"points taken for handing in late: {_was(*change.late)}")
    if change.message:
        _row(console, change.message)
    console.print()


def _row(console: Console, text: str) -> None:
    console.print(Padding(Text(text), (0, 0, 0, 8)))


def _scores(change: Change) -> str:
    shown = ["no score" if score is None else points(score) for score in (change.before, change.after)]
    return shown[0] if shown[0] == shown[1] else " → ".join(shown)


def _was(before: float | None, after: float | None) -> str:
    shown = ["not there" if number is None else points(number) for number in (before, after)]
    return " → ".join(shown)


def _who(key: str, name: str) -> str:
    return key if name == key else f"{name} ({key})"


def _summary(comparison: Comparison) -> str:
    up = sum((change.difference or 0) > 0 for change in comparison.changed)
    down = sum((change.difference or 0) < 0 for change in comparison.changed)
    numbers = [
        (up, "higher"),
        (down, "lower"),
        (len(comparison.changed) - up - down, "otherwise changed"),
        (len(comparison.appeared), "new"),
        (len(comparison.disappeared), "gone"),
        (comparison.unchanged, "unchanged"),
    ]
    if comparison.changed or comparison.appeared or comparison.disappeared:
        return ", ".join(f"{number} {what}" for number, what in numbers if number)
    return f"Nobody's score, status or checks changed ({comparison.unchanged} students)."
