"""What vetting adds to a grading: ``python -m tests.benchmarks.vetting``."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click

from grader import catalog, model, policy, raw
from grader.submission import private_copy

EXERCISE = catalog.find("exercise-04")
SOLUTION = catalog.SOLUTIONS / EXERCISE.key


@click.command()
@click.option("--runs", default=30, show_default=True)
def main(runs: int) -> None:
    """Milliseconds of each step on exercise 04's solution."""
    taken: dict[str, list[float]] = {"private copy": [], "raw YAML": [], "compose config": [], "policy": []}
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(runs + 1):
            times = [time.perf_counter()]
            with private_copy(SOLUTION, EXERCISE, Path(temporary) / "copy") as copy:
                times.append(time.perf_counter())
                documents = raw.read(copy)
                assert raw.violations(documents, copy.folder) == []
                times.append(time.perf_counter())
                resolved = model.load(copy, documents, "bench")
                times.append(time.perf_counter())
                assert policy.violations(resolved, copy.folder, EXERCISE) == []
                times.append(time.perf_counter())
            if number:  # the first warms the caches
                for name, began, ended in zip(taken, times, times[1:], strict=False):
                    taken[name].append(1000 * (ended - began))
    for name, values in taken.items():
        print(f"{name:15} min {min(values):6.1f}   median {statistics.median(values):6.1f}   max {max(values):6.1f} ms")


if __name__ == "__main__":
    main()
