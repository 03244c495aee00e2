"""The files for gradebooks, each read back by the rules of the place that imports it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from grader.batch.gradebooks import FORMATS, cells, write_all
from grader.batch.grades import Course, Grade, Status
from grader.batch.students import Student
from grader.results import CheckResult, Report, Verdict
from tests.unit.formats import canvas, classroom, gradescope, hostile, junit, moodle, spreadsheet

CHECKS = {"test_a": ("It starts", 3.0), "test_b": ("It answers", 1.0), "test_c": ("It survives", 2.0)}
NO_SCORE = (Status.FAULT, Status.KILLED, Status.MISSING, Status.WAITING)
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Other (5)", "Title (77)")
MOODLE = ("First name", "Last name", "ID number", "Institution", "Email address")


def report(*verdicts: Verdict, **fields: Any) -> Report:
    checks = [
        CheckResult(name=name, title=title, verdict=verdict, points=points, seconds=1, message=f"{name} said it")
        for (name, (title, points)), verdict in zip(CHECKS.items(), verdicts, strict=True)
    ]
    given_ = {"exercise": "04-x", "title": "Title", "submission": "subs/alice.zip", "started_at": ""}
    return Report(**given_ | {"checks": checks, "seconds": {"total": 12.5}} | fields)


GOOD = report(Verdict.PASSED, Verdict.FAILED, Verdict.PASSED)


def grade(name: str = "Alice", score: float | None = 5, **fields: Any) -> Grade:
    """A grade: of a graded submission if there is a score."""
    known = {"id": "", "roster": {}, "key": name} | {k: fields.pop(k) for k in ("id", "roster", "key") if k in fields}
    status = Status.GRADED if score is not None else Status.MISSING
    given_ = {"status": status, "report": GOOD if score is not None else None, "score": score, "maximum": 6.0}
    return Grade(student=Student(name=name, **known), **given_ | fields)


def course(*grades: Grade, columns: tuple[str, ...] = (), **fields: Any) -> Course:
    given_ = {"exercise": "04-x", "title": "Title", "maximum": 6.0, "checks": CHECKS}
    return Course(**given_ | {"grades": grades, "roster_columns": columns} | fields)


def sheet(course_: Course) -> list[dict[str, str]]:
    return spreadsheet.read(write_all(course_)["grades.csv"])


def in_canvas(course_: Course, *users: canvas.User) -> canvas.Imported:
    return canvas.read(write_all(course_)["canvas.csv"], list(users))


def row(columns: tuple[str, ...], *values: str) -> Mapping[str, str]:
    return dict(zip(columns, [*values, *[""] * len(columns)], strict=False))


# --- all of them -------------------------------------------------------------------------------------


def test_there_is_a_file_of_each_format() -> None:
    names = write_all(course(grade("Alice"), grade("Bob", None)))
    assert set(names) == {
        *("grades.csv", "canvas.csv", "moodle.csv", "junit.xml", "gradescope/Alice.json", "classroom/Alice.txt")
    }
    assert {name.split("/")[0] for name in names} == set(FORMATS)


@pytest.mark.parametrize("status", NO_SCORE)
def test_nobody_without_a_score_has_a_zero_anywhere(status: Status) -> None:
    roster = row(MOODLE, "Bob", "Roe", "s2", "", "bob@uni.edu")
    files = write_all(course(grade("Bob", None, id="34", status=status, roster=roster), columns=MOODLE))
    (bob,) = spreadsheet.read(files["grades.csv"])
    assert (bob["score"], bob["status"]) == ("", status.value)
    assert {bob[name] for name in (*CHECKS, *Verdict)} == {""}
    assert canvas.read(files["canvas.csv"], []).grades == []
    assert moodle.read(files["moodle.csv"], [], "ID number") == {}
    (suite,) = junit.read(files["junit.xml"])
    assert "score" not in suite.properties
    assert [case.kind for case in suite.cases] == ["error" if status in NO_SCORE[:2] else "skipped"]
    assert not [name for name in files if "/" in name]


def test_nobody_has_a_zero_for_what_could_not_be_run() -> None:
    nothing = grade("Bob", None, status=Status.GRADED, report=report(*[Verdict.NOT_RUN] * 3))
    files = write_all(course(nothing))
    (bob,) = spreadsheet.read(files["grades.csv"])
    assert {bob[name] for name in ("score", *CHECKS)} == {""}
    assert bob["not run"] == "3"
    assert not [name for name in files if "/" in name]


def test_a_submission_that_cannot_be_read_has_a_zero_and_the_reason_everywhere() -> None:
    unreadable = grade(
        "Bob",
        0.0,
        id="34",
        status=Status.UNREADABLE,
        report=None,
        source="subs/bob.zip",
        message="subs/bob.zip is no zip.",
    )
    files = write_all(course(unreadable))
    assert canvas.read(files["canvas.csv"], [canvas.User(34, "Bob")]).grades == [(34, "0")]
    assert sheet(course(unreadable))[0]["message"] == "subs/bob.zip is no zip."
    document = gradescope.read(files["gradescope/Bob.json"])
    assert document["score"] == 0
    assert document["tests"][0]["output"] == "The submission is no zip."
    result = classroom.read(files["classroom/Bob.txt"])
    assert classroom.reported(result) == (0, 6)
    assert "subs/" not in str(result)


# --- grades.csv ----------------------------------------------------------------------------------------


def test_the_sheet_has_a_row_for_everybody_in_the_class_s_order() -> None:
    assert [line["name"] for line in sheet(course(grade("Zoë"), grade("Bob", None), grade("张伟")))] == [
        "Zoë",
        "Bob",
        "张伟",
    ]


def test_the_sheet_has_all_there_is_to_know() -> None:
    mixed = report(Verdict.PASSED, Verdict.BLOCKED, Verdict.NOT_RUN)
    handed_in = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    alice = grade(
        "Alice", 2.7, id="34", key="alice", report=mixed, deducted=0.3, source="subs/alice.zip", handed_in_at=handed_in,
        graded_at="2026-12-01T08:00:00+00:00", message="well, \"nearly\"\nthere",
    )  # fmt: skip
    assert sheet(course(alice)) == [
        {
            "name": "Alice", "id": "34", "key": "alice", "status": "graded", "score": "2.7", "maximum": "6",
            "deducted for lateness": "0.3", "passed": "1", "failed": "0", "blocked": "1", "not run": "1", "error": "0",
            "test_a": "3", "test_b": "0", "test_c": "", "submission": "subs/alice.zip",
            "handed in at": "2026-11-30T23:59:00+00:00", "graded_at": "2026-12-01T08:00:00+00:00", "seconds": "12.5",
            "message": 'well, "nearly"\nthere',
        }
    ]  # fmt: skip


def test_a_check_at_which_the_grader_failed_is_empty_in_the_sheet() -> None:
    (alice,) = sheet(course(grade(report=report(Verdict.PASSED, Verdict.ERROR, Verdict.FAILED), status=Status.FAULT)))
    assert (alice["test_a"], alice["test_b"], alice["test_c"]) == ("3", "", "0")


def test_excel_knows_that_the_sheet_is_utf_8() -> None:
    assert write_all(course(grade("Zoë")))["grades.csv"].encode().startswith(b"\xef\xbb\xbf")


# --- cells -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1+1", "-1+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\rx", "\nx", "  =1", "\uff1d1", "\u3000=1"]
)
def test_text_is_never_a_formula(cell: str) -> None:
    assert spreadsheet.is_formula(cell)
    assert cells.text(cell).startswith("'")
    assert not spreadsheet.is_formula(cells.text(cell))


@pytest.mark.parametrize("cell", ["", "Alice", "O'Lee", "Müller, Jörg", "3 = 3", "a-b", "c@d", '"x"'])
def test_text_that_is_no_formula_stays_as_it_is(cell: str) -> None:
    assert cells.text(cell) == cell


@settings(deadline=None, max_examples=50)
@given(hostile.texts)
@example("Alice;=1+1;")
@example("Alice; @SUM(A1)")
def test_no_part_of_a_text_becomes_a_formula_where_commas_are_for_decimals(cell: str) -> None:
    text = cells.table([["Alice", cells.text(cell), "3"]])
    assert not [
        part for part in spreadsheet.cells_split_at(text, ";") if spreadsheet.is_formula(part.strip('"').lstrip())
    ]


@pytest.mark.parametrize(
    ("number", "cell"),
    [
        (None, ""),
        (0, "0"),
        (3.0, "3"),
        (2.5, "2.5"),
        (-1.25, "-1.25"),
        (1e-9, "0"),
        (-1e-9, "0"),
        (100, "100"),
        (1e15, f"1{'0' * 15}"),
    ],
)
def test_numbers_are_plain(number: float | None, cell: str) -> None:
    assert cells.number(number) == cell


@pytest.mark.parametrize("cell", ["s034", "bob@uni.edu", "+49170123", "@bob", "-bob", "UNI\\bob", "00012"])
def test_identifiers_stay_byte_for_byte(cell: str) -> None:
    assert cells.identifier(cell) == cell


@pytest.mark.parametrize("cell", ["=1+cmd|' /C calc'!A0", "=HYPERLINK(1)", "@SUM(A1)", "-1!A1"])
def test_a_formula_is_no_identifier(cell: str) -> None:
    assert cells.identifier(cell) == ""


# --- Canvas --------------------------------------------------------------------------------------------


def test_canvas_has_the_columns_of_its_own_export() -> None:
    roster = row(CANVAS, "Roe, Alice", "34", "s034", "alice@uni.edu", "Group, A", "7", "")
    text = write_all(course(grade("Alice Roe", 5.25, roster=roster), columns=CANVAS))["canvas.csv"]
    (points, alice) = spreadsheet.read(text)
    assert alice == dict(
        zip((*CANVAS[:5], "Title (77)"), ("Roe, Alice", "34", "s034", "alice@uni.edu", "Group, A", "5.25"), strict=True)
    )
    assert (points["Student"].strip(), points["Title (77)"]) == ("Points Possible", "6")


def test_without_a_roster_canvas_gets_the_name_and_the_number() -> None:
    imported = in_canvas(
        course(grade("Alice", 5, id="34"), grade("Bob", 2)), canvas.User(34, "A. Roe"), canvas.User(35, "Bob")
    )
    assert imported == canvas.Imported("Title", "6", [(34, "5"), (35, "2")])


def test_an_id_that_is_no_number_is_not_cut_down_to_one() -> None:
    users = (canvas.User(12, "Eve"), canvas.User(34, "Al", sis_id="12x"))
    assert in_canvas(course(grade("Alice", 5, id="12x")), *users).grades == [(34, "5")]


def test_canvas_finds_students_whose_names_are_kept_apart() -> None:
    columns = ("LastName", "FirstName", "ID", "SIS Login ID", "Section")
    roster = row(columns, "Roe", "Alice", "", "alice@uni.edu", "A")
    course_ = course(grade("Alice Roe", roster=roster), columns=columns)
    assert in_canvas(course_, canvas.User(34, "x", login="alice@uni.edu")).grades == [(34, "5")]
    assert spreadsheet.read(write_all(course_)["canvas.csv"])[1]["Student"] == "Roe, Alice"


def test_canvas_knows_whose_institution_it_is() -> None:
    columns = ("Student", "ID", "SIS User ID", "SIS Login ID", "Root Account", "Section")
    roster = row(columns, "Roe, Alice", "", "s034", "", "uni.edu", "A")
    assert in_canvas(course(grade(roster=roster), columns=columns), canvas.User(34, "", "s034")).grades == [(34, "5")]


def test_whoever_is_called_points_possible_is_a_student_to_canvas() -> None:
    imported = in_canvas(course(grade("Points Possible", 5, id="34")), canvas.User(34, "Points Possible"))
    assert imported == canvas.Imported("Title", "6", [(34, "5")])


def test_every_row_for_canvas_is_one_line() -> None:
    roster = row(CANVAS, "a;\nb;", "34", "x\ny", "", "x\r\ny")
    course_ = course(grade(roster=roster), columns=CANVAS)
    assert in_canvas(course_, canvas.User(34, "")).grades == [(34, "5")]
    assert len(write_all(course_)["canvas.csv"].splitlines()) == 3


# --- Moodle --------------------------------------------------------------------------------------------


def in_moodle(course_: Course, column: str, *users: str) -> dict[str, float]:
    return moodle.read(write_all(course_)["moodle.csv"], list(users), column)


def test_moodle_finds_students_by_what_its_export_has() -> None:
    alice = grade("Alice", 5.25, roster=row(MOODLE, "Alice", "Roe", "s1", "", "Alice@Uni.edu"))
    bob = grade("Bob", 2, roster=row(MOODLE, "Bob", "Roe", "s2", "", "bob@uni.edu"))
    course_ = course(alice, bob, columns=MOODLE)
    assert in_moodle(course_, "ID number", "s1", "s2") == {"s1": 5.25, "s2": 2}
    assert in_moodle(course_, "Email address", "Alice@Uni.edu", "bob@uni.edu") == {
        "Alice@Uni.edu": 5.25,
        "bob@uni.edu": 2,
    }


def test_nobody_gets_the_grade_of_a_student_who_cannot_be_looked_up() -> None:
    alice = grade("Alice", 5, roster=row(MOODLE, "", "", "s1", "", "alice@uni.edu"))
    bob = grade("Bob", 2, roster=row(MOODLE, "", "", "", "", "bob@uni.edu"))
    stranger = grade("Eve", 6)
    course_ = course(alice, bob, stranger, columns=MOODLE)
    assert in_moodle(course_, "Email address", "alice@uni.edu", "bob@uni.edu") == {"alice@uni.edu": 5, "bob@uni.edu": 2}
    assert "ID number" not in spreadsheet.read(write_all(course_)["moodle.csv"])[0]


def test_without_an_export_moodle_gets_the_identifiers_there_are() -> None:
    assert in_moodle(
        course(grade("Alice", 5, id="s1"), grade("Bob", 2), grade("Eve", 3, id="0")), "Identifier", "s1"
    ) == {"s1": 5}


def test_a_backslash_does_not_join_two_rows_in_moodle() -> None:
    names = [grade("a,\\", 5, id="s1"), grade('b\\"', 2, id="s2"), grade("c", 1, id="x,\\")]
    assert in_moodle(course(*names), "Identifier", "s1", "s2") == {"s1": 5, "s2": 2}


# --- JUnit ---------------------------------------------------------------------------------------------


def test_junit_has_a_suite_for_everybody_and_hides_nothing_from_instructors() -> None:
    alice = grade("Alice", 4.5, deducted=0.5, hidden=frozenset({"test_b"}))
    bob = grade("Bob", None, status=Status.KILLED, message="Its worker died twice.")
    suites = junit.read(write_all(course(alice, bob, grade("Eve", None)))["junit.xml"])
    assert [suite.name for suite in suites] == ["Alice", "Bob", "Eve"]
    assert [(case.name, case.kind) for case in suites[0].cases] == [
        ("It starts", ""), ("It answers", "failure"), ("It survives", ""),
    ]  # fmt: skip
    assert suites[0].cases[1].message == "test_b said it"
    assert suites[0].properties == {
        "points": "5", "maximum": "6", "status": "graded", "score": "4.5", "out of": "6",
    }  # fmt: skip
    assert [(case.kind, case.message) for case in suites[1].cases] == [("error", "Its worker died twice.")]
    assert [(case.kind, case.message) for case in suites[2].cases] == [("skipped", "nothing handed in")]


def test_namesakes_are_two_suites_in_junit() -> None:
    suites = junit.read(write_all(course(grade("Ann", key="Ann_1"), grade("Ann", key="Ann_2")))["junit.xml"])
    assert len({case.classname for suite in suites for case in suite.cases}) == 2


# --- Gradescope and GitHub Classroom -------------------------------------------------------------------


def test_students_learn_of_hidden_checks_only_whether_they_passed() -> None:
    files = write_all(course(grade("Alice", hidden=frozenset({"test_a", "test_b"}))))
    tests = gradescope.read(files["gradescope/Alice.json"])["tests"]
    assert [(test["name"], test["status"], test["visibility"], test["output"]) for test in tests[:2]] == [
        ("Hidden check 1", "passed", "visible", ""), ("Hidden check 2", "failed", "visible", ""),
    ]  # fmt: skip
    assert tests[2]["output"] == "test_c said it."
    everything = files["gradescope/Alice.json"] + str(classroom.read(files["classroom/Alice.txt"]))
    for secret in ("test_a", "test_b", "It starts", "It answers"):
        assert secret not in everything


def test_students_do_not_learn_where_the_instructor_keeps_submissions() -> None:
    files = write_all(course(grade("Alice", source="subs/alice.zip")))
    assert "subs/" not in files["gradescope/Alice.json"]
    assert "subs/" not in str(classroom.read(files["classroom/Alice.txt"]))


def test_gradescope_has_the_score_after_the_late_policy_and_says_why() -> None:
    document = gradescope.read(write_all(course(grade(score=4.5, deducted=0.5)))["gradescope/Alice.json"])
    assert document["score"] == 4.5
    assert document["output"].startswith("5 of 6 points")
    assert "The score is 4.5 of 6, 0.5 taken for handing in late." in document["output"]


def test_gradescope_says_how_the_points_are_scaled() -> None:
    document = gradescope.read(write_all(course(grade(score=83.33, maximum=100.0)))["gradescope/Alice.json"])
    assert document["score"] == 83.33
    assert "The score is 83.33 of 100." in document["output"]


def test_classroom_has_the_points_of_the_checks() -> None:
    result = classroom.read(write_all(course(grade(score=4.5, deducted=0.5)))["classroom/Alice.txt"])
    assert (classroom.reported(result), classroom.shown_by_count(result)) == ((5, 6), 5)


# --- whatever people are called ------------------------------------------------------------------------

_rosters = {
    "none": ((), st.just({})),
    "canvas": (CANVAS, st.fixed_dictionaries(dict.fromkeys(CANVAS, hostile.words))),
    "moodle": (MOODLE, st.fixed_dictionaries(dict.fromkeys(MOODLE, hostile.words))),
}


@st.composite
def classes(draw: st.DrawFn) -> Course:
    columns, rosters = _rosters[draw(st.sampled_from(sorted(_rosters)))]
    grades = []
    for number in range(draw(st.integers(0, 4))):
        graded = draw(st.none() | hostile.reports)
        score = draw(st.none() | st.floats(0, 100).map(lambda value: round(value, 2)))
        student = Student(f"key{number}", draw(hostile.words), draw(hostile.words), draw(rosters))
        status = draw(
            st.sampled_from([Status.GRADED, Status.FAULT] if graded else [s for s in Status if s != "graded"])
        )
        grades.append(
            Grade(student, status, graded, score, 100.0, message=draw(hostile.texts), source=draw(hostile.words))
        )
    return course(*grades, columns=columns, maximum=100.0)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=50)
@given(classes())
def test_whatever_people_and_submissions_say_every_place_can_read_it(course_: Course) -> None:
    files = write_all(course_)
    scored = [each for each in course_.grades if each.score is not None]
    lines = spreadsheet.read(files["grades.csv"])
    assert [line["key"] for line in lines] == [each.student.key for each in course_.grades]
    assert not [cell for line in lines for cell in line.values() if spreadsheet.is_formula(cell)]
    assert [cell for _, cell in canvas.read(files["canvas.csv"], []).grades] == [
        cells.number(each.score) for each in scored
    ]
    assert len(junit.read(files["junit.xml"])) == len(course_.grades)
    for each in scored:
        assert gradescope.read(files[f"gradescope/{each.student.key}.json"])["score"] == each.score
        classroom.read(files[f"classroom/{each.student.key}.txt"])
    assert sum("/" in name for name in files) == 2 * len(scored)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=50)
@given(classes())
def test_whatever_people_are_called_moodle_gives_nobody_another_s_grade(course_: Course) -> None:
    text = write_all(course_)["moodle.csv"]
    scored = [each for each in course_.grades if each.score is not None]
    for column in next(csv.reader([text.splitlines()[0]]))[1:-1]:
        own = column == "Identifier"
        known = [each.student.id if own else each.student.roster.get(column, "") for each in scored]
        known = [" ".join(name.split()) for name in known]
        assume(len(set(known)) == len(known))  # or it is not known whose grade it is
        grades = moodle.read(text, known, column)
        assert grades == {name: each.score for name, each in zip(known, scored, strict=True) if name in grades}
