"""What rules about a resolved compose file are made of: a rule looks at one value and tells what is wrong in it.

Rules are combined as the file is nested: ``keys`` for a mapping whose keys are known, ``each`` for the entries of a
list or of a mapping with names of the student's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.violation import REMOVE, UNKNOWN

Path_ = tuple[str, ...]
Reason = tuple[str, str]
"""Why it must not run, and what to write instead."""


@dataclass(frozen=True)
class Scope:
    """What a rule may look at beside the value.

    Attributes:
        folder: the private copy; every path has to stay inside it.
        images: what may be run and built from.
        granted: what the exercise allows beyond the usual, ``gpu``.
    """

    folder: Path
    images: frozenset[str]
    granted: frozenset[str]


Rule = Callable[[Any, Scope], Iterator[tuple[Path_, Reason]]]


def safe(value: Any, scope: Scope) -> Iterator[tuple[Path_, Reason]]:
    """Anything will do: it stays inside the container or the project, or the graded file replaces it."""
    return iter(())


def deny(why: str, instead: str = REMOVE) -> Rule:
    """Nothing will do."""
    return lambda value, scope: iter([((), (why, instead))])


def judge(reason: Callable[[Any, Scope], Reason | None]) -> Rule:
    """The value as a whole is refused if ``reason`` has one."""

    def rule(value: Any, scope: Scope) -> Iterator[tuple[Path_, Reason]]:
        if found := reason(value, scope):
            yield (), found

    return rule


def only(*allowed: object, why: str, instead: str) -> Rule:
    """Only these values will do."""
    return judge(lambda value, scope: None if value in allowed else (why, instead))


def up_to(limit: int, why: str) -> Rule:
    """A number from 0 to ``limit``."""
    return judge(lambda value, scope: None if 0 <= int(value) <= limit else (why, f"Use a number up to {limit}."))


def keys(known: Mapping[str, Rule]) -> Rule:
    """A mapping with these keys, each with its rule; every other key is refused. What is not set is not looked at."""

    def rule(value: Any, scope: Scope) -> Iterator[tuple[Path_, Reason]]:
        if not isinstance(value, Mapping):
            yield (), (UNKNOWN, REMOVE)
            return
        for key, entry in value.items():
            if key.startswith("x-") or entry is None or entry is False or entry in ([], {}, ""):
                continue
            try:
                found = list(known.get(key, deny(UNKNOWN))(entry, scope))
            except (TypeError, ValueError, AttributeError, LookupError):
                # Compose's schema lets no such value through; should another version, it is not for the rules to guess.
                found = [((), ("It is not what is expected here.", REMOVE))]
            for path, reason in found:
                yield (key, *path), reason

    return rule


def each(entry_rule: Rule) -> Rule:
    """The entries of a list, or of a mapping whose keys are names."""

    def rule(value: Any, scope: Scope) -> Iterator[tuple[Path_, Reason]]:
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, entry in entries:
            for path, reason in entry_rule({} if entry is None else entry, scope):
                yield (str(name), *path), reason

    return rule


def both(first: Rule, second: Rule) -> Rule:
    """What either finds."""

    def rule(value: Any, scope: Scope) -> Iterator[tuple[Path_, Reason]]:
        yield from first(value, scope)
        yield from second(value, scope)

    return rule


def granted(name: str, then: Rule, otherwise: Reason) -> Rule:
    """Only in an exercise whose ``exercise.toml`` grants it, and then as ``then`` says."""
    return lambda value, scope: then(value, scope) if name in scope.granted else iter([((), otherwise)])
