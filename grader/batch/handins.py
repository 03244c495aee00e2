"""Whose submission is what, in a folder as people or the place of the class have filled it."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from grader import unpack
from grader.batch.places import (
    ARCHIVES,
    COMPOSE,
    Owner,
    Place,
    assignment_of,
    first_name,
    folded,
    owner_of,
    plain,
    with_suffix,
)
from grader.batch.roster import Roster, Row
from grader.batch.students import Student
from grader.catalog import COMPOSE_FILES
from grader.errors import SubmissionError, UsageError
from grader.text import printable
from grader.unpack import File

_JUNK = unpack.IGNORED | {"Thumbs.db", "ehthumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class HandIn:
    """What one student has handed in.

    Attributes:
        sources: a folder, an archive or a compose file; several loose files that belong together; nothing, if the
            student is in the roster only.
        handed_in_at: what the roster says; None if it does not.
        modified_at: when the newest file of it was last modified, UTC; of an archive, the archive.
    """

    student: Student
    sources: tuple[Path, ...]
    handed_in_at: datetime | None = None
    modified_at: datetime | None = None


@dataclass(frozen=True)
class _Entry:
    path: Path
    is_folder: bool
    owner: Owner


def collect(folder: Path, roster: Roster | None) -> list[HandIn]:
    """Everything in ``folder``, and everybody in ``roster``, by name.

    Raises:
        UsageError: ``folder`` is none, is empty or is itself one submission; a student has two submissions; or a
            submission fits more than one row of the roster.
    """
    entries = _entries(folder, roster)
    of_students = [_of_one_student(same) for same in _grouped(entries).values()]
    rows = _matched(of_students, roster)
    names = Counter(same[0].owner.name for same in of_students)
    found = [_handin(same, rows.get(_key(same)), names) for same in of_students]
    taken = {row.line for row in rows.values()}
    missing = [_nothing_from(row) for row in roster.rows if row.line not in taken] if roster else []
    _all_different([*found, *missing])
    return sorted([*found, *missing], key=lambda each: (folded(each.student.name), each.student.key))


def unmatched(handins: Iterable[HandIn]) -> list[HandIn]:
    """Those of whom the roster knows nothing; all, if there is none."""
    return [each for each in handins if not each.student.roster]


def files(handin: HandIn) -> list[File]:
    """What ``handin`` holds.

    An archive in a folder is unpacked as if it had been handed in alone; what lies beside it stays beside it. Loose
    files have the names that they had when they were handed in.

    Raises:
        SubmissionError: it cannot be read, or is not safe to read.
    """
    if not handin.sources:
        raise SubmissionError(f"{handin.student.name} has handed in nothing.", "There is nothing to grade.")
    source = handin.sources[0]
    if len(handin.sources) > 1:
        return _side_by_side(source.parent / handin.student.key, _named(handin.sources))
    if os.path.isdir(source):
        return _in_folder(source)
    original = owner_of(source.name).original
    if not original or with_suffix(original, (*ARCHIVES, *COMPOSE)):
        return unpack.read(source)
    return _side_by_side(source, [(first_name(original), source)])


# --- whose is what -----------------------------------------------------------------------------------


def _entries(folder: Path, roster: Roster | None) -> list[_Entry]:
    paths = _visible(folder, roster)
    if own := [path.name for path in paths if path.name in COMPOSE_FILES]:
        raise UsageError(
            f"{folder} holds a {own[0]}: it is one submission, not a folder of submissions.",
            f"Give the folder around it; or grade this one:\n    python -m grader EXERCISE --submission {folder}",
        )
    repositories = [path.name for path in paths if os.path.exists(path / ".git")]
    others = [path.name for path in paths if path.name not in repositories]
    assignment = assignment_of(folder.resolve().name, repositories, others)
    entries = [
        _Entry(path, is_folder, owner_of(path.name, is_folder=is_folder, assignment=assignment))
        for path in paths
        for is_folder in (os.path.isdir(path),)
    ]
    if len(entries) == 1 and entries[0].is_folder and _is_wrapped(entries[0]):
        raise UsageError(
            f"The submissions are not in {folder}, but in {entries[0].path}.",
            f"Give that folder:\n    python -m grader batch EXERCISE {entries[0].path}",
        )
    # No place gives one number to two files: these names only look like a place's.
    serials = Counter((each.owner.id, each.owner.serial) for each in entries if each.owner.serial)
    return [
        _Entry(each.path, each.is_folder, plain(each.path.name, is_folder=each.is_folder))
        if serials[each.owner.id, each.owner.serial] > 1
        else each
        for each in entries
    ]


def _visible(folder: Path, roster: Roster | None) -> list[Path]:
    """What lies in ``folder`` and is not hidden, nor junk, nor the roster."""
    if not os.path.exists(folder):
        raise UsageError(
            f"There is no folder {folder}.", "Give the folder of submissions, with a folder, archive or file of each."
        )
    if not os.path.isdir(folder):
        fix = "Give the folder that it lies in, with a folder, archive or file of each student."
        if with_suffix(folder.name, ARCHIVES):
            fix = f"Unpack it first, and give the folder:\n    unzip -d submissions {folder}"
        raise UsageError(f"{folder} is not a folder.", fix)
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in _JUNK)
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}.", "See that you may read it.") from error
    paths = [path for path in paths if not (roster and _same(path, roster.path))]
    if not paths:
        raise UsageError(f"{folder} is empty.", "Put a folder, an archive or a compose file of each student into it.")
    return paths


def _same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False


def _is_wrapped(entry: _Entry) -> bool:
    """Whether the only entry is no submission, but the folder that all of them lie in."""
    if entry.owner.place is not Place.PLAIN:
        return False
    with suppress(OSError):
        return any(owner_of(path.name).place is not Place.PLAIN for path in entry.path.iterdir())
    return False


def _grouped(entries: Iterable[_Entry]) -> dict[str, list[_Entry]]:
    groups: dict[str, list[_Entry]] = {}
    for entry in entries:
        groups.setdefault(folded(entry.owner.key), []).append(entry)
    return groups


def _of_one_student(entries: Sequence[_Entry]) -> list[_Entry]:
    """What of ``entries`` is to be graded: all of it, together.

    Raises:
        UsageError: they are two submissions.
    """
    # What the place adds says something only where nothing else does.
    kept = [each for each in entries if not each.owner.aside] or list(entries[:1])
    together = all(each.owner.original and each.owner.place is not Place.PLAIN for each in kept)
    if len(kept) > 1 and not together:
        names = "\n".join(f"    {each.path}" for each in kept)
        raise UsageError(
            f"More than one submission is called {kept[0].owner.key!r}, and only one of them can be graded:\n{names}",
            "Move the others out of this folder, or rename them if they are somebody else's.",
        )
    return kept


def _key(entries: Sequence[_Entry]) -> str:
    return entries[0].owner.key


def _matched(of_students: Iterable[Sequence[_Entry]], roster: Roster | None) -> dict[str, Row]:
    """Key -> row of the roster."""
    rows: dict[str, Row] = {}
    of_row: dict[int, Path] = {}
    for same in of_students if roster else ():
        assert roster
        row = roster.row_of(same[0].owner, [each.path.name for each in same])
        if row is None:
            continue
        if other := of_row.get(row.line):
            who = f"{row.name or row.owner.name!r}, line {row.line} of the roster {roster.path}"
            raise UsageError(
                f"Two submissions belong to {who}:\n    {other}\n    {same[0].path}",
                "Move one of them out of this folder; or, if they are of two students, say in a column "
                '"submission" of the roster whose is which.',
            )
        of_row[row.line] = same[0].path
        rows[_key(same)] = row
    return rows


def _handin(entries: Sequence[_Entry], row: Row | None, names: Mapping[str, int]) -> HandIn:
    owner, sources = entries[0].owner, tuple(each.path for each in entries)
    # Where all are graded blindly, all are called the same.
    name = owner.name if names[owner.name] == 1 else f"{owner.name} {owner.id}".strip()
    return HandIn(
        student=Student(
            key=owner.key,
            name=_shown((row and row.name) or name) or owner.key,
            id=owner.id or (row.id if row else ""),
            roster=row.cells if row else {},
        ),
        sources=sources,
        handed_in_at=row.submitted_at if row else None,
        modified_at=_modified(sources),
    )


def _shown(name: str) -> str:
    """In one line, and harmless wherever it is written: a disk takes bytes for names, of whatever kind."""
    return " ".join(printable(name).split())


def _nothing_from(row: Row) -> HandIn:
    owner = row.owner
    return HandIn(
        Student(owner.key, _shown(row.name or owner.name) or owner.key, row.id, row.cells), (), row.submitted_at
    )


def _all_different(handins: Iterable[HandIn]) -> None:
    seen: dict[str, HandIn] = {}
    for handin in handins:
        other = seen.setdefault(folded(handin.student.key), handin)
        if other is not handin:
            raise UsageError(
                f"The roster has {handin.student.name!r} twice, or somebody who cannot be told apart from them.",
                'Take one row out, or give each an id; or say in a column "submission" whose is which.',
            )


def _modified(sources: Sequence[Path]) -> datetime | None:
    times = [time for source in sources for time in _times(source)]
    with suppress(ValueError, OverflowError, OSError):  # an archive may give a file any time, and a year 10000
        return datetime.fromtimestamp(max(times), UTC)
    return None


def _times(source: Path) -> Iterator[float]:
    """When the files of ``source`` were last modified; a folder, which is when it was unpacked, counts if empty."""
    found = False
    for top, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name not in _JUNK]
        for name in names:
            if name not in _JUNK:
                with suppress(OSError):
                    yield os.lstat(os.path.join(top, name)).st_mtime
                    found = True
    if not found:
        with suppress(OSError):
            yield source.stat().st_mtime


# --- reading it --------------------------------------------------------------------------------------


def _in_folder(source: Path) -> list[File]:
    try:
        inside = [path for path in source.iterdir() if path.name not in _JUNK and not path.name.startswith("._")]
        archives = [path for path in inside if with_suffix(path.name, ARCHIVES) and _is_plain_file(path)]
    except OSError:
        return unpack.read(source)  # which says why
    if len(archives) != 1:
        return _one_of(source, archives, unpack.read(source))
    if inside == archives:
        return unpack.read(archives[0])
    beside = [file for file in unpack.read(source) if str(file.path) != archives[0].name]
    return _together(source, unpack.read(archives[0]), beside)


def _is_plain_file(path: Path) -> bool:
    # A link may lead out of the submission: it is looked at where all are.
    return stat.S_ISREG(path.lstat().st_mode)


def _named(sources: Sequence[Path]) -> list[tuple[str, Path]]:
    """The name that each file had when it was handed in."""
    originals = [owner_of(source.name).original or source.name for source in sources]
    first = Counter(map(first_name, originals))
    # What two files would be called was not their name.
    names = [first_name(name) if first[first_name(name)] == 1 else name for name in originals]
    return list(zip(names, sources, strict=True))


def _side_by_side(source: Path, named: Sequence[tuple[str, Path]]) -> list[File]:
    """Files that lie in one folder, under other names; ``source`` is what they are called together."""
    archives = [(name, path) for name, path in named if with_suffix(name, ARCHIVES)]
    loose = [each for each in named if each not in archives] if len(archives) == 1 else named
    found = unpack.read_loose(source, loose) if loose else []
    if len(archives) == 1:
        return _together(source, unpack.read(archives[0][1]), found)
    return _one_of(source, [path for _, path in archives], found)


def _one_of(source: Path, archives: Sequence[Path], found: list[File]) -> list[File]:
    """``found``, if that is more than several archives."""
    if len(archives) > 1 and len(found) <= len(archives):
        names = ", ".join(repr(path.name) for path in sorted(archives))
        raise SubmissionError(
            f"{source} holds several archives, and only one can be graded: {names}.", "Hand in one archive only."
        )
    return found


def _together(source: Path, unpacked: Sequence[File], beside: Sequence[File]) -> list[File]:
    """What was in an archive, and what lay beside it."""
    found = {file.path: file for file in _unwrapped(unpacked)}
    for file in beside:
        other = found.setdefault(file.path, file)
        if other.content != file.content:
            raise SubmissionError(
                f"{source} has {str(file.path)!r} twice: in an archive and beside it, and they differ.",
                "Hand in only the one that is to be graded.",
            )
    return [found[path] for path in sorted(found)]


def _unwrapped(found: Sequence[File]) -> list[File]:
    """Without the folders around everything, if a compose file lies in them: beside other files they would stay."""
    if any(file.path.name in COMPOSE_FILES for file in found):
        while len({file.path.parts[0] for file in found}) == 1 and all(len(file.path.parts) > 1 for file in found):
            found = [File(PurePosixPath(*file.path.parts[1:]), file.content, file.executable) for file in found]
    return list(found)
