"""The pytest plugin: what a check is, and how its end becomes a verdict.

    @check(points=2, needs=healthy("postgres"), hint="…", section="…")
    def test_api_waits_for_postgres(stack):
        '''api starts after postgres is healthy'''

Only ``Failure`` means failed. An unmet ``needs`` is blocked. ``NotRun`` (no GPU, no image) takes the
points out of the maximum. Any other exception is the grader's fault, and shown as such.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import pytest

from grader import compose
from grader.budget import Budget, BudgetExceeded, stretched
from grader.catalog import Exercise
from grader.compose import Finished
from grader.errors import Blocked
from grader.interrupts import alarm
from grader.model import CONFIG_TIMEOUT, Model
from grader.results import CheckResult, Verdict
from grader.stack import Stack
from grader.text import printable
from grader.vetting import Overlay

__all__ = ["Blocked", "Failure", "NotRun", "GradingPlugin", "Material", "check", "has_probe", "healthy", "running"]

Need = Callable[[Stack], str]
"""Given the settled stack: why the check cannot be made, empty if it can."""

F = TypeVar("F", bound=Callable[..., None])


@dataclass(frozen=True)
class Rubric:
    """What ``@check`` says about a check; see there."""

    points: float
    needs: tuple[Need, ...]
    hint: str
    section: str


def check(*, points: float, needs: Need | Sequence[Need] = (), hint: str = "", section: str = "") -> Callable[[F], F]:
    """Make a test function a check; its docstring is the title that students read.

    Args:
        points: what passing is worth.
        needs: what has to be well on the stack before the check means anything.
        hint: one sentence that helps, without giving the answer away.
        section: the heading in the lesson that teaches it.
    """
    rubric = Rubric(points, (needs,) if callable(needs) else tuple(needs), hint, section)
    return pytest.mark.check(rubric)


class Failure(AssertionError):
    """The submission does not do what the check demands.

    Args:
        message: what was seen, in a sentence.
        expected, actual: the two values, where there are two.
        at: ``file:line``.
        reproduce: a command that shows the same thing.
        hint: replaces the check's own hint where what was seen allows a better one.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: str = "",
        actual: str = "",
        at: str = "",
        reproduce: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.actual = actual
        self.at = at
        self.reproduce = reproduce
        self.hint = hint


class NotRun(Exception):
    """This machine lacks what the check needs; its points leave the maximum."""


def healthy(*services: str) -> Need:
    """A need: all of ``services`` came up, and became healthy where they have a health check."""

    def need(stack: Stack) -> str:
        return next((why for name in services if (why := stack.not_well[name])), "")

    return need


def running(*services: str) -> Need:
    """A need: all of ``services`` were running when the stack had settled, healthy or not."""

    def need(stack: Stack) -> str:
        return next((stack.not_well[name] for name in services if name not in stack.running), "")

    return need


def has_probe(*services: str) -> Need:
    """A need: each of ``services`` has a health check, and it passes."""

    def need(stack: Stack) -> str:
        for name in services:
            if why := stack.not_well[name]:
                return why
            if stack.probe_command(name) is None:
                return f"{name} has no health check"
        return ""

    return need


class Listener(Protocol):
    """Is told what the grading is doing, as it does it."""

    def stage(self, what: str) -> None:
        """A stage has begun."""

    def finished(self, result: CheckResult, done: int, total: int) -> None:
        """A check has its verdict."""


@dataclass(frozen=True)
class Material:
    """What was handed in, as checks that need no engine look at it.

    Attributes:
        folder: the private copy.
        model: the main file, resolved; None if the exercise has none.
        overlays: the exercise's other stacks.
    """

    folder: Path
    model: Model | None
    overlays: Mapping[str, Overlay]

    def resolve(
        self,
        environment: Mapping[str, str] = MappingProxyType({}),
        files: Sequence[str] = (),
        arguments: Sequence[str] = ("config", "--format", "json"),
    ) -> Finished:
        """Have Compose read the private copy, all its profiles included; nothing is started.

        Args:
            environment: the variables of the shell; nothing of this machine's own is among them.
            files: for ``-f``; those that Compose takes by itself if empty.
            arguments: options and the subcommand.
        """
        chosen = [word for file in files for word in ("-f", file)]
        return compose.read(
            [*chosen, "--profile", "*", *arguments], self.folder, stretched(CONFIG_TIMEOUT), environment
        )


class GradingPlugin:
    """One grading as pytest sees it: the fixtures of its checks, and a result for each check.

    Args:
        submission: what was handed in.
        start: enters the main stack, which then comes up in the background; called at most once.
        start_other: enters one of the exercise's other stacks, and settles it.
        only: the names of the checks to run; all if empty.
        first: the names of those that come before all others.
        static: run only the checks that need no engine.
    """

    def __init__(
        self,
        exercise: Exercise,
        submission: Material,
        start: Callable[[], Stack],
        start_other: Callable[..., Stack],
        budget: Budget,
        listener: Listener,
        only: Sequence[str] = (),
        static: bool = False,
        first: Sequence[str] = (),
    ) -> None:
        self.exercise = exercise
        self.results: dict[str, CheckResult] = {}
        self.out_of_time = False
        self.broken = ""
        # Name -> title and points of every check of the module, in its order, those left out included.
        self.stated: dict[str, tuple[str, float]] = {}
        self.selected: list[str] = []
        self._submission = submission
        self._start = start
        self._start_other = start_other
        self._stack: Stack | None = None
        self._budget = budget
        self._listener = listener
        self._only, self._first = set(only), set(first)
        self._static = static
        self._total = 0

    # --- fixtures --------------------------------------------------------------------------

    @pytest.fixture(scope="session")
    def model(self) -> Model:
        """What the learner wrote, resolved."""
        assert self._submission.model is not None, f"{self.exercise.key} has no main file"
        return self._submission.model

    @pytest.fixture(scope="session")
    def overlays(self) -> Mapping[str, Overlay]:
        """What the learner wrote for each of the exercise's other stacks, resolved."""
        return self._submission.overlays

    @pytest.fixture(scope="session")
    def files(self) -> Path:
        """The private copy of what was handed in."""
        return self._submission.folder

    @pytest.fixture(scope="session")
    def resolve(self) -> Callable[..., Finished]:
        """``docker compose config`` in an environment of the check's own."""
        return self._submission.resolve

    @pytest.fixture(scope="session")
    def start(self) -> Callable[..., Stack]:
        """Starts one of the exercise's other stacks by its name; see ``LiveStacks.start_other``."""
        return self._start_other

    @pytest.fixture(scope="session")
    def beside(self) -> Stack:
        """The stack while it may still be coming up: for experiments in projects of their own."""
        if self._stack is None:
            self._stack = self._start()
        return self._stack

    @pytest.fixture(scope="session")
    def stack(self) -> Stack:
        """The live stack, once every service is well or will not be."""
        return self._settled_stack()

    # --- hooks -----------------------------------------------------------------------------

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "check(rubric): what a check is worth and needs")

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self.stated = {item.name: (title(item), _rubric(item).points) for item in items}
        items.sort(key=lambda item: (item.name not in self._first, _cost(item)))
        items[:] = [item for item in items if not self._only or item.name in self._only]
        if self._static:
            items[:] = [item for item in items if _cost(item) == 0]
        self.selected = [item.name for item in items]
        self._total = len(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """The alarm is set only here: while pytest collects, it would pass for a fault of the checks' module."""
        try:
            with alarm(self._budget):
                if any(_needs_main_stack(item) for item in session.items):
                    self._listener.stage("starting the stack")
                    self._stack = self._start()
                return (yield)
        except BudgetExceeded:  # it rang between two checks
            self.out_of_time = True
            return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before any fixture: a check whose needs are unmet must not start an experiment."""
        if self._budget.spent:
            raise BudgetExceeded
        if _cost(item) == 2:
            stack = self._settled_stack()
            for need in _rubric(item).needs:
                if why := need(stack):
                    raise Blocked(why)

    def _settled_stack(self) -> Stack:
        if self._stack is None:
            self._stack = self._start()
        if not self._stack.settled:
            self._listener.stage("waiting until every service is healthy")
            self._stack.settle()
            self._listener.stage("running the checks")
        return self._stack

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
        report = yield
        if call.when == "call" or (call.when == "setup" and call.excinfo is not None):
            # The first check that needs the stack pays for its start; that is no time of the check's own.
            seconds = call.duration if call.when == "call" else 0.0
            self._record(item, call.excinfo.value if call.excinfo else None, seconds)
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken = str(report.longrepr)

    def _record(self, item: pytest.Item, error: BaseException | None, seconds: float) -> None:
        rubric = _rubric(item)
        verdict, extra = _verdict(error, self._budget.reason)
        self.out_of_time |= isinstance(error, BudgetExceeded)
        if verdict in (Verdict.FAILED,):
            extra.setdefault("hint", rubric.hint)
            extra["hint"] = extra["hint"] or rubric.hint
            extra["section"] = f"{self.exercise.lesson}: {rubric.section}" if rubric.section else self.exercise.lesson
        result = CheckResult(
            name=item.name,
            title=title(item),
            verdict=verdict,
            points=rubric.points,
            seconds=round(seconds, 3),
            **extra,
        )
        self.results[item.name] = result
        self._listener.finished(result, len(self.results), self._total)


def title(item: pytest.Item) -> str:
    """The first line of the check's docstring."""
    doc = inspect.getdoc(getattr(item, "function", None)) or item.name
    return doc.splitlines()[0]


def _rubric(item: pytest.Item) -> Rubric:
    marker = item.get_closest_marker("check")
    if marker is None:
        raise TypeError(f"{item.nodeid} lacks @check")
    rubric: Rubric = marker.args[0]
    return rubric


def _cost(item: pytest.Item) -> int:
    """0: needs no engine. 1: a project of its own beside the stack. 2: the whole live stack."""
    names = getattr(item, "fixturenames", ())
    return 2 if "stack" in names else 1 if {"beside", "start"} & set(names) else 0


def _needs_main_stack(item: pytest.Item) -> bool:
    return bool({"stack", "beside"} & set(getattr(item, "fixturenames", ())))


def _verdict(error: BaseException | None, why_over: str) -> tuple[Verdict, dict[str, str]]:
    match error:
        case None:
            return Verdict.PASSED, {}
        case Failure():
            fields = ("message", "expected", "actual", "at", "reproduce", "hint")
            return Verdict.FAILED, {name: printable(getattr(error, name)) for name in fields}
        case BudgetExceeded():
            return Verdict.BLOCKED, {"message": why_over}
        case Blocked():
            return Verdict.BLOCKED, {"message": printable(str(error))}
        case NotRun():
            return Verdict.NOT_RUN, {"message": printable(str(error))}
    trace = "".join(traceback.format_exception(error)[-3:])
    return Verdict.ERROR, {"message": f"the grader's own fault: {printable(trace)}"}
