"""What happens on a worker: a grading, in a process of its own, and what is needed before the first."""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime

from distributed import get_worker

from grader import catalog
from grader.batch.job import Job, Outcome, Result
from grader.budget import stretched
from grader.catalog import ROOT, Exercise
from grader.engine import sweep
from grader.engine.connection import connect
from grader.engine.fingerprint import fingerprint
from grader.engine.images import ensure
from grader.engine.ready import engine_for
from grader.errors import GraderError, MachineError
from grader.text import last_lines

# Beyond the time budget, for the stack's start and teardown, each of which has a deadline of its own.
SLACK = 180.0  # seconds

_running: set[subprocess.Popen[bytes]] = set()
_preparing = threading.Lock()
_prepared: set[tuple[str, str]] = set()


def dask_setup(worker: object) -> None:
    """Called by Dask in each worker of our own: Ctrl-C at a terminal is the batch's to hear, which then stops them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def prepare(exercise: Exercise, runtime: str, say: Callable[[str], None]) -> None:
    """Make this machine ready for ``exercise``, outside of any student's time. Quick when it is.

    Raises:
        MachineError: it cannot be.
    """
    with closing(connect()) as client:
        sweep.clean(client)
    ensure(say)
    with closing(engine_for(exercise, runtime)):
        pass


def version(exercise: Exercise) -> str:
    """Names the grader and the exercise of this checkout: two that differ may grade differently."""
    return fingerprint([ROOT / "grader", exercise.folder])


def grade(packed: bytes) -> Result:
    """Grade a pickled ``Job``. Dask would look for futures in anything else, field by field."""
    job: Job = pickle.loads(packed)
    exercise = catalog.find(job.exercise)
    try:
        _ready_for(exercise, job)
        result = in_a_process(job)
    except MachineError as error:
        result = Result(outcome=Outcome.MACHINE, message=error.whole)
    worker = get_worker()
    return result.model_copy(
        update={
            "worker": f"{socket.gethostname()}/{worker.name}",
            "address": worker.address,
            "graded_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def _ready_for(exercise: Exercise, job: Job) -> None:
    with _preparing:
        if (exercise.key, job.runtime) in _prepared:
            return
        if job.version and (own := version(exercise)) != job.version:
            raise MachineError(
                f"The worker's copy of the workbook, {ROOT}, is another version: {own[:9]} and not {job.version[:9]}.",
                "Bring both to the same commit, without changes in grader/ or exercises/, and restart the worker.",
            )
        prepare(exercise, job.runtime, lambda line: None)
        _prepared.add((exercise.key, job.runtime))


def stop() -> None:
    """End this worker's gradings; each removes first what it has started."""
    for process in list(_running):
        _let_go(process)


def in_a_process(job: Job) -> Result:
    """Grade ``job`` in a process of its own, whatever comes of that process."""
    limit = stretched(job.timeout or catalog.find(job.exercise).time_budget) + SLACK
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "grader.batch.single", job.key],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # Ctrl-C is the batch's to hear
        )
        _running.add(process)
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        alarm = threading.Timer(limit, end)
        alarm.daemon = True
        alarm.start()
        try:
            assert process.stdin
            assert process.stdout
            with suppress(BrokenPipeError):  # it has died already, and its status says of what
                process.stdin.write(pickle.dumps(job))
                process.stdin.flush()
            with process.stdout as results:
                answer = results.read()
            status = process.wait()
        finally:
            alarm.cancel()
            _running.discard(process)
            _let_go(process)
        said.seek(0)
        lines = last_lines(said.read().decode("utf-8", "replace"))
    if status == 0 and answer:
        return Result.model_validate_json(answer)
    _remove_what_is_left()
    why = f"took more than {limit:.0f} s and was ended" if late.is_set() else _ended(status)
    return Result(outcome=Outcome.FAULT, message="\n".join([f"The process that graded it {why}.", *lines]))


def _ended(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}; if nobody did, the machine ran out of memory"
    return f"ended with status {status}"


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        with suppress(OSError):
            process.stdin.close()


def _remove_what_is_left() -> None:
    with suppress(GraderError), closing(connect()) as client:
        sweep.clean(client)
