"""The bytes of a Dockerfile become lines, as in parser/parser.go and parser/directives.go.

Directives, comments and heredocs are taken out, continued lines are joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grader.dockerfile.problem import UNCLEAR, Refused

# Go's unicode.IsSpace; str.isspace() has four control characters more.
SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
BOM = "\ufeff"


@dataclass(frozen=True)
class Piece:
    """Some bytes of the file, not always whole characters.

    Attributes:
        data: the bytes; continued lines are joined.
        at: where in the file each of them lies.
    """

    data: bytes
    at: Sequence[int]

    def part(self, start: int, stop: int | None = None) -> Piece:
        return Piece(self.data[start:stop], self.at[start:stop])

    def left_stripped(self) -> Piece:
        return self.part(len(self.data) - _size(_characters(self.data).lstrip(SPACE)))

    def stripped(self) -> Piece:
        right = self.part(0, _size(_characters(self.data).rstrip(SPACE)))
        return right.left_stripped()

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


def _characters(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _size(characters: str) -> int:
    return len(characters.encode("utf-8", "surrogateescape"))


def directive(line: str, mark: str = "#") -> tuple[str, str] | None:
    """Name and value of a parser directive, ``# name = value``, whatever the name; None if it is something else.

    Args:
        line: without white space before it.
        mark: ``#`` or ``//``.
    """
    if not line.startswith(mark):
        return None
    found = re.match(
        r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*\Z", line.removeprefix(mark).lstrip(SPACE)
    )
    return (found[1].lower(), found[2]) if found else None


class Lines:
    """The lines of a file, one after the other.

    Attributes:
        escape: the character that continues a line, as ``# escape=`` sets it.
    """

    def __init__(self, data: bytes) -> None:
        self.escape = "\\"
        self._data = data
        self._number = 0
        self._place = len(BOM.encode()) if data.startswith(BOM.encode()) else 0
        self._directives: list[str] | None = []  # None: from here on, they are comments.

    def line_of(self, place: int) -> int:
        """The number of the line in which this byte of the file lies, from 1."""
        return self._data.count(b"\n", 0, place) + 1

    def logical(self) -> Iterator[tuple[int, Piece]]:
        """Each line with an instruction, joined with those that continue it, and the number of the first.

        Raises:
            Refused: a directive is unclear.
        """
        while (line := self._next()) is not None:
            body = line.left_stripped()
            if self._is_directive(body.text) or body.data.startswith(b"#"):
                continue
            number = self._number
            body, more = self._continued(body)
            if body.data or more:
                yield number, self._joined(body, more)

    def skip_heredoc(self, ending: str, chomp: bool, begin: int) -> None:
        """Goes on behind the line ``ending``.

        Args:
            chomp: tabs before ``ending`` do not count.
            begin: the number of the line with the ``<<``.

        Raises:
            Refused: there is no such line.
        """
        while (line := self._next()) is not None:
            if (line.data.lstrip(b"\t") if chomp else line.data) == ending.encode():
                return
        raise Refused(begin, f"<<{ending}", f"No line says {ending} and nothing else.", f"End it with {ending}.")

    def _next(self) -> Piece | None:
        """The next line as it is written, without its end."""
        if self._place >= len(self._data):
            return None
        end = self._data.find(b"\n", self._place)
        end = len(self._data) if end < 0 else end + 1
        line = self._data[self._place : end].rstrip(b"\r\n")
        piece = Piece(line, range(self._place, self._place + len(line)))
        self._place = end
        self._number += 1
        return piece

    def _is_directive(self, line: str) -> bool:
        """Whether this is one of the directives at the top; keeps what ``# escape=`` says."""
        if self._directives is None:
            return False
        name, value = directive(line) or ("", "")
        if name not in ("syntax", "escape", "check"):
            self._directives = None
            return False
        if name in self._directives:
            raise Refused(self._number, f"# {name}=", "It stands twice.", "Write it once.")
        if name == "escape":
            self._set_escape(value, self._directives)
        self._directives.append(name)
        return True

    def _set_escape(self, value: str, before: list[str]) -> None:
        if value not in ("\\", "`"):
            raise Refused(self._number, f"# escape={value}", "There are only \\ and `.", "Remove the line.")
        if value == "`" and "check" in before:  # To versions before 0.15, # check= is a comment that ends directives.
            raise Refused(self._number, "# check= before # escape=", UNCLEAR, "Write # escape= first.")
        self.escape = value

    def _continued(self, line: Piece) -> tuple[Piece, bool]:
        """The line without the escape character at its end, and whether there was one."""
        body, escape = line.data.rstrip(b" \t"), self.escape.encode()
        if body.endswith(escape) and not body.endswith(escape * 2):
            return line.part(0, len(body) - 1), True
        return line, False

    def _joined(self, body: Piece, more: bool) -> Piece:
        """A line together with those that continue it; comments and empty lines among them do not count."""
        data, at = [body.data], list(body.at)
        while more and (line := self._next()) is not None:
            content = line.left_stripped().data
            if content and not content.startswith(b"#"):
                line, more = self._continued(line)
                data.append(line.data)
                at += line.at
        return Piece(b"".join(data), at)
