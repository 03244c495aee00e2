"""The lessons as they lie in the repository, and the helpers they share; no engine is needed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from grader import catalog
from grader.events import Event
from notebooks.lab import LabError, as_on_screen, named, progress, wait_until
from notebooks.pictures import Picture, bars, curve, latencies, series, timeline, topology

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


def questions_of(lesson: str) -> list[dict[str, Any]]:
    """The lesson's quiz."""
    found: list[dict[str, Any]] = json.loads((ROOT / "notebooks" / "quizzes" / f"{lesson}.json").read_text("utf-8"))
    return found


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


def test_every_exercise_has_a_lesson() -> None:
    assert [path.stem for path in LESSONS] == ["00-welcome", *(exercise.key for exercise in catalog.exercises())]


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
    assert 3 <= len(objectives) <= 6
    assert re.findall(begin, section(text, "What you can do now"), re.MULTILINE) == objectives


@lessons
def test_is_long_enough_and_no_longer(path: Path) -> None:
    assert 20 <= len(read(path).cells) <= 35


@lessons
def test_asks_grades_and_cleans_up_in_this_order(path: Path) -> None:
    *_, asks, grades, cleans_up = code_cells(read(path))
    exercise = "exercise-01" if path.stem == "00-welcome" else f"exercise-{path.stem[:2]}"
    assert (asks, grades, cleans_up) == (f'quiz("{path.stem}")', f'grade("{exercise}")', "lab.close()")
    assert {"Check yourself", "The exercise", "What next"} <= headings(prose(read(path)))


@lessons
def test_links_lead_somewhere(path: Path) -> None:
    text = prose(read(path))
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (path.parent / target).exists(), target
    known = r"https://(docs\.docker\.com|github\.com|prometheus\.io|grafana\.com|nginx\.org)/"
    assert all(re.match(known, address) for address in re.findall(r"https?://[^\s)>`]+", text))


@lessons
def test_names_its_cells(path: Path) -> None:
    names = [cell.id for cell in read(path).cells]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", name) for name in names)


@lessons
def test_every_answer_of_the_quiz_answers_back(path: Path) -> None:
    questions = questions_of(path.stem)
    assert 3 <= len(questions) <= 5
    for question in questions:
        assert question["type"] in ("multiple_choice", "many_choice")
        answers = question["answers"]
        assert len(answers) >= 3, question
        assert all(answer["answer"] and len(answer["feedback"]) > 10 for answer in answers), question
        right = sum(answer["correct"] for answer in answers)
        assert right == 1 if question["type"] == "multiple_choice" else 1 <= right < len(answers), question


def test_right_answers_are_not_given_away_by_their_place() -> None:
    places = [
        [answer["correct"] for answer in question["answers"]].index(True)
        for lesson in LESSONS
        for question in questions_of(lesson.stem)
    ]
    assert max(places.count(place) for place in set(places)) < 0.6 * len(places)


@pytest.mark.parametrize(
    ("lesson", "question"),
    [
        ("04-health-checks", "What's the difference between depends_on and depends_on with condition?"),
        ("09-dev-and-test", "How do you override configurations for different environments?"),
        ("04-health-checks", "What's the purpose of health checks in Compose?"),
        ("11-scaling", "How do you scale a service to 5 replicas?"),
        ("06-volumes", "What's the difference between named volumes and bind mounts?"),
    ],
)
def test_the_self_check_questions_of_the_source_are_asked(lesson: str, question: str) -> None:
    asked = questions_of(lesson)
    assert question in [each["question"] for each in asked]


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
    assert not re.findall(r"(?<![\w.])/(?:home|root|Users|work|opt(?!/model)|mnt)/\S*|[A-Z]:\\\S*", path.read_text())


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
    drawing = ET.fromstring(picture.svg)
    assert {"a < b", "second", "app", "db", "exit 1"} <= {
        text.text for text in drawing.iter() if text.tag.endswith("text")
    }


def test_timeline_of_nothing_is_a_picture() -> None:
    ET.fromstring(timeline({"nothing": []}).svg)


@pytest.mark.parametrize(
    ("picture", "title", "words"),
    [
        (
            latencies({"computed": [9, 10, 11], "from the cache": [1, 2, 3]}, "How long"),
            "How long",
            ["computed: median 10 ms, 3 requests", "from the cache: median 2 ms, 3 requests"],
        ),
        (bars({"one": 30, "two": 31}, "Who", "requests"), "Who", ["one: 30 requests", "two: 31 requests"]),
        (curve({1: 100, 2: 150}, "Faster?", "replicas", "per second"), "Faster?", ["2 replicas: 150 per second"]),
        (
            series({"hog": [(5, 10), (9, 60)]}, "Memory", "MiB", ("limit", 64)),
            "Memory",
            ["hog: 10 MiB at first, 60 MiB after 4 s", "limit: 64 MiB"],
        ),
        (series({}, "No answer", "x"), "No answer", []),
    ],
    ids=["latencies", "bars", "curve", "series", "nothing"],
)
def test_pictures_say_in_words_what_they_show(picture: Picture, title: str, words: list[str]) -> None:
    shown = [text.text for text in ET.fromstring(picture.svg).iter() if text.tag.endswith("text")]
    assert title in shown
    assert repr(picture).splitlines()[0] == title
    assert set(words) <= set(repr(picture).splitlines())
    assert f'alt="{title}' in picture._repr_html_()


def test_topology_shows_services_networks_volumes_and_who_waits() -> None:
    diagram = topology(
        {
            "services": {
                "api": {
                    "depends_on": {"db": {"condition": "service_healthy"}},
                    "networks": {"front": None, "back": None},
                    "ports": [{"host_ip": "127.0.0.1", "published": "8000", "target": 8000}],
                },
                "db": {
                    "networks": {"back": None},
                    "volumes": [
                        {"type": "volume", "source": "data", "target": "/data"},
                        {"type": "bind", "source": "/elsewhere", "target": "/there"},
                    ],
                },
            },
            "networks": {"front": {}, "back": {"internal": True}},
            "volumes": {"data": {}},
        }
    )
    assert repr(diagram).splitlines() == [
        "service api, on the host at 127.0.0.1:8000",
        "api waits until db is healthy",
        "service db",
        "network front: api",
        "network back (internal): api, db",
        "volume data is /data in db",
    ]
    drawn = diagram._repr_mimebundle_()["text/vnd.mermaid"]
    assert drawn.splitlines()[1] == "flowchart LR"
    assert 's0 -->|"waits: healthy"| s1' in drawn


def test_topology_keeps_names_out_of_its_own_language() -> None:
    drawn = topology({"services": {'a"];b["': {}}}).mermaid
    assert "a&quot;];b[&quot;" in drawn


def test_progress_counts_the_checks() -> None:
    lines = ["  0.0 s  reading", "  1.0 s  [1/12] passed: One", "  2.0 s  [2/12] failed: <b>Two"]
    shown = progress(lines[-1], lines)
    assert '<progress max="12" value="2">' in shown
    assert "&lt;b&gt;Two" in shown
    assert "<progress></progress>" in progress("reading", [])


def test_lines_are_named_by_their_labels() -> None:
    assert named({"__name__": "up", "job": "api", "instance": "a:1"}) == "instance=a:1"
    assert named({"__name__": "up"}) == "up"


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
