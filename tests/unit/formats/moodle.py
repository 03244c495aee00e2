"""What Moodle makes of a file of grades.

See moodle/moodle, grade/import/csv/classes/load_data.php and lib/csvlib.class.php.
"""

from __future__ import annotations

import csv
import io

MAXIMUM = 100  # unless the site's administrator has allowed more


def read(text: str, users: list[str], column: str) -> dict[str, float]:
    """User -> grade, or AssertionError if Moodle ends the import or enters a grade for somebody else.

    Args:
        users: of the site, as the field says that the teacher looks them up by.
        column: the one that the teacher looks them up by.
    """
    header, *rows = _rows(text)
    by = header.index(column)
    assert header.count(column) == 1
    grades: dict[str, float] = {}
    for row in rows:
        assert len(row) == len(header), "csvweirdcolumns"
        value = row[by].strip()
        assert value not in ("", "0"), "the grade would go to the student of the row before"
        assert value in users, "usermappingerror"
        grade = float(row[-1])  # badgrade
        assert grade <= MAXIMUM, "gradevaluetoobig"
        assert value not in grades
        grades[value] = grade
    return grades


def _rows(text: str) -> list[list[str]]:
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").strip()
    # fgetcsv takes a backslash for an escape: where the two readings differ, rows run into each other.
    plain = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    escaped = list(csv.reader(io.StringIO(text.replace('\\"', "\\_"), newline=""), strict=True))
    assert [len(row) for row in plain] == [len(row) for row in escaped]
    return plain
