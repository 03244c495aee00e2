"""How long the command line takes to begin: ``python -m tests.benchmarks.starting``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import click

from grader.catalog import ROOT
from tests.benchmarks.table import Comparison, show


def compare(runs: int) -> Iterator[Comparison]:
    """``--help`` and ``list`` beside a Python that does nothing, in turn."""
    commands = {"--help": ["-m", "grader", "--help"], "list": ["-m", "grader", "list"], "nothing": ["-c", "pass"]}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            seconds = _seconds(command)
            if number:  # the first warms the caches
                taken[name].append(seconds * 1000)
    for name in ("--help", "list"):
        yield Comparison(f"python -m grader {name}", taken[name], "python -c pass", taken["nothing"], "ms")


def _seconds(command: Sequence[str]) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


@click.command()
@click.option("--runs", default=20, show_default=True)
def main(runs: int) -> None:
    """Measure the start of the command line."""
    show(compare(runs))


if __name__ == "__main__":
    main()
