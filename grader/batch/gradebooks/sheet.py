"""grades.csv: everything about the class in one table, for people and their spreadsheets."""

from __future__ import annotations

from grader.batch.gradebooks.cells import number, table, text
from grader.batch.grades import Course, Grade
from grader.results import CheckResult, Verdict

# Without it Excel reads UTF-8 as something else, and no name outside of ASCII is right.
_BYTE_ORDER_MARK = "\ufeff"
_COUNTED = (Verdict.PASSED, Verdict.FAILED, Verdict.BLOCKED, Verdict.NOT_RUN, Verdict.ERROR)


def render(course: Course) -> str:
    """One row a student, one column a check: the points that it brought, empty where it was not judged."""
    header = [
        *("name", "id", "key", "status", "score", "maximum", "deducted for lateness"),
        *(verdict.value for verdict in _COUNTED),
        *course.checks,
        *("submission", "handed in at", "graded_at", "seconds", "message"),
    ]
    rows = [[text(column) for column in header], *(_row(course, grade) for grade in course.grades)]
    return _BYTE_ORDER_MARK + table(rows)


def _row(course: Course, grade: Grade) -> list[str]:
    report = grade.report
    results = {check.name: check for check in report.checks} if report else {}
    student = grade.student
    return [
        *map(text, (student.name, student.id, student.key, grade.status.value)),
        *map(number, (grade.score, grade.maximum, grade.deducted)),
        *(number(report.count(verdict) if report else None) for verdict in _COUNTED),
        *(_points(results.get(name)) for name in course.checks),
        text(grade.source),
        text(grade.handed_in_at.isoformat() if grade.handed_in_at else ""),
        text(grade.graded_at),
        number(grade.seconds),
        text(grade.message),
    ]


def _points(check: CheckResult | None) -> str:
    if check is None or check.verdict in (Verdict.NOT_RUN, Verdict.ERROR):
        return ""
    return number(check.earned)
