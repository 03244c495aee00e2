"""What is to be graded, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grader.catalog import Exercise
from grader.rewrite import Isolation
from grader.unpack import File


@dataclass(frozen=True)
class Request:
    """What to grade and how.

    Attributes:
        files: what the submission holds, if it has been read already; ``submission`` then is only its name.
        only: names of checks; all if empty.
        static: only checks that need no engine.
        keep: leave the stack running afterwards.
        timeout: seconds, instead of the exercise's own time budget.
        isolation: what the submission's containers can reach.
        runtime: the engine's runtime that runs them (``runsc``); its default if empty.
    """

    exercise: Exercise
    submission: Path
    only: tuple[str, ...] = ()
    static: bool = False
    keep: bool = False
    timeout: float | None = None
    isolation: Isolation = Isolation.NONE
    runtime: str = ""
    files: tuple[File, ...] | None = None
