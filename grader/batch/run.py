"""Every job goes to a worker, and something comes of every one, whatever happens to the workers.

No more jobs are with the cluster than it has room for. So a worker that dies takes with it what it was grading and
nothing that only waited there, and a submission that Dask has seen with two dying workers was being graded by both.
"""

from __future__ import annotations

import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from distributed import Client, Future, KilledWorker

from grader.batch import work
from grader.batch.cluster import RESOURCE, slots
from grader.batch.job import Job, Outcome, Parcel, Result
from grader.errors import MachineError
from grader.results import Verdict

TICK = 0.5  # seconds between two looks at the workers
NO_WORKERS = 120.0  # seconds to wait for one
TEARDOWN = 60.0  # seconds that interrupted gradings have to remove what they started
AT_FAULT = 2  # times that a submission is graded if the grader is at fault


class Listener(Protocol):
    """Is told how the batch goes."""

    def running(self, where: Mapping[str, Sequence[str]]) -> None:
        """What each worker is grading at this moment: its name -> students' keys."""

    def finished(self, ended: Ended) -> None:
        """A submission is done with."""

    def say(self, line: str) -> None:
        """Something that a person should know."""


@dataclass(frozen=True)
class Ended:
    """What came of one job in the end.

    Attributes:
        killed: each of its workers died; there is no result then.
        tries: how often it was sent to a worker.
    """

    job: Job
    result: Result | None
    killed: bool
    tries: int


@dataclass
class _Sent:
    parcel: Parcel
    tries: int = 0
    allowed: frozenset[str] = frozenset()
    best: Result | None = None

    @property
    def job(self) -> Job:
        return self.parcel.job


@dataclass
class Run:
    """One batch on one cluster.

    Args:
        done: is given each ``Ended`` the moment it is there, from the thread that calls ``go``.
    """

    client: Client
    parcels: Sequence[Parcel]
    done: Callable[[Ended], None]
    listener: Listener
    _waiting: deque[_Sent] = field(default_factory=deque)
    _running: dict[Future[Result], _Sent] = field(default_factory=dict)
    _finished: queue.SimpleQueue[Future[Result]] = field(default_factory=queue.SimpleQueue)
    _unfit: dict[str, str] = field(default_factory=dict)  # address of a worker -> why it cannot grade
    _idle_since: float | None = None

    def go(self) -> None:
        """Grade all jobs.

        Raises:
            MachineError: no worker is there, or none of those that are can grade, or the scheduler is gone.
            KeyboardInterrupt: after the gradings under way have removed what they started.
        """
        self._waiting.extend(_Sent(parcel) for parcel in self.parcels)
        try:
            while self._waiting or self._running:
                workers = self._workers()
                self._call_back_the_stranded(workers)
                self._send(workers)
                self._show(workers)
                self._take()
        except BaseException:
            self._stop()
            raise

    def _workers(self) -> dict[str, dict[str, Any]]:
        """Those that carry gradings and can grade, by address."""
        if self.client.status != "running":
            raise self._scheduler_gone()
        try:
            known = self.client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError) as error:
            raise self._scheduler_gone() from error
        workers = {address: worker for address, worker in known.items() if slots(worker)}
        fit = {address: worker for address, worker in workers.items() if address not in self._unfit}
        if fit:
            self._idle_since = None
            return fit
        if workers:
            raise MachineError(f"No worker can grade. {next(iter(self._unfit.values()))}", _AGAIN)
        self._idle_since = self._idle_since or time.monotonic()
        if time.monotonic() - self._idle_since > NO_WORKERS:
            raise MachineError(
                f"The Dask cluster has had no worker with the resource 'stacks' for {NO_WORKERS:.0f} s.",
                "Start one in a checkout of the workbook:\n"
                "    .venv/bin/python -m distributed.cli.dask_worker SCHEDULER --nthreads 1 --resources stacks=1\n"
                + _AGAIN,
            )
        return {}

    def _call_back_the_stranded(self, workers: Mapping[str, object]) -> None:
        """What may only go to workers that are all gone would wait for ever."""
        for future, sent in list(self._running.items()):
            if sent.allowed and not sent.allowed & workers.keys():
                del self._running[future]
                future.cancel()
                self._waiting.appendleft(sent)

    def _send(self, workers: Mapping[str, dict[str, Any]]) -> None:
        room = sum(slots(worker) for worker in workers.values()) - len(self._running)
        while self._waiting and room > 0:
            sent = self._waiting.popleft()
            sent.tries += 1
            # Named only where it matters: a job for named workers does not go to those that join later.
            sent.allowed = frozenset(workers) if self._unfit else frozenset()
            future = self.client.submit(
                work.grade,
                sent.parcel.packed.read_bytes(),
                key=f"grade-{uuid.uuid4().hex}",
                pure=False,
                resources={RESOURCE: 1},
                workers=sorted(sent.allowed) or None,
            )
            self._running[future] = sent
            future.add_done_callback(self._finished.put)
            room -= 1

    def _show(self, workers: Mapping[str, dict[str, Any]]) -> None:
        students = {future.key: sent.job.key for future, sent in self._running.items()}
        with suppress(OSError, TimeoutError):
            processing = self.client.processing()
            self.listener.running(
                {
                    str(worker["name"]): [students[key] for key in processing.get(address, ()) if key in students]
                    for address, worker in workers.items()
                }
            )

    def _take(self) -> None:
        """Wait a moment for something to end, and see to all that has."""
        timeout: float | None = TICK
        while True:
            try:
                future = self._finished.get(timeout=timeout)
            except queue.Empty:
                return
            timeout = 0
            if future in self._running:
                self._see_to(future, self._running.pop(future))

    def _see_to(self, future: Future[Result], sent: _Sent) -> None:
        if future.status == "finished":
            self._judge(future.result(), sent)
            return
        if future.status != "error":  # cancelled or lost: with the scheduler
            self._waiting.appendleft(sent)
            return
        error = future.exception()
        if isinstance(error, KilledWorker):
            self._end(Ended(sent.job, None, killed=True, tries=self._tries_of_dask()))
        else:
            self._judge(Result(outcome=Outcome.FAULT, message=f"The worker could not grade it: {error!r}"), sent)

    def _judge(self, result: Result, sent: _Sent) -> None:
        match result.outcome:
            case Outcome.MACHINE:
                self._unfit[result.address] = result.message
                self.listener.say(f"Worker {result.worker} gets no more submissions: {result.message}")
                sent.tries -= 1
                self._waiting.appendleft(sent)
            case _ if _is_at_fault(result) and sent.tries < AT_FAULT:
                self.listener.say(
                    f"{sent.job.key}: the grader was at fault ({_fault(result)}); it is graded once more."
                )
                sent.best = result
                self._waiting.append(sent)
            case _:
                if sent.best and sent.best.report and not result.report:
                    result = sent.best
                self._end(Ended(sent.job, result, killed=False, tries=sent.tries))

    def _end(self, ended: Ended) -> None:
        self.done(ended)
        self.listener.finished(ended)

    def _tries_of_dask(self) -> int:
        return int(self.client.run_on_scheduler(_allowed_failures)) + 1

    def _stop(self) -> None:
        """Have the gradings under way remove what they started."""
        if not self._running or self.client.status != "running":
            return
        with suppress(Exception):  # the cluster may be what has gone wrong
            self.client.run(work.stop, on_error="ignore")
            until = time.monotonic() + TEARDOWN
            while self._running and (left := until - time.monotonic()) > 0:
                self._running.pop(self._finished.get(timeout=left), None)

    def _scheduler_gone(self) -> MachineError:
        return MachineError(
            f"The Dask scheduler at {self.client.scheduler.address if self.client.scheduler else '?'} is gone.",
            "Start it and its workers again. " + _AGAIN,
        )


_AGAIN = "Then type the same command again; what is graded already is kept."


def _is_at_fault(result: Result) -> bool:
    return result.outcome in (Outcome.FAULT, Outcome.STOPPED) or bool(
        result.report and result.report.count(Verdict.ERROR)
    )


def _fault(result: Result) -> str:
    """In a line."""
    broken = [check for check in result.report.checks if check.verdict is Verdict.ERROR] if result.report else []
    said = f"{broken[0].name}: {broken[0].message}" if broken else result.message
    return said.strip().splitlines()[-1][:300] if said.strip() else result.outcome.value


def _allowed_failures(dask_scheduler: Any) -> int:
    return int(dask_scheduler.allowed_failures)
