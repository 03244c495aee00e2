"""A report becomes text for people or for programs. Pure: a report in, text out."""

from __future__ import annotations

from grader.results import Report


def render(report: Report, form: str, *, to_terminal: bool, hidden: frozenset[str] = frozenset()) -> str:
    """The whole report.

    Args:
        form: ``text``, ``json``, ``html``, ``junit``, ``gradescope`` or ``classroom``.
        to_terminal: whether colours and a terminal's width are wanted.
        hidden: names of the checks that the students of a Gradescope course must not see; other forms show all.
    """
    # Imported when it is needed, as all of them: rich and jinja2 take longer to load than the rest of a report.
    match form:
        case "json":
            return report.model_dump_json(indent=2) + "\n"
        case "html":
            from grader.render import html

            return html.render(report)
        case "junit":
            from grader.render import junit

            return junit.render(report)
        case "gradescope":
            from grader.render import gradescope

            return gradescope.render(report, hidden=hidden)
        case "classroom":
            from grader.render import classroom

            return classroom.render(report)
    from grader.render import terminal

    return terminal.render(report, colour=to_terminal)
