"""What Canvas makes of a file for its Gradebook (instructure/canvas-lms, lib/gradebook_importer.rb)."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True)
class User:
    """A student of the course in Canvas."""

    id: int
    name: str
    sis_id: str = ""
    login: str = ""


@dataclass(frozen=True)
class Imported:
    """Attributes:
    grades: user id -> what is entered; None for a row whose student Canvas asks the teacher about.
    """

    title: str
    points_possible: str
    grades: list[tuple[int | None, str]]


def read(text: str, users: list[User]) -> Imported:
    """What is imported, or AssertionError if Canvas refuses the file or misreads it."""
    assert not text.startswith("\ufeff")
    assert _separator(text) == ","
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = [[_normalized(cell) for cell in row] for row in lines]
    header = rows[0]
    assert len(header) > 3
    assert "Student" in header[0]
    assert "ID" in header[1]
    columns = 3
    sis = login = None
    if re.search(r"SIS\s+Login\s+ID", header[2]):
        login, columns = 2, 4
    elif re.search(r"SIS\s+User\s+ID", header[2]) and re.search(r"SIS\s+Login\s+ID", header[3]):
        more = 1 if "Integration ID" in header[4] else 0
        sis, login, columns = 2, 3, 5 + more
        if re.search(r"Root\s+Account", header[4 + more]):
            columns += 1
    assert "Section" in header[columns - 1], "Invalid header row"
    assert len(header) == columns + 1, "one assignment"
    points, grades = "", []
    for row in rows[1:]:
        assert len(row) == len(header)
        if "Points Possible" in row[0]:
            assert not points, "a second row would change the assignment's points"
            points = row[columns]
            continue
        assert row[columns].strip() != "", "an empty grade takes away the one that is there"
        grades.append((_user(row, users, sis, login), row[columns].strip()))
    return Imported(header[columns], points, grades)


def _user(row: list[str], users: list[User], sis: int | None, login: int | None) -> int | None:
    digits = re.match(r"\s*(\d+)", row[1])  # String#to_i
    for user in users:
        if digits and user.id == int(digits[1]):
            return user.id
    for column, attribute in ((sis, "sis_id"), (login, "login")):
        for user in users:
            if column is not None and row[column] and getattr(user, attribute) == row[column]:
                return user.id
    return next((user.id for user in users if user.name == row[0]), None)


def _separator(text: str) -> str:
    """The importer looks at three lines, whatever quotes go on over their ends."""
    counts = {}
    first = list(islice(io.StringIO(text), 3))
    for separator in ";,":
        try:
            fields = {len(next(csv.reader([line], delimiter=separator, strict=True), [])) for line in first}
        except csv.Error:
            fields = set()
        counts[separator] = fields.pop() if len(fields) == 1 else 0
    return ";" if counts[";"] > counts[","] else ","


def _normalized(cell: str) -> str:
    if not re.fullmatch(r"-?[0-9.,]+%?", cell):
        return cell
    *rest, last = re.split("[,.]", cell)
    return f"{''.join(rest)}.{last}" if rest else last
