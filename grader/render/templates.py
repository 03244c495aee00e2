"""Jinja2 templates: whatever is put into one is escaped, and a name that it misspells is an error."""

from __future__ import annotations

import functools
from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from grader.render import words


@functools.cache
def template(package: str, name: str, **filters: Callable[..., str]) -> Template:
    """The template ``name`` that lies in ``package``.

    Args:
        filters: the template's own, besides the words of every form of a report.
    """
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"points": words.points, "sentence": words.sentence, "condition": words.condition}
    environment.filters |= filters
    return environment.get_template(name)
