"""What the class has come to: one grade a student, with everything that gradebooks and pages say about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePath

from grader.batch.students import Student
from grader.results import Report, Verdict


class Status(StrEnum):
    """What became of one student's submission."""

    GRADED = "graded"
    UNREADABLE = "cannot be read"  # no archive, not safe to unpack, no file of the exercise
    FAULT = "grader's fault"  # a check or the grading itself broke; never the student's doing
    KILLED = "ended its worker"  # twice: whatever was being graded, its worker died
    MISSING = "nothing handed in"  # in the roster only
    WAITING = "not graded yet"  # only some students were asked for


@dataclass(frozen=True)
class Grade:
    """One student's grade.

    Attributes:
        report: what was found out, with the rubric's points; None if nothing was, and ``message`` says why.
        score: points, late policy applied, in units of ``maximum``; None where there is none to be given (FAULT
            without a report, KILLED, MISSING, WAITING): an empty cell, never a zero that nobody decided on.
        maximum: points to be had, the same for the whole class.
        deducted: points that the late policy took, included in ``score``.
        hidden: names of the checks of which students learn only whether they passed.
        message: why there is no report, for people.
        source: what was handed in, as a path below the folder of submissions.
        handed_in_at: when, if that is known.
        graded_at: UTC, ISO 8601; empty if it was not.
        worker: where it was graded; instructors only.
        tries: how often it was graded until this report; instructors only.
    """

    student: Student
    status: Status
    report: Report | None
    score: float | None
    maximum: float
    deducted: float = 0.0
    hidden: frozenset[str] = frozenset()
    message: str = ""
    source: str = ""
    handed_in_at: datetime | None = None
    graded_at: str = ""
    worker: str = ""
    tries: int = 1

    @property
    def at_fault(self) -> bool:
        """Whether the grader, or the machine it ran on, failed, and not the student."""
        return self.status in (Status.FAULT, Status.KILLED)

    @property
    def seconds(self) -> float | None:
        """Wall time of the grading; None if there was none."""
        return self.report.seconds.get("total") if self.report else None


@dataclass(frozen=True)
class Course:
    """The class.

    Attributes:
        exercise: ``NN-slug``.
        grades: in the order of the students' names.
        checks: check name -> title and the rubric's points, in the exercise's order.
        roster_columns: of the roster, in its order; empty if there is none.
    """

    exercise: str
    title: str
    maximum: float
    grades: Sequence[Grade]
    checks: dict[str, tuple[str, float]]
    hidden: frozenset[str] = frozenset()
    roster_columns: Sequence[str] = field(default_factory=tuple)


def for_student(grade: Grade) -> Report | None:
    """The report as the student may see it: of hidden checks, only whether they passed."""
    if grade.report is None:
        return None
    checks, number = [], 0
    for check in grade.report.checks:
        if check.name in grade.hidden:
            number += 1
            check = check.model_copy(
                update=dict.fromkeys(("message", "expected", "actual", "at", "hint", "section", "reproduce"), "")
                | {"name": f"hidden_{number}", "title": f"Hidden check {number}"}
            )
        elif check.verdict is Verdict.ERROR:
            check = check.model_copy(
                update={"message": "The grader itself failed at this check, through no fault of yours."}
            )
        checks.append(check)
    return grade.report.model_copy(update={"checks": checks, "submission": ""})


def message_for_student(grade: Grade, called: str) -> str:
    """What was said of a submission, without the place where the instructor keeps it.

    Args:
        called: what stands there instead: "your submission".
    """
    message = grade.message
    paths = sorted({grade.source, *grade.source.split(", ")} - {"", "."}, key=len, reverse=True)
    for path in paths:
        message = re.sub(rf"(?<!\w){re.escape(path)}(?!\w)", called, message)
    for folder in {str(PurePath(path).parent) for path in paths} - {".", "/"}:
        message = message.replace(f"{folder}/", "")
    return message[:1].upper() + message[1:]
