"""The commands ``batch`` and ``diff``, from what was typed to what is on the disk and the screen."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path

from distributed import Client

from grader.batch import cluster, diff, work
from grader.batch.desk import Desk, Wish
from grader.batch.grades import Course, Status
from grader.batch.progress import duration, progress_on
from grader.batch.run import Run
from grader.batch.store import Store, load_class
from grader.errors import InternalError, UsageError
from grader.text import printable


def grade(wish: Wish, out: Path, workers: int | None, scheduler: str | None) -> int:
    """Grade what is to be graded, and write everything that there is to say about the class.

    Args:
        out: the results folder.
        workers: gradings side by side on this machine; None for as many as it carries.
        scheduler: address of a Dask scheduler to use instead; None for this machine.

    Returns:
        the exit status: 0 if every submission has been judged, 4 if the grader failed at some.
    """
    store = Store(out)
    with store.alone(), tempfile.TemporaryDirectory(prefix="compose-course-jobs-") as packed:
        desk = Desk(wish, store)
        for note in desk.notes:
            _say(note)
        # The workers of this machine are this very checkout's.
        parcels = desk.parcels(Path(packed), work.version(wish.exercise) if scheduler else "")
        if parcels:
            kept = len([each for each in desk.handins if each.sources]) - len(parcels)
            if kept:
                _say(f"{kept} submissions need no grading: they have their result, or cannot be read.")
            if not scheduler:
                work.prepare(wish.exercise, wish.runtime, _say)
            side_by_side = min(workers or cluster.capacity(), len(parcels))
            with (
                _cluster(scheduler, side_by_side) as client,
                progress_on(sys.stderr, len(parcels), client.dashboard_link or "") as listener,
            ):
                if not scheduler:
                    listener.say(f"{side_by_side} side by side on this machine")
                try:
                    Run(client, parcels, desk.save, listener).go()
                except KeyboardInterrupt:
                    listener.say(f"Stopped. What is graded is in {out}; type the same command again to go on.")
                    raise
        else:
            _say("Nothing to grade: every submission has its result already.")
        course = desk.write()
    _summary(course, out)
    return InternalError.exit_status if any(grade.at_fault for grade in course.grades) else 0


def _cluster(scheduler: str | None, side_by_side: int) -> AbstractContextManager[Client]:
    return cluster.existing(scheduler) if scheduler else cluster.local(side_by_side)


def _summary(course: Course, out: Path) -> None:
    found = Counter(grade.status for grade in course.grades)
    for status in Status:
        if found[status]:
            print(f"{found[status]:5}  {status.value}")
    scores = [grade.score for grade in course.grades if grade.score is not None]
    if scores:
        print(f"       median {statistics.median(scores):g} of {course.maximum:g} points")
    seconds = [grade.seconds for grade in course.grades if grade.seconds]
    if seconds:
        print(f"       {duration(sum(seconds) / len(seconds))} a grading")
    for grade in course.grades:
        if grade.at_fault:
            first = grade.message.splitlines()[0] if grade.message else "a check broke; its report has the details"
            print(printable(f"  !    {grade.student.key}: {first}"))
    print(
        f"\nThe class:  {out / 'class.html'}\nGradebook:  {out / 'grades.csv'} (and canvas.csv, moodle.csv, junit.xml)"
    )
    print(f"For students:  {out / 'feedback'}")


def compare(old: Path, new: Path, form: str, *, to_terminal: bool) -> str:
    """What differs between two results folders.

    Args:
        form: ``text`` or ``json``.

    Raises:
        UsageError: one of them is no results folder, or they are of different exercises.
    """
    courses = [load_class(folder) for folder in (old, new)]
    if courses[0].exercise != courses[1].exercise:
        raise UsageError(
            f"{old} is of {courses[0].exercise}, and {new} of {courses[1].exercise}.", "Compare two of one exercise."
        )
    comparison = diff.compare(*courses)
    return diff.to_json(comparison) if form == "json" else diff.render(comparison, colour=to_terminal)


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)
