"""What makes the builder itself do something else, before any instruction: other frontends, its own arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from grader.dockerfile.lines import BOM, SPACE, directive
from grader.dockerfile.problem import UNKNOWN, Problem

NO_FRONTEND = "It names a program that would run in place of the builder, with access to everything it reads."


def arguments(args: Mapping[str, str]) -> Iterator[Problem]:
    """Build arguments that the builder itself acts on, though no ARG names them.

    BUILDKIT_SYNTAX does what ``# syntax=`` does (builder/build.go), SOURCE_DATE_EPOCH may name something to be fetched
    (dockerfile2llb/epoch.go).
    """
    for name, value in args.items():
        if name == "BUILDKIT_SYNTAX":
            yield Problem(1, f"build argument {name}", NO_FRONTEND, f"Remove {name} from args:.")
        elif name.startswith("BUILDKIT_") and name != "BUILDKIT_INLINE_CACHE":
            yield Problem(1, f"build argument {name}", UNKNOWN, f"Remove {name} from args:.")
        elif name == "SOURCE_DATE_EPOCH":
            yield from epoch(1, value)


def epoch(line: int, value: str) -> Iterator[Problem]:
    """Whether SOURCE_DATE_EPOCH, set in this line, is anything but a number."""
    if not re.fullmatch("-?[0-9]*", value, re.ASCII):
        yield Problem(line, "SOURCE_DATE_EPOCH", "It can name something that is fetched.", "Give it a number.")


def frontends(text: str) -> Iterator[Problem]:
    """``# syntax=`` in all of its spellings: DetectSyntax of parser/directives.go, and of its older versions.

    ``#`` and ``//`` are looked for separately, each from the top, behind a BOM and a first line ``#!…``. Older
    versions go on behind any ``# name = value``, and the parser itself ignores white space before the ``#``.
    """
    lines = text.removeprefix(BOM).split("\n")
    first = 1 if lines[0].startswith("#!") else 0
    instead = "Remove the line; what the course needs is built in."
    for mark in ("#", "//"):
        for number, line in enumerate(lines[first:], first + 1):
            name, value = directive(line.lstrip(SPACE), mark) or ("", "")
            if not name:
                break
            if name == "syntax":
                yield Problem(number, f"{mark} syntax={value}", NO_FRONTEND, instead)
    if "\n".join(lines[first:]).lstrip(SPACE).startswith("{"):
        yield Problem(first + 1, "a Dockerfile in JSON", NO_FRONTEND, "Write plain instructions, beginning with FROM.")
