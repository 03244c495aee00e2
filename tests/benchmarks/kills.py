"""Kills gradings at random moments, and looks at what one `clean` leaves: ``python -m tests.benchmarks.kills``."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time

import click

from grader.engine.connection import connect
from tests.hostile.target import clean, folders_of, start
from tests.live.grading import left_behind


@click.command()
@click.option("--runs", default=50, show_default=True)
@click.option("--within", default=1.8, show_default=True, help="Seconds; a whole grading takes about 1.5.")
@click.option("--seed", type=int, default=None, help="Random by default.")
def main(runs: int, within: float, seed: int | None) -> None:
    """Kill RUNS gradings, half of them isolated, and look at what is left after one `clean`."""
    seed = random.randrange(10**6) if seed is None else seed
    moments, client = random.Random(seed), connect()
    left, killed, before_clean = [], 0, 0
    for number in range(runs):
        process = start(*(["--isolation", "no-egress"] if number % 2 else []))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.1, within))
        killed += process.poll() is None
        process.kill()
        process.communicate()
        time.sleep(moments.uniform(0, 0.3))
        before_clean += bool(left_behind(client, process.pid) or folders_of(process.pid))
        clean()
        left += [*left_behind(client, process.pid), *map(str, folders_of(process.pid))]
    print(f"seed {seed}: {runs} gradings, {killed} killed before they had ended, {before_clean} left something behind")
    print(f"after one clean each: {', '.join(left) if left else 'nothing left'}")
    raise SystemExit(bool(left))


if __name__ == "__main__":
    main()
