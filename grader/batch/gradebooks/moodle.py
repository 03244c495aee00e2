"""moodle.csv: what Moodle's "Import grades from CSV" takes.

What it does with such a file (moodle/moodle, grade/import/csv/classes/load_data.php, lib/csvlib.class.php):
    - The teacher says which column to look users up by: ID number, email address, user name or Moodle's own number.
      Letter case counts. An unknown user ends the whole import, and so does a grade that is no number or is over the
      maximum (100, unless the site's administrator has allowed more).
    - A row with nothing in that column is not left out: its grade goes to the student of the row before. So every row
      here has something in each column that users can be looked up by.
    - An empty grade takes away the one that is there, so whoever has no score is left out.
    - PHP takes a backslash in front of a quote for an escape, which would join rows; names have none here.
"""

from __future__ import annotations

from collections.abc import Callable

from grader.batch.gradebooks.cells import identifier, number, one_line, table, text
from grader.batch.grades import Course, Grade

_LOOKED_UP_BY = frozenset({"id number", "idnumber", "email address", "email", "e-mail", "username"})
_NAME = "Full name"
_OWN = "Identifier"


def render(course: Course) -> str:
    """A row for each student who has a score and can be looked up."""
    scored = [grade for grade in course.grades if grade.score is not None]
    columns = [column for column in course.roster_columns if _folded(column) in _LOOKED_UP_BY]
    cell: Callable[[Grade, str], str] = _of_roster if columns else _own
    columns, rows = _complete(columns or [_OWN], scored, cell)
    # Headers are the roster's, which is to say the instructor's.
    header = [_NAME, *map(text, columns), text(one_line(course.title))]
    return table([header, *([_name(grade), *(cell(grade, c) for c in columns), number(grade.score)] for grade in rows)])


def _complete(
    columns: list[str], grades: list[Grade], cell: Callable[[Grade, str], str]
) -> tuple[list[str], list[Grade]]:
    """The column that most students have, the others that the same students all have, and those students."""
    known = {column: [grade for grade in grades if cell(grade, column)] for column in columns}
    best = max(columns, key=lambda column: len(known[column]))
    rows = known[best]
    return [column for column in columns if all(cell(grade, column) for grade in rows)], rows


def _of_roster(grade: Grade, column: str) -> str:
    return _usable(grade.student.roster.get(column, ""))


def _own(grade: Grade, _column: str) -> str:
    return _usable(grade.student.id)


def _usable(value: str) -> str:
    """As it is, since Moodle compares it letter by letter; nothing if it would be a formula or break the file."""
    value = one_line(value)
    # PHP's empty() is also true of "0".
    return "" if value == "0" or ("\\" in value and {'"', ","} & set(value)) else identifier(value)


def _name(grade: Grade) -> str:
    return text(one_line(grade.student.name.replace("\\", "/")))


def _folded(column: str) -> str:
    return " ".join(column.split()).casefold()
