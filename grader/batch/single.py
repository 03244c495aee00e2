"""``python -m grader.batch.single KEY``: one grading in a process of its own, for a worker.

The grader needs a process's main thread, and a submission that brings it down brings down nobody else. The job
comes pickled on the standard input, the result leaves as JSON on the standard output. When the input ends, the worker
is gone or does not want the result any more: everything that was started is removed again.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
from pathlib import Path

from grader import catalog, grading
from grader.batch.job import Job, Outcome, Result
from grader.errors import GraderError, MachineError, SubmissionError
from grader.interrupts import teardown_on_signals
from grader.request import Request
from grader.results import CheckResult
from grader.rewrite import Isolation
from grader.text import printable


class _Silent:
    def stage(self, what: str) -> None:
        pass

    def finished(self, result: CheckResult, done: int, total: int) -> None:
        pass


def grade(job: Job) -> Result:
    """Grade one submission, whatever comes of it."""
    try:
        request = Request(
            exercise=catalog.find(job.exercise),
            submission=Path(job.source),
            only=job.only,
            timeout=job.timeout,
            isolation=Isolation(job.isolation),
            runtime=job.runtime,
            files=job.files,
        )
        return Result(outcome=Outcome.REPORT, report=grading.grade(request, _Silent()).report)
    except SubmissionError as error:
        return Result(outcome=Outcome.UNREADABLE, message=_said(error))
    except MachineError as error:
        return Result(outcome=Outcome.MACHINE, message=_said(error))
    except KeyboardInterrupt:
        return Result(outcome=Outcome.STOPPED)
    except Exception as error:  # whatever it is, it is not the student's fault, and says so
        trace = printable(traceback.format_exc(), limit=20_000)
        return Result(outcome=Outcome.FAULT, message=f"{_said(error)}\n{trace}")


def _said(error: Exception) -> str:
    return error.whole if isinstance(error, GraderError) else repr(error)


def _end_with(worker: int) -> None:
    """Wait until the worker lets go of the other end of the input, and end this process in order."""
    while os.read(worker, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Grade what comes on the standard input."""
    results = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed meanwhile is no result
    with teardown_on_signals():
        try:
            with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stdin:
                job = pickle.load(stdin)
            threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), name="worker", daemon=True).start()
            result = grade(job)
        except KeyboardInterrupt:
            result = Result(outcome=Outcome.STOPPED)
        results.write(result.model_dump_json())
        results.close()
        # Without waiting for the thread, which is still reading.
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
