"""Lines become instructions with flags and arguments: parser/split_command.go and parser/line_parsers.go."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from grader.dockerfile.heredocs import heredocs
from grader.dockerfile.lines import SPACE, Lines, Piece
from grader.dockerfile.problem import UNCLEAR, Refused

WITH_HEREDOCS = frozenset({"add", "copy", "run"})
_GAP = "[\t\v\f\r ]+"


@dataclass(frozen=True)
class Flag:
    """``--name=value``: one character for each byte, as Latin-1 has them, since BuildKit may cut one in two.

    Attributes:
        line: where it is written, from 1.
        value: None without an equals sign.
        at: where in the file each byte of the value lies.
    """

    line: int
    name: str
    value: str | None
    at: Sequence[int]

    @property
    def text(self) -> str:
        """How it is written, but for quotes."""
        if self.value is None:
            return f"--{self.name}"
        return f"--{self.name}={self.value.encode('latin-1').decode('utf-8', 'replace')}"


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        line: where it begins, from 1.
        name: in small letters; what stands there, known or not.
        rest: what follows the flags.
        escape: the escape character of the file.
        wrapped: what an ONBUILD puts off.
    """

    line: int
    name: str
    flags: list[Flag]
    rest: Piece
    escape: str
    wrapped: Instruction | None = None

    @property
    def arguments(self) -> list[str]:
        """What stands behind ADD, COPY or FROM: a list in JSON, or words between white space.

        Raises:
            Refused: something follows the list.
        """
        strings = _strings(self.rest.text, self.line) if self.name != "from" else None
        return re.split(_GAP, self.rest.text) if strings is None else strings

    @property
    def declarations(self) -> list[tuple[str, str | None]]:
        """Names and defaults of ARG: parseNameOrNameVal."""
        words = [word.partition("=") for word in _words(self.rest.text, self.escape)]
        return [(name, default if equals else None) for name, equals, default in words]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Names and values of ENV and LABEL, in both of their forms: parseNameVal."""
        words = _words(self.rest.text, self.escape)
        if words and "=" not in words[0]:
            name, *value = re.split(_GAP, self.rest.text, maxsplit=1)
            return [(name, value[0] if value else "")]
        return [(name, value) for name, _, value in (word.partition("=") for word in words)]

    @property
    def can_have_heredocs(self) -> bool:
        core = self.wrapped or self
        return core.name in WITH_HEREDOCS and _strings(core.rest.text, self.line) is None


def read(data: bytes) -> Iterator[Instruction]:
    """The instructions of a Dockerfile in UTF-8: Parse of parser/parser.go.

    Raises:
        Refused: what follows cannot be read for certain.
    """
    lines = Lines(data)
    for number, line in lines.logical():
        instruction = _split(line, number, lines)
        if b"<<" in line.data and instruction.can_have_heredocs:
            for ending, chomp in heredocs(line.text, number):
                lines.skip_heredoc(ending, chomp, number)
        yield instruction


def _split(line: Piece, number: int, lines: Lines) -> Instruction:
    """Name, flags and the rest of an instruction: splitCommand."""
    line = line.stripped()
    gap = re.search(_GAP.encode(), line.data)
    name = line.part(0, gap.start() if gap else None).text.lower()
    flags, rest = _flags(line.part(gap.end()), lines) if gap else ([], line.part(len(line.data)))
    instruction = Instruction(number, name, flags, rest.stripped(), lines.escape)
    # One level only, as ONBUILD ONBUILD is an error.
    if name == "onbuild" and instruction.rest.data and not _is_onbuild(instruction.rest):
        return replace(instruction, wrapped=_split(instruction.rest, number, lines))
    return instruction


def _is_onbuild(rest: Piece) -> bool:
    return re.match(rb"(?i)onbuild([\t\v\f\r ]|\Z)", rest.data) is not None


def _flags(line: Piece, lines: Lines) -> tuple[list[Flag], Piece]:
    """The flags at the beginning, and what follows: extractBuilderFlags, byte by byte as it does it.

    Quotes are taken off and the backslash escapes, whatever ``# escape=`` says.
    """
    found: list[Flag] = []
    data, position = line.data, 0
    while position < len(data):
        if _is_space(data[position]):
            position += 1
            continue
        if data[position : position + 2] != b"--":
            return found, line.part(position)
        word, end = _flag_word(line, position)
        if word.data == b"--":
            return found, line.part(end)
        found.append(_flag(word, lines.line_of(line.at[position])))
        position = end
    return found, line.part(len(data))


def _is_space(byte: int) -> bool:
    return chr(byte) in SPACE


def _flag_word(line: Piece, position: int) -> tuple[Piece, int]:
    """A flag without its quotes, and the position behind it."""
    data, kept, quote = line.data, list[int](), 0
    while position < len(data):
        byte = data[position]
        if not quote and _is_space(byte):
            break
        if byte == quote:
            quote = 0
        elif not quote and byte in b"'\"":
            quote = byte
        elif byte == ord("\\"):
            position += 1
            kept += [position] if position < len(data) else []
        else:
            kept.append(position)
        position += 1
    word = Piece(bytes(data[place] for place in kept), [line.at[place] for place in kept])
    return word, min(position, len(data))


def _flag(word: Piece, line: int) -> Flag:
    name, equals, value = word.data.decode("latin-1").removeprefix("--").partition("=")
    return Flag(line, name, value if equals else None, word.at[len(word.data) - len(value) :])


def _strings(text: str, number: int) -> list[str] | None:
    """The strings of a list in JSON; None if it is something else.

    Raises:
        Refused: something follows the list, which versions up to 0.12 at least ignore, and newer ones do not.
    """
    if not text.startswith("["):
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in value):
        return None
    if end < len(text):
        raise Refused(number, text[:end], UNCLEAR, "Write nothing behind the list.")
    return list(value)


def _words(text: str, escape: str) -> list[str]:
    """The words of ARG, ENV and LABEL, with their quotes: parseWords."""
    words: list[str] = []
    word, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        if not quote and character in SPACE:
            words += [word] if word else []
            word = ""
        elif character == escape and quote != "'":
            if position + 1 < len(text):
                word += text[position : position + 2]
                position += 1
        else:
            word += character
            if character == quote:
                quote = ""
            elif not quote and character in "'\"":
                quote = character
        position += 1
    return words + ([word] if word else [])
