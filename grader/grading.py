"""One grading from end to end: each arrow of the pipeline is one call, in one direction.

submission -> private copy -> model -> policy -> live stack -> checks -> report
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Self

import docker

from grader import model as models
from grader import policy, rewrite
from grader.budget import Budget, BudgetExceeded
from grader.catalog import Exercise
from grader.engine import sweep
from grader.engine.connection import connect
from grader.errors import InternalError, MachineError, UsageError
from grader.plugin import OUT_OF_TIME, GradingPlugin, Listener
from grader.results import CheckResult, PostMortem, Refusal, Report, Verdict
from grader.stack import Stack
from grader.submission import private_copy

# Seconds between probes: until the first success, and afterwards. Quick enough that nobody waits for a
# poll, slow enough that four probes do not compete with the services for two cores.
# Failures inside the start period do not count; when to give up is the stack's own decision, not the engine's.
POLLING = rewrite.Polling(start=0.2, steady=10.0, start_period=600.0)
POLLING_BEFORE_25 = rewrite.Polling(start=None, steady=0.5, start_period=600.0)
START_INTERVAL_API = (1, 44)

REFUSED = "nothing was started, because the submission contains something that must not run here"


@dataclass(frozen=True)
class Request:
    """What to grade and how.

    Attributes:
        only: names of checks; all if empty.
        static: only checks that need no engine.
        keep: leave the stack running afterwards.
        timeout: seconds, instead of the exercise's own time budget.
    """

    exercise: Exercise
    submission: Path
    only: tuple[str, ...] = ()
    static: bool = False
    keep: bool = False
    timeout: float | None = None


@dataclass
class Outcome:
    """A report, and the project left running if that was asked for."""

    report: Report
    kept_project: str = ""


@dataclass
class _Stages:
    """Wall time of each stage, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - began, 3)

    def split(self, name: str, **parts: float | None) -> None:
        """Replace a stage by its parts; the one that is None gets what the others leave."""
        rest = self.seconds.pop(name, 0.0) - sum(seconds or 0.0 for seconds in parts.values())
        self.seconds |= {part: round(rest if seconds is None else seconds, 3) for part, seconds in parts.items()}


def grade(request: Request, listener: Listener) -> Outcome:
    """Grade one submission.

    Raises:
        SubmissionError: it cannot be read.
        MachineError: this machine cannot grade.
        UsageError: ``only`` names a check that does not exist.
        KeyboardInterrupt: after everything was torn down.
    """
    began, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    exercise, stages, owner = request.exercise, _Stages(), sweep.Owner.new()
    owner.folder.mkdir(mode=0o700)
    (owner.folder / "owner").write_text(str(owner))
    with ExitStack() as cleanup:
        cleanup.callback(_remove_folder, owner, request)
        listener.stage("reading the submission")
        with stages.time("read"):
            copy = cleanup.enter_context(private_copy(request.submission, exercise, owner.folder / "files"))
            model = models.load(copy, owner.project, exercise.services)
            refused = [
                Refusal(at=v.at, what=v.what, why=v.why, instead=v.instead)
                for v in policy.violations(model, copy.folder)
            ]
        static = request.static or bool(refused)
        client = None if static else _engine_with_images(exercise)
        budget = Budget(request.timeout or exercise.time_budget)
        live = _LiveStack(request, client, model, owner, budget)
        plugin = GradingPlugin(exercise, model, live.start, budget, listener, request.only, static)
        with stages.time("live"), _teardown_on_signals(), live:
            _run_pytest(plugin, exercise, budget, request.only)
            live.collect_evidence()
            listener.stage("removing everything again")
        checks = _in_order(plugin, request, bool(refused))
    stages.split("live", start=live.seconds_to_settle, checks=None, teardown=live.seconds_to_stop)
    stages.seconds["total"] = round(time.monotonic() - began, 3)
    report = Report(
        exercise=exercise.key,
        title=exercise.title,
        submission=str(request.submission),
        started_at=started_at,
        checks=checks,
        refused=refused,
        start_problem=live.start_problem,
        services=live.services,
        out_of_time=plugin.out_of_time,
        seconds=stages.seconds,
    )
    return Outcome(report, owner.project if request.keep and live.started else "")


class _LiveStack:
    """The stack of one grading, started when the first check needs it and gone when the grading ends."""

    def __init__(
        self,
        request: Request,
        client: docker.DockerClient | None,
        model: models.Model,
        owner: sweep.Owner,
        budget: Budget,
    ) -> None:
        self.started = False
        self.start_problem = ""
        self.services: list[PostMortem] = []
        self.seconds_to_settle = 0.0
        self.seconds_to_stop = 0.0
        self._request, self._client, self._model, self._owner, self._budget = request, client, model, owner, budget
        self._stack: Stack | None = None

    def start(self) -> Stack:
        exercise = self._request.exercise
        assert self._client is not None  # nothing starts a stack in a static grading
        api = tuple(int(part) for part in self._client.api.api_version.split("."))
        polling = POLLING if api >= START_INTERVAL_API else POLLING_BEFORE_25
        config = rewrite.graded(self._model, polling, exercise.reach, str(self._owner))
        self._stack = Stack(self._client, self._model, config, self._owner, exercise.patience, self._budget)
        self._stack.__enter__()
        self.started = True
        return self._stack

    def collect_evidence(self) -> None:
        if self._stack is not None:
            self.start_problem = self._stack.start_problem
            self.seconds_to_settle = self._stack.seconds_to_settle
            self.services = self._stack.unwell if self._stack.settled else self._stack.post_mortems()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._stack is None:
            return
        began = time.monotonic()
        with _ctrl_c_waits():
            if self._request.keep and exception[0] is None:
                self._stack.leave_running()
            else:
                self._stack.__exit__(None, None, None)
        self.seconds_to_stop = time.monotonic() - began


def _engine_with_images(exercise: Exercise) -> docker.DockerClient:
    """The engine, with every image that the exercise starts from.

    Raises:
        MachineError: the engine does not answer, or an image is missing.
    """
    client = connect()
    tags = {tag for image in client.api.images() for tag in image.get("RepoTags") or []}
    if missing := [image for image in exercise.images if image not in tags]:
        raise MachineError(
            f"{exercise.name} needs images that are not on this machine: {', '.join(missing)}.",
            "Pull or build them once:\n    python -m grader images",
        )
    return client


def _run_pytest(plugin: GradingPlugin, exercise: Exercise, budget: Budget, only: Sequence[str]) -> None:
    import pytest

    arguments = [
        str(exercise.checks), "-p", "no:cacheprovider", "-p", "no:terminal",
        "-p", "no:logging", "--noconftest", "-c", os.devnull, "--rootdir", str(exercise.checks.parent),
        "--import-mode=importlib",
    ]  # fmt: skip
    # Other packages' plugins would only cost start-up time, and could change what a verdict means.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        with _alarm(budget):
            status = pytest.main(arguments, plugins=[plugin])
    except BudgetExceeded:  # the alarm rang between two checks
        plugin.out_of_time = True
        return
    if status == pytest.ExitCode.INTERRUPTED and not plugin.broken:
        raise KeyboardInterrupt
    if plugin.broken or status in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise InternalError(
            f"The checks of {exercise.key} could not be run: {plugin.broken or status}", "Please report this."
        )
    if unknown := set(only) - set(plugin.stated):
        raise UsageError(
            f"{exercise.name} has no check called {', '.join(sorted(unknown))}.",
            "Its checks are:\n" + "\n".join(f"    {name}" for name in plugin.stated),
        )


def checks_of(exercise: Exercise) -> dict[str, tuple[str, float]]:
    """Name -> title and points of each check, in the order of the module."""
    name = f"checks_of_{exercise.key}"
    spec = importlib.util.spec_from_file_location(name, exercise.checks)
    if spec is None or spec.loader is None or not exercise.checks.is_file():
        raise InternalError(
            f"{exercise.key} has no checks: {exercise.checks} is missing.", "Restore it: git checkout ."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return {
        name: ((function.__doc__ or name).splitlines()[0], marker.args[0].points)
        for name, function in vars(module).items()
        for marker in getattr(function, "pytestmark", [])
        if marker.name == "check"
    }


def _in_order(plugin: GradingPlugin, request: Request, refused: bool) -> list[CheckResult]:
    """The results in the order in which the module states its checks.

    Checks that never began are blocked, with the reason; those that ``--static`` leaves out are left out.
    """
    results = []
    for name, (title, points) in plugin.stated.items():
        if name in plugin.results:
            results.append(plugin.results[name])
        elif name in plugin.selected and (refused or not request.static):
            why = REFUSED if refused else OUT_OF_TIME
            results.append(
                CheckResult(name=name, title=title, verdict=Verdict.BLOCKED, points=points, seconds=0, message=why)
            )
    return results


# --- signals ---------------------------------------------------------------------------------


@contextmanager
def _alarm(budget: Budget) -> Iterator[None]:
    """Raise ``BudgetExceeded`` in the running check when the time is over, whatever it is doing."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise BudgetExceeded

    if not hasattr(signal, "SIGALRM"):  # Windows: every wait still looks at the budget
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(budget.left, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _teardown_on_signals() -> Iterator[None]:
    """Make a polite kill (SIGTERM, SIGHUP) end as Ctrl-C does: with everything torn down."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """A second, impatient Ctrl-C must not leave containers behind; the teardown has its own deadline."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _remove_folder(owner: sweep.Owner, request: Request) -> None:
    import shutil

    if not request.keep:
        shutil.rmtree(owner.folder, ignore_errors=True)
