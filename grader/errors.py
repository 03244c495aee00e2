"""Every error a user can meet, and the exit status it ends the program with.

    GraderError                what happened, where, and what to do next
    ├── UsageError       (2)   the command line asks for something that does not exist
    ├── SubmissionError  (2)   the submission cannot be read, or is not safe to read
    ├── MachineError     (3)   this machine cannot grade: no engine, no image, no disk
    └── InternalError    (4)   the grader's own fault

A check that fails is not an error: see ``grader.plugin.Failure``; nor is one that is ``Blocked``.
"""

from __future__ import annotations

import sys


class GraderError(Exception):
    """Something the user has to know.

    Args:
        what: one sentence that says what happened and where.
        fix: what to do next; commands stand on lines of their own.
    """

    exit_status = 4

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    @property
    def whole(self) -> str:
        """What happened, and what to do next, in lines."""
        return f"{self.what}\n{self.fix}".strip()


class UsageError(GraderError):
    """The command line names an exercise, a check or a file that does not exist."""

    exit_status = 2


class SubmissionError(GraderError):
    """The submission cannot be read as files of this exercise, or must not be."""

    exit_status = 2


class MachineError(GraderError):
    """This machine cannot grade; the fix says what has to be installed or started."""

    exit_status = 3


class InternalError(GraderError):
    """The grader itself is at fault, never the student."""

    exit_status = 4


class Blocked(Exception):
    """Something else has to be mended before a check means anything; says what. No error: a verdict."""


def missing_package(error: ModuleNotFoundError) -> GraderError:
    """What it means to the user that a module is not there: mostly that some other Python runs than the workbook's."""
    if (error.name or "grader").partition(".")[0] == "grader":
        return InternalError(f"A part of the grader is missing: {error}.", "Restore it:\n    git checkout .")
    return MachineError(
        f"The Python that runs this, {sys.executable}, lacks the package {error.name}.",
        "Use the workbook's own:\n    source .venv/bin/activate\n"
        "Where that is not there yet, or lacks the package, too:\n    make setup",
    )
