"""What the session knows at a moment: every check's latest verdict, and what the last save has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from grader.results import CheckResult, Refusal, Report, Verdict
from grader.watch.messages import Checked, Done, Message, Problem, Reported, Stage, Work


@dataclass
class Row:
    """One check.

    Attributes:
        result: the latest one; None before the first.
        before: the verdict that it had when the files were last saved.
        current: the result is about the files as they are now.
        running: it comes from the running stack; the grading from scratch may still say otherwise.
    """

    name: str
    title: str
    points: float
    result: CheckResult | None = None
    before: Verdict | None = None
    current: bool = False
    running: bool = False

    @property
    def verdict(self) -> Verdict | None:
        """The latest verdict."""
        return self.result.verdict if self.result else None

    @property
    def changed(self) -> bool:
        """The last save has changed the verdict."""
        return self.current and self.before is not None and self.verdict is not self.before


@dataclass
class Board:
    """Everything that the screen shows.

    Attributes:
        rows: the exercise's checks, in their order.
        stage: what is being done; empty when nothing is.
        problem: why there are no verdicts, and what to do.
        refused: what must not run.
        report: of the last grading from scratch; None before the first.
        unfolded: the check's name -> how many of its hints are shown.
    """

    name: str
    title: str
    rows: list[Row]
    round: int = 0
    stage: str = "beginning"
    problem: tuple[str, str] | None = None
    refused: list[Refusal] = field(default_factory=list)
    report: Report | None = None
    unfolded: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, title: str, stated: Mapping[str, tuple[str, float]]) -> Board:
        """An empty one.

        Args:
            stated: the check's name -> its title and points.
        """
        return cls(name, title, [Row(check, says, points) for check, (says, points) in stated.items()])

    def saved(self) -> None:
        """The files have changed, or everything is to be graded again: no verdict is about them yet."""
        self.round += 1
        self.stage, self.problem, self.refused = "reading the files", None, []
        for row in self.rows:
            row.before, row.current = row.verdict, False

    def take(self, message: Message) -> None:
        """What a worker has said; of an earlier round it means nothing any more."""
        if message.round != self.round:
            return
        match message:
            case Stage(text=text):
                self.stage = text
            case Checked(result=result, running=running):
                self._record(result, running)
            case Reported(report=report, final=final):
                self.refused = report.refused
                if final:
                    self.report = report
                    for check in report.checks:
                        self._record(check, running=False)
            case Problem(what=what, fix=fix):
                self.problem = what, fix
            case Done(work=work):
                if work is Work.GRADE:
                    self.stage = ""

    def _record(self, result: CheckResult, running: bool) -> None:
        for row in self.rows:
            if row.name == result.name:
                if row.result and row.result.message != result.message:
                    self.unfolded.pop(row.name, None)
                row.result, row.current, row.running = result, True, running

    def unfold(self, most: int) -> None:
        """Show one hint more of the first problem, of which there are ``most``."""
        if row := self.first_problem:
            self.unfolded[row.name] = min(self.unfolded.get(row.name, 0) + 1, most)

    @property
    def first_problem(self) -> Row | None:
        """The first check that failed."""
        return next((row for row in self.rows if row.verdict is Verdict.FAILED), None)

    @property
    def changes(self) -> list[Row]:
        """The checks whose verdict the last save has changed."""
        return [row for row in self.rows if row.changed]

    @property
    def not_passed(self) -> tuple[str, ...]:
        """The names of the checks that failed or were blocked: what somebody who saves is at work on."""
        return tuple(row.name for row in self.rows if row.verdict in (Verdict.FAILED, Verdict.BLOCKED))

    @property
    def points(self) -> tuple[float, float]:
        """Points earned, and points to be had, by the latest verdicts."""
        earned = sum(row.points for row in self.rows if row.verdict is Verdict.PASSED)
        return earned, sum(row.points for row in self.rows if row.verdict is not Verdict.NOT_RUN)
