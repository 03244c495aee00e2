"""What an instructor can change without code: points, hidden checks, late policy, time budget, in one TOML file.

out_of = 100                          # scale the score to this; the exercise's own points if left out
time_budget = 120                     # seconds a grading may take

[points]
test_every_probe_works = 3            # instead of the check's own

[hidden]
checks = ["test_postgres_recovers"]   # students learn only whether it passed

[late]
deadline = 2026-11-30T23:59:00+01:00
grace_minutes = 10
per_day = 0.1                         # of what was earned, for each day begun
at_most = 0.5
times = "roster"                      # its column submitted_at; or "files": when they were last modified
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from grader.errors import UsageError
from grader.results import Report


class _Strict(BaseModel):
    # Not strict, ``true`` would be 1 point and "3" a number.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


_Points = Annotated[float, Field(ge=0)]


class Hidden(_Strict):
    """Checks of which students learn only whether they passed."""

    checks: tuple[str, ...] = Field(default=(), strict=False)  # an array is a list


class Late(_Strict):
    """What handing in late costs.

    ``per_day`` and ``at_most`` are shares (0 to 1) of the points earned; a day counts when it has begun.
    """

    deadline: AwareDatetime
    grace_minutes: float = Field(default=0, ge=0)
    per_day: float = Field(ge=0, le=1)
    at_most: float = Field(default=1, ge=0, le=1)
    times: Literal["roster", "files"] = "roster"

    def share(self, handed_in_at: datetime | None) -> float:
        """The share of the points that is taken, 0 to 1; 0 if it is not known when it was handed in."""
        if handed_in_at is None:
            return 0.0
        late = (handed_in_at.astimezone(UTC) - self.deadline.astimezone(UTC)).total_seconds()
        if late <= self.grace_minutes * 60:
            return 0.0
        return min(self.at_most, self.per_day * math.ceil(late / 86_400))


class Rubric(_Strict):
    """What an instructor has changed; nothing if there is no file."""

    out_of: float | None = Field(default=None, gt=0)
    time_budget: float | None = Field(default=None, ge=1)
    points: dict[str, _Points] = {}
    hidden: Hidden = Hidden()
    late: Late | None = None

    def points_of(self, check: str, own: float) -> float:
        """What ``check`` is worth."""
        return self.points.get(check, own)

    def apply(self, report: Report) -> Report:
        """The same report with the rubric's points."""
        checks = [
            check.model_copy(update={"points": self.points_of(check.name, check.points)}) for check in report.checks
        ]
        return report.model_copy(update={"checks": checks})

    def maximum(self, checks: Mapping[str, tuple[str, float]]) -> float:
        """The most that anybody can have, ``checks`` being name -> title and own points."""
        return self.out_of or sum(self.points_of(name, own) for name, (_, own) in checks.items())

    def score(self, report: Report, maximum: float, handed_in_at: datetime | None) -> tuple[float | None, float]:
        """Points in units of ``maximum``, and how many of those earned the late policy took.

        Args:
            report: with the rubric's points. Checks that could not be run there do not count, for or against; if none
                that is worth something could be, there is no score.
        """
        if not report.maximum:
            return None, 0.0
        earned = round(maximum * report.points / report.maximum, 2)
        deducted = round(earned * self.late.share(handed_in_at), 2) if self.late else 0.0
        return round(earned - deducted, 2), deducted


def read(path: Path, checks: Mapping[str, tuple[str, float]]) -> Rubric:
    """The rubric in ``path``.

    Args:
        checks: of the exercise, name -> title and points.

    Raises:
        UsageError: it cannot be read, is no TOML, or says something that is not known or makes no sense.
    """
    try:
        rubric = Rubric.model_validate(tomllib.loads(path.read_bytes().decode("utf-8-sig")))
    except OSError as error:
        raise UsageError(
            f"The rubric {path} cannot be read: {error.strerror}.", "Give the path of a file: --rubric FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The rubric {path} is not written in UTF-8.", "Save it again, in UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The rubric {path} is no TOML: {error}.", "Mend that line.") from error
    except ValidationError as error:
        lines = [f"    {'.'.join(map(str, each['loc']))}: {_in_words(each)}" for each in error.errors()]
        raise UsageError(
            f"The rubric {path} cannot be used:\n" + "\n".join(lines),
            "The README's section for instructors shows what a rubric may say.",
        ) from error
    named = [f"points.{name}" for name in rubric.points if name not in checks]
    named += [f"hidden.checks: {name}" for name in rubric.hidden.checks if name not in checks]
    if named:
        raise UsageError(
            f"The rubric {path} names checks that this exercise does not have: {', '.join(named)}.",
            "Its checks are:\n" + "\n".join(f"    {name}" for name in checks),
        )
    if not any(rubric.points_of(name, own) for name, (_, own) in checks.items()):
        raise UsageError(f"The rubric {path} leaves no points to be earned.", "Give at least one check some.")
    return rubric


# pydantic's kind of error -> what it says of TOML; its own words are of Python.
_WORDS = {
    "missing": "has to be there",
    "extra_forbidden": "is nothing that a rubric has",
    "float_type": "has to be a number",
    "finite_number": "has to be an ordinary number, neither inf nor nan",
    "greater_than": "has to be more than {gt:g}",
    "greater_than_equal": "has to be {ge:g} or more",
    "less_than_equal": "has to be {le:g} or less",
    "string_type": "has to be text, in quotes",
    "tuple_type": 'has to be a list, such as ["one", "another"]',
    "dict_type": "has to be a section, [points]",
    "model_type": "has to be a section with lines of its own",
    "literal_error": "has to be {expected}",
    "datetime_type": "has to be a date with a time and a zone, without quotes: 2026-11-30T23:59:00+01:00",
    "timezone_aware": "has to say its time zone: 2026-11-30T23:59:00+01:00",
}


def _in_words(error: ErrorDetails) -> str:
    words = _WORDS.get(error["type"])
    return words.format(**error.get("ctx", {})) if words else error["msg"]
