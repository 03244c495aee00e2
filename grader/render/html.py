"""The report as HTML: a page of its own, or a part of one, such as a notebook's output.

Whatever a submission had a hand in is escaped; there is no script in it and nothing is fetched.
"""

from __future__ import annotations

from grader.render import words
from grader.render.templates import template
from grader.results import Report


def render(report: Report, *, page: bool = True) -> str:
    """The report as HTML.

    Args:
        page: a whole document; otherwise a ``<style>`` and a ``<section>`` to put into one.
    """
    return template("grader.render", "report.html.j2").render(
        report=report, page=page, marks=words.MARKS, counts=words.counts(report), times=words.times(report)
    )
