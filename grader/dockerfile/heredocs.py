"""Which heredocs begin in a line: heredocsFromLine of parser/parser.go."""

from __future__ import annotations

import re

from grader.dockerfile.problem import UNCLEAR, Refused
from grader.dockerfile.variables import Lexer, Scope, Unresolved


def heredocs(line: str, number: int) -> list[tuple[str, bool]]:
    """The last line of each heredoc that begins in ``line``, and whether tabs before it do not count.

    Args:
        number: of the line.

    Raises:
        Refused: BuildKit's versions, which treat variables and escapes differently, would find different ones.
    """
    variants = {
        tuple(word for word in _words(line, number, new, modifiers) if re.fullmatch("[0-9]*<<-?[^<]+", word))
        for new in (True, False)
        for modifiers in (True, False)
    }
    if len(variants) > 1:
        raise Refused(number, "<<", UNCLEAR, "Keep variables and backslashes out of a line with a heredoc.")
    return [_heredoc(word, number) for word in variants.pop()]


def _words(line: str, number: int, new: bool, modifiers: bool) -> list[str]:
    lexer = Lexer(line, Scope(), "\\", number, raw_quotes=True, raw_escapes=new, skip_unset=new, modifiers=modifiers)
    try:
        return lexer.words()
    except Unresolved:
        return []  # An error is ignored, and there are no heredocs: a quote without its partner.


def _heredoc(word: str, number: int) -> tuple[str, bool]:
    found = re.fullmatch(r"[0-9]*<<(-?)(['\"]?)([A-Za-z_][A-Za-z0-9_.-]*)\2", word)
    if found is None:
        raise Refused(number, word, UNCLEAR, "Name the end of a heredoc with letters: <<EOF.")
    return found[3], found[1] == "-"
