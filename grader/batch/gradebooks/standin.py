"""A report for everybody, also for those of whom there is none."""

from __future__ import annotations

from grader.batch.grades import Course, Grade, Status, for_student, message_for_student
from grader.results import CheckResult, Report, Verdict

_VERDICTS = {
    Status.UNREADABLE: Verdict.FAILED,
    Status.FAULT: Verdict.ERROR,
    Status.KILLED: Verdict.ERROR,
    Status.MISSING: Verdict.NOT_RUN,
    Status.WAITING: Verdict.NOT_RUN,
}


def for_instructor(course: Course, grade: Grade) -> Report:
    """What was found out; or one check that says what became of the submission."""
    return grade.report or _stand_in(course, grade, grade.message or grade.status.value)


def to_student(course: Course, grade: Grade) -> Report | None:
    """What the student may see; None where nobody has decided on a score."""
    if grade.score is None:
        return None
    return for_student(grade) or _stand_in(course, grade, message_for_student(grade, "the submission"))


def _stand_in(course: Course, grade: Grade, message: str) -> Report:
    check = CheckResult(
        name="submission",
        title="The submission can be read and graded",
        verdict=_VERDICTS.get(grade.status, Verdict.ERROR),
        points=course.maximum,
        seconds=0,
        message=message,
    )
    return Report(
        exercise=course.exercise, title=course.title, submission="", started_at=grade.graded_at, checks=[check]
    )
