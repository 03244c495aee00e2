"""Hints, one at a time: from where to look up to a command that shows it, for the first check that failed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from grader.catalog import ROOT, Exercise
from grader.errors import UsageError
from grader.render.words import MARKS, advice
from grader.results import CheckResult, Report, Verdict

FOLDER = ROOT / ".cache" / "hints"
# What says what was seen; all else that a check says is a hint.
SEEN = ("", "expected", "seen")
# The first helps least.
ORDER = ("where", "lesson", "hint", "try")


def seen(check: CheckResult) -> list[tuple[str, str]]:
    """Label and text of what was seen and expected."""
    return [(label, text) for label, text in advice(check) if label in SEEN]


def hints(check: CheckResult) -> list[tuple[str, str]]:
    """Label and text of each hint, the one that gives least away first."""
    rows = [(label, text) for label, text in advice(check) if label not in SEEN]
    return sorted(rows, key=lambda row: ORDER.index(row[0]))


class Memory(BaseModel):
    """The last report on somebody's own work, and how many hints they have asked for since.

    Attributes:
        shown: the check's name -> how many hints.
    """

    report: Report
    shown: dict[str, int] = Field(default_factory=dict)

    @classmethod
    def of(cls, exercise: Exercise, folder: Path = FOLDER) -> Memory:
        """What is remembered of an exercise.

        Raises:
            UsageError: nothing.
        """
        try:
            return cls.model_validate(json.loads((folder / f"{exercise.key}.json").read_text("utf-8")))
        except (OSError, ValueError, ValidationError) as error:
            raise UsageError(
                f"There is nothing to give a hint on: {exercise.name} has not been graded here yet.",
                f"Grade it first:\n    python -m grader {exercise.name}",
            ) from error

    def keep(self, exercise: Exercise, folder: Path = FOLDER) -> None:
        """Remember it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{exercise.key}.json").write_text(self.model_dump_json(), "utf-8")


def remember(report: Report, exercise: Exercise, folder: Path = FOLDER) -> None:
    """Keep the report for ``unfold``. Hints that were asked for stay unfolded as long as the check says the same."""
    try:
        before = Memory.of(exercise, folder)
    except UsageError:
        shown = {}
    else:
        said = {check.name: check.message for check in before.report.checks}
        shown = {
            check.name: before.shown[check.name]
            for check in report.checks
            if check.name in before.shown and said.get(check.name) == check.message
        }
    # A report that cannot be kept is shown all the same.
    with contextlib.suppress(OSError):
        Memory(report=report, shown=shown).keep(exercise, folder)


def unfold(exercise: Exercise, folder: Path = FOLDER) -> str:
    """One hint more on the first check that failed in the last grading, below those given before.

    Raises:
        UsageError: there was no grading yet.
    """
    memory = Memory.of(exercise, folder)
    failed = next((check for check in memory.report.checks if check.verdict is Verdict.FAILED), None)
    if failed is None:
        return f"Nothing failed when {exercise.name} was last graded ({memory.report.started_at})."
    every = hints(failed)
    number = min(memory.shown.get(failed.name, 0) + 1, len(every))
    already_all = memory.shown.get(failed.name, 0) >= len(every)
    Memory(report=memory.report, shown=memory.shown | {failed.name: number}).keep(exercise, folder)
    lines = [f"{MARKS[Verdict.FAILED]} {failed.title}"]
    lines += [_row(label, text) for label, text in [*seen(failed), *every[:number]]]
    lines.append("")
    if number < len(every):
        lines.append(f"Hint {number} of {len(every)}. The next one: python -m grader hint {exercise.name}")
    elif not already_all:
        lines.append(f"Hint {number} of {len(every)}, the last one.")
    else:
        lines.append(f"These are all the hints. A way to do it is in solutions/{exercise.key}.")
    if _changed_since(memory.report, exercise):
        lines.append(f"Your files have changed since: grade them again with python -m grader {exercise.name}")
    return "\n".join(lines)


def _row(label: str, text: str) -> str:
    return f"  {label}: {text}" if label else f"  {text}"


def _changed_since(report: Report, exercise: Exercise) -> bool:
    from datetime import datetime

    graded = datetime.fromisoformat(report.started_at).timestamp()
    files = [exercise.folder / name for name in exercise.student_files]
    return any(file.stat().st_mtime > graded + 1 for file in files if file.is_file())
