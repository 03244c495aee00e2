"""gradescope/KEY.json: a results.json for each student, as the student may see it, with the late policy applied."""

from __future__ import annotations

from grader.batch.gradebooks import standin
from grader.batch.grades import Course, Grade
from grader.render import gradescope
from grader.render.words import points
from grader.results import Report


def files(course: Course) -> dict[str, str]:
    """File name -> text; nothing for whoever has no score."""
    return {
        # Hidden checks have no name there any more, and say only whether they passed: they may be seen.
        f"gradescope/{grade.student.key}.json": gradescope.render(report, score=grade.score, remark=_why(grade, report))
        for grade in course.grades
        if (report := standin.to_student(course, grade))
    }


def _why(grade: Grade, report: Report) -> str:
    """What turned the checks' points into the score; empty if nothing did."""
    if grade.score is None or (grade.score == report.points and grade.maximum == report.maximum):
        return ""
    late = f", {points(grade.deducted)} taken for handing in late" if grade.deducted else ""
    return f"The score is {points(grade.score)} of {points(grade.maximum)}{late}."
