"""Things that go on side by side, shown as they go: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

BAR_WIDTH = 20


class Step:
    """One thing that goes on. Every method may be called from any thread."""

    def __init__(self, activity: Activity, name: str, doing: str) -> None:
        self._activity = activity
        self._name = name
        self._outcome = ""
        self._task: TaskID | None = None
        if activity.bars:
            self._task = activity.bars.add_task("", total=None, name=name, doing=doing)
        else:
            activity.say(f"{name}: {doing}")

    def note(self, text: str) -> None:
        """What it does at this moment, e.g. the last line of a build's log; only a terminal shows it."""
        if self._activity.bars and self._task is not None:
            self._activity.bars.update(self._task, doing=" ".join(text.split()))

    def bytes(self, done: int, total: int) -> None:
        """How far a download is."""
        if self._activity.bars and self._task is not None:
            doing = f"downloading, {decimal(done)} of {decimal(total)}"
            self._activity.bars.update(self._task, completed=done, total=total, doing=doing)

    def outcome(self, text: str) -> None:
        """How it ended, in place of "done"."""
        self._outcome = text

    def _finish(self, text: str) -> None:
        if self._activity.bars and self._task is not None:
            self._activity.bars.update(self._task, doing=text, completed=1, total=1)
        else:
            self._activity.say(f"{self._name}: {text}")


class Activity:
    """Shows steps while the block runs, and can ask all of them to stop.

    Attributes:
        say: is given the lines that stay.
        stopping: set when the block is left by an exception, Ctrl-C included; what runs in another thread
            has to look at it.
        bars: None where the errors do not go to a terminal.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        # On the errors' side, so that a report on the standard output stays clean.
        console = Console(stderr=True)
        self.say = say
        self.stopping = threading.Event()
        self.bars: Progress | None = None
        if console.is_terminal:
            self.bars = Progress(
                SpinnerColumn(finished_text=" "),
                TextColumn("{task.fields[name]}", markup=False, table_column=Column(no_wrap=True)),
                BarColumn(bar_width=BAR_WIDTH),
                TextColumn(
                    "{task.fields[doing]}",
                    markup=False,
                    table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                ),
                TimeElapsedColumn(),
                console=console,
                expand=True,
            )

    def __enter__(self) -> Activity:
        if self.bars:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.stopping.set()
        if self.bars:
            self.bars.stop()

    @contextmanager
    def step(self, name: str, doing: str) -> Iterator[Step]:
        """Something that begins now and ends with the block; its time is shown.

        Args:
            name: of what, e.g. an image's tag.
            doing: what is being done with it.
        """
        started = time.monotonic()
        step = Step(self, name, doing)
        try:
            yield step
        except BaseException:
            step._finish("stopped" if self.stopping.is_set() else "did not work")
            raise
        step._finish(f"{step._outcome or 'done'} in {time.monotonic() - started:.0f} s")
