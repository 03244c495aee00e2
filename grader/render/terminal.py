"""The report as a student reads it: what passed in a line, what failed with all that helps."""

from __future__ import annotations

import io
import shutil

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from grader.results import CheckResult, PostMortem, Refusal, Report, Verdict

PLAIN_WIDTH = 100

_MARKS = {
    Verdict.PASSED: ("✓", "green"),
    Verdict.FAILED: ("✗", "red"),
    Verdict.BLOCKED: ("‖", "yellow"),
    Verdict.NOT_RUN: ("-", "blue"),
    Verdict.ERROR: ("!", "magenta"),
}


def render(report: Report, *, colour: bool) -> str:
    """The report as text, coloured for a terminal if wanted."""
    width = min(shutil.get_terminal_size().columns, 110) if colour else PLAIN_WIDTH
    console = Console(
        file=io.StringIO(),
        force_terminal=colour,
        no_color=not colour,
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
    )
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
    output = console.file
    assert isinstance(output, io.StringIO)
    # rich fills padded lines with blanks to the full width.
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n"


def _check(console: Console, check: CheckResult) -> None:
    mark, style = _MARKS[check.verdict]
    line = Text.assemble((f" {mark} ", f"bold {style}"), check.title)
    if check.verdict is not Verdict.PASSED:
        line.append(f"  [{check.verdict.value}, {_points(check.earned)} of {_points(check.points)}]", style=style)
    console.print(line)
    if check.verdict is Verdict.PASSED:
        return
    rows = [
        ("", _sentence(check.message)),
        ("expected", check.expected),
        ("seen", check.actual),
        ("where", check.at),
        ("hint", check.hint),
        ("lesson", check.section),
    ]
    for label, text in rows:
        if text:
            _row(console, label, text)
    if check.reproduce:
        _row(console, "try", check.reproduce, style="cyan")
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
    facts = [service.state]
    if service.exit_code is not None:
        facts.append(f"exit code {service.exit_code}")
    if service.out_of_memory:
        facts.append("it ran out of memory")
    if service.health:
        facts.append(f"health: {service.health}")
    console.print(Text.assemble(("   ", ""), (service.service, "bold"), f"  {', '.join(facts)}"))
    if service.probe_output:
        _row(console, "health check said", service.probe_output)
    for line in service.log:
        console.print(Padding(Text(f"| {line}", style="dim"), (0, 0, 0, 5)))


def _summary(console: Console, report: Report) -> None:
    counted = [f"{report.count(v)} {v.value}" for v in Verdict if report.count(v)]
    style = "bold green" if report.full_marks else "bold"
    console.print(
        Text(
            f"{_points(report.points)} of {_points(report.maximum)} points   ({', '.join(counted)})",
            style=style,
        )
    )
    if report.count(Verdict.FAILED):
        console.print(
            f"Begin with the first {_MARKS[Verdict.FAILED][0]}; what is blocked waits for another. "
            f'Type the commands after "try" in exercises/{report.exercise}.'
        )
    if report.out_of_time:
        console.print("The time budget ended before the last check. More time: --timeout SECONDS")
    times = report.seconds
    parts = [f"{name} {times[name]:.1f} s" for name in ("read", "start", "checks", "teardown") if times.get(name)]
    console.print(Text(f"{times.get('total', 0):.1f} s in all ({', '.join(parts)})", style="dim"))


def _points(points: float) -> str:
    return f"{points:g}"


def _sentence(text: str) -> str:
    """A message as it is said in a list: beginning small if it begins with a service's name."""
    return text if not text or text.endswith((".", "!", "?")) else text + "."
