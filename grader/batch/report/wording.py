"""What the pages say in the same words."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at: str | datetime | None) -> str:
    """A time as people read it, to the minute and with its zone; what is no time as it is."""
    if not at:
        return ""
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            return str(at)
    if at.tzinfo is None or at.utcoffset() == UTC.utcoffset(None):
        return f"{at:%Y-%m-%d %H:%M} UTC"
    return f"{at:%Y-%m-%d %H:%M} {at:%z}"


def plural(number: int, one: str, many: str = "") -> str:
    """``3 students``, ``1 student``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
