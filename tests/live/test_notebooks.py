"""Every lesson from top to bottom on the live engine, and whether it shows what its text claims."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import nbformat
import pytest
from nbclient import NotebookClient

from grader.events import PROJECT_LABEL

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
SECONDS_PER_CELL = 180  # the longest waits half a minute for its containers; the rest is for a busy machine

SMALL = """
services:
  sleeper: {image: "redis:7-alpine", volumes: [kept:/kept]}
volumes: {kept: {}}
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def project(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The name that the lesson's project gets, so that a lesson open on this machine is left alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a lesson that is killed cannot remove its folder
    name = f"test-lesson-{os.getpid()}-{abs(hash(request.node.nodeid)) % 10_000}"
    monkeypatch.setenv("LESSON_PROJECT", name)
    return name


def left_behind(engine: docker.DockerClient, project: str) -> list[str]:
    mine = {"label": f"{PROJECT_LABEL}={project}"}
    return [
        *(container.name for container in engine.containers.list(all=True, filters=mine)),
        *(network.name for network in engine.networks.list(filters=mine)),
        *(volume.name for volume in engine.volumes.list(filters=mine)),
    ]


# --- the lessons --------------------------------------------------------------------------------


def run(path: Path) -> dict[str, str]:
    """Run a lesson; what each cell printed, by the cell's id."""
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    NotebookClient(notebook, timeout=SECONDS_PER_CELL, resources={"metadata": {"path": str(path.parent)}}).execute()
    return {cell.id: "".join(map(_text, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"}


def _text(output: nbformat.NotebookNode) -> str:
    text = output.text if output.output_type == "stream" else output.data["text/plain"]
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _seconds(words: str, run: str, service: str, state: str) -> tuple[float, float]:
    """From when to when a picture says that the service was in this state."""
    found = re.search(rf"^{re.escape(run)}: {service} is {state} from ([\d.]+) s to ([\d.]+) s", words, re.MULTILINE)
    assert found, words
    return float(found[1]), float(found[2])


def health_checks(printed: dict[str, str]) -> None:
    def shows(cell: str, *patterns: str) -> None:
        for pattern in patterns:
            assert re.search(pattern, printed[cell], re.MULTILINE), f"{cell}: {pattern}\n{printed[cell]}"

    # With the defaults the first probe comes after 30 s; with start_interval after a second.
    shows("what-it-is-up", r"^no-probe +Up [^()]*$", r"^defaults .*\(health: starting\)")
    picture = printed["what-it-is-up"]
    assert _seconds(picture, "Three redis servers", "defaults", "starting")[1] >= 29
    assert _seconds(picture, "Three redis servers", "start-interval", "starting")[1] < 20

    shows("inside-up", r"^curl .*\(unhealthy\)", r"^python .*\(healthy\)", r'"curl": executable file not found')
    shows(
        "notices-freeze",
        r"^probe-true .*\(healthy\)",
        r"^probe-port .*\(healthy\)",
        r"^probe-request .*\(unhealthy\)",
    )
    shows("notices-status", r"(?s)^404\n\$.*^\[exit status 1\]\n\Z")
    shows("redis-up", r"^fooled .*\(healthy\)", r"^notices .*\(unhealthy\)")
    shows("redis-up", r"(?s)redis-cli ping\nNOAUTH[^\[]*redis-cli -e ping\nNOAUTH.*\[exit status 1\]\n\Z")
    shows(
        "postgres-up",
        r"(?s)Healthy\n.*accepting connections\n\$.*127\.0\.0\.1:5432 - no response\n\[exit status 2\]\n.*touch",
        r"(?s)touch.*127\.0\.0\.1:5432 - accepting connections\n.*nowhere.*accepting connections\n\Z",
    )

    shows("depends-on-list-up", "ConnectionRefusedError")
    picture = printed["depends-on-conditions-up"]
    listed, waited = "depends_on: [database, weights]", "with conditions"
    assert _seconds(picture, listed, "app", "running")[0] < _seconds(picture, listed, "database", "healthy")[0]
    started = _seconds(picture, waited, "app", "running")[0]
    assert started >= _seconds(picture, waited, "database", "healthy")[0]
    assert started >= _seconds(picture, waited, "weights", "running")[1]

    shows("depends-on-fails-up", "didn't complete successfully: exit 1", r"^app +Created", r"^weights +Exited \(1\)")
    shows("depends-on-fails-up", r"(?s)--wait weights\n.*exited \(0\)\n\[exit status 1\]\n\$[^\[]*\Z")

    shows("options-up", "optional dependency .*cache")
    assert (
        len(re.findall(r"^docker compose restart database: app is running", printed["options-up"], re.MULTILINE)) == 2
    )

    shows("api-up", r"(?s)GET /health: 200 .*degraded.*POST /predict: 200.*GET /health: 503.*POST /predict: 503")
    shows("api-down", r"(?s)api is unhealthy.*restarted 0 times.*api is healthy")

    shows("restart-up", "killed-1: restarted 0 times", "no-policy-1: restarted 0 times")
    shows("restart-up", "on-failure-2-1: restarted 2 times", "unless-stopped-1: restarted [1-9]")


CLAIMS: dict[str, Callable[[dict[str, str]], None]] = {"04-health-checks": health_checks}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_and_shows_what_it_claims(path: Path, project: str, engine: docker.DockerClient) -> None:
    printed = run(path)
    assert left_behind(engine, project) == []
    CLAIMS[path.stem](printed)


# --- what the lessons share ---------------------------------------------------------------------


def lab(script: str) -> subprocess.CompletedProcess[str]:
    """Run Python lines after the ones that open a lesson, in a process of their own."""
    opening = f"import os\nfrom lab import Lab\nSMALL = {SMALL!r}\nlab = Lab('lesson-test')\n"
    return subprocess.run(
        [sys.executable, "-c", opening + script],
        cwd=NOTEBOOKS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


START = "lab.compose('', SMALL)\nlab.terminal('docker compose up -d')\nlab.wait('sleeper', 'running')\n"


def test_lesson_that_was_killed_starts_clean(project: str, engine: docker.DockerClient) -> None:
    assert lab(START + "os._exit(9)").returncode == 9
    assert len(left_behind(engine, project)) == 3
    again = lab("print(lab.state('sleeper'))")
    assert again.stdout.splitlines()[1] == "absent", again.stderr
    assert left_behind(engine, project) == []


def test_closing_the_kernel_removes_everything(project: str, engine: docker.DockerClient) -> None:
    done = lab(START)
    assert "sleeper is running" in done.stdout, done.stderr
    assert left_behind(engine, project) == []


def test_missing_image_is_answered_with_what_to_do(project: str) -> None:
    done = lab("lab.compose('', 'services: {a: {image: \"compose-course/there-is-none:1\"}}')")
    assert "The image compose-course/there-is-none:1 is not on this machine." in done.stderr


def test_file_that_compose_does_not_understand_is_explained(project: str) -> None:
    done = lab("lab.compose('', 'services: {a: {imag: x}}')")
    assert "Compose does not understand this cell" in done.stderr
    assert "imag" in done.stderr


def test_closed_lesson_says_so(project: str) -> None:
    done = lab("lab.close()\nlab.terminal('docker compose ps')")
    assert "This lesson has been closed" in done.stderr
