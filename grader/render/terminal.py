"""The report as a student reads it: what passed in a line, what failed with all that helps."""

from __future__ import annotations

import io
import shutil

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from grader.render.words import MARKS, advice, condition, counts, points, times
from grader.results import CheckResult, PostMortem, Refusal, Report, Verdict

PLAIN_WIDTH = 100

STYLES = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "red",
    Verdict.BLOCKED: "yellow",
    Verdict.NOT_RUN: "blue",
    Verdict.ERROR: "magenta",
}


def paper(*, colour: bool) -> Console:
    """A console that keeps what is printed on it, for ``written``; as wide as the terminal if it is meant for one."""
    width = min(shutil.get_terminal_size().columns, 110) if colour else PLAIN_WIDTH
    return Console(
        file=io.StringIO(),
        force_terminal=colour,
        no_color=not colour,
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
    )


def written(console: Console) -> str:
    """All that was printed on a ``paper``."""
    output = console.file
    assert isinstance(output, io.StringIO)
    # rich fills padded lines with blanks to the full width.
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n"


def render(report: Report, *, colour: bool) -> str:
    """The report as text, coloured for a terminal if wanted."""
    console = paper(colour=colour)
    console.print()
    console.print(Text(f"{report.exercise}: {report.title}", style="bold"))
    console.print()
    for refusal in report.refused:
        _refusal(console, refusal)
    for check in report.checks:
        _check(console, check)
    if report.start_problem:
        console.print()
        console.print(Text(f"The stack did not come up whole: {report.start_problem}", style="yellow"))
    for service in report.services:
        _post_mortem(console, service)
    for note in report.notes:
        console.print(Text(note, style="blue"))
    console.print()
    _summary(console, report)
    return written(console)


def _check(console: Console, check: CheckResult) -> None:
    mark, style = MARKS[check.verdict], STYLES[check.verdict]
    line = Text.assemble((f" {mark} ", f"bold {style}"), check.title)
    if check.verdict is not Verdict.PASSED:
        line.append(f"  [{check.verdict.value}, {points(check.earned)} of {points(check.points)}]", style=style)
    console.print(line)
    if check.verdict is Verdict.PASSED:
        return
    for label, text in advice(check):
        _row(console, label, text, style="cyan" if label == "try" else "")
    if check.verdict is not Verdict.BLOCKED:
        console.print()


def _row(console: Console, label: str, text: str, style: str = "") -> None:
    body = Text.assemble((f"{label}: " if label else "", "dim"), (text, style))
    console.print(Padding(body, (0, 0, 0, 5)))


def _refusal(console: Console, refusal: Refusal) -> None:
    console.print(Text.assemble((" ✗ ", "bold red"), f"{refusal.at}: {refusal.what} must not run here"))
    _row(console, "why", refusal.why)
    _row(console, "instead", refusal.instead)


def _post_mortem(console: Console, service: PostMortem) -> None:
    console.print(Text.assemble(("   ", ""), (service.service, "bold"), f"  {condition(service)}"))
    if service.probe_output:
        _row(console, "health check said", service.probe_output)
    for line in service.log:
        console.print(Padding(Text(f"| {line}", style="dim"), (0, 0, 0, 5)))


def _summary(console: Console, report: Report) -> None:
    style = "bold green" if report.full_marks else "bold"
    console.print(
        Text(
            f"{points(report.points)} of {points(report.maximum)} points   ({', '.join(counts(report))})",
            style=style,
        )
    )
    if report.count(Verdict.FAILED):
        console.print(
            f"Begin with the first {MARKS[Verdict.FAILED]}; what is blocked waits for another. "
            f'Type the commands after "try" in exercises/{report.exercise}.'
        )
    if report.out_of_time:
        console.print("The time budget ended before the last check. More time: --timeout SECONDS")
    console.print(Text(times(report), style="dim"))
