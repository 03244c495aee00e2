"""How fast a class is graded: ``python -m tests.benchmarks.batch``, on a machine that does nothing else.

Each line grades so many submissions (the solution and wrong and correct variants of it, in turn), so many side by side.
"ideal" is what the processors would allow if they never waited: their seconds for one submission, by itself.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
from rich.console import Console
from rich.table import Table

from grader import catalog
from grader.batch import cluster, work
from grader.batch.job import Job, Parcel
from grader.batch.run import Ended, Run
from grader.catalog import Exercise
from grader.unpack import read
from tests.live.test_submissions import SUBMISSIONS, laid_over_solution


@dataclass(frozen=True)
class Cost:
    """What something took: seconds, processor-seconds of the whole machine, bytes of memory at the most."""

    seconds: float
    cpu: float
    memory: int


@contextmanager
def measured() -> Iterator[list[Cost]]:
    """The cost of the block, in the list once it has ended."""
    found: list[Cost] = []
    before, cpu, began = psutil.virtual_memory().used, _busy(), time.monotonic()
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            most[0] = max(most[0], psutil.virtual_memory().used - before)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield found
    finally:
        over.set()
        watching.join()
    found.append(Cost(time.monotonic() - began, _busy() - cpu, most[0]))


def _busy() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


class Quiet:
    """Listens, and says nothing."""

    def running(self, where: Mapping[str, Sequence[str]]) -> None:
        pass

    def finished(self, ended: Ended) -> None:
        pass

    def say(self, line: str) -> None:
        print(line)


def submissions(exercise: Exercise, number: int, folder: Path) -> list[Parcel]:
    """``number`` jobs, no two with the same project."""
    variants = sorted((SUBMISSIONS / exercise.key).glob("*/*"))
    sources = [catalog.SOLUTIONS / exercise.key]
    for variant in variants:
        sources.append(laid_over_solution(exercise.key, variant, folder / variant.parent.name / variant.name))
    return [
        Parcel.of(
            Job(f"s{n}", str(source), tuple(read(source)), exercise.key),
            folder,
        )
        for n, source in zip(range(number), sources * number, strict=False)
    ]


@click.command()
@click.option("--exercise", default="exercise-10", show_default=True)
@click.option("--side-by-side", multiple=True, type=int, default=(1, 2, 3, 4), show_default=True)
@click.option("--of", "number", default=24, show_default=True, help="Submissions, for --side-by-side.")
@click.option("--sizes", multiple=True, type=int, default=(10, 40, 120), show_default=True)
@click.option("--best", type=int, default=cluster.capacity, help="Side by side, for --sizes. Default: as a batch does.")
def main(exercise: str, side_by_side: Sequence[int], number: int, sizes: Sequence[int], best: int) -> None:
    """Grade classes of EXERCISE."""
    chosen = catalog.find(exercise)
    work.prepare(chosen, "", lambda line: None)
    table = Table("", "submissions", "side by side", "a minute", "s each", "CPU-s each", "memory, MiB", box=None)
    cores = psutil.cpu_count() or 1

    def add(name: str, count: int, at_once: int, cost: Cost) -> None:
        each = cost.seconds / count
        table.add_row(
            name, str(count), str(at_once), f"{60 / each:.1f}", f"{each:.2f}", f"{cost.cpu / count:.2f}",
            f"{cost.memory / 2**20:.0f}",
        )  # fmt: skip
        Console(stderr=True).print(name, count, at_once, f"{cost.seconds:.1f} s")

    for at_once in side_by_side:
        add("Dask", number, at_once, with_dask(chosen, number, at_once))
    add("threads", number, best, with_threads(chosen, number, best))
    for size in sizes:
        add("Dask", size, best, with_dask(chosen, size, best))
    one = with_threads(chosen, number, 1)
    add("alone", number, 1, one)
    Console(width=120).print(table)
    print(f"ideal: {60 * cores / (one.cpu / number):.1f} a minute on {cores} cores ({one.cpu / number:.2f} CPU-s each)")


def with_dask(exercise: Exercise, number: int, at_once: int) -> Cost:
    """The cost of a batch, its cluster's start and end included."""
    folder = Path(tempfile.mkdtemp())
    parcels = submissions(exercise, number, folder)
    with measured() as found, cluster.local(at_once) as client:
        Run(client, parcels, lambda ended: None, Quiet()).go()
    shutil.rmtree(folder)
    return found[0]


def with_threads(exercise: Exercise, number: int, at_once: int) -> Cost:
    """The cost of the same gradings, begun by threads of this process."""
    folder = Path(tempfile.mkdtemp())
    jobs = [pickle.loads(parcel.packed.read_bytes()) for parcel in submissions(exercise, number, folder)]
    with measured() as found, ThreadPoolExecutor(at_once) as pool:
        for result in pool.map(work.in_a_process, jobs):
            assert result.report, result
    shutil.rmtree(folder)
    return found[0]


if __name__ == "__main__":
    main()
