"""How long a grading takes beside the same stack's bare start and stop, and whether many in a row stay right.

    python -m tests.benchmarks.grading compare --runs 5     beside its floor, in turn
    python -m tests.benchmarks.grading plain                beside what people would write without it: minutes
    python -m tests.benchmarks.grading soak --runs 20       gradings in a row while both cores are busy

The machine's speed drifts, so only ratios of medians taken in one run mean anything.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from grader import catalog, live, rewrite, vetting
from grader.engine.connection import connect
from grader.events import PROJECT_LABEL
from grader.probes import execute
from grader.submission import private_copy
from tests.benchmarks.table import Comparison, show

EXERCISE = catalog.find("04")
SOLUTION = catalog.SOLUTIONS / EXERCISE.key
FROZEN = 0.5  # seconds that the probe of a frozen service is watched
PLAIN = Path(__file__).parent / "rivals" / "plain.py"


def _graded() -> float:
    """Seconds for one grading, as it is typed."""
    command = [sys.executable, "-m", "grader", EXERCISE.name, "--submission", str(SOLUTION), "--format", "json"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=catalog.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"not full marks:\n{done.stdout}{done.stderr}")
    return time.monotonic() - began


def _bare(folder: Path, *, probed: bool) -> float:
    """Seconds for the very file that a grading starts, started and stopped.

    Args:
        probed: whether its services are frozen and probed, and killed and awaited, in between, as the checks do; a
            grading does more beside the stack: it holds back postgres' init scripts and lets each dependency fail.
    """
    project = f"bench-{os.getpid()}"
    with private_copy(SOLUTION, EXERCISE, folder / "bare") as copy:
        resolved, _ = vetting.vetted(copy, project, EXERCISE)
        assert resolved is not None
        terms = rewrite.Terms("benchmark", live.POLLING, rewrite.Limits(), EXERCISE.reach)
        config = rewrite.graded(resolved, copy.folder, terms)
        file = copy.folder / "graded.json"
        file.write_text(json.dumps(config))
        began = time.monotonic()
        run = ["docker", "compose", "-p", project, "-f", str(file)]
        subprocess.run([*run, "up", "-d", "--wait"], check=True, capture_output=True)
        if probed:
            _probe(project)
        subprocess.run([*run, "down", "-v", "-t", "0"], check=True, capture_output=True)
        return time.monotonic() - began


def _probe(project: str) -> None:
    with contextlib.closing(connect()) as client:
        found = client.api.containers(filters={"label": f"{PROJECT_LABEL}={project}"})
        ids = [container["Id"] for container in found]

        def probe(container: str) -> None:
            test = client.api.inspect_container(container)["Config"]["Healthcheck"]["Test"]
            execute(client, container, test[1:] if test[0] == "CMD" else ["sh", "-c", test[1]], timeout=FROZEN)

        # Not by way of the engine, which restarts nothing that it was told to kill.
        lives = {container: client.api.inspect_container(container)["State"] for container in ids}
        for life in lives.values():
            os.kill(life["Pid"], signal.SIGSTOP)
        with ThreadPoolExecutor() as pool:
            list(pool.map(probe, ids))
        for life in lives.values():
            os.kill(life["Pid"], signal.SIGCONT)
            os.kill(life["Pid"], signal.SIGKILL)

        def is_back(container: str) -> bool:
            now = client.api.inspect_container(container)["State"]
            return now["StartedAt"] != lives[container]["StartedAt"] and now["Health"]["Status"] == "healthy"

        while not all(map(is_back, ids)):
            time.sleep(0.2)


def _plain(folder: Path, interval: str) -> float:
    """Seconds for pytest with testcontainers on the learner's file as it is; its fixed port has to be free.

    Args:
        interval: between two probes, as learners write it, without a ``start_interval``.
    """
    with private_copy(SOLUTION, EXERCISE, folder / f"plain{os.getpid()}") as copy:
        [file] = copy.compose_files
        text = re.sub(r" +start_interval: .*\n", "", file.read_text("utf-8"))
        file.write_text(re.sub(r"\binterval: .*", f"interval: {interval}", text), "utf-8")
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(PLAIN)],
            env=os.environ | {"PLAIN_FOLDER": str(copy.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"plain testcontainers failed:\n{done.stdout}")
        return time.monotonic() - began


@click.group()
def main() -> None:
    """Measure gradings of exercise 04's solution."""


def against_floor(runs: int) -> Iterator[Comparison]:
    """A grading with all checks, and a bare start and stop with and without the probes, in turn."""
    graded, probed, bare = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(runs + 1):
            taken = _graded(), _bare(Path(temporary), probed=True), _bare(Path(temporary), probed=False)
            if number:  # the first of each warms the caches
                graded.append(taken[0])
                probed.append(taken[1])
                bare.append(taken[2])
    what = f"grading {EXERCISE.name}, all checks"
    yield Comparison(what, graded, "bare up, the main stack's probes, down", probed, "s", 1.2)
    yield Comparison(what, graded, "bare up and down", bare, "s")


def against_plain(runs: int, interval: str) -> Iterator[Comparison]:
    """A grading with all checks, and plain testcontainers with fewer, in turn."""
    with tempfile.TemporaryDirectory() as temporary:
        taken = [(_graded(), _plain(Path(temporary), interval)) for _ in range(runs)]
    graded, plain = zip(*taken, strict=True)
    yield Comparison(
        f"grading {EXERCISE.name}, interval {interval}", graded, "plain pytest and testcontainers", plain, "s", 0.2
    )


@main.command()
@click.option("--runs", default=5, show_default=True)
def compare(runs: int) -> None:
    """A grading with all checks beside a bare start and stop."""
    show(against_floor(runs))


@main.command()
@click.option("--runs", default=1, show_default=True)
@click.option("--interval", default="30s", show_default=True, help="Of the learner's health checks.")
def plain(runs: int, interval: str) -> None:
    """A grading beside plain testcontainers with simpler assertions, which waits for the learner's own probes."""
    show(against_plain(runs, interval))


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
