"""Whether builds are shared: ``python -m tests.benchmarks.building``.

Exercise 02's solution in three states: with a line that no build has seen before its packages are installed; handed in
again, by another student; and with another line after the packages, as an edit of the source makes it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import click

from grader import catalog
from tests.benchmarks.table import Comparison, show

EXERCISE = catalog.find("exercise-02")
PACKAGES = "RUN pip install --no-cache-dir -r requirements.txt\n"
CHECK = "test_api_answers"


def compare(runs: int) -> Iterator[Comparison]:
    """Each state's time from the start of the grading until the stack is up."""
    new, again, edited = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(runs):
            first = _handed_in(Path(temporary) / f"{number}-first")
            _replace(first, PACKAGES, f"ENV NEW={uuid.uuid4().hex}\n{PACKAGES}")
            new.append(_seconds_to_start(first))
            second = Path(shutil.copytree(first, Path(temporary) / f"{number}-second"))
            again.append(_seconds_to_start(second))
            _replace(second, PACKAGES, f"{PACKAGES}ENV EDITED={uuid.uuid4().hex}\n")
            edited.append(_seconds_to_start(second))
    yield Comparison("build: the same from another student", again, "the first of its kind", new, "s")
    yield Comparison("build: an edit after the packages", edited, "the first of its kind", new, "s")


def _handed_in(folder: Path) -> Path:
    return Path(shutil.copytree(catalog.SOLUTIONS / EXERCISE.key, folder))


def _replace(folder: Path, old: str, new: str) -> None:
    file = folder / "Dockerfile"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


def _seconds_to_start(submission: Path) -> float:
    command = [sys.executable, "-m", "grader", EXERCISE.name, "-s", str(submission), "-f", "json", "--only", CHECK]
    done = subprocess.run(command, cwd=catalog.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return float(json.loads(done.stdout)["seconds"]["start"])


@click.command()
@click.option("--runs", default=3, show_default=True)
def main(runs: int) -> None:
    """Measure how far builds are shared."""
    show(compare(runs))


if __name__ == "__main__":
    main()
