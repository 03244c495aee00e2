"""Variables, and what a word becomes once they are put in: shell/lex.go."""

from __future__ import annotations

from dataclasses import dataclass, field

from grader.dockerfile.lines import BOM, SPACE
from grader.dockerfile.problem import Refused

MAX_DEPTH = 20
MAX_VALUE = 4096


class Unresolved(Exception):
    """What a word becomes is not known, or BuildKit refuses it."""


@dataclass
class Scope:
    """The variables at one place of the file.

    Attributes:
        values: those whose value is known.
        doubtful: those whose value is not.
        blank: those that ARG names without giving them a value.
        open: there may be others, from the image.
    """

    values: dict[str, str] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    blank: set[str] = field(default_factory=set)
    open: bool = False

    def get(self, name: str) -> str | None:
        """The value; None if it is certain that there is none.

        Raises:
            Unresolved: neither is known.
        """
        if name in self.doubtful or (self.open and name not in self.values):
            raise Unresolved
        return self.values.get(name)

    def set(self, name: str, value: str) -> None:
        self.values[name] = value
        self.doubtful.discard(name)
        self.blank.discard(name)

    def doubt(self, name: str) -> None:
        """It may have any value, or none."""
        self.values.pop(name, None)
        self.doubtful.add(name)

    def forget(self) -> None:
        """Anything may be set to anything."""
        self.values, self.open = {}, True

    def copy(self) -> Scope:
        return Scope(dict(self.values), set(self.doubtful), set(self.blank), self.open)


def expanded(word: str, scope: Scope, escape: str, line: int) -> str | None:
    """What ``word`` becomes; None if that is not known.

    Args:
        escape: the escape character of the file.
        line: where it is written.

    Raises:
        Refused: it is nested too deeply.
    """
    try:
        return Lexer(word, scope, escape, line).word()
    except Unresolved:
        return None


class Lexer:
    """Takes off quotes and puts in variables, once: either ``word`` or ``words``.

    Both raise ``Unresolved`` if the result is not known, ``Refused`` if the text is nested too deeply.

    Args:
        line: where it is written.
        raw_quotes: quotes stay, as with Go's ``RawQuotes``. Without it, a variable that is not set is ``Unresolved``.
        raw_escapes: escape characters stay, as with ``RawEscapes``.
        skip_unset: variables that are not set stay as they are written, as with ``SkipUnsetEnv``.
        modifiers: whether ``${x#…}``, ``${x%…}`` and ``${x/…}`` are known, as they are to newer versions.
    """

    def __init__(
        self,
        text: str,
        scope: Scope,
        escape: str,
        line: int,
        *,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        skip_unset: bool = False,
        modifiers: bool = True,
    ) -> None:
        self._text = text.removeprefix(BOM)  # As Go's text/scanner does.
        self._scope, self._escape, self._line = scope, escape, line
        self._raw_quotes, self._raw_escapes = raw_quotes, raw_escapes
        self._skip_unset, self._modifiers = skip_unset, modifiers
        self._strict = not raw_quotes
        self._position = self._depth = self._length = 0

    def word(self) -> str:
        """The text as one word."""
        return self._until("")[0]

    def words(self) -> list[str]:
        """The words between white space."""
        return self._until("")[1]

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _next(self) -> str:
        character = self._peek()
        self._position += 1
        return character

    def _until(self, stop: str) -> tuple[str, list[str]]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Refused(self._line, "${", "It is nested too deeply.", "Write it in a simpler way.")
        result: list[str] = []
        words = _Words()
        while character := self._peek():
            if character == stop:
                self._position += 1
                break
            found, raw = self._step(character)
            result.append(found)
            words.add(found, raw=raw)
        else:
            if stop:
                raise Unresolved
        self._depth -= 1
        return "".join(result), words.all()

    def _step(self, character: str) -> tuple[str, bool]:
        """What the next characters become, and whether white space in it is a part of the word."""
        match character:
            case "'":
                return self._single(), True
            case '"':
                return self._double(), True
            case "$":
                return self._dollar(), False
            case self._escape:
                self._position += 1
                return (character if self._raw_escapes else "") + self._next(), True
            case _:
                return self._next(), False

    def _single(self) -> str:
        start = self._position
        end = self._text.find("'", start + 1)
        if end < 0:
            raise Unresolved
        self._position = end + 1
        return self._text[start : end + 1] if self._raw_quotes else self._text[start + 1 : end]

    def _double(self) -> str:
        self._position += 1
        quote = '"' if self._raw_quotes else ""
        result = [quote]
        while character := self._peek():
            if character == "$":
                result.append(self._dollar())
                continue
            self._position += 1
            if character == '"':
                return "".join(result) + quote
            if character == self._escape:
                if self._raw_escapes:
                    result.append(character)
                if self._peek() in ('"', "$", self._escape):
                    character = self._next()
            result.append(character)
        raise Unresolved

    def _dollar(self) -> str:
        self._position += 1
        if self._peek() != "{":
            name = self._name()
            return self._plain(name, f"${name}") if name else "$"
        self._position += 1
        if self._peek() in ("", "{", "}", ":"):
            raise Unresolved
        name = self._name()
        modifier = self._next()
        if modifier == "}":
            return self._plain(name, f"${{{name}}}")
        if modifier == "/":
            return self._replaced(name)
        colon = modifier == ":"
        if colon:
            modifier = self._next()
        elif modifier not in ("+", "-", "?", "#", "%"):
            raise Unresolved
        return self._modified(name, colon, modifier)

    def _plain(self, name: str, written: str) -> str:
        value = self._scope.get(name)
        if value is None and self._skip_unset:
            return written
        if value is None and self._strict:
            raise Unresolved
        return self._counted(value or "")

    def _counted(self, value: str) -> str:
        """``value``, unless there are too many of them: ENV A=$A$A doubles."""
        self._length += len(value)
        if self._length > MAX_VALUE:
            raise Unresolved
        return value

    def _inner(self, stop: str, raw: bool) -> str:
        before, self._raw_escapes = self._raw_escapes, raw
        word, _ = self._until(stop)
        self._raw_escapes = before
        return word

    def _modified(self, name: str, colon: bool, modifier: str) -> str:
        pattern = modifier in ("#", "%")
        if pattern and not self._modifiers:
            raise Unresolved
        word = self._inner("}", pattern)
        value = self._scope.get(name)
        if value is None and self._skip_unset:
            return f"${{{name}{':' if colon else ''}{modifier}{word}}}"
        # Older versions take an ARG without a value for set and empty.
        if modifier not in ("+", "-", "?") or (name in self._scope.blank and not colon):
            return self._beyond(pattern)
        unset = value is None or (colon and not value)
        if modifier == "+":
            return "" if unset else word
        if modifier == "?" and unset:
            raise Unresolved
        return word if unset else self._counted(value or "")

    def _replaced(self, name: str) -> str:
        if not self._modifiers:
            raise Unresolved
        every = "/" if self._peek() == "/" else ""
        self._position += len(every)
        pattern, new = self._inner("/", True), self._inner("}", True)
        if self._scope.get(name) is None and self._skip_unset:
            return f"${{{name}/{pattern}/{new}}}"
        return self._beyond(True)

    def _beyond(self, pattern: bool) -> str:
        """Patterns are not followed here; where nothing is set, all of them leave nothing."""
        if self._strict or not pattern:
            raise Unresolved
        return ""

    def _name(self) -> str:
        if self._peek() in tuple("@*#?-$!"):
            return self._next()
        start = self._position
        belongs = str.isdecimal if self._peek().isdecimal() else _is_of_a_name
        while belongs(self._peek()):
            self._position += 1
        return self._text[start : self._position]


def _is_of_a_name(character: str) -> bool:
    return character.isalpha() or character.isdecimal() or character == "_"


class _Words:
    """What Go's Lex splits into words as it goes: wordsStruct."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._word: list[str] = []

    def add(self, text: str, *, raw: bool) -> None:
        """``raw``: white space in it does not end a word."""
        if raw:
            self._word.append(text)
            return
        for character in text:
            if character in SPACE:
                self._end()
            else:
                self._word.append(character)

    def all(self) -> list[str]:
        self._end()
        return self._words

    def _end(self) -> None:
        if word := "".join(self._word):
            self._words.append(word)
        self._word = []
