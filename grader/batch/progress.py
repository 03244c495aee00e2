"""How a batch goes: a table that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from grader.batch.job import Outcome
from grader.batch.run import Ended, Listener
from grader.render.words import points
from grader.text import printable


class Pace:
    """How fast it goes.

    Args:
        total: submissions to grade.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.troubles = 0
        self._began = time.monotonic()

    def count(self, ended: Ended) -> None:
        """One more is done with."""
        self.done += 1
        self.troubles += ended.result is None or ended.result.outcome is not Outcome.REPORT

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def __str__(self) -> str:
        if not self.done:
            return f"{self.done} of {self.total} graded"
        left = (self.total - self.done) * self.seconds / self.done
        rate = 60 * self.done / self.seconds
        trouble = f", {self.troubles} of them could not be" if self.troubles else ""
        return f"{self.done} of {self.total} graded{trouble}, {rate:.1f} a minute, {duration(left)} left"


def duration(seconds: float) -> str:
    """For people: ``42 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def outcome(ended: Ended) -> str:
    """What came of one submission, in a few words."""
    if ended.result is None:
        return f"each of its {ended.tries} workers died"
    report = ended.result.report
    if report is None:
        words = {Outcome.UNREADABLE: "cannot be read"}
        return words.get(ended.result.outcome, "the grader is at fault")
    refused = "refused, " if report.refused else ""
    return (
        f"{refused}{points(report.points)} of {points(report.maximum)} points in {report.seconds.get('total', 0):.0f} s"
    )


class _Lines:
    """A line for each submission that is done with."""

    def __init__(self, stream: TextIO, pace: Pace) -> None:
        self._stream = stream
        self._pace = pace

    def running(self, where: Mapping[str, Sequence[str]]) -> None:
        pass

    def finished(self, ended: Ended) -> None:
        self._pace.count(ended)
        worker = f" (worker {ended.result.worker})" if ended.result and ended.result.worker else ""
        self.say(f"{ended.job.key}: {outcome(ended)}{worker}; {self._pace}")

    def say(self, line: str) -> None:
        print(f"{self._pace.seconds:6.1f} s  {printable(line)}", file=self._stream, flush=True)


class _Screen:
    """The pace, what each worker does, and the submissions that have ended last."""

    LAST = 8

    def __init__(self, console: Console, pace: Pace, dashboard: str) -> None:
        self._console = console
        self._pace = pace
        self._dashboard = dashboard
        self._where: Mapping[str, Sequence[str]] = {}
        self._since: dict[str, float] = {}
        self._graded: Counter[str] = Counter()
        self._lines: list[str] = []

    def running(self, where: Mapping[str, Sequence[str]]) -> None:
        now = time.monotonic()
        keys = [key for names in where.values() for key in names]
        self._since = {key: self._since.get(key, now) for key in keys}
        self._where = where

    def finished(self, ended: Ended) -> None:
        self._pace.count(ended)
        if ended.result:
            self._graded[ended.result.worker.rpartition("/")[2]] += 1
        self._lines = [*self._lines, f"{ended.job.key}: {outcome(ended)}"][-self.LAST :]

    def say(self, line: str) -> None:
        self._console.print(Text(printable(line)))

    def __rich__(self) -> Group:
        done, total = self._pace.done, self._pace.total
        width = 40
        full = round(width * done / total) if total else width
        table = Table("worker", "graded", "now grading", box=None, pad_edge=False, header_style="dim")
        for worker, keys in sorted(self._where.items()):
            now = ", ".join(f"{key} ({duration(time.monotonic() - self._since[key])})" for key in keys)
            table.add_row(Text(printable(worker)), str(self._graded[worker]), Text(printable(now)))
        return Group(
            Text(f"{'█' * full}{'░' * (width - full)}  {self._pace}"),
            table,
            *(Text(f"  {printable(line)}", style="dim") for line in self._lines),
            *([Text(f"Dask's dashboard: {self._dashboard}", style="dim")] if self._dashboard else []),
        )


@contextmanager
def progress_on(stream: TextIO, total: int, dashboard: str) -> Iterator[Listener]:
    """A listener that shows on ``stream`` how the batch goes.

    Args:
        total: submissions to grade.
        dashboard: Dask's, an address; empty if there is none.
    """
    console, pace = Console(file=stream), Pace(total)
    if not console.is_terminal:
        lines = _Lines(stream, pace)
        lines.say(f"{total} submissions to grade" + (f"; Dask's dashboard: {dashboard}" if dashboard else ""))
        yield lines
        return
    screen = _Screen(console, pace, dashboard)
    with Live(get_renderable=screen.__rich__, console=console, refresh_per_second=4):
        yield screen
