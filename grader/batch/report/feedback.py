"""What one student may see of the grading: a file of its own, with nothing about anybody else."""

from __future__ import annotations

from markupsafe import Markup

from grader.batch.grades import Grade, Status, for_student, message_for_student
from grader.batch.report.wording import moment, plural
from grader.render import html
from grader.render.templates import template
from grader.render.words import points
from grader.results import Report, Verdict

# Status -> what it says to a student who has no report.
_WITHOUT = {
    Status.GRADED: ("There is no report.", "Ask your instructor about it."),
    Status.FAULT: (
        "The grader itself failed while it graded your submission, through no fault of yours.",
        "You need not do anything: your instructor has been told and sees to it.",
    ),
    Status.KILLED: (
        "The grader itself failed while it graded your submission, through no fault of yours.",
        "You need not do anything: your instructor has been told and sees to it.",
    ),
    Status.UNREADABLE: (
        "What you handed in cannot be read, so that nothing could be graded:",
        "Ask your instructor whether you may hand it in once more.",
    ),
    Status.MISSING: (
        "Nothing was handed in under your name.",
        "If you did hand something in, tell your instructor when, and what the file was called.",
    ),
    Status.WAITING: ("Your submission has not been graded yet.", "There is nothing to do but wait."),
}


def render(grade: Grade) -> str:
    """The file, as HTML that needs no network and has no script in it."""
    report = for_student(grade)
    return template("grader.batch.report", "feedback.html.j2").render(
        grade=grade,
        score=f"{points(grade.score)} of {points(grade.maximum)} points" if grade.score is not None else "No score yet",
        lines=said(grade),
        # Escaped where it is made.
        report=Markup(html.render(report, page=False)) if report else "",
    )


def said(grade: Grade) -> list[str]:
    """What the file says besides the score and the report, in paragraphs."""
    return _with(grade, grade.report) if grade.report else _without(grade)


def _with(grade: Grade, report: Report) -> list[str]:
    """What is to be said before the report: how its points became the score."""
    lines = []
    if grade.score is not None:
        earned = round(grade.score + grade.deducted, 2)
        brought, at_most = round(report.points, 2), round(report.maximum, 2)
        if earned != brought or round(grade.maximum, 2) != at_most:
            lines.append(
                f"The checks below brought {points(report.points)} of {points(report.maximum)} points. "
                f"Of {points(grade.maximum)}, that is {points(earned)}."
            )
        if grade.deducted:
            when = f", at {moment(grade.handed_in_at)}" if grade.handed_in_at else ""
            lines.append(
                f"Of the {points(earned)} points earned, {points(grade.deducted)} were taken because it was handed in "
                f"late{when}."
            )
    else:
        lines.append("None of the checks that bring points could be made, so that there is no score.")
    if report.count(Verdict.NOT_RUN):
        lines.append("Checks that could not be made on the machine that graded do not count, for or against.")
    if broken := report.count(Verdict.ERROR):
        lines.append(
            f"The grader itself failed at {plural(broken, 'check')}, through no fault of yours. Your instructor has "
            "been told and sees to it; the score may change."
        )
    elif grade.at_fault:
        lines.append(" ".join(_WITHOUT[grade.status]))
    if any(check.name in grade.hidden for check in report.checks):
        lines.append("Of hidden checks you learn only whether they passed.")
    return lines


def _without(grade: Grade) -> list[str]:
    what, fix = _WITHOUT[grade.status]
    said = message_for_student(grade, "your submission") if grade.status is Status.UNREADABLE else ""
    return [line for line in (what, said, fix) if line]
