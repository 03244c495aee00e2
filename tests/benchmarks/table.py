"""How two things measured side by side are shown: medians, spread, and their ratio against its aim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Comparison:
    """Two things measured in turn, in one run.

    Attributes:
        ours, theirs: what was measured, each in ``unit``.
        against: what ``theirs`` is.
        aim: the ratio of the medians that is wanted; at most for seconds, at least for anything that should be many.
            None where there is none.
    """

    what: str
    ours: Sequence[float]
    against: str
    theirs: Sequence[float]
    unit: str
    aim: float | None = None

    @property
    def ratio(self) -> float:
        """Ours to theirs; infinite where theirs got nothing done."""
        return median(self.ours) / median(self.theirs) if median(self.theirs) else math.inf

    @property
    def verdict(self) -> str:
        """The aim, and whether it is met."""
        if self.aim is None:
            return ""
        less = self.unit in ("s", "ms")
        met = self.ratio <= self.aim if less else self.ratio >= self.aim
        return f"{'≤' if less else '≥'} {self.aim:g}: {'met' if met else 'missed'}"


def show(comparisons: Iterable[Comparison]) -> None:
    """One table of all of them."""
    table = Table("what", "ours", "against", "theirs", "ratio", "aim")
    for one in comparisons:
        table.add_row(
            one.what,
            _spread(one.ours, one.unit),
            one.against,
            _spread(one.theirs, one.unit),
            f"{one.ratio:.2f}",
            one.verdict,
        )
    Console(width=150).print(table)


def _spread(values: Sequence[float], unit: str) -> str:
    digits = 0 if median(values) >= 100 else 2
    return f"{median(values):.{digits}f} {unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"
