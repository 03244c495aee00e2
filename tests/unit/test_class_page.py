from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.batch.grades import Course, Grade, Status
from grader.batch.report import classpage, feedback
from grader.batch.rubric import Rubric
from grader.batch.students import Student
from grader.results import CheckResult, PostMortem, Refusal, Report, Verdict
from tests.unit.classes import HIDDEN, course

EVIL = "</script><img src=x onerror=alert(1)><!--<script>\u2028\u2029&quot;'\""
MADE_AT = "2026-12-01T09:30:00+00:00"


class Elements(HTMLParser):
    """Which elements a page has, with their attributes, what is to be read, and the data of its script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.read: list[str] = []
        self.data = ""
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        self._inside = "json" if ("type", "application/json") in attrs else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "json":
            self.data += data
        elif self._inside not in ("script", "style"):
            self.read.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.read).split())


def report(text: str = "", **fields: object) -> Report:
    """A report in which everything that can quote a submission says ``text``."""
    checks = [
        CheckResult(
            name=f"test_{verdict.name.lower()}", title=f"Title {verdict.value}", verdict=verdict, points=2, seconds=1,
            message=text, expected=text, actual=text, at=text, hint=text, section=text, reproduce=text,
        )
        for verdict in Verdict
    ]  # fmt: skip
    known = {
        "exercise": "04-x",
        "title": "Title",
        "submission": text,
        "started_at": MADE_AT,
        "checks": checks,
        "refused": [Refusal(at=text, what=text, why=text, instead=text)],
        "services": [PostMortem(service=text, state=text, probe_output=text, log=[text])],
        "start_problem": text,
        "notes": [text],
        "seconds": {"total": 12.5},
    }
    return Report.model_validate(known | fields)


def grade(status: Status = Status.GRADED, text: str = "", **fields: object) -> Grade:
    """A grade in which everything that a student has a hand in says ``text``."""
    student = Student(text or "ada", text or "Ada", text, {text or "column": text})
    has_report = status in (Status.GRADED, Status.FAULT)
    known = Grade(
        student, status, report(text) if has_report else None, 4.0 if has_report else None, 8.0, message=text,
        source=text, worker=text,
    )  # fmt: skip
    return dataclasses.replace(known, **fields)


def a_class(*grades: Grade) -> Course:
    checks = {f"test_{verdict.name.lower()}": (f"Title {verdict.value}", 2.0) for verdict in Verdict}
    return Course("04-x", "Title", 8.0, grades, checks, frozenset({"test_failed"}))


# --- the class -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", Status)
def test_whatever_a_student_wrote_stays_text(status: Status) -> None:
    harmless = Elements(classpage.render(a_class(grade(status, "x")), MADE_AT))
    evil = Elements(classpage.render(a_class(grade(status, EVIL)), MADE_AT))
    assert evil.names == harmless.names
    assert not [name for name, _ in evil.attributes if name.startswith("on")]


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_data_come_back_as_they_were_in_any_script(text: str) -> None:
    """``text`` in whatever the student's name, id and message may be."""
    page = classpage.render(a_class(grade(Status.UNREADABLE, text)), MADE_AT)
    page.encode()  # can be written to a file
    found = Elements(page)
    assert not re.search("[<>&\u2028\u2029]", found.data)
    data = json.loads(found.data)
    student = data["students"][0]
    assert student["id"] == text
    assert data["texts"][student["message"]] == text


def test_a_check_that_took_no_time_and_says_nothing_keeps_its_verdict() -> None:
    quick = CheckResult(name="test_passed", title="Title passed", verdict=Verdict.PASSED, points=2, seconds=0)
    page = classpage.render(a_class(grade(report=report(checks=[quick]))), MADE_AT)
    [student] = json.loads(Elements(page).data)["students"]
    assert student["checks"] == [[0, 0, 0]]


def test_nothing_is_fetched_and_only_its_own_script_may_run() -> None:
    page = classpage.render(course(30), MADE_AT)
    found = Elements(page)
    assert not re.search(r"https?:|@import|url\(|\bsrc=|<link|<iframe|innerHTML|insertAdjacent|document\.write", page)
    policy = next(value for name, value in found.attributes if name == "content" and value and "default-src" in value)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert {
        value for name, value in found.attributes if name == "href" and value and not value.startswith("#")
    } == set()


def test_the_grader_s_faults_are_apart_from_what_students_did_wrong() -> None:
    grades = [
        grade(Status.FAULT, student=Student("ben", "Ben")),
        grade(Status.KILLED, student=Student("cem", "Cem"), message="Each of the 2 workers died.\nmore"),
        grade(Status.UNREADABLE, student=Student("dan", "Dan"), message="no archive"),
        grade(student=Student("eva", "Eva")),
    ]
    page = classpage.render(a_class(*grades), MADE_AT)
    section = page[page.index('class="attention"') : page.index('<div class="columns">')]
    shown = Elements(section).text
    assert "2 gradings" in shown
    assert "Ben [ben] grader's fault The grader failed at 1 check: Title error" in shown
    assert "Cem [cem] ended its worker Each of the 2 workers died." in shown
    assert "more" not in shown
    assert not re.search("Dan|Eva", shown)


def test_no_fault_no_warning() -> None:
    assert 'class="attention"' not in classpage.render(a_class(grade()), MADE_AT)


@pytest.mark.parametrize("students", [0, 1, 30])
def test_every_student_is_in_the_table_without_scripts(students: int) -> None:
    some = course(students)
    page = classpage.render(some, MADE_AT)
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    assert body.count("<tr>") == students
    shown = Elements(body).text
    for each in some.grades:
        assert each.student.name in shown


def test_counts_add_up_to_the_class() -> None:
    page = classpage.render(course(300), MADE_AT)
    numbers = re.findall(r'<span class="number">([\d,]+)</span>', page)
    assert len(numbers) == len(Status)
    assert sum(int(number) for number in numbers) == 300


def test_the_hardest_check_is_first_and_one_that_nobody_was_graded_on_last() -> None:
    page = classpage.render(a_class(grade(), grade(student=Student("ben", "Ben"))), MADE_AT)
    order = re.findall(r'<span data-check="test_(\w+)"', page)
    assert order == ["failed", "blocked", "passed", "not_run", "error"]
    assert "hidden from students" in page


@settings(max_examples=60, deadline=None)
@given(scores=st.lists(st.floats(0, 8), min_size=1, max_size=30))
def test_each_score_is_in_one_bar(scores: list[float]) -> None:
    grades = [grade(student=Student(str(n), "Ada"), score=score) for n, score in enumerate(scores)]
    page = classpage.render(a_class(*grades), MADE_AT)
    said = re.search(r'<title id="scores-said">(.*?)</title>', page)
    assert said
    assert sum(int(number) for number in re.findall(r"%: (\d+)", said[1])) == len(scores)


def test_full_marks_are_in_the_last_bar_and_nothing_in_the_first() -> None:
    page = classpage.render(a_class(grade(score=8.0), grade(score=0.0), grade(score=None)), MADE_AT)
    assert "0 to 10 %: 1; " in page
    assert "90 to 100 %: 1." in page
    assert "Of the 2 students who have a score" in page


def test_a_class_in_which_nobody_has_a_score_has_no_distribution() -> None:
    assert "Nobody has a score yet." in classpage.render(a_class(grade(Status.MISSING)), MADE_AT)


@pytest.mark.parametrize("worth", [[0.1, 0.1, 0.1], [1.1, 1.1, 1.1], [2.125]])
def test_full_marks_are_full_whatever_the_rubric_s_fractions(worth: list[float]) -> None:
    results = [
        CheckResult(name=f"test_{n}", title="T", verdict=Verdict.PASSED, points=points, seconds=1)
        for n, points in enumerate(worth)
    ]
    checks = {result.name: (result.title, result.points) for result in results}
    found, rubric = report(checks=results), Rubric()
    maximum = rubric.maximum(checks)
    score, _ = rubric.score(found, maximum, None)
    full = grade(report=found, score=score, maximum=maximum)
    shown = Elements(classpage.render(Course("04-x", "Title", maximum, [full], checks), MADE_AT)).text
    assert "full marks 1 of 1" in shown
    assert "The checks below brought" not in Elements(feedback.render(full)).text


# --- a student's file -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(status=st.sampled_from(list(Status)), marker=st.from_regex(r"MARK[a-z]{6}", fullmatch=True))
def test_nothing_for_the_instructor_is_in_the_student_s_file(status: Status, marker: str) -> None:
    hidden = CheckResult(
        name=f"test_{marker}", title=marker, verdict=Verdict.FAILED, points=2, seconds=1, message=marker,
        expected=marker, actual=marker, at=marker, hint=marker, section=marker, reproduce=marker,
    )  # fmt: skip
    broken = CheckResult(name="test_b", title="B", verdict=Verdict.ERROR, points=1, seconds=1, message=marker)
    seen = report(checks=[hidden, broken], refused=[], submission=marker)
    page = feedback.render(
        grade(
            status,
            student=Student(marker, "Ada", "7", {"notes": marker}),
            report=seen if status in (Status.GRADED, Status.FAULT) else None,
            hidden=frozenset({hidden.name}),
            source=f"{marker}/ada_{marker}.zip",
            worker=marker,
            message=f"{marker}/ada_{marker}.zip cannot be read" if status is Status.UNREADABLE else marker,
        )
    )
    assert marker not in page
    assert "Ada" in page


def test_hidden_checks_of_a_real_class_are_in_nobody_s_file() -> None:
    some = course(120)
    titles = [some.checks[name][0] for name in HIDDEN]
    for each in some.grades:
        page = Elements(feedback.render(each))
        assert not [title for title in titles if title in page.text]
        assert not [value for _, value in page.attributes if value in HIDDEN]


@pytest.mark.parametrize("status", Status)
def test_the_student_s_file_has_no_script_and_escapes(status: Status) -> None:
    page = feedback.render(grade(status, EVIL))
    assert not re.search(r"<script|<img|<!--|https?:|<link", page)


@pytest.mark.parametrize("status", [Status.FAULT, Status.KILLED])
def test_a_fault_of_the_grader_is_told_without_its_traces(status: Status) -> None:
    shown = Elements(feedback.render(grade(status, report=None, score=None, message="Traceback /opt/x.py"))).text
    assert "No score yet" in shown
    assert "through no fault of yours" in shown
    assert "your instructor has been told" in shown
    assert "Traceback" not in shown


def test_a_late_student_reads_what_was_taken_and_when_it_was_handed_in() -> None:
    late = grade(score=1.8, deducted=0.2, maximum=8.0, handed_in_at=datetime(2026, 12, 1, 8, 30, tzinfo=UTC))
    shown = Elements(feedback.render(late)).text
    assert "1.8 of 8 points" in shown
    assert "Of the 2 points earned, 0.2 were taken because it was handed in late, at 2026-12-01 08:30 UTC." in shown


def test_a_scaled_score_is_explained() -> None:
    shown = Elements(feedback.render(grade(score=25.0, maximum=100.0))).text
    assert "The checks below brought 2 of 8 points. Of 100, that is 25." in shown


@pytest.mark.parametrize(
    ("source", "message", "said"),
    [
        ("in/ada.zip", "in/ada.zip cannot be unpacked: it ends too early.\nMake it anew.", "Your submission cannot be"),
        ("in/ada", "in/ada holds several archives: a.zip.", "Your submission holds several archives: a.zip."),
        ("in/a.yml, in/b.zip", "in/ada has 'a.yml' twice.", "Ada has 'a.yml' twice."),
        ("", "It holds no compose file.", "It holds no compose file."),
    ],
)
def test_an_unreadable_submission_is_named_without_the_instructor_s_folder(
    source: str, message: str, said: str
) -> None:
    shown = Elements(feedback.render(grade(Status.UNREADABLE, source=source, message=message))).text
    assert said in shown
    assert "in/" not in shown
