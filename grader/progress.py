"""What is shown while a grading runs: one changing line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console

from grader.plugin import Listener
from grader.results import CheckResult


class _Lines:
    """A line for each stage and each verdict, with the seconds since the start."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()

    def stage(self, what: str) -> None:
        self._write(what)

    def finished(self, result: CheckResult, done: int, total: int) -> None:
        self._write(f"[{done}/{total}] {result.verdict.value}: {result.title}")

    def _write(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.1f} s  {text}", file=self._stream, flush=True)


class _Spinner:
    """A spinner with the current stage and how many checks have their verdict."""

    def __init__(self, console: Console) -> None:
        self.status = console.status("", spinner="dots")
        self._count = ""

    def stage(self, what: str) -> None:
        self.status.update(f"{what} {self._count}")

    def finished(self, result: CheckResult, done: int, total: int) -> None:
        self._count = f"({done} of {total} checks done)"
        self.status.update(f"running the checks {self._count}")


@contextmanager
def progress_on(stream: TextIO) -> Iterator[Listener]:
    """A listener that shows on ``stream`` what the grading does."""
    console = Console(file=stream)
    if not console.is_terminal:
        yield _Lines(stream)
        return
    spinner = _Spinner(console)
    with spinner.status:
        yield spinner
