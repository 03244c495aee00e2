"""What travels: a job to a worker, and what came of it back."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from grader.results import Report
from grader.unpack import File


@dataclass(frozen=True)
class Job:
    """One submission to grade, with its files.

    Attributes:
        key: the student's.
        source: what was handed in, as the instructor knows it.
        exercise: ``NN-slug``.
        only: names of checks; all if empty.
        timeout: seconds, instead of the exercise's own time budget.
        isolation: ``none`` or ``no-egress``.
        runtime: the engine's runtime; its default if empty.
        version: of the grader that sends it; a worker with another one does not grade it. Empty: any.
    """

    key: str
    source: str
    files: tuple[File, ...]
    exercise: str
    only: tuple[str, ...] = ()
    timeout: float | None = None
    isolation: str = "no-egress"
    runtime: str = ""
    version: str = ""


@dataclass(frozen=True)
class Parcel:
    """A job, packed on the disk until it is its turn: a whole class's files do not have to fit into memory.

    Attributes:
        job: without its files.
        packed: the file that holds the pickled job.
    """

    job: Job
    packed: Path

    @classmethod
    def of(cls, job: Job, folder: Path) -> Parcel:
        """Pack ``job`` into ``folder``."""
        packed = folder / f"{job.key}.job"
        packed.write_bytes(pickle.dumps(job))
        return cls(replace(job, files=()), packed)


class Outcome(StrEnum):
    """How one try to grade a submission ended."""

    REPORT = "report"
    UNREADABLE = "unreadable"  # the submission's doing
    MACHINE = "machine"  # this worker's machine cannot grade; another's may
    FAULT = "fault"  # the grader's
    STOPPED = "stopped"  # because the batch was


class Result(BaseModel):
    """What came of one try.

    Attributes:
        report: with REPORT, and only then.
        message: why there is none, and what to do.
        worker: which one it was, for people.
        address: the same, for Dask.
        graded_at: UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True)

    outcome: Outcome
    report: Report | None = None
    message: str = ""
    worker: str = ""
    address: str = ""
    graded_at: str = ""
