"""How long a grading takes beside the same stack's bare start and stop, and whether many in a row stay right.

    python -m tests.benchmarks.grading compare --runs 5     the three side by side, in turn: medians and ratios
    python -m tests.benchmarks.grading soak --runs 20       gradings in a row while both cores are busy

The machine's speed drifts, so only ratios of medians taken in one run mean anything.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from testcontainers.compose import DockerCompose

from grader import catalog, grading, live, rewrite
from grader.engine.connection import connect
from grader.submission import private_copy

EXERCISE = catalog.find("04")
SOLUTION = catalog.SOLUTIONS / EXERCISE.key


def _graded() -> float:
    """Seconds for one grading, as it is typed."""
    command = [sys.executable, "-m", "grader", EXERCISE.name, "--submission", str(SOLUTION), "--format", "json"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=catalog.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"not full marks:\n{done.stdout}{done.stderr}")
    return time.monotonic() - began


def _bare(folder: Path) -> float:
    """Seconds for the very file that a grading starts, started and stopped with nothing in between."""
    project = f"bench-{os.getpid()}"
    with private_copy(SOLUTION, EXERCISE, folder / "bare") as copy:
        resolved, _ = grading.vetted(copy, project, EXERCISE)
        assert resolved is not None
        terms = rewrite.Terms("benchmark", live.POLLING, rewrite.Limits(), EXERCISE.reach)
        config = rewrite.graded(resolved, copy.folder, terms)
        file = copy.folder / "graded.json"
        file.write_text(json.dumps(config))
        began = time.monotonic()
        run = ["docker", "compose", "-p", project, "-f", str(file)]
        subprocess.run([*run, "up", "-d", "--wait"], check=True, capture_output=True)
        subprocess.run([*run, "down", "-v", "-t", "0"], check=True, capture_output=True)
        return time.monotonic() - began


def _plain(folder: Path) -> float:
    """Seconds for testcontainers alone on the learner's file as it is; its fixed port has to be free."""
    with private_copy(SOLUTION, EXERCISE, folder / f"plain{os.getpid()}") as copy:
        began = time.monotonic()
        with DockerCompose(copy.folder, wait=True):
            pass
        return time.monotonic() - began


@click.group()
def main() -> None:
    """Measure gradings of exercise 04's solution."""


@main.command()
@click.option("--runs", default=5, show_default=True)
def compare(runs: int) -> None:
    """A grading with all checks, a bare start and stop, and plain testcontainers, in turn."""
    seconds: dict[str, list[float]] = {"grading": [], "bare": [], "plain": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in range(runs + 1):
            taken = {"grading": _graded(), "bare": _bare(folder), "plain": _plain(folder)}
            if number:  # the first of each warms the caches
                for name, value in taken.items():
                    seconds[name].append(value)
    for name, values in seconds.items():
        print(
            f"{name:8} min {min(values):6.2f} s   median {statistics.median(values):6.2f} s   max {max(values):6.2f} s"
        )
    for other in ("bare", "plain"):
        ratio = statistics.median(seconds["grading"]) / statistics.median(seconds[other])
        print(f"grading / {other}: {ratio:.2f}   (medians of {runs})")


@main.command()
@click.option("--runs", default=20, show_default=True)
@click.option("--busy", default=os.cpu_count() or 2, show_default="all cores", help="Cores to keep busy.")
def soak(runs: int, busy: int) -> None:
    """Gradings in a row under load: each has to get full marks, and nothing may be left behind."""
    burners = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(busy)]
    before = _everything()
    for burner in burners:
        burner.start()
    try:
        taken = []
        for number in range(runs):
            taken.append(_graded())
            print(f"{number + 1} of {runs}: full marks in {taken[-1]:.1f} s", flush=True)
    finally:
        for burner in burners:
            burner.kill()
    print(
        f"{runs} of {runs} with full marks, {busy} cores busy: "
        f"median {statistics.median(taken):.1f} s, max {max(taken):.1f} s"
    )
    left = _everything() - before
    print("left behind:", ", ".join(sorted(left)) if left else "nothing")
    if left:
        raise SystemExit(1)


def _burn() -> None:
    while True:
        pass


def _everything() -> set[str]:
    client = connect()
    return {
        *(c["Id"] for c in client.api.containers(all=True)),
        *(n["Id"] for n in client.api.networks()),
        *(v["Name"] for v in client.api.volumes()["Volumes"] or []),
        *(i["Id"] for i in client.api.images()),
    }


if __name__ == "__main__":
    main()
