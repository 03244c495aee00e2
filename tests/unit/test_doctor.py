"""The doctor's table, from findings, and on a machine without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from grader.engine import images
from grader.setup import doctor
from grader.setup.doctor import Finding, can_grade, examine, table

FINDINGS = [
    Finding("Engine", "ok", "Docker Engine 26.1.5"),
    Finding("Compose", "warning", "2.22.0", "Compose 2.22.0 works, but …"),
    Finding("python:3.11-slim", "problem", "missing", "Type:\n    python -m grader images"),
]


def printed(findings: list[Finding], width: int = 100) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(table(findings))
        return console.export_text()


def test_each_fix_stands_below_what_it_is_for() -> None:
    lines = [" ".join(line.split()) for line in printed(FINDINGS).splitlines()]
    assert lines[1:] == [
        "ok Engine Docker Engine 26.1.5",
        "warning Compose 2.22.0",
        "Compose 2.22.0 works, but …",
        "problem python:3.11-slim missing",
        "Type:",
        "python -m grader images",
    ]


def test_a_problem_makes_grading_impossible_and_a_warning_does_not() -> None:
    assert can_grade(FINDINGS[:2])
    assert not can_grade(FINDINGS)


def test_a_missing_engine_is_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    found = examine()
    assert [finding.name for finding in found if finding.state == "problem"] == ["Engine"]
    assert not can_grade(found)


@pytest.mark.parametrize(
    ("image", "state", "outdated", "verdict"),
    [
        (images.Image("a:1", "x", in_registry=True), images.State.PULLED, False, "ok"),
        (images.Image("a:1", "x", in_registry=True), images.State.EQUIVALENT, False, "ok"),
        (images.Image("a:1", "x", inputs=(Path("a"),)), images.State.BUILT, False, "ok"),
        (images.Image("a:1", "x", inputs=(Path("a"),)), images.State.BUILT, True, "warning"),
        (images.Image("a:1", "x", inputs=(Path("a"),)), images.State.MISSING, False, "problem"),
        (images.Image("a:1", "x", in_registry=True), images.State.MISSING, False, "warning"),
    ],
)
def test_an_image_that_can_be_had_here_must_be_there(
    image: images.Image, state: images.State, outdated: bool, verdict: str
) -> None:
    size = None if state is images.State.MISSING else 123_000_000
    finding = doctor._image(images.ImageStatus(image, state, size=size, outdated=outdated))
    assert finding.state == verdict
    assert state in finding.value
    assert bool(finding.fix) == (verdict != "ok")
