"""What a spreadsheet takes for a formula (OWASP, "CSV Injection")."""

from __future__ import annotations

import csv
import io


def read(text: str, separator: str = ",") -> list[dict[str, str]]:
    """The rows of a table."""
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=separator, strict=True))


def is_formula(cell: str) -> bool:
    """Whether opening the table would do something, a number apart."""
    try:
        float(cell)
    except ValueError:
        return cell.lstrip()[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20") or cell[:1] in ("\t", "\r", "\n")
    return False


def cells_split_at(text: str, separator: str) -> list[str]:
    """The cells that appear where a spreadsheet splits at another character, without regard to quotes."""
    return [cell for line in text.splitlines() for cell in line.split(separator)[1:]]
