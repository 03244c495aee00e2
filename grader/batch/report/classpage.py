"""The class on one page, for the instructor: a single HTML file that needs no network and fetches nothing.

The summary and the table are written here and readable without scripts. What is known of each student goes into the
page as data, and ``class.js`` shows it; it makes elements and sets their text: whatever a student wrote stays text.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from markupsafe import Markup

from grader.batch.grades import Course, Grade, Status, for_student
from grader.batch.report import feedback
from grader.batch.report.wording import moment, plural
from grader.render import words
from grader.render.templates import template
from grader.results import CheckResult, Verdict

BINS = 10

# What each status means to somebody who reads it for the first time.
MEANINGS = {
    Status.GRADED: "every check has its verdict",
    Status.UNREADABLE: "a damaged, unsafe or wrong file",
    Status.FAULT: "not the student's doing",
    Status.KILLED: "the grading was cut off, twice",
    Status.MISSING: "in the roster only",
    Status.WAITING: "not asked for so far",
}
MARKS = {Status.UNREADABLE: "✗", Status.FAULT: "!", Status.KILLED: "!", Status.MISSING: "∅", Status.WAITING: "…"}


def render(course: Course, made_at: str) -> str:
    """The page.

    Args:
        made_at: when, ISO 8601.
    """
    style, script = Markup(_asset("class.css")), Markup(_asset("class.js"))
    return template("grader.batch.report", "class.html.j2", moment=moment, plural=plural).render(
        course=course,
        made_at=made_at,
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        data=_data(course),
        counts=Counter(grade.status for grade in course.grades),
        statuses=list(Status),
        status_marks=MARKS,
        meanings=MEANINGS,
        at_fault=[_Fault.of(grade) for grade in course.grades if grade.at_fault],
        scores=_scores(course),
        times=_times(course),
        checks=_checks(course),
        rows=[_row(grade) for grade in course.grades],
    )


@functools.cache
def _asset(name: str) -> str:
    return files("grader.batch.report").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """As a content security policy names what it allows (W3C, Content Security Policy Level 3, hash-source)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# --- the summary -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fault:
    """A grading that says nothing about its student."""

    grade: Grade
    what: str

    @classmethod
    def of(cls, grade: Grade) -> _Fault:
        checks = grade.report.checks if grade.report else []
        broken = [check.title for check in checks if check.verdict is Verdict.ERROR]
        if broken:
            return cls(grade, f"The grader failed at {plural(len(broken), 'check')}: {'; '.join(broken)}")
        return cls(grade, grade.message.partition("\n")[0] or "Nothing is known of why.")


@dataclass(frozen=True)
class _Bar:
    """So many scores from ``low`` to ``high``, in per cent of the maximum; where and how tall it is drawn."""

    low: int
    high: int
    number: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class _Scores:
    number: int
    mean: float
    median: float
    full: int
    bars: Sequence[_Bar]


# The picture's own units; class.html.j2 draws the axis below.
_LEFT, _TOP, _WIDTH, _HEIGHT = 10, 22, 400, 120


def _scores(course: Course) -> _Scores | None:
    scores = [grade.score for grade in course.grades if grade.score is not None]
    if not scores:
        return None
    share = [min(1.0, max(0.0, score / course.maximum)) if course.maximum else 0.0 for score in scores]
    in_bin = Counter(min(BINS - 1, int(each * BINS + 1e-9)) for each in share)
    most, step = max(in_bin.values()), _WIDTH / BINS
    bars = []
    for number in range(BINS):
        height = _HEIGHT * in_bin[number] / most
        bars.append(
            _Bar(
                100 * number // BINS, 100 * (number + 1) // BINS, in_bin[number],
                _LEFT + number * step + 2, _TOP + _HEIGHT - height, step - 4, height,
            )
        )  # fmt: skip
    # Scores are rounded, and 0.1 + 0.1 + 0.1 is more than 0.3.
    full = sum(score >= round(course.maximum, 2) for score in scores)
    return _Scores(len(scores), statistics.fmean(scores), statistics.median(scores), full, bars)


@dataclass(frozen=True)
class _Times:
    number: int
    median: float
    slowest: Grade


def _times(course: Course) -> _Times | None:
    timed = [(grade.seconds, grade) for grade in course.grades if grade.seconds is not None]
    if not timed:
        return None
    slowest = max(timed, key=lambda each: each[0])[1]
    return _Times(len(timed), statistics.median(seconds for seconds, _ in timed), slowest)


@dataclass(frozen=True)
class _Check:
    name: str
    title: str
    points: float
    hidden: bool
    verdicts: Counter[Verdict]

    @property
    def rate(self) -> float | None:
        """The share of those graded on it that pass, 0 to 1; None if nobody was graded on it."""
        graded = sum(self.verdicts[each] for each in (Verdict.PASSED, Verdict.FAILED, Verdict.BLOCKED))
        return self.verdicts[Verdict.PASSED] / graded if graded else None

    @property
    def said(self) -> str:
        """How many ended how."""
        judged = [verdict for verdict in Verdict if verdict is not Verdict.PASSED and self.verdicts[verdict]]
        others = "".join(f", {self.verdicts[verdict]:,} {verdict.value}" for verdict in judged)
        return f"{self.verdicts[Verdict.PASSED]:,} passed{others}"


def _checks(course: Course) -> list[_Check]:
    """The hardest first; last those that nobody was graded on."""
    verdicts: dict[str, Counter[Verdict]] = {name: Counter() for name in course.checks}
    for grade in course.grades:
        for check in grade.report.checks if grade.report else ():
            verdicts.setdefault(check.name, Counter())[check.verdict] += 1
    checks = [
        _Check(name, title, points, name in course.hidden, verdicts[name])
        for name, (title, points) in course.checks.items()
    ]
    return sorted(checks, key=lambda check: 2.0 if check.rate is None else check.rate)


@dataclass(frozen=True)
class _Row:
    grade: Grade
    passed: int | None
    failed: int | None


def _row(grade: Grade) -> _Row:
    report = grade.report
    if report is None:
        return _Row(grade, None, None)
    return _Row(grade, report.count(Verdict.PASSED), report.count(Verdict.FAILED))


# --- what is known of each student -----------------------------------------------------------------


class _Texts:
    """Each text once: a class gets the same hints, and often the same messages. Number 0 is no text."""

    def __init__(self) -> None:
        self.all: dict[str, int] = {"": 0}

    def __call__(self, text: str) -> int:
        return self.all.setdefault(text, len(self.all))


def _data(course: Course) -> Markup:
    """All that the page's script needs, as JSON that can stand inside of a script element.

    JSON knows ``\\u003c`` for ``<``, so that nothing in a string can end the element (HTML, 4.12.1.3).
    """
    texts = _Texts()
    names = dict.fromkeys([*course.checks, *(c.name for g in course.grades if g.report for c in g.report.checks)])
    index = {name: number for number, name in enumerate(names)}
    titles = {c.name: (c.title, c.points) for g in course.grades if g.report for c in g.report.checks} | course.checks
    data = {
        "maximum": course.maximum,
        "verdicts": [verdict.value for verdict in Verdict],
        "marks": [words.MARKS[verdict] for verdict in Verdict],
        "checks": [[name, *titles[name], name in course.hidden] for name in names],
        "students": [_student(grade, index, texts) for grade in course.grades],
    }
    data["texts"] = list(texts.all)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate cannot be written in UTF-8; JSON can name it.
    text = text.encode("utf-8", "backslashreplace").decode()
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


def _student(grade: Grade, index: dict[str, int], texts: _Texts) -> dict[str, object]:
    known: dict[str, object] = {
        "key": grade.student.key,
        "name": grade.student.name,
        "id": grade.student.id,
        "status": grade.status.value,
        "score": grade.score,
        "deducted": grade.deducted,
        "seconds": grade.seconds,
        "message": texts(grade.message),
        "said": [texts(line) for line in feedback.said(grade)] if grade.status is not Status.WAITING else [],
        "facts": [[label, text] for label, text in _facts(grade) if text],
        "feedback": grade.status is not Status.WAITING,
    }
    report, theirs = grade.report, for_student(grade)
    if report is None or theirs is None:
        return known
    return known | {
        "points": [report.points, report.maximum],
        "checks": [
            _result(check, shown, index[check.name], texts)
            for check, shown in zip(report.checks, theirs.checks, strict=True)
        ],
        "refused": [[each.at, each.what, each.why, each.instead] for each in report.refused],
        "start": texts(report.start_problem),
        "services": [[each.service, words.condition(each), each.probe_output, each.log] for each in report.services],
        "notes": [texts(note) for note in report.notes],
        "late": report.out_of_time,
    }


def _result(check: CheckResult, shown: CheckResult, number: int, texts: _Texts) -> list[object]:
    """[check, verdict, seconds, title for the student, message for the student, message, expected, …]"""
    result: list[object] = [
        number,
        list(Verdict).index(check.verdict),
        round(check.seconds, 2),
        texts(shown.title) if shown.title != check.title else 0,
        texts(shown.message),
    ]
    said = (check.message, check.expected, check.actual, check.at, check.hint, check.section, check.reproduce)
    result += [texts(text) for text in said]
    while len(result) > 3 and result[-1] == 0:  # the page reads a text that is left out as none
        result.pop()
    return result


def _facts(grade: Grade) -> list[tuple[str, str]]:
    """What only the instructor may know of how it was graded."""
    facts = [
        ("handed in as", grade.source),
        ("handed in at", moment(grade.handed_in_at)),
        ("graded at", moment(grade.graded_at)),
        ("graded by", grade.worker),
        ("tries", str(grade.tries) if grade.worker or grade.report else ""),
        ("time", words.times(grade.report) if grade.report else ""),
        ("its files' name", grade.student.key),
    ]
    return facts + [(f"roster: {column}", cell) for column, cell in grade.student.roster.items()]
