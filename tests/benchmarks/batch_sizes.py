"""Digits a second against the size of a batch, on the CPU and on a GPU: ``python -m tests.benchmarks.batch_sizes``.

The model server's network, and its way from lists of pixels to lists of probabilities, in this process. Without a GPU
that torch can use only the CPU is measured. The GPU's batch has been answered when its probabilities are back here.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping
from statistics import median

import click
import torch
from rich.console import Console
from rich.table import Table

from grader.catalog import ROOT

sys.path.insert(0, str(ROOT / "stack" / "model-server"))
from model import BRIGHTEST, PIXELS, Classifier, DigitNet

SIZES = tuple(2**n for n in range(13))


def measure(device: str, seconds: float, rounds: int) -> dict[int, list[float]]:
    """Size of a batch -> digits a second, once for each round; what the weights are makes no difference."""
    where = torch.device(device)
    classifier = Classifier(DigitNet().to(where).eval(), "untrained", where)
    digits = [[random.uniform(0, BRIGHTEST) for _ in range(PIXELS)] for _ in range(max(SIZES))]
    for size in SIZES:
        classifier.probabilities(digits[:size])  # the first pass of each shape also chooses how it is computed
    found: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size in SIZES:
            began, passes = time.perf_counter(), 0
            while time.perf_counter() - began < seconds:
                classifier.probabilities(digits[:size])
                passes += 1
            found[size].append(passes * size / (time.perf_counter() - began))
    return found


def crossover(cpu: Mapping[int, float], gpu: Mapping[int, float]) -> int | None:
    """The size of a batch from which on the GPU is the faster one, whatever the size; None if there is none."""
    ahead = None
    for size in sorted(cpu, reverse=True):
        if gpu[size] <= cpu[size]:
            break
        ahead = size
    return ahead


@click.command()
@click.option("--seconds", default=0.5, show_default=True, help="Of each measurement.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", type=int, help="Of the CPU that torch uses. Default: as many as it likes.")
def main(seconds: float, rounds: int, threads: int | None) -> None:
    """Measure the network on what this machine has."""
    if threads:
        torch.set_num_threads(threads)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    found = {device: measure(device, seconds, rounds) for device in devices}
    names = {"cpu": f"CPU, {torch.get_num_threads()} threads"}
    if "cuda" in found:
        names["cuda"] = torch.cuda.get_device_name()
    table = Table("batch", *names.values(), title="digits a second: median (least to most)")
    for size in SIZES:
        row = (f"{median(f[size]):,.0f} ({min(f[size]):,.0f} to {max(f[size]):,.0f})" for f in found.values())
        table.add_row(str(size), *row)
    Console(width=120).print(table)
    if "cuda" not in found:
        print("No GPU that torch can use; this was the CPU alone.")
        return
    medians = {device: {size: median(rates) for size, rates in rows.items()} for device, rows in found.items()}
    size = crossover(medians["cpu"], medians["cuda"])
    print(f"The GPU is the faster one from batches of {size} on." if size else "The GPU is never the faster one.")


if __name__ == "__main__":
    main()
