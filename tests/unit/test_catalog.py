from __future__ import annotations

from pathlib import Path

import pytest

from grader import catalog
from grader.errors import InternalError, UsageError


@pytest.mark.parametrize("name", ["exercise-04", "04", "4", "04-health-checks", "exercises/04-health-checks/"])
def test_every_way_of_naming_an_exercise(name: str) -> None:
    assert catalog.find(name).key == "04-health-checks"


def test_an_unknown_exercise_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError) as error:
        catalog.find("exercise-99")
    assert "exercise-04" in error.value.fix


def test_provided_files_are_all_that_a_student_does_not_edit() -> None:
    exercise = catalog.find("04")
    provided = {path.as_posix() for path in exercise.provided_files}
    assert "postgres/init.sql" in provided
    assert not provided & {*exercise.student_files, "exercise.toml", "README.md"}


@pytest.mark.parametrize("broken", ["", "title = 3 4", 'title = "x"\nunknown = 1'])
def test_a_broken_description_names_its_file(tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "01-broken"
    folder.mkdir()
    (folder / "exercise.toml").write_text(broken)
    with pytest.raises(InternalError, match=r"exercise\.toml"):
        catalog.load(folder)
