"""One thing in a submission that must not run on the machine that grades, and the reasons that recur."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """One thing in a submission that must not run.

    Attributes:
        at: ``file:line``.
        what: the attribute and where it stands, ``services.api.privileged``.
        why: the harm it could do.
        instead: what to write.
    """

    at: str
    what: str
    why: str
    instead: str


REMOVE = "Remove it; the exercise does not need it."
ROOT = "It gives the container power over the machine that grades."
JOIN = "It joins the machine's own namespaces or another container's."
LEAK = "It reads files or variables of the machine that grades."
SHARED = "It reaches outside this project, where other people's containers and data are."
HOST = "It changes how the machine shares its time and memory."
EGRESS = "It can send data out of the project."
UNKNOWN = "The grader does not know it, so it does not run it."

ACTED_ON = "Other programs act on such labels."

# What the labels begin with that Compose, the grader and other programs on the machine act on.
RESERVED_LABELS = ("com.docker.", "org.compose-course.", "org.testcontainers", "io.docker.", "desktop.docker.")
