"""One grading from end to end: each arrow of the pipeline is one call, in one direction.

submission -> private copy -> model -> policy -> live stack -> checks -> report
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import docker

from grader.budget import OUT_OF_TIME, Budget
from grader.catalog import Exercise
from grader.engine import sweep
from grader.engine.ready import engine_for
from grader.errors import InternalError, UsageError
from grader.interrupts import teardown_on_signals
from grader.live import LiveStacks
from grader.plugin import GradingPlugin, Listener, Material
from grader.request import Request
from grader.results import CheckResult, Refusal, Report, Verdict
from grader.submission import private_copy
from grader.vetting import overlays, vetted
from grader.violation import Violation

REFUSED = "nothing was started, because the submission contains something that must not run here"


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
    client: docker.DockerClient | None = None
    with ExitStack() as cleanup:
        if not request.keep:
            cleanup.callback(lambda: sweep.discard(owner.folder, client))
        listener.stage("reading the submission")
        with stages.time("read"):
            copy = cleanup.enter_context(
                private_copy(request.submission, exercise, owner.folder / "files", request.files)
            )
            model, found = vetted(copy, owner.project, exercise) if exercise.has_main else (None, [])
            others, more = overlays(copy, owner.project, exercise)
            found += more
        if found:
            stages.seconds["total"] = round(time.monotonic() - began, 3)
            return Outcome(_refusal(request, found, started_at, stages.seconds))
        client = None if request.static else engine_for(exercise, request.runtime)
        budget = Budget(request.timeout or exercise.time_budget)
        live = LiveStacks(request, client, model, others, copy, owner, budget)
        plugin = GradingPlugin(
            exercise,
            Material(copy.folder, model, others),
            live.start,
            live.start_other,
            budget,
            listener,
            request.only,
            request.static,
        )
        with live.engine_has_to_answer(), stages.time("live"), teardown_on_signals(), live:
            run_checks(plugin, exercise, request.only)
            live.collect_evidence()
            listener.stage("removing everything again")
        checks = _in_order(plugin, budget)
    stages.split("live", start=live.seconds_to_settle, checks=None, teardown=live.seconds_to_stop)
    stages.seconds["total"] = round(time.monotonic() - began, 3)
    report = Report(
        exercise=exercise.key,
        title=exercise.title,
        submission=str(request.submission),
        started_at=started_at,
        checks=checks,
        start_problem=live.start_problem,
        services=live.services,
        out_of_time=plugin.out_of_time,
        seconds=stages.seconds,
        notes=[f"Stopped: {budget.reason}."] if budget.reason != OUT_OF_TIME else [],
    )
    return Outcome(report, owner.project if request.keep and live.started else "")


def _refusal(request: Request, found: Sequence[Violation], started_at: str, seconds: dict[str, float]) -> Report:
    """The report on a submission of which nothing is started."""
    stated = checks_of(request.exercise)
    return Report(
        exercise=request.exercise.key,
        title=request.exercise.title,
        submission=str(request.submission),
        started_at=started_at,
        checks=[
            CheckResult(name=name, title=title, verdict=Verdict.BLOCKED, points=points, seconds=0, message=REFUSED)
            for name, (title, points) in stated.items()
            if not request.only or name in request.only
        ],
        refused=[Refusal(at=v.at, what=v.what, why=v.why, instead=v.instead) for v in found],
        seconds=seconds,
    )


def run_checks(plugin: GradingPlugin, exercise: Exercise, only: Sequence[str]) -> None:
    """Run the exercise's checks; what becomes of them is in ``plugin``.

    Raises:
        UsageError: ``only`` names a check that does not exist.
        InternalError: the checks could not be run.
        KeyboardInterrupt: they were interrupted.
    """
    import pytest

    arguments = [
        str(exercise.checks), "-p", "no:cacheprovider", "-p", "no:terminal",
        "-p", "no:logging", "--noconftest", "-c", os.devnull, "--rootdir", str(exercise.checks.parent),
        "--import-mode=importlib",
    ]  # fmt: skip
    # Other packages' plugins would only cost start-up time, and could change what a verdict means.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    status = pytest.main(arguments, plugins=[plugin])
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


def _in_order(plugin: GradingPlugin, budget: Budget) -> list[CheckResult]:
    """The results in the order in which the module states its checks.

    Checks that never began are blocked, with the reason; those that ``--static`` leaves out are left out.
    """
    results = []
    for name, (title, points) in plugin.stated.items():
        if name in plugin.results:
            results.append(plugin.results[name])
        elif name in plugin.selected:
            results.append(
                CheckResult(
                    name=name, title=title, verdict=Verdict.BLOCKED, points=points, seconds=0, message=budget.reason
                )
            )
    return results
