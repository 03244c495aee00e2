"""Cells of a CSV file that spreadsheets open and gradebooks import.

A spreadsheet takes a cell that begins with one of ``= + - @`` for a formula, whatever quotes are around it, and a
formula can fetch and run things (OWASP, "CSV Injection"). So there are three kinds of cells:

    text         whatever people have chosen, such as names and messages: an apostrophe makes a formula text
    identifier   what a gradebook looks students up by, which therefore has to stay byte for byte as it is
    number       plain, with a decimal point and without an exponent: never touched, also if negative
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_BEGIN = "=+\\-@\uff1d\uff0b\uff0d\uff20"  # the full-width ones too: some locales take them for the same
_FORMULA = re.compile(rf"\s*[{_BEGIN}]|[\t\r\n]")
# Where commas are for decimals, a spreadsheet splits at semicolons, and quotes within a line protect nothing.
_FORMULA_INSIDE = re.compile(rf"([;,\t\r\n]\s*)(?=[{_BEGIN}])")
_CALLS = re.compile(r"[(|!]")


def text(value: str) -> str:
    """A cell that no spreadsheet takes for a formula, nor any part of it."""
    value = _FORMULA_INSIDE.sub(r"\1'", value)
    return f"'{value}" if _FORMULA.match(value) else value


def identifier(value: str) -> str:
    """``value`` as it is, or nothing if it would be a formula that does something.

    With anything added, no gradebook would find the student, and a number in front of which there is a plus is one
    that a phone has. What a formula needs to do harm, a call or another program's name, no identifier has.
    """
    return "" if _FORMULA.match(value) and _CALLS.search(value) else value


def number(value: float | None) -> str:
    """Without an exponent and superfluous zeros; empty for None."""
    if value is None:
        return ""
    plain = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if plain == "-0" else plain


def one_line(value: str) -> str:
    """Without line ends, for readers that look at lines before they look for quotes."""
    return " ".join(value.split())


def table(rows: Iterable[Sequence[str]]) -> str:
    """CSV as RFC 4180 has it: commas, quotes where they are needed, lines that end in CR LF."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()
