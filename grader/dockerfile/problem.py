"""One thing in a Dockerfile that must not be built, and the reasons that recur."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "The grader does not know it, and what it does not know it does not run."
UNCLEAR = "Versions of the builder read it differently."


@dataclass(frozen=True)
class Problem:
    """Something that must not be built.

    Attributes:
        line: where it is written, from 1.
        what: the words in question.
        why: the harm, one sentence.
        instead: what to write.
    """

    line: int
    what: str
    why: str
    instead: str


class Refused(Exception):
    """What follows cannot be read for certain; ``problem`` says why."""

    def __init__(self, line: int, what: str, why: str, instead: str) -> None:
        super().__init__(what)
        self.problem = Problem(line, what, why, instead)
