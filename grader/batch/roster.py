"""The roster: a CSV file of the class, as some place exports it or as somebody has written it by hand.

Columns are known by their names, in any order; whatever else there is stays with the student. The names are those of
    Canvas, gradebook export                  lib/gradebook_exporter.rb
    Moodle, grade export and participants     First name, Last name (Surname), ID number, Email address
    Moodle, worksheet for offline grading     Identifier (``Participant 123456``), Full name, ID number, Email address
    GitHub Classroom, classroom_roster.csv    identifier, github_username, github_id, name
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PureWindowsPath

from grader.batch.places import Owner, Place, folded, without_suffix
from grader.errors import UsageError

# What a row can be looked up by -> names of columns that say it, in lower case, with blanks for underscores.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "submission": ("submission",),
    "id": ("id", "identifier"),
    "number": ("id number", "idnumber", "sis user id", "integration id", "student id"),
    "github": ("github username", "github"),
    "login": ("login", "sis login id", "username", "email", "email address", "e-mail"),
    "name": ("name", "full name", "fullname", "student", "student name"),
    "first": ("first name", "firstname"),
    "last": ("last name", "lastname", "surname"),
}
_KIND = {name: kind for kind, names in _COLUMNS.items() for name in names}
_SUBMITTED_AT = "submitted at"
_CANVAS = {"id", "sis login id"}

_SEPARATORS = ",;\t"
_EXCEL = re.compile(r"sep=([,;\t|])\r?\n", re.IGNORECASE)
_PARTICIPANT = re.compile(r"\D*(\d+)")  # with "Participant" in the language of the Moodle
_Key = tuple[str, str]

_TIME_OF_DAY = re.compile(r"[T ]\d")
_LEFT_OUT = re.compile(r"[&<>\"`|':\\/\u2019]")  # of names, by Moodle (lib/moodlelib.php: PARAM_FILE)


@dataclass(frozen=True)
class Row:
    """One student's row.

    Attributes:
        line: where it begins in the file, from 1.
        cells: column -> cell, as written.
        says: kind of column -> what the row has there, without blanks around it.
        submitted_at: when the submission was handed in; None if the row does not say.
    """

    line: int
    cells: dict[str, str]
    says: Mapping[str, Sequence[str]]
    submitted_at: datetime | None

    def all(self, *kinds: str) -> list[str]:
        """What the row has in the columns of these kinds, in their order."""
        return [cell for kind in kinds for cell in self.says.get(kind, ())]

    @property
    def name(self) -> str:
        """As the roster has it, or put together of first and last name; empty if it has none."""
        return next(iter(self.all("name")), " ".join(self.all("first", "last")))

    @property
    def id(self) -> str:
        """What the place of the class knows the student by; empty if the roster does not say."""
        return next(iter(self.all("id", "github")), "")

    @property
    def owner(self) -> Owner:
        """The student, if nothing has been handed in."""
        for submission in self.all("submission"):
            return Owner(Place.PLAIN, without_suffix(_last_part(submission)))
        for user in self.all("github"):
            return Owner(Place.GITHUB, user, user)
        apart = next(iter([*([self.id] if self.id else []), *self.all("number", "login")]), "")
        return Owner(Place.PLAIN, "_".join(part for part in (self.name, apart) if part))


@dataclass(frozen=True)
class Roster:
    """The class.

    Attributes:
        columns: as the file has them.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def has_times(self) -> bool:
        """Whether there is a column that says when submissions were handed in."""
        return any(_folded(column) == _SUBMITTED_AT for column in self.columns)

    def row_of(self, owner: Owner, entries: Sequence[str]) -> Row | None:
        """The row of whoever has handed something in; None if there is none.

        Args:
            entries: the names of the files and folders that were handed in.

        Raises:
            UsageError: more than one row fits.
        """
        for way, against in _ways(owner, entries):
            if found := self._found(way):
                namesakes = self._found(against)
                if namesakes.keys().isdisjoint(found):
                    found |= namesakes
                if len(found) > 1:
                    raise self._ambiguous(entries[0], [found[line] for line in sorted(found)])
                return next(iter(found.values()))
        return None

    def _found(self, keys: Sequence[_Key]) -> dict[int, Row]:
        return {row.line: row for what, name in keys if name for row in self._index.get((what, name), ())}

    @cached_property
    def _index(self) -> Mapping[_Key, Sequence[Row]]:
        index: dict[_Key, list[Row]] = {}
        for row in self.rows:
            for key in set(_keys(row)):
                index.setdefault(key, []).append(row)
        return index

    def _ambiguous(self, entry: str, rows: Sequence[Row]) -> UsageError:
        lines = "\n".join(f"    line {row.line}: {row.name or row.owner.name!r}" for row in rows)
        return UsageError(
            f"More than one row of the roster {self.path} fits the submission {entry!r}:\n{lines}",
            'Say whose it is in a column "submission", with the name of the file or folder.',
        )


def read(path: Path) -> Roster:
    """The roster in ``path``: CSV in UTF-8, separated by commas, semicolons or tabs.

    Raises:
        UsageError: it cannot be read, or does not say who is in the class; with file and line.
    """
    text = _text(path)
    excel = _EXCEL.match(text)
    text, before = (text[excel.end() :], 1) if excel else (text, 0)
    lines = _lines(path, text, excel[1] if excel else _separator(path, text), before)
    columns = _columns(path, *next(lines))
    from_canvas = {_folded(column) for column in columns} >= _CANVAS
    rows = []
    for line, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise _wrong(
                path, line, f"there are {len(cells)} cells in this row, and {len(columns)} columns",
                "Put a cell that has the separator in it into double quotes.",
            )  # fmt: skip
        row = _row(path, line, dict(zip(columns, [*cells, *[""] * len(columns)], strict=False)))
        if from_canvas and (
            not row.says or row.all("name", "last")[:1] == ["Points Possible"] or _is_test_student(row)
        ):
            continue
        if not row.says:
            raise _wrong(path, line, "this row does not say whose it is", "Give it a name, or take the line out.")
        rows.append(row)
    if not rows:
        raise UsageError(f"The roster {path} has no students.", "Give it a row for each.")
    return Roster(path, tuple(columns), tuple(rows))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"The roster {path} cannot be read: {error.strerror}.", "Give the path of a file: --roster FILE"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _wrong(
            path, line, "this is not written in UTF-8", 'Save it again; Excel calls it "CSV UTF-8".'
        ) from error


def _lines(path: Path, text: str, separator: str, before: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Each row's cells, with the number of the line that it begins in; at least one."""
    # Universal newlines would change line ends within quotes.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begin = 1
    try:
        for cells in reader:
            yield begin + before, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise _wrong(path, begin + before, f"this is no CSV: {error}", "Look for a double quote too many.") from error
    if begin == 1:
        raise UsageError(
            f"The roster {path} is empty.", "Give it a line with the names of the columns, and a row each."
        )


def _separator(path: Path, text: str) -> str:
    """Whichever separator makes columns of the first line whose names are known."""
    known = {each: sum(_folded(name) in _KIND for name in _first(path, text, each)) for each in _SEPARATORS}
    best = [each for each in _SEPARATORS if known[each] == max(known.values())]
    if not known[best[0]]:
        raise _wrong(path, 1, "none of these columns says who somebody is", _columns_wanted())
    if len({tuple(_first(path, text, each)) for each in best}) > 1:
        raise _wrong(
            path, 1, "the columns may be separated by one character or another", "Put sep=; or sep=, above this line."
        )
    return best[0]


def _first(path: Path, text: str, separator: str) -> list[str]:
    try:
        return next(_lines(path, text, separator))[1]
    except UsageError:
        if separator != _SEPARATORS[0]:
            return []  # quotes that make sense with another
        raise


def _columns(path: Path, line: int, cells: list[str]) -> list[str]:
    while cells and not cells[-1].strip():
        cells.pop()
    again = {name for name in cells if cells.count(name) > 1}
    if again:
        raise _wrong(path, line, f"two columns are called {sorted(again)[0]!r}", "Give one of them another name.")
    if not any(_folded(name) in _KIND for name in cells):
        raise _wrong(path, line, "none of these columns says who somebody is", _columns_wanted())
    return cells


def _columns_wanted() -> str:
    return "Have at least one of: submission, name, first name and last name, id, github_username, login, email."


def _row(path: Path, line: int, cells: dict[str, str]) -> Row:
    says: dict[str, list[str]] = {}
    submitted_at = None
    for column, cell in cells.items():
        if not cell.strip():
            continue
        if kind := _KIND.get(_folded(column)):
            says.setdefault(kind, []).append(cell.strip())
        elif _folded(column) == _SUBMITTED_AT:
            submitted_at = _time(path, line, column, cell.strip())
    return Row(line, cells, says, submitted_at)


def _time(path: Path, line: int, column: str, cell: str) -> datetime:
    try:
        time = datetime.fromisoformat(cell)
        time = time if time.tzinfo else time.astimezone()
        time.astimezone(UTC)
        if not _TIME_OF_DAY.search(cell):
            raise ValueError("only a date")
    except (ValueError, OverflowError, OSError) as error:
        raise _wrong(
            path, line, f"{cell!r} in the column {column!r} is no date with a time",
            "Write it like 2026-11-30T23:59:00+01:00, or without +01:00 if it is this machine's own time.",
        ) from error  # fmt: skip
    return time


def _is_test_student(row: Row) -> bool:
    return row.name in ("Student, Test", "Test Student")


def _wrong(path: Path, line: int, what: str, fix: str) -> UsageError:
    return UsageError(f"{path}:{line}: {what}.", fix)


# --- whose row it is ---------------------------------------------------------------------------------


def _keys(row: Row) -> Iterator[_Key]:
    """What a row can be found by."""
    for cell in row.all("submission"):
        name = folded(_last_part(cell))
        yield from (("submission", name), ("submission", without_suffix(name)))
    for kind in ("id", "number", "github", "login"):
        yield from ((kind, folded(cell)) for cell in row.all(kind))
    for found in map(_PARTICIPANT.fullmatch, row.all("id")):
        yield from [("participant", found[1])] if found else []
    yield from (("name", _alike(name)) for name in _names(row))
    yield from (("turned name", _alike(name)) for name in _turned(row))
    yield from (("letters", _run_together(name)) for name in _names(row))
    yield from (("turned letters", _run_together(name)) for name in _turned(row))


def _ways(owner: Owner, entries: Sequence[str]) -> Iterator[tuple[list[_Key], list[_Key]]]:
    """The ways to find a row, the surest first, and what must not lead to another row."""
    named = [*entries, *([owner.name] if owner.place is Place.PLAIN else [])]
    yield [("submission", folded(name)) for name in named], []
    alike = _run_together(owner.name) if owner.place is Place.CANVAS else _alike(owner.name)
    name, turned = ("letters", "turned letters") if owner.place is Place.CANVAS else ("name", "turned name")
    namesakes = [(name, alike), (turned, alike)]
    # A student's number in one place may be another student's in another.
    match owner.place:
        case Place.MOODLE:
            yield [("participant", owner.id)], namesakes
        case Place.CANVAS:
            yield [("id", folded(owner.id))], namesakes
        case _:
            for kinds in (("id", "number"), ("github",), ("login",)):
                yield [(kind, folded(owner.name)) for kind in kinds], []
    yield [(name, alike)], []
    yield [(turned, alike)], []


def _names(row: Row) -> Iterator[str]:
    """The row's name as it is written, and in the other order if it says which word is which."""
    for name in row.all("name"):
        last, _, first = name.partition(",")
        yield from (name, f"{first} {last}")
    for pair in (("first", "last"), ("last", "first")):
        yield " ".join(row.all(*pair))


def _turned(row: Row) -> Iterator[str]:
    """The row's name in every order that a place may have given it, last names being of any length."""
    for words in (name.replace(",", " ").split() for name in row.all("name")):
        yield from (" ".join([*words[cut:], *words[:cut]]) for cut in range(1, len(words)))


def _alike(name: str) -> str:
    """The same for names that differ in case, in what stands between words, and in what Moodle leaves out."""
    return " ".join(re.split(r"[\s_,-]+", _LEFT_OUT.sub("", folded(name)))).strip()


def _run_together(name: str) -> str:
    """As Canvas writes names: letters and digits only."""
    return re.sub(r"[\s\x00-/:-@\[-`{-\x7f]", "", folded(name))


def _last_part(path: str) -> str:
    return PureWindowsPath(path).name or path


def _folded(column: str) -> str:
    return " ".join(column.replace("_", " ").split()).casefold()
