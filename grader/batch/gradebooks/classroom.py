"""classroom/KEY.txt: what GitHub Classroom's reporter takes, for each student, as the student may see it.

These are the checks' points, before the late policy and before they are scaled: the reporter knows of neither, and adds
up the tests. grades.csv has the score.
"""

from __future__ import annotations

from grader.batch.gradebooks import standin
from grader.batch.grades import Course
from grader.render import classroom


def files(course: Course) -> dict[str, str]:
    """File name -> text; nothing for whoever has no score."""
    return {
        f"classroom/{grade.student.key}.txt": classroom.render(report)
        for grade in course.grades
        if (report := standin.to_student(course, grade))
    }
