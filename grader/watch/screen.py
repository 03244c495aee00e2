"""The board as a person sees it: pure, from a ``Board`` to what rich draws.

What matters most is on top: a small terminal cuts off the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from grader.hints import hints, seen
from grader.render.terminal import STYLES
from grader.render.words import MARKS, points
from grader.results import Verdict
from grader.watch.board import Board, Row

KEYS = "h a hint   r run again   q quit"


def draw(board: Board) -> RenderableType:
    """What changed on top, then the first problem, then every check in a line."""
    return Group(*_parts(board))


def _parts(board: Board) -> Iterator[RenderableType]:
    earned, maximum = board.points
    yield Text.assemble((f"{board.name}: {board.title}", "bold"), f"   {points(earned)} of {points(maximum)} points")
    yield Text(f"{board.stage} …" if board.stage else "Waiting for you to save a file.", style="dim")
    yield Text(KEYS, style="dim")
    yield Text()
    if board.problem:
        what, fix = board.problem
        yield Text(what, style="red")
        yield Text(fix)
        yield Text()
    for refusal in board.refused:
        yield Text.assemble((" ✗ ", "bold red"), f"{refusal.at}: {refusal.what} must not run here")
        yield Padding(Text(f"{refusal.why} {refusal.instead}"), (0, 0, 0, 5))
    if changes := board.changes:
        yield Text("Your last save changed:", style="bold")
        for row in changes:
            yield _line(row, was=True)
        yield Text()
    if problem := board.first_problem:
        yield Text("The first problem:", style="bold")
        yield from _details(problem, board.unfolded.get(problem.name, 0))
        yield Text()
    for row in board.rows:
        yield _line(row)
    if any(row.running and row.current for row in board.rows):
        yield Text("  ~ seen on the running stack; the grading from scratch has the last word", style="dim")


def _line(row: Row, *, was: bool = False) -> Text:
    mark = MARKS[row.verdict] if row.verdict else "·"
    style = STYLES[row.verdict] if row.verdict else "dim"
    # A verdict on files that are no more is shown, but in grey.
    text = Text.assemble((f" {mark}", f"bold {style}"), "~ " if row.running and row.current else "  ", row.title)
    if was and row.before:
        text.append(f"  (was: {row.before.value})", style="dim")
    elif row.verdict not in (None, Verdict.PASSED):
        text.append(f"  [{row.verdict.value}]" if row.verdict else "", style=style)
    if not row.current:
        text.stylize("dim")
    return text


def _details(row: Row, unfolded: int) -> Iterator[RenderableType]:
    yield _line(row)
    if row.result is None:
        return
    every = hints(row.result)
    for label, text in [*seen(row.result), *every[:unfolded]]:
        body = Text.assemble((f"{label}: " if label else "", "dim"), text)
        yield Padding(body, (0, 0, 0, 5))
    if unfolded < len(every):
        yield Padding(Text(f"h: a hint ({unfolded} of {len(every)} shown)", style="dim"), (0, 0, 0, 5))
