"""What GitHub Classroom and Gradescope run, as far as it can be run here; and what is said about it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from grader.catalog import ROOT
from tests.unit.formats import gradescope

PLACES = ROOT / "grader" / "places"
GRADESCOPE = PLACES / "gradescope"
SCRIPTS = [GRADESCOPE / "setup.sh", GRADESCOPE / "run_autograder"]


# --- Gradescope ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_ones_that_gradescope_can_run(script: Path) -> None:
    assert script.read_text("utf-8").startswith("#!/usr/bin/env bash\n")
    assert os.access(script, os.X_OK)
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert checked.stderr == ""


@pytest.fixture
def autograder(tmp_path: Path) -> Path:
    """Gradescope's /autograder, with this checkout for the workbook."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "workbook").symlink_to(ROOT)
    (tmp_path / "results").mkdir()
    return tmp_path


def run_autograder(autograder: Path, exercise: str, submission: Path, python: str = sys.executable) -> Any:
    """The run, and what is in results.json; None if there is none."""
    folders = {"SOURCE": autograder / "source", "SUBMISSION": submission, "RESULTS": autograder / "results"}
    environment = {name: str(path) for name, path in folders.items()}
    run = subprocess.run(
        [str(GRADESCOPE / "run_autograder")],
        cwd=autograder,
        env={**os.environ, "EXERCISE": exercise, "PYTHON": python, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    file = autograder / "results" / "results.json"
    assert [path.name for path in file.parent.iterdir()] == ([file.name] if file.exists() else [])
    return run, gradescope.read(file.read_text("utf-8")) if file.exists() else None


@pytest.mark.skipif(shutil.which("docker") is None, reason="without the docker command Compose reads nothing")
def test_a_solution_has_all_the_points_that_gradescope_can_give(autograder: Path) -> None:
    run, results = run_autograder(autograder, "exercise-03", ROOT / "solutions" / "03-configuration")
    assert run.returncode == 0, run.stdout + run.stderr
    assert (
        results["score"] == sum(test["max_score"] for test in results["tests"]) == static_points()["03-configuration"]
    )


def test_an_exercise_of_which_nothing_can_be_graded_is_no_zero(autograder: Path) -> None:
    run, results = run_autograder(autograder, "exercise-04", ROOT / "solutions" / "04-health-checks")
    assert (run.returncode, results) == (3, None)
    assert "Nothing of exercise-04 can be graded without a Docker engine" in run.stdout


def test_a_submission_that_cannot_be_read_is_told_why(autograder: Path) -> None:
    (autograder / "empty").mkdir()
    run, results = run_autograder(autograder, "exercise-03", autograder / "empty")
    assert run.returncode == 0
    assert results["score"] == 0
    assert "holds none of the files" in results["output"]
    assert " s  " not in results["output"]  # the progress of the grading


def test_a_mistake_of_the_instructor_is_nobody_s_zero(autograder: Path) -> None:
    run, results = run_autograder(autograder, "exercise-99", ROOT / "solutions" / "03-configuration")
    assert (run.returncode, results) == (3, None)


@pytest.mark.parametrize("status", [3, 4, 130])
def test_a_fault_of_the_grader_is_nobody_s_zero(autograder: Path, status: int) -> None:
    broken = autograder / "python"
    broken.write_text(
        f'#!/bin/sh\n[ "$3" = list ] && exit 0\necho "{{}}" > "$RESULTS/results.json.new"\nexit {status}\n'
    )
    broken.chmod(0o755)
    run, results = run_autograder(autograder, "exercise-03", autograder, python=str(broken))
    assert (run.returncode, results) == (status, None)


def test_set_up_installs_all_that_a_grading_without_an_engine_imports() -> None:
    """Whatever a module of the grader imports is one of the packages, or comes with one."""
    script = (GRADESCOPE / "setup.sh").read_text("utf-8")
    packages = re.search(r"packages='(.+)'", script)[1].split("|")  # type: ignore[index]
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    assert set(packages) <= set(pinned)
    code = (
        "import sys; sys.argv[1:] = ['03', '-s', 'solutions/03-configuration', '--static', '-f', 'gradescope']\n"
        "from grader.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    imported = run.stderr.splitlines()[-1].split()
    assert "click" in imported
    there, installed = packages_distributions(), with_needs(packages)
    assert not {top for top in imported if top in there and not {*map(plain, there[top])} & installed}


def with_needs(packages: list[str]) -> set[str]:
    """The packages and what pip installs with them."""
    found: set[str] = {"setuptools", "pip"}
    rest = [plain(name) for name in packages]
    while rest:
        name = rest.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:  # for another system or another Python
            continue
        # Extras are only installed for who asks for them.
        rest += [plain(re.match(r"[\w.-]+", need)[0]) for need in needs if "extra ==" not in need]  # type: ignore[index]
    return found


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def static_points() -> dict[str, float]:
    """Exercise -> points that need no engine, as the README has them."""
    return {key: float(points) for key, points, _ in table()}


def table() -> list[tuple[str, str, str]]:
    text = (GRADESCOPE / "README.md").read_text("utf-8")
    return re.findall(r"^\| (\d\d-[\w-]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)


def test_the_readme_says_how_many_points_gradescope_can_give() -> None:
    code = """
import json, os, sys
import pytest
from grader import catalog, plugin

class Collected:
    def pytest_collection_modifyitems(self, items):
        points = [(plugin._rubric(item).points, plugin._cost(item)) for item in items]
        table.append([each.key, sum(p for p, cost in points if not cost), sum(p for p, _ in points)])

table, sys.stdout = [], open(os.devnull, "w")
for each in catalog.exercises():
    arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", "--noconftest", "-c", os.devnull]
    pytest.main([str(each.checks), *arguments, "--rootdir", str(each.checks.parent), "--import-mode=importlib",
                 "-W", "ignore"], plugins=[Collected()])
json.dump(table, sys.__stdout__)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    expected = [(key, f"{static:g}", f"{whole:g}") for key, static, whole in json.loads(run.stdout)]
    assert table() == expected


# --- GitHub Classroom ----------------------------------------------------------------------------------


@pytest.fixture
def workflow() -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load((PLACES / "github-classroom" / "classroom.yml").read_text("utf-8"))
    return loaded


def step(workflow: dict[Any, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in workflow["jobs"]["run-autograding-tests"]["steps"] if each["name"] == name)
    return found


def test_the_workflow_has_the_names_that_classroom_looks_for(workflow: dict[Any, Any]) -> None:
    assert workflow["name"] == "Autograding Tests"
    assert list(workflow["jobs"]) == ["run-autograding-tests"]
    assert workflow["permissions"] == {"actions": "read", "contents": "read"}


def test_the_reporter_gets_what_the_grader_puts_out(workflow: dict[Any, Any]) -> None:
    runner = step(workflow, "Grade")["id"]
    report = step(workflow, "Report to Classroom")
    assert report["with"]["runners"] == runner
    assert report["env"] == {f"{runner.upper()}_RESULTS": f"${{{{ steps.{runner}.outputs.result }}}}"}


def test_the_workbook_is_taken_at_a_commit_and_nobody_keeps_a_token(workflow: dict[Any, Any]) -> None:
    assert re.fullmatch("[0-9a-f]{40}", workflow["env"]["WORKBOOK_COMMIT"])
    checkouts = [
        each for each in workflow["jobs"]["run-autograding-tests"]["steps"] if "checkout" in each.get("uses", "")
    ]
    assert [each["with"]["persist-credentials"] for each in checkouts] == [False, False]


def test_every_step_that_may_hang_ends_before_the_job_does(workflow: dict[Any, Any]) -> None:
    job = workflow["jobs"]["run-autograding-tests"]
    steps = [step(workflow, name)["timeout-minutes"] for name in ("Set up the workbook", "Grade")]
    assert sum(steps) < job["timeout-minutes"] < 360
    budget = re.search(r"--timeout (\d+)", step(workflow, "Grade")["run"])
    assert budget
    assert int(budget[1]) < 60 * steps[1]


@pytest.mark.parametrize(
    ("status", "written", "ends_with"), [(0, True, 0), (1, True, 0), (4, True, 0), (2, False, 2), (3, False, 3)]
)
def test_the_step_ends_well_if_there_is_a_result(
    tmp_path: Path, workflow: dict[Any, Any], status: int, written: bool, ends_with: int
) -> None:
    grader = tmp_path / ".venv" / "bin" / "python"
    grader.parent.mkdir(parents=True)
    grader.write_text(
        "#!/bin/sh\necho \"$@\" > called\necho '::notice::forged'\n"
        f"""{"echo eyJ9 > $RUNNER_TEMP/classroom.txt" if written else ":"}\nexit {status}\n"""
    )
    grader.chmod(0o755)
    environment = {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "output"), **workflow["env"]}
    # As the runner calls it: docs.github.com, "Workflow syntax", jobs.<job_id>.steps[*].shell
    run = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(workflow, "Grade")["run"]],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert run.returncode == ends_with, run.stderr
    lines = run.stdout.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert re.fullmatch("[0-9a-f]{32}", token)
    assert lines[1:] == ["::notice::forged", f"::{token}::"]
    output = tmp_path / "output"
    assert (output.read_text() if output.exists() else "") == ("result=eyJ9\n" if written else "")
    called = (tmp_path / "called").read_text()
    assert called.startswith("-m grader exercise-04 --submission ../submission ")
    assert "--format classroom --output" in called


def test_the_options_that_the_places_use_exist() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "grader", "grade", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    used = "\n".join(path.read_text("utf-8") for path in PLACES.rglob("*") if path.is_file())
    for line in re.findall(r"-m grader .*(?:\\\n.*)*", used):
        for option in re.findall(r"(?<=\s)--[a-z-]+", line):
            assert option in run.stdout, option
    for form in re.findall(r"--format (\w+)", used):
        assert form in run.stdout, form
