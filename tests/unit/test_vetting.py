"""The other stacks of an exercise: an overlay, a stack of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from grader import catalog
from grader.catalog import Exercise
from grader.errors import InternalError, SubmissionError
from grader.submission import private_copy
from grader.vetting import Overlay, overlays

TOML = """
title = "T"
objectives = ["o"]
minutes = 1
student_files = ["compose.yml", "compose.dev.yml"]
services = ["a"]
lesson = "n.ipynb"
time_budget = 60
patience = 7
images = ["python:3.11-slim"]
reach = {a = 80}
stacks.dev = {files = ["compose.yml", "compose.dev.yml"], services = ["a", "tool"]}
stacks.own = {files = ["own/compose.yml"], reach = {b = 90}, patience = 9}
"""
BASE = "services: {a: {image: 'python:3.11-slim'}}\n"
DEV = "services: {a: {environment: {DEBUG: 'yes'}}, tool: {image: 'python:3.11-slim', profiles: [tools]}}\n"


@pytest.fixture
def exercise(tmp_path: Path) -> Exercise:
    folder = tmp_path / "90-several"
    (folder / "own").mkdir(parents=True)
    (folder / "exercise.toml").write_text(TOML)
    (folder / "compose.yml").write_text(BASE)
    (folder / "compose.dev.yml").write_text(DEV)
    (folder / "own" / "compose.yml").write_text("services: {b: {image: 'python:3.11-slim', volumes: ['./x:/x:ro']}}\n")
    return catalog.load(folder)


def read(exercise: Exercise, tmp_path: Path) -> tuple[dict[str, Overlay], list[str]]:
    with private_copy(exercise.folder, exercise, tmp_path / "copy") as copy:
        found, refused = overlays(copy, "grading-test", exercise)
        return found, [f"{violation.at} {violation.what}" for violation in refused]


def test_each_is_resolved_as_a_project_of_its_own(exercise: Exercise, tmp_path: Path) -> None:
    found, refused = read(exercise, tmp_path)
    assert refused == []
    dev, own = found["dev"].model, found["own"].model
    assert dev is not None
    assert own is not None
    assert (dev.project, own.project) == ("grading-test-dev", "grading-test-own")
    assert dev.services["a"].config["environment"] == {"DEBUG": "yes"}
    assert set(dev.services) == {"a", "tool"}
    assert own.config["services"]["b"]["volumes"][0]["source"] == str(tmp_path / "copy" / "own" / "x")
    assert own.at("services", "b", "image") == "own/compose.yml:1"


def test_what_is_not_said_is_as_in_the_exercise(exercise: Exercise) -> None:
    dev, own = exercise.stacks["dev"], exercise.stacks["own"]
    assert (dev.reach, dev.patience) == ({"a": 80}, 7)
    assert (own.reach, own.patience) == ({"b": 90}, 9)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services: [", "compose.dev.yml"),
        ("services: {a: {imag: x}}", "imag"),
        ("services: {a: {tty: true}}", "no service called tool"),
    ],
)
def test_one_that_cannot_be_read_leaves_the_others_alone(
    exercise: Exercise, tmp_path: Path, text: str, says: str
) -> None:
    (exercise.folder / "compose.dev.yml").write_text(text)
    found, refused = read(exercise, tmp_path)
    assert refused == []
    assert found["dev"].model is None
    assert says in found["dev"].problem
    assert found["own"].model is not None


@pytest.mark.parametrize(
    "text",
    ["services: {a: {privileged: true}, tool: {image: 'python:3.11-slim'}}", "include: [/etc/passwd]\nservices: {}\n"],
)
def test_what_must_not_run_is_found_in_each(exercise: Exercise, tmp_path: Path, text: str) -> None:
    (exercise.folder / "compose.dev.yml").write_text(text)
    _, refused = read(exercise, tmp_path)
    assert len(refused) == 1
    assert refused[0].startswith("compose.dev.yml:1 ")


def test_an_exercise_may_have_no_file_that_compose_takes_by_itself(exercise: Exercise, tmp_path: Path) -> None:
    assert exercise.has_main
    (exercise.folder / "compose.yml").unlink()
    (exercise.folder / "exercise.toml").write_text(
        TOML.replace('"compose.yml", "compose.dev.yml"]\ns', '"own/compose.yml"]\ns')
    )
    exercise = catalog.load(exercise.folder)
    assert not exercise.has_main
    with private_copy(exercise.folder, exercise, tmp_path / "copy") as copy:
        assert copy.compose_files == ()


def test_a_submission_without_a_main_file_is_none(exercise: Exercise, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "note.txt").write_text("nothing")
    with pytest.raises(SubmissionError), private_copy(tmp_path / "empty", exercise, tmp_path / "copy"):
        pass


def test_an_unknown_key_of_a_stack_is_told(exercise: Exercise) -> None:
    (exercise.folder / "exercise.toml").write_text(TOML + 'stacks.odd = {files = ["x.yml"], colour = "red"}\n')
    with pytest.raises(InternalError, match="colour"):
        catalog.load(exercise.folder)
