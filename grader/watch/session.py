"""The session: each save is looked at and graded, until somebody leaves."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.live import Live

from grader.catalog import ROOT, Exercise
from grader.grading import checks_of
from grader.hints import hints, remember
from grader.render.words import points
from grader.results import Report
from grader.watch import messages, screen
from grader.watch.board import Board
from grader.watch.inputs import keys, saves_of
from grader.watch.messages import Checked, Done, Job, Message, Problem, Reported, Work

TEARDOWN = 90.0  # seconds for a worker to remove what it has started


class _Save:
    """A file was saved."""


class _Key(str):
    """A key was pressed."""


class _Ended:
    """A worker's process has ended."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker


Input = _Save | _Key | _Ended | Message


class WorkerProcess:
    """A process that does jobs.

    Args:
        inputs: gets what it says.
    """

    def __init__(self, exercise: Exercise, folder: Path, inputs: queue.Queue[Input]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "grader.watch.worker", exercise.key, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is the session's to hear
        )
        self.left = False
        threading.Thread(target=self._hear, args=(inputs,), name="worker", daemon=True).start()

    def ask(self, job: Job) -> None:
        """Give it a job; it gives up the one it is doing."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # that it has ended is in ``inputs``
            self._process.stdin.write(job.model_dump_json() + "\n")
            self._process.stdin.flush()

    def leave(self) -> None:
        """Want nothing more of it: it removes what it has started, and ends."""
        self.left = True
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()

    def wait(self) -> None:
        """Return once it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(TEARDOWN)

    def _hear(self, inputs: queue.Queue[Input]) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            inputs.put(messages.read(line))
        self._process.wait()
        inputs.put(_Ended(self))


class Display(Protocol):
    """Where the board is shown."""

    def show(self, board: Board, news: Message | None) -> None:
        """The board has changed, perhaps by this message."""


class _Screen:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, board: Board, news: Message | None) -> None:
        self._live.update(screen.draw(board), refresh=True)


class _Lines:
    """A line of JSON for each message, for who reads the output with a program."""

    def show(self, board: Board, news: Message | None) -> None:
        if news is not None and news.round == board.round:
            print(news.model_dump_json(), flush=True)


@contextmanager
def _display() -> Iterator[Display]:
    console = Console()
    if not console.is_terminal:
        yield _Lines()
        return
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        yield _Screen(live)


class Session:
    """One person at work on one exercise."""

    def __init__(self, exercise: Exercise, folder: Path, display: Display, inputs: queue.Queue[Input]) -> None:
        self._exercise, self._folder, self._display, self._inputs = exercise, folder, display, inputs
        self.board = Board.of(exercise.name, exercise.title, checks_of(exercise))
        # A grader begins to import what it needs before there is something to grade.
        self._looker, self._grader = self._worker(), self._worker()
        self._grading = False
        self._leaving: list[WorkerProcess] = []
        self._show()

    def run(self) -> None:
        """Until somebody leaves."""
        self._begin_round()
        while True:
            match self._inputs.get():
                case _Save():
                    self._begin_round()
                case _Key("r"):
                    self._begin_round()
                case _Key("h"):
                    if (row := self.board.first_problem) and row.result:
                        self.board.unfold(len(hints(row.result)))
                        self._show()
                case _Key("q"):
                    return
                case _Ended(worker=worker):
                    self._replace(worker)
                case Checked() | Reported() | Problem() | Done() | messages.Stage() as message:
                    self._take(message)

    def close(self) -> None:
        """Everything that runs is removed."""
        workers = [self._looker, self._grader, *self._leaving]
        for worker in workers:
            worker.leave()
        for worker in workers:
            worker.wait()

    def _worker(self) -> WorkerProcess:
        return WorkerProcess(self._exercise, self._folder, self._inputs)

    def _begin_round(self) -> None:
        tried = self.board.not_passed
        self.board.saved()
        if self._grading:
            self._grader.leave()
            self._leaving.append(self._grader)
            self._grader = self._worker()
            self._grading = False
        self._looker.ask(Job(work=Work.LOOK, round=self.board.round, first=tried))
        self._show()

    def _take(self, message: Message) -> None:
        self.board.take(message)
        if message.round == self.board.round:
            match message:
                case Done(work=Work.LOOK) if not self.board.refused and not self.board.problem:
                    self._grading = True
                    self._grader.ask(Job(work=Work.GRADE, round=self.board.round))
                case Done(work=Work.LOOK):
                    self.board.stage = ""
                case Done(work=Work.GRADE):
                    self._looker.ask(Job(work=Work.PREPARE, round=self.board.round))
                case Reported(report=report, final=True):
                    self._remember(report)
        if isinstance(message, Done) and message.work is Work.GRADE:
            self._grading = False
        self._show(message)

    def _remember(self, report: Report) -> None:
        if self._folder == self._exercise.folder:
            remember(report, self._exercise)

    def _replace(self, worker: WorkerProcess) -> None:
        """A worker has ended; if nobody wanted that, there is another one, and somebody is told."""
        if worker.left:
            self._leaving = [other for other in self._leaving if other is not worker]
            return
        if worker is self._looker:
            self._looker = self._worker()
        else:
            self._grader, self._grading = self._worker(), False
        self.board.stage = ""
        self.board.problem = (
            "A process of the grader has ended unexpectedly.",
            f"Press r to grade again. If that does not help: python -m grader {self._exercise.name}",
        )
        self._show()

    def _show(self, news: Message | None = None) -> None:
        self._display.show(self.board, news)


def watch(exercise: Exercise, folder: Path) -> int:
    """Grade ``folder`` at each save, until q or Ctrl-C.

    Returns:
        the exit status: that of the last grading from scratch.
    """
    inputs: queue.Queue[Input] = queue.Queue()
    session = None
    try:
        with (
            _display() as display,
            keys(lambda key: inputs.put(_Key(key))),
            saves_of(folder, lambda: inputs.put(_Save())),
        ):
            session = Session(exercise, folder, display, inputs)
            with suppress(KeyboardInterrupt):
                session.run()
    finally:
        if session:
            print("Removing everything that runs …", file=sys.stderr, flush=True)
            session.close()
    report = session.board.report
    if report is None:
        return 1
    print(f"The last grading: {points(report.points)} of {points(report.maximum)} points.", file=sys.stderr)
    return report.exit_status
