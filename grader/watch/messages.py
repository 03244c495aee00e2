"""What the session and its workers say to each other: one JSON object in a line."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from grader.results import CheckResult, Report


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Work(StrEnum):
    """What a worker can be asked to do."""

    LOOK = "look"  # what can be said at once
    PREPARE = "prepare"  # bring the running stack up to date, for the next look
    GRADE = "grade"  # everything, on a stack of its own


class Job(_Frozen):
    """Something to do.

    Attributes:
        round: which save it is about; what is said of it carries the same number.
        first: with LOOK, the checks to try before all others on the running stack.
    """

    work: Work
    round: int
    first: tuple[str, ...] = ()


class Stage(_Frozen):
    """A stage of the work has begun."""

    kind: Literal["stage"] = "stage"
    round: int
    text: str


class Checked(_Frozen):
    """A check has its verdict.

    Attributes:
        running: it was made on the running stack, so that the grading from scratch may still say otherwise.
    """

    kind: Literal["checked"] = "checked"
    round: int
    result: CheckResult
    running: bool = False


class Reported(_Frozen):
    """The report of a static grading (``final`` is False), or of one from scratch."""

    kind: Literal["reported"] = "reported"
    round: int
    report: Report
    final: bool


class Problem(_Frozen):
    """There is no verdict, for this reason."""

    kind: Literal["problem"] = "problem"
    round: int
    what: str
    fix: str = ""


class Done(_Frozen):
    """The job is done, or was given up for the next."""

    kind: Literal["done"] = "done"
    round: int
    work: Work


Message = Stage | Checked | Reported | Problem | Done
_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def read(line: str) -> Message:
    """A message from its line.

    Raises:
        ValueError: it is none.
    """
    return _MESSAGES.validate_json(line)
