from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.batch import roster
from grader.batch.handins import HandIn, collect, unmatched
from grader.batch.places import owner_of, plain
from grader.batch.roster import Roster
from grader.errors import UsageError

CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,Exercise 4 (77)
,,,,,Manual Posting
    Points Possible,,,,,14
"Smith, Bob",34,s034,bob@uni.edu,A,
"van der Berg, Jan",35,s035,jan@uni.edu,A,
"Student, Test",99,,5f2b,A,
"""
CANVAS_NAMES_APART = """\
LastName,FirstName,ID,SIS Login ID,Section
    Points Possible,,,,
Smith,Bob,34,bob@uni.edu,A
Student,Test,99,5f2b,A
"""
MOODLE_WORKSHEET = """\
Identifier,Full name,ID number,Email address,Status,Grade,Maximum grade,"Last modified (submission)"
Participant 11,Ann Lee,s011,ann@uni.edu,Submitted for grading,,14.00,"Monday, 30 November 2026, 9:00 AM"
Teilnehmer/in12,Ann Lee,s012,ann2@uni.edu,No submission,,14.00,-
"""
MOODLE_GRADES = """\
First name,Last name,ID number,Institution,Department,Email address,Four (Real),Last downloaded from this course
Ann,O'Lee,s011,,,ann@uni.edu,-,1790000000
"""
MOODLE_PARTICIPANTS = "First name;Surname;Email address;Groups\nAnn;O'Lee;ann@uni.edu;\n"
GITHUB = '"identifier","github_username","github_id","name"\n"s011","ann-lee","40261856",""\n"s012","","",""\n'
BY_HAND = "Submission\tName\tSubmitted_At\nalice.zip\tAlice Roe\t2026-11-30T23:58:00+01:00\n"


def read(tmp_path: Path, text: str) -> Roster:
    path = tmp_path / "class.csv"
    path.write_text(text, "utf-8", newline="")
    return roster.read(path)


def names(read_: Roster) -> list[str]:
    return [row.name or row.owner.name for row in read_.rows]


def collected(tmp_path: Path, text: str, *entries: str) -> list[HandIn]:
    folder = tmp_path / "submissions"
    folder.mkdir()
    for entry in entries:
        (folder / entry).mkdir(parents=True) if entry.endswith("/") else (folder / entry).touch()
    return collect(folder, read(tmp_path, text))


def whose(handins: list[HandIn]) -> dict[str, str]:
    """What was handed in -> the name in the roster."""
    return {each.sources[0].name: each.student.name for each in handins if each.sources and each.student.roster}


# --- reading -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CANVAS, ["Smith, Bob", "van der Berg, Jan"]),
        (CANVAS_NAMES_APART, ["Bob Smith"]),
        (MOODLE_WORKSHEET, ["Ann Lee", "Ann Lee"]),
        (MOODLE_GRADES, ["Ann O'Lee"]),
        (MOODLE_PARTICIPANTS, ["Ann O'Lee"]),
        (GITHUB, ["ann-lee", "s012"]),
        (BY_HAND, ["Alice Roe"]),
        ("name\nAlice\n\nBob\n", ["Alice", "Bob"]),
        ("login,name\nalice,\n", ["alice"]),
    ],
)
@pytest.mark.parametrize("begin", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_places_export_and_people_write_is_a_roster(
    tmp_path: Path, text: str, expected: list[str], begin: str, end: str
) -> None:
    assert names(read(tmp_path, begin + text.replace("\n", end))) == expected


def test_only_canvas_has_rows_of_nobody(tmp_path: Path) -> None:
    assert names(read(tmp_path, "name,id\nTest Student,1\nPoints Possible,2\n")) == ["Test Student", "Points Possible"]
    with pytest.raises(UsageError, match=r"class.csv:2: this row does not say whose it is"):
        read(tmp_path, "name,group\n,A\n")


@pytest.mark.parametrize(("separator", "line"), [(";", "sep=;\n"), (",", "SEP=,\r\n"), ("|", "sep=|\n"), ("\t", "")])
def test_excel_says_its_separator_and_it_is_believed(tmp_path: Path, separator: str, line: str) -> None:
    text = "\n".join(separator.join(cells) for cells in (("name", "a,b;c"), ("Alice", '"x"')))
    if separator in ",;":
        text = text.replace("a,b;c", "group")
    read_ = read(tmp_path, line + text)
    assert names(read_) == ["Alice"]
    assert read_.rows[0].line == (3 if line else 2)


def test_cells_stay_as_they_are_written(tmp_path: Path) -> None:
    (row,) = read(tmp_path, 'Name, group ,note\n Alice ," a,b","two\r\nlines"\n').rows
    assert dict(row.cells) == {"Name": " Alice ", " group ": " a,b", "note": "two\r\nlines"}
    assert row.name == "Alice"


def test_short_rows_end_in_empty_cells_and_empty_columns_at_the_end_are_none(tmp_path: Path) -> None:
    read_ = read(tmp_path, "name,group,,\nAlice\nBob,A,,\n")
    assert read_.columns == ("name", "group")
    assert [dict(row.cells) for row in read_.rows] == [{"name": "Alice", "group": ""}, {"name": "Bob", "group": "A"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("name,id\n", "has no students"),
        ("who,what\na,b\n", ":1: none of these columns says who somebody is"),
        ("sep=;\nwho;what\na;b\n", ":2: none of these columns says who somebody is"),
        ("name;group,id\na,b\n", ":1: the columns may be separated by one character or another"),
        ("name,name\na,b\n", ":1: two columns are called 'name'"),
        ("name,id\nSmith, Bob,3\n", ":2: there are 3 cells in this row, and 2 columns"),
        ('name,id\n"a\nb",1\n"c"d,2\n', ":4: this is no CSV"),
        ('name,id\na,1\n"b,2\n', ":3: this is no CSV"),
        ("name,submitted_at\na,\nb,yesterday\n", ":3: 'yesterday' in the column 'submitted_at' is no date"),
        ("name,submitted at\na,2026-11-30\n", ":2: '2026-11-30' in the column 'submitted at' is no date with a time"),
        ("name,submitted_at\na,0001-01-01T00:00:00+14:00\n", ":2: '0001"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, text)
    assert said in raised.value.what
    assert "class.csv" in raised.value.what
    assert raised.value.fix


def test_a_file_that_cannot_be_read_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        roster.read(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("name\nAlice\nJörg\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin.csv:3: this is not written in UTF-8") as raised:
        roster.read(tmp_path / "latin.csv")
    assert "CSV UTF-8" in raised.value.fix
    (tmp_path / "wide.csv").write_bytes("name\nAlice\n".encode("utf-16"))
    with pytest.raises(UsageError, match="not written in UTF-8"):
        roster.read(tmp_path / "wide.csv")


@given(st.text(max_size=200))
def test_any_text_is_a_roster_or_an_error_with_what_to_do(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for begin in ("", "name\n", "sep=;\nname;id\n"):
        path.write_bytes((begin + text).encode("utf-8", "surrogatepass"))
        with suppress(UsageError):
            assert roster.read(path).rows


# --- when ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "time"),
    [
        ("2026-11-30T23:59:00+01:00", datetime(2026, 11, 30, 22, 59, tzinfo=UTC)),
        ("2026-11-30 22:59:00Z", datetime(2026, 11, 30, 22, 59, tzinfo=UTC)),
        (" 2026-11-30T22:59Z ", datetime(2026, 11, 30, 22, 59, tzinfo=UTC)),
        ("", None),
    ],
)
def test_a_time_is_read_with_its_zone(tmp_path: Path, cell: str, time: datetime | None) -> None:
    read_ = read(tmp_path, f"name,submitted_at\nAlice,{cell}\n")
    assert read_.rows[0].submitted_at == time
    assert read_.has_times


def test_a_time_without_a_zone_is_this_machine_s(tmp_path: Path) -> None:
    time = read(tmp_path, "name,Submitted At\nAlice,2026-11-30T23:59:00\n").rows[0].submitted_at
    assert time == datetime(2026, 11, 30, 23, 59).astimezone()
    assert time
    assert time.tzinfo


def test_a_roster_without_times_says_so(tmp_path: Path) -> None:
    assert not read(tmp_path, "name\nAlice\n").has_times


# --- whose is what -----------------------------------------------------------------------------------------


def test_canvas_s_gradebook_knows_who_handed_in_what(tmp_path: Path) -> None:
    handins = collected(tmp_path, CANVAS, "smithbob_34_100_a.zip", "vanderbergjan_LATE_35_101_b.zip")
    assert whose(handins) == {
        "smithbob_34_100_a.zip": "Smith, Bob",
        "vanderbergjan_LATE_35_101_b.zip": "van der Berg, Jan",
    }
    assert [each.student.id for each in handins] == ["34", "35"]
    assert handins[0].student.roster["SIS User ID"] == "s034"
    assert not unmatched(handins)


def test_moodle_s_worksheet_tells_two_of_one_name_apart(tmp_path: Path) -> None:
    handins = collected(
        tmp_path, MOODLE_WORKSHEET, "Ann Lee_11_assignsubmission_file_/", "Ann Lee_12_assignsubmission_file_/"
    )
    assert [each.student.roster["ID number"] for each in handins] == ["s011", "s012"]


@pytest.mark.parametrize("text", [MOODLE_GRADES, MOODLE_PARTICIPANTS])
@pytest.mark.parametrize("name", ["Ann O'Lee", "Ann OLee", "O'Lee Ann", "OLee Ann"])
def test_names_are_enough_in_whatever_order_moodle_has_them(tmp_path: Path, text: str, name: str) -> None:
    assert len(whose(collected(tmp_path, text, f"{name}_11_assignsubmission_file_/"))) == 1


def test_github_s_roster_knows_its_user_names(tmp_path: Path) -> None:
    (tmp_path / "submissions").mkdir()
    folder = tmp_path / "hw-submissions"
    for user in ("Ann-Lee", "stranger"):
        (folder / f"hw-{user}").mkdir(parents=True)
    handins = collect(folder, read(tmp_path, GITHUB))
    assert {each.student.key: (each.student.name, bool(each.sources)) for each in handins} == {
        "Ann-Lee": ("Ann-Lee", True),
        "s012": ("s012", False),
        "stranger": ("stranger", True),
    }
    assert [each.student.key for each in unmatched(handins)] == ["stranger"]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("submission\nalice.zip\n", "alice.zip"),
        ("submission\nalice\n", "ALICE.zip"),
        ("submission\nalice.zip\n", "alice/"),
        ("submission\nsubmissions/alice/\n", "alice.yml"),
        ("submission,name\nAnn Lee_7_assignsubmission_file_,X\n", "Ann Lee_7_assignsubmission_file_/"),
        ("submission,name\nleeann_7_8_x.zip,X\n", "leeann_7_8_x.zip"),
        ("id\ns11\n", "S11.zip"),
        ("ID number,name\n4711,X\n", "4711.zip"),
        ("github_username\nann-lee\n", "ann-lee/"),
        ("SIS Login ID,name\nalice,X\n", "alice.zip"),
        ("Email address\nann@uni.edu\n", "ann@uni.edu.zip"),
        ("name\nAnn Lee\n", "ann_lee.zip"),
        ("name\nann-lee\n", "Ann Lee/"),
        ("name\n\"Lee, Ann\"\n", "Ann Lee/"),
        ("first name,last name\nAnn,Lee\n", "lee_ann.tar.gz"),
        ("name\nZoë\n", "Zoe\u0308/"),
        ("name\nBob van der Smith\n", "vandersmithbob_3_4_x.zip"),
        ("student,id\nX,3\n", "smithbob_3_4_x.zip"),
    ],
)  # fmt: skip
def test_a_submission_finds_its_row(tmp_path: Path, text: str, entry: str) -> None:
    handins = collected(tmp_path, text, entry)
    assert len(handins) == 1
    assert not unmatched(handins)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        # A dot does not begin a suffix in a name.
        ("submission\nj.doe\n", "j.roe/"),
        # What another place numbers may be somebody else.
        ("ID number,name\n11,X\n", "Ann_11_assignsubmission_file_/"),
        ("ID number,name\n11,X\n", "ann_11_5_x.zip"),
        ("id,name\n1,X\n", "Ann_11_assignsubmission_file_/"),
        ("name\nAnn\n", "Ann Lee/"),
        ("login\nx\n", "y/"),
    ],
)
def test_a_submission_does_not_find_another_s_row(tmp_path: Path, text: str, entry: str) -> None:
    handins = collected(tmp_path, text, entry)
    assert [bool(each.sources) for each in handins if each.student.roster] == [False]
    assert len(unmatched(handins)) == 1


def test_what_is_surer_comes_first(tmp_path: Path) -> None:
    read_ = read(tmp_path, "submission,id,github_username,login,name\nx,,,,1\n,x,,,2\n,,x,,3\n,,,x,4\n,,,,x\n")
    rows = list(read_.rows)
    while rows:
        row = Roster(read_.path, read_.columns, tuple(rows)).row_of(plain("x.zip"), ["x.zip"])
        assert row is rows.pop(0)


def test_the_name_as_written_comes_before_the_name_turned_round(tmp_path: Path) -> None:
    handins = collected(tmp_path, "name\nLee Ann\nAnn Lee\n", "Ann Lee/", "Lee Ann/")
    assert whose(handins) == {"Ann Lee": "Ann Lee", "Lee Ann": "Lee Ann"}


def test_two_rows_that_fit_are_named_by_their_lines(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="More than one row") as raised:
        collected(tmp_path, "name,email\nAnn Lee,a@x\nBob,b@x\nann lee,c@x\n", "Ann Lee/")
    assert "line 2: 'Ann Lee'" in raised.value.what
    assert "line 4: 'ann lee'" in raised.value.what
    assert "submission" in raised.value.fix


def test_a_number_that_leads_to_another_name_than_the_name_does_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="More than one row"):
        collected(tmp_path, "id,name\n34,Ann Lee\n35,Bob Smith\n", "smithbob_34_100_a.zip")


def test_two_submissions_of_one_row_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Two submissions belong to 'Ann Lee', line 2") as raised:
        collected(tmp_path, "name,login\nAnn Lee,ann\n", "ann.zip", "Ann Lee/")
    assert str(tmp_path / "submissions" / "ann.zip") in raised.value.what
    assert str(tmp_path / "submissions" / "Ann Lee") in raised.value.what


def test_who_handed_in_nothing_is_there_with_an_empty_hand(tmp_path: Path) -> None:
    text = "name,id,submitted_at\nAlice,1,2026-11-30T10:00:00Z\nBob,2,\nBob,3,\n"
    handins = collected(tmp_path, text, "alice.zip")
    assert [(each.student.name, each.student.key, len(each.sources)) for each in handins] == [
        ("Alice", "alice", 1),
        ("Bob", "Bob_2", 0),
        ("Bob", "Bob_3", 0),
    ]
    assert handins[0].handed_in_at == datetime(2026, 11, 30, 11, tzinfo=timezone(timedelta(hours=1)))
    assert handins[0].student.id == "1"


def test_a_student_has_one_key_before_and_after_handing_in(tmp_path: Path) -> None:
    text = "submission,github_username,name\nalice.zip,,Alice R\n,bob-x,Bob\n"
    before = {each.student.key for each in collected(tmp_path, text, "other.zip")}
    assert before - {"other"} == {"alice", "bob-x"}
    assert owner_of("alice.zip").key == "alice"
    assert owner_of("hw-bob-x", is_folder=True, assignment="hw-").key == "bob-x"


def test_two_rows_that_nobody_can_tell_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="twice") as raised:
        collected(tmp_path, "name\nBob\nBob\n", "alice.zip")
    assert raised.value.fix


def test_a_large_class_is_matched_at_once(tmp_path: Path) -> None:
    rows = "".join(f"Name{n} van Last{n},{n}\n" for n in range(2000))
    read_ = read(tmp_path, f"name,id\n{rows}")
    found = [read_.row_of(plain(f"Last{n} Name{n} van"), [f"Last{n} Name{n} van"]) for n in range(2000)]
    assert [row and row.line for row in found] == [n + 2 for n in range(2000)]
