"""``python -m tests.hostile.on_target [OPTIONS]``: the grader's own command line, on the exercise of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

from grader import catalog, cli

HERE = Path(__file__).resolve().parent / "exercise"
TARGET = catalog.load(HERE / "90-target", checks=HERE)


def main() -> None:
    catalog.find = lambda name, folder=HERE: TARGET  # type: ignore[assignment]
    sys.argv[1:1] = ["exercise-90"]
    cli.main()


if __name__ == "__main__":
    main()
