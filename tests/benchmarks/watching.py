"""How soon a watch session answers a save: ``python -m tests.benchmarks.watching``.

Exercise 05's solution, with and without the mistake that its api listens on 127.0.0.1 only: an edit of one service's
environment. Beside it, in the same run, one ``docker compose config``: below that no verdict on a file can be had.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from grader import catalog
from tests.benchmarks.table import Comparison, show
from tests.live.test_watch import CHECK, EXERCISE, RIGHT, WRONG, Session, change

STARTED_FROM_SCRATCH = 60.0  # seconds that the session may take to have its running stack in order


def compare(runs: int) -> Iterator[Comparison]:
    """All static verdicts, and the edited service's live one, after saves that break and mend it.

    That something fails takes longer to see: it is tried again for a while.
    """
    # A shell that runs this in the background has it ignore Ctrl-C, with which the session is left.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    static, scratch, config = [], [], []
    live: dict[str, list[float]] = {"failed": [], "passed": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(catalog.SOLUTIONS / EXERCISE.key, Path(temporary) / "work"))
        session = Session(folder)
        try:
            session.until(kind="done", work="grade")
            _let_it_stand(session)
            for number in range(2 * runs):
                config.append(_config(folder))
                old, new = (RIGHT, WRONG) if number % 2 == 0 else (WRONG, RIGHT)
                began = time.monotonic()
                change(folder, old, new)
                session.until(kind="reported", final=False)
                static.append(time.monotonic() - began)
                while (found := session.until(kind="checked", running=True)[-1])["result"]["name"] != CHECK:
                    pass
                assert found["result"]["verdict"] == ("failed" if new is WRONG else "passed"), found
                live[found["result"]["verdict"]].append(time.monotonic() - began)
                session.until(kind="done", work="grade")
                scratch.append(time.monotonic() - began)
                _let_it_stand(session)
        finally:
            session.leave()
    yield Comparison("save -> static verdicts", static, "docker compose config", config, "s")
    for verdict, taken in live.items():
        yield Comparison(f"save -> live verdict: {verdict}", taken, "graded from scratch", scratch, "s")


def _let_it_stand(session: Session) -> None:
    session.until(kind="done", work="prepare")
    deadline = time.monotonic() + STARTED_FROM_SCRATCH
    while os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1) and time.monotonic() < deadline:
        time.sleep(1)
    time.sleep(8)


def _config(folder: Path) -> float:
    whole = catalog.EXERCISES / EXERCISE.key
    began = time.monotonic()
    command = [
        "docker",
        "compose",
        "--project-directory",
        str(whole),
        "-f",
        str(folder / "compose.yml"),
        "config",
        "-q",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


@click.command()
@click.option("--runs", default=5, show_default=True, help="Pairs of saves: one that breaks, one that mends.")
def main(runs: int) -> None:
    """Measure how soon a save is answered."""
    show(compare(runs))


if __name__ == "__main__":
    main()
