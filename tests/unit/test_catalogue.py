"""What a course author may forget: every exercise is complete, and every check says what a student needs."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from grader import catalog
from grader.catalog import Exercise
from grader.grading import checks_of
from grader.plugin import Rubric
from grader.submission import COMPOSE_FILES

SUBMISSIONS = catalog.ROOT / "tests" / "submissions"
MOST_WORDS = 12  # in a check's title: it has to fit into one line of a report
FEWEST_CORRECT_VARIANTS = 5
FEWEST_MISTAKES = 10
MOST_README_LINES = 65  # about a page and a half

README_PARTS = [
    "Start from", "What to do", "Done when", "Not part of this", "Try it, have it graded",
]  # fmt: skip

EXERCISES = catalog.exercises()
CHECKS = [
    pytest.param(exercise, name, id=f"{exercise.key}-{name}")
    for exercise in EXERCISES
    if exercise.checks.is_file()
    for name in checks_of(exercise)
]

of_every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.key)


def files_in(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def functions_of(exercise: Exercise) -> dict[str, Callable[..., object]]:
    """Every function of the exercise's checks that pytest would run."""
    module = importlib.import_module(f"grader.checks.{exercise.checks.stem}")
    return {name: entry for name, entry in inspect.getmembers(module, callable) if name.startswith("test_")}


def rubric(exercise: Exercise, check: str) -> Rubric:
    marks = {mark.name: mark for mark in getattr(functions_of(exercise)[check], "pytestmark", [])}
    found: Rubric = marks["check"].args[0]
    return found


def verdicts(exercise: Exercise) -> list[Path]:
    return sorted((SUBMISSIONS / exercise.key).iterdir())


class TestExercises:
    def test_there_are_some(self) -> None:
        assert EXERCISES

    def test_every_folder_is_one(self) -> None:
        """A folder whose name does not match would silently be no exercise."""
        folders = {path.name for path in catalog.EXERCISES.iterdir() if path.is_dir() and path.name[0] != "."}
        assert folders == {exercise.key for exercise in EXERCISES}

    def test_every_number_is_given_once(self) -> None:
        names = [exercise.name for exercise in EXERCISES]
        assert len(names) == len(set(names))

    @of_every_exercise
    def test_has_what_its_key_promises(self, exercise: Exercise) -> None:
        assert catalog.KEY.fullmatch(exercise.key)
        assert (exercise.folder / "README.md").is_file()
        assert exercise.checks.is_file()
        assert (catalog.SOLUTIONS / exercise.key).is_dir()
        assert (SUBMISSIONS / exercise.key).is_dir()
        assert exercise.lesson == f"notebooks/{exercise.key}.ipynb"

    @of_every_exercise
    def test_says_what_is_learned_and_how_long_it_takes(self, exercise: Exercise) -> None:
        assert 3 <= len(exercise.objectives) <= 5
        assert 10 <= exercise.minutes <= 180

    @of_every_exercise
    def test_readme_has_its_parts_and_is_short(self, exercise: Exercise) -> None:
        lines = (exercise.folder / "README.md").read_text("utf-8").splitlines()
        assert lines[0].startswith(f"# Exercise {exercise.key[:2]}: ")
        assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == README_PARTS
        assert len(lines) <= MOST_README_LINES

    @of_every_exercise
    def test_readme_lists_what_is_checked(self, exercise: Exercise) -> None:
        text = (exercise.folder / "README.md").read_text("utf-8")
        part = text.split("## Done when\n")[1].split("\n## ")[0]
        listed = re.findall(r"^- (.+) \((\d+)\)$", part, re.MULTILINE)
        assert listed == [(title, f"{points:g}") for title, points in checks_of(exercise).values()]

    @of_every_exercise
    def test_has_a_time_budget_that_its_patience_fits_into(self, exercise: Exercise) -> None:
        assert 0 < exercise.patience < exercise.time_budget / 2

    @of_every_exercise
    def test_the_starter_holds_every_student_file_with_something_to_do(self, exercise: Exercise) -> None:
        assert exercise.student_files
        for name in exercise.student_files:
            assert "TODO:" in (exercise.folder / name).read_text("utf-8"), name

    @of_every_exercise
    def test_only_student_files_have_something_to_do(self, exercise: Exercise) -> None:
        for name in exercise.provided_files:
            assert b"TODO" not in (exercise.folder / name).read_bytes(), name

    @of_every_exercise
    def test_the_solution_holds_the_student_files_only_and_finished(self, exercise: Exercise) -> None:
        solution = catalog.SOLUTIONS / exercise.key
        assert files_in(solution) == set(exercise.student_files)
        for name in exercise.student_files:
            text = (solution / name).read_text("utf-8")
            assert "TODO" not in text, name
            assert text != (exercise.folder / name).read_text("utf-8"), name

    @of_every_exercise
    def test_starter_and_solution_have_the_services_that_the_checks_need(self, exercise: Exercise) -> None:
        for folder in (exercise.folder, catalog.SOLUTIONS / exercise.key):
            for name in set(COMPOSE_FILES) & set(exercise.student_files):
                services = yaml.safe_load((folder / name).read_text("utf-8"))["services"]
                assert set(services) >= set(exercise.services), folder
        assert set(exercise.reach) <= set(exercise.services)


class TestChecks:
    @of_every_exercise
    def test_every_test_function_is_a_check(self, exercise: Exercise) -> None:
        assert list(checks_of(exercise))
        assert set(functions_of(exercise)) == set(checks_of(exercise))

    @of_every_exercise
    def test_no_title_is_used_twice(self, exercise: Exercise) -> None:
        titles = [title for title, _ in checks_of(exercise).values()]
        assert len(titles) == len(set(titles))

    @pytest.mark.parametrize(("exercise", "check"), CHECKS)
    def test_has_a_title_of_one_line(self, exercise: Exercise, check: str) -> None:
        # Not checks_of: that falls back on the function's name.
        title = functions_of(exercise)[check].__doc__ or ""
        assert 0 < len(title.split()) <= MOST_WORDS
        assert len(title.splitlines()) == 1

    @pytest.mark.parametrize(("exercise", "check"), CHECKS)
    def test_has_points_a_section_and_a_hint(self, exercise: Exercise, check: str) -> None:
        says = rubric(exercise, check)
        assert says.points > 0
        assert says.section.strip()
        assert says.hint.strip()


class TestSubmissions:
    """The submissions that tests/live/test_submissions.py grades."""

    @pytest.mark.parametrize(("exercise", "check"), CHECKS)
    def test_every_check_has_a_mistake_of_its_own(self, exercise: Exercise, check: str) -> None:
        assert list((SUBMISSIONS / exercise.key / f"fails-{check}").glob("*/"))

    @of_every_exercise
    def test_every_verdict_is_one_that_there_is(self, exercise: Exercise) -> None:
        known = {"passes", *(f"fails-{check}" for check in checks_of(exercise))}
        assert {folder.name for folder in verdicts(exercise)} <= known

    @of_every_exercise
    def test_there_are_several_correct_ways(self, exercise: Exercise) -> None:
        assert len(list((SUBMISSIONS / exercise.key / "passes").glob("*/"))) >= FEWEST_CORRECT_VARIANTS

    @of_every_exercise
    def test_there_are_many_mistakes(self, exercise: Exercise) -> None:
        assert len(list((SUBMISSIONS / exercise.key).glob("fails-*/*/"))) >= FEWEST_MISTAKES

    @of_every_exercise
    def test_every_submission_brings_something_and_says_what(self, exercise: Exercise) -> None:
        for verdict in verdicts(exercise):
            for variant in verdict.iterdir():
                texts = [(variant / name).read_text("utf-8") for name in files_in(variant)]
                assert any(text.startswith(("#", '"""')) for text in texts), variant
