"""canvas.csv: what Canvas's Gradebook imports.

What it does with such a file (instructure/canvas-lms, lib/gradebook_importer.rb):
    - The first column has to be "Student", the second "ID", the last before the assignments "Section".
    - A student is looked up by ID, then by SIS User ID, then by SIS Login ID, and at last by name.
    - An ID is read as far as it is a number: "12x" would be student 12. So only numbers are put there.
    - A column is an existing assignment if its name is that assignment's title, or ends with its number in brackets;
      otherwise the teacher is asked, and a new one has the points that the row "Points Possible" says.
    - A row with "Points Possible" in its first cell is that row, whoever has chosen to be called so.
    - An empty cell takes away the grade that is there, so whoever has no score is left out.
    - What separates cells it guesses from the first three lines, quotes or not. So every row here is one line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from grader.batch.gradebooks.cells import identifier, number, one_line, table, text
from grader.batch.grades import Course, Grade
from grader.batch.students import Student

# In the order in which the importer looks for them.
_ALWAYS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
_ROOT_ACCOUNT = "Root Account"  # only where several institutions share a course
_POINTS_POSSIBLE = "Points Possible"
_NUMBERED = re.compile(r"(.*) \(\d+\)", re.DOTALL)


def render(course: Course) -> str:
    """A row for each student who has a score."""
    has_root = is_canvas(course) and _ROOT_ACCOUNT in course.roster_columns
    columns = [*_ALWAYS[:-1], *([_ROOT_ACCOUNT] if has_root else []), _ALWAYS[-1]]
    rows = [
        [*columns, _title(course)],
        [f"    {_POINTS_POSSIBLE}", *[""] * (len(columns) - 1), number(course.maximum)],
    ]
    for grade in course.grades:
        if grade.score is not None:
            cells = _cells(course, grade)
            rows.append([*(cells.get(column, "") for column in columns), number(grade.score)])
    return table(rows)


def is_canvas(course: Course) -> bool:
    """Whether the roster is an export of Canvas's Gradebook."""
    columns = set(course.roster_columns)
    return {"ID", "Section"} <= columns and ("Student" in columns or {"LastName", "FirstName"} <= columns)


def _title(course: Course) -> str:
    """The column of the exercise; as the roster has it, if it does, so that no second assignment is made."""
    # The author's word, and looked up letter by letter: as it is.
    for column in course.roster_columns if is_canvas(course) else ():
        if (found := _NUMBERED.fullmatch(column)) and found[1].strip().casefold() == course.title.casefold():
            return column
    return course.title


def _cells(course: Course, grade: Grade) -> Mapping[str, str]:
    student = grade.student
    exported = student.roster if is_canvas(course) else {}
    # What students are looked up by stays as it is. Institutions give it, not the students. A name they choose
    # themselves, and it only matters where there is no number: then Canvas asks who it is, which does no harm.
    cells = {
        "Student": _name(exported, student),
        "ID": _digits(exported.get("ID", "") if exported else student.id),
        "Section": text(one_line(exported.get("Section", ""))),
    }
    for column in ("SIS User ID", "SIS Login ID", _ROOT_ACCOUNT):
        cells[column] = identifier(one_line(exported.get(column, "")))
    if not exported and not cells["ID"]:
        cells["SIS User ID"] = identifier(one_line(student.id))
    return cells


def _name(exported: Mapping[str, str], student: Student) -> str:
    apart = ", ".join(part for part in (exported.get("LastName", ""), exported.get("FirstName", "")) if part)
    name = one_line(exported.get("Student", "") or apart or student.name)
    return text(name.replace(_POINTS_POSSIBLE, _POINTS_POSSIBLE.replace(" ", "\u00a0")))


def _digits(value: str) -> str:
    value = value.strip()
    return value if value.isascii() and value.isdigit() else ""
