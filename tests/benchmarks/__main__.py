"""``make bench``: what is measured side by side, in one table. The machine should do nothing else meanwhile."""

from __future__ import annotations

import itertools

import click

from tests.benchmarks import building, grading, serving, starting, watching
from tests.benchmarks.table import show


@click.command()
@click.option("--quick", is_flag=True, help="A tenth of the time, and less to be relied on.")
def main(quick: bool) -> None:
    """Measure everything; about half an hour."""
    runs = 1 if quick else 5
    show(
        itertools.chain(
            starting.compare(4 * runs),
            watching.compare(runs),
            grading.against_floor(runs),
            building.compare(min(runs, 3)),
            grading.against_plain(1, "30s"),
            serving.compare((1, 16, 64, 256), 2 if quick else 6, 1 if quick else 3),
            serving.scaling((1, 2, 4), 64, 2 if quick else 6, 1 if quick else 3),
        )
    )


if __name__ == "__main__":
    main()
