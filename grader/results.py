"""What a grading finds out: a verdict for each check, and the report that holds them all.

The report's JSON form is described by ``grader/report.schema.json``; ``schema_version`` changes its
first number whenever a reader of the old form would be misled by the new one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator, model_validator

from grader.text import printable

SCHEMA_VERSION = "1.0"


class Verdict(StrEnum):
    """What became of one check."""

    PASSED = "passed"
    FAILED = "failed"
    BLOCKED = "blocked"
    NOT_RUN = "not run"
    ERROR = "error"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        """Whatever a submission had a hand in is harmless on a terminal, whoever prints the report."""
        if isinstance(value, str) and not isinstance(value, Verdict):
            return printable(value)
        if isinstance(value, list):
            return [printable(entry) if isinstance(entry, str) else entry for entry in value]
        return value


class CheckResult(_Frozen):
    """One check's verdict and what a student needs to act on it."""

    name: str = Field(description="The check's name, as --only takes it.")
    title: str = Field(description="What the check demands, in the present tense.")
    verdict: Verdict
    points: float = Field(ge=0, description="Points that the check is worth.")
    seconds: float = Field(ge=0, description="How long it took, waiting for its stack not included.")
    message: str = Field(default="", description="What was seen, or why the check could not be made.")
    expected: str = ""
    actual: str = ""
    at: str = Field(default="", description="file:line in the submission.")
    hint: str = ""
    section: str = Field(default="", description="Where the lesson teaches it.")
    reproduce: str = Field(default="", description="A command that shows the same thing.")

    @property
    def earned(self) -> float:
        """The points this check brings."""
        return self.points if self.verdict is Verdict.PASSED else 0.0


class PostMortem(_Frozen):
    """A service that is not well, as it was just before the teardown."""

    service: str
    state: str = Field(description="created, running, restarting, exited … or 'never created'.")
    health: str = Field(default="", description="starting, healthy or unhealthy; empty without a health check.")
    exit_code: int | None = None
    out_of_memory: bool = False
    probe_output: str = Field(default="", description="What its health check printed last.")
    log: list[str] = Field(default_factory=list, description="Its last log lines.")


class Refusal(_Frozen):
    """Something in the submission that must not run on the machine that grades."""

    at: str
    what: str
    why: str
    instead: str


class Report(_Frozen):
    """Everything that one grading found out."""

    schema_version: str = SCHEMA_VERSION
    exercise: str
    title: str
    submission: str
    started_at: str = Field(description="UTC, ISO 8601.")
    checks: list[CheckResult]
    refused: list[Refusal] = Field(default_factory=list, description="If any, nothing was started.")
    start_problem: str = Field(default="", description="Why the stack did not come up whole; empty if it did.")
    services: list[PostMortem] = Field(default_factory=list)
    out_of_time: bool = Field(default=False, description="The time budget ended before the last check.")
    seconds: dict[str, float] = Field(default_factory=dict, description="Wall time of each stage.")
    notes: list[str] = Field(default_factory=list, description="What this machine could not show.")

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, fields: Any) -> Any:
        """What is written down and follows from the rest is not read back."""
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if name not in cls.model_computed_fields}

    @computed_field(description="Points earned.")  # type: ignore[prop-decorator]
    @property
    def points(self) -> float:
        """The sum of what the passed checks are worth."""
        return sum(check.earned for check in self.checks)

    @computed_field(description="Points to be had; checks that were not run do not count.")  # type: ignore[prop-decorator]
    @property
    def maximum(self) -> float:
        """The sum of what every check that counts is worth."""
        return sum(check.points for check in self.checks if check.verdict is not Verdict.NOT_RUN)

    def count(self, verdict: Verdict) -> int:
        """How many checks ended so."""
        return sum(check.verdict is verdict for check in self.checks)

    @property
    def full_marks(self) -> bool:
        """Whether every check that counts has passed, and at least one did."""
        return not self.refused and self.maximum > 0 and self.points == self.maximum

    @property
    def exit_status(self) -> int:
        """0 for full marks, 4 if the grader itself failed at a check, else 1."""
        if self.count(Verdict.ERROR):
            return 4
        return 0 if self.full_marks else 1


def read(text: str) -> Report:
    """A report from its JSON form.

    Raises:
        ValueError: it is none, or of another version.
    """
    return Report.model_validate_json(text)


def schema() -> dict[str, object]:
    """The JSON schema of the report as it is written."""
    return Report.model_json_schema(mode="serialization")
