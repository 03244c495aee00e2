"""The lessons as they lie in the repository, and the helpers they share; no engine is needed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from grader import catalog
from grader.events import Event
from notebooks.lab import LabError, as_on_screen, timeline, wait_until

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHECKS = sorted((ROOT / "grader" / "checks").glob("test_*.py"))


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, nbformat.NO_CONVERT)


def prose(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def code_cells(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def headings(text: str) -> set[str]:
    return set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))


def section(text: str, heading: str) -> str:
    """What stands below ``heading``, up to the next one."""
    return re.split(r"^#+ .*$", text.split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def check_marks(module: Path) -> list[dict[str, object]]:
    """The literal arguments of each ``@check(…)`` in a module of checks."""
    return [
        {k.arg: k.value.value for k in call.keywords if k.arg and isinstance(k.value, ast.Constant)}
        for function in ast.parse(module.read_text()).body
        if isinstance(function, ast.FunctionDef)
        for call in function.decorator_list
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check"
    ]


lessons = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
checks = pytest.mark.parametrize("module", CHECKS, ids=lambda path: path.stem)


# --- every lesson -------------------------------------------------------------------------------


def test_there_are_lessons() -> None:
    assert LESSONS


@lessons
def test_is_a_notebook_as_nobody_has_run_it(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@lessons
def test_recap_mirrors_the_objectives(path: Path) -> None:
    text = prose(read(path))
    begin = r"^\d\. \*\*(.+?)\*\*"
    objectives = re.findall(begin, section(text, "What you will be able to do"), re.MULTILINE)
    assert len(objectives) >= 3
    assert re.findall(begin, section(text, "What you can do now"), re.MULTILINE) == objectives


@lessons
def test_cells_fit_on_a_screen(path: Path) -> None:
    for source in code_cells(read(path)):
        lines = source.splitlines()
        assert len(lines) <= 15, source
        assert max(map(len, lines)) <= 110, source


@lessons
def test_removes_what_it_made(path: Path) -> None:
    assert code_cells(read(path))[-1] == "lab.close()"


@lessons
def test_project_is_named_once(path: Path) -> None:
    # The tests run lessons under other names, and so may two students on one machine.
    first, *others = code_cells(read(path))
    name = f"lesson-{path.stem[:2]}"
    assert f'Lab("{name}")' in first
    assert not [source for source in others if name in source]


@lessons
def test_says_nothing_about_the_authors_machine(path: Path) -> None:
    assert not re.findall(r"(?<![\w.])/(?:home|root|Users|work|opt|mnt)/\S*|[A-Z]:\\\S*", path.read_text())


@lessons
def test_publishes_no_fixed_port(path: Path) -> None:
    for source in code_cells(read(path)):
        if source.startswith("%%compose"):
            assert not re.search(r"ports:.*\d+:\d+", source), source
            assert "container_name" not in source


@checks
def test_sections_named_by_checks_are_in_the_lesson(module: Path) -> None:
    exercise = catalog.find(module.stem.split("_")[1])
    marks = check_marks(module)
    assert marks
    named = {mark["section"] for mark in marks if mark.get("section")}
    assert named - headings(prose(read(ROOT / exercise.lesson))) == set()


@checks
def test_exercise_says_for_what_there_are_points(module: Path) -> None:
    folder = catalog.find(module.stem.split("_")[1]).folder
    text = section((folder / "README.md").read_text(), "What is checked")
    promised = sum(int(points) for points in re.findall(r"\| (\d+) \|$", text, re.MULTILINE))
    assert promised == sum(int(str(mark["points"])) for mark in check_marks(module))


# --- what the lessons share ---------------------------------------------------------------------


def test_terminal_shows_each_containers_last_state() -> None:
    printed = [
        " Container x-app-1  Creating\n",
        " Container x-db-1  Creating\n",
        " Container x-db-1  Started\n",
        " Container x-app-1  Started\n",
        "\x1b[2Kapp-1 | hello\n",
        " Container x-app-1  Stopped\n",
    ]
    assert list(as_on_screen(printed)) == [
        " Container x-db-1  Started",
        " Container x-app-1  Started",
        "app-1 | hello",
        " Container x-app-1  Stopped",
    ]


def event(at: float, service: str, action: str, exit_code: int | None = None) -> Event:
    return Event(at=1_700_000_000 + at, service=service, action=action, seen=at, exit_code=exit_code)


def test_timeline_tells_the_states_of_each_run() -> None:
    picture = timeline(
        {
            "a < b": [
                event(0, "db", "start"),
                event(0.5, "app", "start"),
                event(1, "app", "die", 1),
                event(2, "db", "healthy"),
            ],
            "second": [event(100, "db", "start"), event(104, "db", "unhealthy")],
        }
    )
    assert repr(picture).splitlines() == [
        "a < b: app is running from 0.5 s to 1.0 s exit 1",
        "a < b: db is starting from 0.0 s to 2.0 s",
        "a < b: db is healthy from 2.0 s to 4.6 s",
        "second: db is starting from 0.0 s to 4.0 s",
        "second: db is unhealthy from 4.0 s to 4.6 s",
    ]
    drawing = ET.fromstring(picture._repr_html_())
    assert {"a < b", "second", "app", "db", "exit 1"} <= {
        text.text for text in drawing.iter() if text.tag.endswith("text")
    }


def test_timeline_of_nothing_is_a_picture() -> None:
    ET.fromstring(timeline({"nothing": []})._repr_html_())


def test_waiting_ends_with_words() -> None:
    with pytest.raises(LabError, match="After all this time"):
        wait_until(lambda: False, 0, lambda: "After all this time it is still not there.")


def test_error_is_shown_without_a_stack_trace() -> None:
    assert LabError("This happened.", "Do that:\n    make it")._render_traceback_() == [
        "This happened.",
        "Do that:",
        "    make it",
    ]


def test_no_engine_is_answered_with_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from notebooks.lab import Lab; Lab('lesson-test')"],
        cwd=ROOT,
        env=os.environ | {"DOCKER_HOST": "unix:///there/is/no/engine.sock"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "The Docker engine does not answer" in done.stderr
