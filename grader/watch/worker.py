"""``python -m grader.watch.worker EXERCISE FOLDER``: does what the session asks for, one job after the other.

Jobs come as lines on the standard input, what is found leaves as lines on the standard output. A new job ends the one
that is being done. When the input ends, everything that was started is removed.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel

from grader import catalog, grading
from grader.budget import Budget, BudgetExceeded
from grader.catalog import Exercise
from grader.errors import GraderError
from grader.grading import checks_of, run_checks
from grader.interrupts import teardown_on_signals
from grader.plugin import GradingPlugin, Material, NotRun
from grader.request import Request
from grader.results import CheckResult, Verdict
from grader.stack import Stack
from grader.watch.messages import Checked, Done, Job, Problem, Reported, Stage, Work
from grader.watch.standing import StandingStack

SUPERSEDED = "the files were saved again"
# The grading from scratch waits for the look; what takes longer is left to it.
LONGEST_LOOK = 10.0  # seconds


class Worker:
    """Does jobs, and says what it finds.

    Args:
        source: the folder that is being worked in.
        output: where lines go.
        cleanup: what the standing stack is left to.
    """

    def __init__(self, exercise: Exercise, source: Path, output: TextIO, cleanup: ExitStack) -> None:
        self._exercise, self._source, self._output, self._cleanup = exercise, source, output, cleanup
        self._standing: StandingStack | None = None
        self._job = Job(work=Work.LOOK, round=0)
        self._budget = Budget(0)

    def supersede(self) -> None:
        """Let the job that is being done end now; called from another thread."""
        self._budget.stop(SUPERSEDED)
        os.kill(os.getpid(), signal.SIGALRM)

    def do(self, job: Job) -> None:
        """Do one job, whatever comes of it."""
        self._job = job
        try:
            match job.work:
                case Work.LOOK:
                    self._look(job.first)
                case Work.PREPARE:
                    self._prepare()
                case Work.GRADE:
                    report = grading.grade(Request(self._exercise, self._source), _Finder(self, running=False)).report
                    self.say(Reported(round=job.round, report=report, final=True))
        except BudgetExceeded:  # superseded between two checks
            pass
        except GraderError as error:
            self.say(Problem(round=job.round, what=error.what, fix=error.fix))
        self.say(Done(round=job.round, work=job.work))

    def say(self, message: BaseModel) -> None:
        """One line for the session."""
        self._output.write(message.model_dump_json() + "\n")
        self._output.flush()

    @property
    def round(self) -> int:
        """Of the job that is being done."""
        return self._job.round

    def _look(self, wanted: tuple[str, ...]) -> None:
        request = Request(self._exercise, self._source, static=True)
        report = grading.grade(request, _Finder(self, running=False)).report
        self.say(Reported(round=self.round, report=report, final=False))
        if report.refused or self._standing is None or not self._standing.stands:
            return
        self._budget = Budget(LONGEST_LOOK)
        following = self._standing.follow(self._budget, quickly=True)
        if following is None:
            return
        static = {check.name for check in report.checks}
        live = tuple(name for name in checks_of(self._exercise) if name not in static)
        if live:
            self._try(live, wanted, *following)

    def _try(self, only: Sequence[str], first: Sequence[str], stack: Stack, material: Material) -> None:
        """Make these checks on the running stack, some of them first, as far as the time goes."""

        def start() -> Stack:
            return stack

        def no_other(name: str, up: bool = True) -> Stack:
            raise NotRun("it needs a stack of its own")

        finder = _Finder(self, running=True)
        plugin = GradingPlugin(self._exercise, material, start, no_other, self._budget, finder, only, first=first)
        if not self._budget.spent:
            run_checks(plugin, self._exercise, only)

    def _prepare(self) -> None:
        if not self._exercise.has_main:
            return
        if self._standing is None:
            self._standing = self._cleanup.enter_context(StandingStack(self._exercise, self._source))
        self._standing.follow(Budget(self._exercise.time_budget), quickly=False)


class _Finder:
    """Tells the session what a grading does."""

    def __init__(self, worker: Worker, *, running: bool) -> None:
        self._worker, self._running = worker, running

    def stage(self, what: str) -> None:
        self._worker.say(Stage(round=self._worker.round, text=what))

    def finished(self, result: CheckResult, done: int, total: int) -> None:
        # What could not be tried on the running stack is for the grading from scratch.
        if not self._running or result.verdict in (Verdict.PASSED, Verdict.FAILED):
            self._worker.say(Checked(round=self._worker.round, result=result, running=self._running))


def _read_jobs(worker: Worker, jobs: queue.Queue[Job | None]) -> None:
    for line in sys.stdin:
        jobs.put(Job.model_validate_json(line))
        worker.supersede()
    jobs.put(None)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Do jobs until the input ends."""
    exercise, source = catalog.find(sys.argv[1]), Path(sys.argv[2])
    # The terminal's Ctrl-C is the session's to hear. The alarm that ends a job may ring between two jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed meanwhile is no message
    jobs: queue.Queue[Job | None] = queue.Queue()
    try:
        with ExitStack() as cleanup, teardown_on_signals():
            worker = Worker(exercise, source, output, cleanup)
            threading.Thread(target=_read_jobs, args=(worker, jobs), name="jobs", daemon=True).start()
            while (job := jobs.get()) is not None:
                worker.do(job)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        pass  # the session is gone
    sys.stderr.flush()
    os._exit(0)  # without waiting for the thread, which may still be reading


if __name__ == "__main__":
    main()
