"""Three small checks for submissions that are up to no good: about a second for a whole grading."""

from __future__ import annotations

from grader.model import Model
from grader.plugin import Failure, check, running
from grader.probes import execute, get
from grader.stack import Stack

PORT = 8000


@check(points=1)
def test_web_is_python(model: Model) -> None:
    """web runs Python's image"""
    if model.services["web"].config.get("image") != "python:3.11-slim":
        raise Failure("web runs another image", at=model.at("services", "web", "image"))


@check(points=1, needs=running("web"))
def test_answer(stack: Stack) -> None:
    """web answers forty-two"""
    url = stack.url("web", PORT, "/answer.txt")
    assert url is not None
    answer = get(url)
    if answer is None or answer.body.strip() != b"forty-two":
        raise Failure("web gives another answer", actual=str(answer and answer.body[:100]))


@check(points=1, needs=running("web"))
def test_root(stack: Stack) -> None:
    """web has a /srv folder"""
    done = execute(stack.client, stack.containers("web")[0], ["ls", "/srv"], timeout=5)
    if done.status != 0:
        raise Failure("there is no /srv", actual=done.output)
