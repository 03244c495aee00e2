"""A report becomes text for people or for programs. Pure: a report in, text out."""

from __future__ import annotations

from grader.results import Report


def render(report: Report, form: str, *, to_terminal: bool) -> str:
    """The whole report.

    Args:
        form: ``text`` or ``json``.
        to_terminal: whether colours and a terminal's width are wanted.
    """
    if form == "json":
        return report.model_dump_json(indent=2) + "\n"
    from grader.render import terminal

    return terminal.render(report, colour=to_terminal)
