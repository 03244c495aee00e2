"""Who is in the class."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Student:
    """One student.

    Attributes:
        key: names the student's files in the results: unique in the class, in any script, and safe on every system.
        name: as people write it.
        id: what the place of the class knows the student by (Canvas's user id, Moodle's identifier, GitHub's user
            name); empty if it is not known.
        roster: the student's row of the roster, column -> cell; empty if there is no roster.
    """

    key: str
    name: str
    id: str = ""
    roster: dict[str, str] = field(default_factory=dict)
