"""A whole batch: what was handed in, what of it is to be graded, and everything that is written of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from grader.batch import gradebooks, handins, roster, rubric
from grader.batch.grades import Course, Grade, Status
from grader.batch.handins import HandIn
from grader.batch.job import Job, Outcome, Parcel
from grader.batch.report import classpage, feedback
from grader.batch.rubric import Rubric
from grader.batch.run import Ended
from grader.batch.store import Record, Store, digest_of, settings_of, write
from grader.catalog import Exercise
from grader.engine.fingerprint import fingerprint
from grader.errors import SubmissionError, UsageError
from grader.grading import REFUSED, checks_of
from grader.results import Report, Verdict
from grader.text import printable


@dataclass(frozen=True)
class Wish:
    """What an instructor wants graded, and how.

    Attributes:
        submissions: the folder of what was handed in.
        roster: a CSV file of the class; None without one.
        rubric: a TOML file; None without one.
        again: grade all anew, whatever is known already.
        students: keys; only these are graded, and anew. All if empty.
        checks: names; only these are run, and their results put into the reports that are there. All if empty.
        timeout: seconds; None for the rubric's or the exercise's own.
    """

    exercise: Exercise
    submissions: Path
    roster: Path | None = None
    rubric: Path | None = None
    again: bool = False
    students: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    timeout: float | None = None
    isolation: str = "no-egress"
    runtime: str = ""


class Desk:
    """One batch and its results folder.

    Raises:
        UsageError: the wish names a folder, file, student or check that does not exist, or a file of it is wrong.
    """

    def __init__(self, wish: Wish, store: Store) -> None:
        self.wish = wish
        self.store = store
        self.checks = checks_of(wish.exercise)
        _all_known("check", wish.checks, list(self.checks))
        self.rubric = rubric.read(wish.rubric, self.checks) if wish.rubric else Rubric()
        self.roster = roster.read(wish.roster) if wish.roster else None
        self.handins = handins.collect(wish.submissions, self.roster)
        _all_known("student", wish.students, [each.student.key for each in self.handins])
        self._settings = settings_of(checks_version(wish.exercise), self._timeout, wish.isolation, wish.runtime)
        self._digests: dict[str, str] = {}

    @property
    def _timeout(self) -> float | None:
        return self.wish.timeout or self.rubric.time_budget

    @property
    def notes(self) -> list[str]:
        """What an instructor should know before the grading begins."""
        notes = []
        if self.roster:
            notes += [
                f"{each.student.name} ({self._source(each)}) is not in the roster; graded all the same."
                for each in handins.unmatched(self.handins)
                if each.sources
            ]
        late = self.rubric.late
        if late and late.times == "roster" and not (self.roster and self.roster.has_times):
            notes.append(
                "The rubric's late policy takes nothing from anybody: there is no roster with a column submitted_at. "
                'Give one with --roster, or say times = "files" in the rubric.'
            )
        return notes

    # --- before ---------------------------------------------------------------------------------

    def parcels(self, folder: Path, version: str) -> list[Parcel]:
        """What has to be graded, packed into ``folder``; what cannot be read is written down right here.

        Args:
            version: see ``Job``.
        """
        parcels = []
        for each in self.handins:
            key = each.student.key
            if not each.sources or (self.wish.students and key not in self.wish.students):
                continue
            source = self._source(each)
            try:
                files = tuple(handins.files(each))
            except SubmissionError as error:
                self._unreadable(key, source, error.whole)
                continue
            self._digests[key] = digest_of(files)
            if not self._is_current(key):
                job = Job(
                    key=key,
                    source=source,
                    files=files,
                    exercise=self.wish.exercise.key,
                    only=self.wish.checks if self._mergeable(key) else (),
                    timeout=self._timeout,
                    isolation=self.wish.isolation,
                    runtime=self.wish.runtime,
                    version=version,
                )
                parcels.append(Parcel.of(job, folder))
        return parcels

    def _source(self, handin: HandIn) -> str:
        """As the instructor knows it, and as ``-s`` takes it."""
        return printable(", ".join(str(source) for source in handin.sources))

    def _is_current(self, key: str) -> bool:
        if self.wish.again or self.wish.students or self.wish.checks:
            return False
        known = self.store.load(key)
        return (
            known is not None
            and known[0].status is not Status.FAULT
            and (known[0].digest, known[0].settings) == (self._digests[key], self._settings)
        )

    def _mergeable(self, key: str) -> bool:
        """Whether there is a whole report on the same files, to put single checks into."""
        known = self.store.load(key)
        return bool(self.wish.checks and known and known[1] and known[0].digest == self._digests[key])

    # --- meanwhile --------------------------------------------------------------------------------

    def save(self, ended: Ended) -> None:
        """Write down what came of one job."""
        job, result = ended.job, ended.result
        report = result.report if result else None
        if result is None:
            status = Status.KILLED
            message = (
                f"Each of the {ended.tries} workers that graded it died meanwhile. If nobody killed them, their "
                "machine ran out of memory.\nGrade this one by itself and watch it:\n"
                f"    python -m grader {self.wish.exercise.name} --submission {job.source} --isolation {job.isolation}"
            )
        else:
            message = result.message
            if report and job.only:
                report = self._merged(job.key, report)
            at_fault = result.outcome in (Outcome.FAULT, Outcome.STOPPED) or (report and report.count(Verdict.ERROR))
            status = Status.FAULT if at_fault else Status.GRADED if report else Status.UNREADABLE
        self._save(
            job.key,
            status,
            job.source,
            report,
            message=message,
            tries=ended.tries,
            worker=result.worker if result else "",
            graded_at=result.graded_at if result else _now(),
        )

    def _merged(self, key: str, part: Report) -> Report:
        known = self.store.load(key)
        assert known
        assert known[1], "only jobs with a whole report ask for single checks"
        new = {check.name: check for check in part.checks}
        whole = known[1]
        if part.refused:
            blocked = {"verdict": Verdict.BLOCKED, "message": REFUSED}
            checks = [check.model_copy(update=blocked) for check in whole.checks]
            return whole.model_copy(update={"refused": part.refused, "checks": checks})
        return whole.model_copy(update={"checks": [new.get(check.name, check) for check in whole.checks]})

    def _unreadable(self, key: str, source: str, message: str) -> None:
        self._digests[key] = ""
        known = self.store.load(key)
        if known and (known[0].status, known[0].message) == (Status.UNREADABLE, message):
            return
        self._save(key, Status.UNREADABLE, source, None, message=message, graded_at=_now())

    def _save(self, key: str, status: Status, source: str, report: Report | None, **more: object) -> None:
        record = Record.model_validate(
            {
                "exercise": self.wish.exercise.key,
                "status": status,
                "source": source,
                "digest": self._digests[key],
                "settings": self._settings,
            }
            | more
            | {"message": printable(str(more.get("message", "")), limit=20_000)}
        )
        self.store.save(key, record, report)

    # --- after ------------------------------------------------------------------------------------

    def course(self) -> Course:
        """The class, from what the results folder knows."""
        maximum = self.rubric.maximum(self.checks)
        return Course(
            exercise=self.wish.exercise.key,
            title=self.wish.exercise.title,
            maximum=maximum,
            grades=[self._grade(each, maximum) for each in self.handins],
            checks={name: (title, self.rubric.points_of(name, own)) for name, (title, own) in self.checks.items()},
            hidden=frozenset(self.rubric.hidden.checks),
            roster_columns=self.roster.columns if self.roster else (),
        )

    def _grade(self, handin: HandIn, maximum: float) -> Grade:
        known = self.store.load(handin.student.key)
        if not handin.sources or known is None:
            status = Status.WAITING if handin.sources else Status.MISSING
            return Grade(handin.student, status, None, None, maximum, hidden=frozenset(self.rubric.hidden.checks))
        record, report = known
        late = self.rubric.late
        at = handin.modified_at if late and late.times == "files" else handin.handed_in_at
        score: float | None = 0.0 if record.status is Status.UNREADABLE else None
        deducted = 0.0
        if report:
            report = self.rubric.apply(report)
            score, deducted = self.rubric.score(report, maximum, at)
        return Grade(
            student=handin.student,
            status=record.status,
            report=report,
            score=score,
            maximum=maximum,
            deducted=deducted,
            hidden=frozenset(self.rubric.hidden.checks),
            message=record.message,
            source=record.source,
            handed_in_at=at,
            graded_at=record.graded_at,
            worker=record.worker,
            tries=record.tries,
        )

    def write(self) -> Course:
        """Write gradebooks, the class's page and the feedback files."""
        course, folder = self.course(), self.store.folder
        files = gradebooks.write_all(course)
        files["class.html"] = classpage.render(course, _now())
        for grade in course.grades:
            if grade.status is not Status.WAITING:
                files[f"feedback/{grade.student.key}.html"] = feedback.render(grade)
        for name, text in files.items():
            write(folder / name, text)
        for own in ("feedback", "gradescope", "classroom"):
            for path in (folder / own).glob("[!.]*"):
                if f"{own}/{path.name}" not in files:  # of somebody who is no longer in the class, or has no score
                    path.unlink()
        self.store.save_class(course)
        return course


def checks_version(exercise: Exercise) -> str:
    """Names the exercise and its checks: when they change, submissions are graded again."""
    return fingerprint([exercise.folder, exercise.checks])


def _all_known(what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    if unknown := [name for name in asked if name not in known]:
        raise UsageError(
            f"There is no {what} called {', '.join(unknown)}.",
            f"The {what}s are:\n" + "\n".join(f"    {name}" for name in known),
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
