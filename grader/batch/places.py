"""Whose a submission is, as far as the name says that a place of the class has given it; and names for files.

Where the forms come from:
    Moodle, "Download all submissions"    mod/assign/classes/downloader.php; up to 4.0 mod/assign/locallib.php
    Canvas, "Download Submissions"        lib/content_zipper.rb, app/models/attachment.rb
    GitHub Classroom                      github/gh-classroom: clone student-repos
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import takewhile

MAX_KEY = 100  # bytes; file systems end at 255, and suffixes follow
ARCHIVES = (
    *(".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar", ".zip"),
    *(".7z", ".rar", ".gz", ".bz2", ".xz", ".tar.zst", ".zst"),  # not readable, which is said when they are read
)
COMPOSE = (".yml", ".yaml")


class Place(Enum):
    """Where a submission was handed in."""

    PLAIN = auto()
    MOODLE = auto()
    CANVAS = auto()
    GITHUB = auto()


@dataclass(frozen=True)
class Owner:
    """Whose a submission is.

    Attributes:
        name: as the place has written it.
        id: what the place knows the student by; empty where it says none.
        original: what the file was called before the place renamed it; empty if it did not, or for a folder.
        serial: the place's number of that one file; empty if there is none.
        aside: something that the place adds to what was handed in, such as a text typed into a form.
    """

    place: Place
    name: str
    id: str = ""
    original: str = ""
    serial: str = ""
    aside: bool = False

    @property
    def key(self) -> str:
        """Names the student's files in the results, whoever else is in the class."""
        # Two students have the same name often, and Canvas has cut it down to lower-case letters.
        has_number = self.id and self.place in (Place.MOODLE, Place.CANVAS)
        # Canvas's anonymous ids differ by case alone; file names must not.
        differs = self.id if self.id != self.id.lower() and has_number else ""
        return file_safe(f"{self.name}_{self.id}" if has_number else self.name, differs)


# A student's name has no underscore there; a group that has none of its own has no number.
_MOODLE = re.compile(
    r"(?P<name>.+?)(?:_(?P<id>\d+))?_assignsubmission_(?P<kind>[a-z0-9]+)(?:_(?P<file>.*))?", re.DOTALL
)
# Of a name only letters, digits and underscores are left; a number has no zero in front. Once all was in lower case.
_WORD = r"[^\s\x00-/:-@\[-^`{-\x7f]"
_FILE = r"(?P<serial>[1-9]\d*)_(?P<file>.+)"
_CANVAS = re.compile(
    rf"(?P<name>{_WORD}+?)(?:_(?:LATE|late))?_(?P<id>[1-9]\d*)_(?:{_FILE}|(?:text|link)\.html)", re.DOTALL
)
_ANONYMOUS = re.compile(
    rf"(?:(?:LATE|late)_)?(?P<name>anon)_(?P<id>[A-Za-z0-9]{{5}})_(?:{_FILE}|(?:text|link)\.html)", re.DOTALL
)


def owner_of(entry: str, *, is_folder: bool = False, assignment: str = "") -> Owner:
    """Whose ``entry`` of a folder of submissions is.

    Args:
        assignment: what GitHub Classroom has put before each user name; see ``assignment_of``.
    """
    if found := _MOODLE.fullmatch(entry):
        original = "" if is_folder else found["file"] or ""
        return Owner(Place.MOODLE, found["name"], found["id"] or "", original, aside=found["kind"] != "file")
    if found := _ANONYMOUS.fullmatch(entry) or _CANVAS.fullmatch(entry):
        original = "" if is_folder else found["file"] or ""
        return Owner(Place.CANVAS, found["name"], found["id"], original, found["serial"] or "", not found["file"])
    if is_folder and assignment and entry.startswith(assignment) and entry != assignment:
        name = entry.removeprefix(assignment)
        return Owner(Place.GITHUB, name, name)
    return plain(entry, is_folder=is_folder)


def plain(entry: str, *, is_folder: bool = False) -> Owner:
    """Whose ``entry`` is if it is simply called like the student."""
    known = without_suffix(entry)
    return Owner(Place.PLAIN, entry if is_folder else known if known != entry else os.path.splitext(entry)[0])


def assignment_of(folder: str, repositories: Sequence[str], others: Sequence[str]) -> str:
    """What GitHub Classroom has put before each user name, with the hyphen; empty if it was not there.

    Args:
        folder: the name of the folder of submissions, ``ASSIGNMENT-submissions`` if its tool made it.
        repositories: names of the entries that are Git repositories.
        others: names of the other entries.
    """
    if folder.endswith("-submissions"):
        return folder.removesuffix("submissions")
    if others or len(repositories) < 2:
        return ""
    parts = [name.split("-")[:-1] for name in repositories]
    same = takewhile(lambda part: len(set(part)) == 1, zip(*parts, strict=False))
    return "".join(f"{part[0]}-" for part in same)


def without_suffix(name: str) -> str:
    """``name`` without the end that says it is an archive or a compose file; a dot in a name is no such end."""
    return name.removesuffix(with_suffix(name, (*ARCHIVES, *COMPOSE)))


def with_suffix(name: str, suffixes: Sequence[str]) -> str:
    """The longest of ``suffixes`` that ``name`` ends with, as it is written there; empty if it has none of them."""
    ends = (end for end in suffixes if name.lower().endswith(end) and len(name) > len(end))
    length = max(map(len, ends), default=0)
    return name[len(name) - length :]


# Canvas puts a number behind a name that the student has handed in before, once behind the last dot but one, and from
# the eighth time on something random.
_AGAIN = re.compile(
    r"-(?:\d{1,2}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?P<suffixes>(?:\.[A-Za-z][A-Za-z0-9]*)*)\Z"
)


def first_name(original: str) -> str:
    """What a file was called when it was handed in for the first time."""
    found = _AGAIN.search(original)
    return original[: found.start()] + found["suffixes"] if found else original


def folded(text: str) -> str:
    """The same for all that people, and file systems that do not tell A from a, take for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


# What Windows keeps for itself, whatever stands behind a dot.
_RESERVED = re.compile(r"(?i:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\..*)?", re.DOTALL)
_HARMLESS = frozenset(" _-.,@+()'")


def file_safe(name: str, differs: str = "") -> str:
    """``name`` as a name of a file on Linux, macOS and Windows, letters of every script kept.

    Names that differ, by more than case, stay different: where something had to go, a short sum of all of it is added.

    Args:
        differs: what else has to make a difference.
    """
    text = unicodedata.normalize("NFC", name)
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" or c in _HARMLESS else "_" for c in text)
    kept = _cut(kept.lstrip(" .-"), MAX_KEY).rstrip(" .")
    if not kept or _RESERVED.fullmatch(kept):
        kept = f"_{kept}"
    if kept == text and not differs:
        return kept
    digest = hashlib.sha256(f"{folded(name)}\0{differs}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_cut(kept, MAX_KEY - 9)}-{digest}"


def _cut(text: str, size: int) -> str:
    return text.encode("utf-8", "surrogatepass")[:size].decode("utf-8", "ignore")
