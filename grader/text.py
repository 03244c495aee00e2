"""Text that came out of a container, made fit for a terminal and a report."""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# C0 and C1 controls but newline and tab, and the marks that turn the writing direction.
# Newlines that only some programs take for one; surrogates, which cannot be written anywhere.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, limit: int = 2000) -> str:
    """``text`` without escape sequences and control characters, at most ``limit`` characters."""
    clean = _CONTROL.sub("", _ESCAPE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    return clean if len(clean) <= limit else clean[:limit] + " …"


def last_lines(text: str, count: int = 8, width: int = 200) -> list[str]:
    """The last ``count`` lines that say something, each at most ``width`` characters."""
    lines = [line.rstrip() for line in printable(text, limit=len(text) + 1).splitlines()]
    return [line[:width] for line in lines if line][-count:]
