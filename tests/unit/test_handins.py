from __future__ import annotations

import io
import os
import re
import tarfile
import unicodedata
import zipfile
from datetime import UTC, datetime
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from grader.batch import handins, places, roster
from grader.batch.handins import HandIn, collect
from grader.batch.places import Place, file_safe, folded, owner_of
from grader.errors import SubmissionError, UsageError

COMPOSE = b"services: {}\n"


def zipped(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def tarred(**files: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def filled(folder: Path, *names: str, **content: bytes) -> Path:
    """``folder`` with these files, and folders if a name ends with a slash."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            (path / "compose.yml").write_bytes(COMPOSE)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(zipped(**{"compose.yml": COMPOSE}) if name.endswith(".zip") else COMPOSE)
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def found(folder: Path) -> dict[str, HandIn]:
    return {each.student.key: each for each in collect(folder, None)}


def only(folder: Path) -> HandIn:
    (one,) = collect(folder, None)
    return one


def content(handin: HandIn) -> dict[str, bytes]:
    return {str(file.path): file.content for file in handins.files(handin)}


# --- whose is what: the name alone -----------------------------------------------------------------


def test_a_plain_submission_is_called_like_its_student(tmp_path: Path) -> None:
    folder = filled(tmp_path, "alice/", "bob.zip", "dave.yml", "j.doe/", "j.roe.zip", **{"carol.tar.gz": tarred(x=b"")})
    assert {key: each.sources[0].name for key, each in found(folder).items()} == {
        "alice": "alice",
        "bob": "bob.zip",
        "carol": "carol.tar.gz",
        "dave": "dave.yml",
        "j.doe": "j.doe",
        "j.roe": "j.roe.zip",
    }


def test_nothing_is_skipped_but_what_nobody_hands_in(tmp_path: Path) -> None:
    folder = filled(tmp_path, "alice.zip", "bob.pdf", "carol.rar", ".DS_Store", "Thumbs.db", ".git/", "__MACOSX/")
    assert list(found(folder)) == ["alice", "bob", "carol"]
    with pytest.raises(SubmissionError, match="neither a folder"):
        handins.files(found(folder)["bob"])


MOODLE_ID = st.integers(1, 10**9).map(str)
# What clean_filename leaves of a name, once underscores are blanks.
MOODLE_NAME = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="&<>\"`|':\\/_"), min_size=1)


@given(MOODLE_NAME, MOODLE_ID, st.sampled_from(["", "_"]))
def test_a_folder_that_moodle_made_gives_the_name_and_number_back(name: str, number: str, end: str) -> None:
    owner = owner_of(f"{name}_{number}_assignsubmission_file{end}", is_folder=True)
    assert (owner.place, owner.name, owner.id, owner.original) == (Place.MOODLE, name, number, "")
    assert not owner.aside


@given(MOODLE_NAME, MOODLE_ID, MOODLE_NAME)
@example("Ann Lee", "1", "1_2_assignsubmission_file_x.zip")
def test_a_file_that_moodle_renamed_gives_its_own_name_back(name: str, number: str, original: str) -> None:
    owner = owner_of(f"{name}_{number}_assignsubmission_file_{original}")
    assert (owner.place, owner.name, owner.id, owner.original) == (Place.MOODLE, name, number, original)


@pytest.mark.parametrize("end", ["", "_", "_onlinetext.html"])
def test_a_text_typed_into_moodle_is_not_what_was_handed_in(end: str) -> None:
    assert owner_of(f"Ann Lee_7_assignsubmission_onlinetext{end}").aside


def test_a_group_without_a_number_is_a_student_too() -> None:
    owner = owner_of("Default group_assignsubmission_file", is_folder=True)
    assert (owner.place, owner.name, owner.id, owner.key) == (Place.MOODLE, "Default group", "", "Default group")


CANVAS_ID = st.integers(1, 10**12).map(str)
# Letters, marks, digits and underscores of any script, but not as Canvas itself would misread them.
CANVAS_NAME = st.text(st.characters(categories=["L", "M", "Nd"], include_characters="_"), min_size=1).filter(
    lambda name: not re.search(r"_\d+$|_\d+_|(?:^|_)late$|^anon$|^_|_$", name.lower())
)
CANVAS_FILE = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='/\\:*?"<>|'), min_size=1)


@given(CANVAS_NAME, st.sampled_from(["", "_LATE", "_late"]), CANVAS_ID, CANVAS_ID, CANVAS_FILE)
@example("de_la_cruzana", "_LATE", "1", "2", "3_4_x.zip")
def test_a_file_that_canvas_renamed_gives_name_number_and_its_own_name_back(
    name: str, late: str, number: str, serial: str, original: str
) -> None:
    owner = owner_of(f"{name}{late}_{number}_{serial}_{original}")
    assert (owner.place, owner.name, owner.id) == (Place.CANVAS, name, number)
    assert (owner.serial, owner.original) == (serial, original)
    assert owner.key == file_safe(f"{name}_{number}")


@given(st.text("123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ", min_size=5, max_size=5), CANVAS_ID)
@example("12345", "678")
def test_canvas_names_nobody_where_it_grades_blindly(number: str, serial: str) -> None:
    for begin in ("", "LATE_"):
        owner = owner_of(f"{begin}anon_{number}_{serial}_work.zip")
        assert (owner.place, owner.name, owner.id, owner.original) == (Place.CANVAS, "anon", number, "work.zip")


def test_anonymous_numbers_that_differ_by_case_have_files_that_differ_by_more() -> None:
    keys = {folded(owner_of(f"anon_{number}_1_x.zip").key) for number in ("ab1cd", "Ab1cd", "AB1CD")}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("handed_in", "first"),
    [
        ("compose-1.yml", "compose.yml"),
        ("work-12.tar.gz", "work.tar.gz"),
        ("work.tar-1.gz", "work.tar.gz"),
        ("Dockerfile-2", "Dockerfile"),
        ("-1.env", ".env"),
        ("compose-0b0c6b0e-7a56-4a5e-9e0e-0123456789ab.yml", "compose.yml"),
        ("compose.yml", "compose.yml"),
        ("exercise-04.zip", "exercise.zip"),  # cannot be told from a file that was handed in again
        ("report-2026.yml", "report-2026.yml"),
        ("a-1b.yml", "a-1b.yml"),
    ],
)
def test_canvas_numbers_what_is_handed_in_again(handed_in: str, first: str) -> None:
    assert places.first_name(handed_in) == first


# --- names of files -----------------------------------------------------------------------------------

ANY_NAME = st.one_of(
    st.text(),
    st.text(st.sampled_from("aA.:/\\ _-\u0301\u202e\x00é")),
    st.from_regex(r"(?i)(con|nul|com1|lpt¹|aux)(\.[a-z]+)?", fullmatch=True),
)


@given(ANY_NAME)
@example("con.tar")
@example("x" * 300)
@example("é" * 300)
@example("..")
@example("-rf")
@example("\udcff")
def test_every_name_becomes_one_that_every_system_takes(name: str) -> None:
    key = file_safe(name)
    assert key
    assert len(key.encode()) <= places.MAX_KEY
    assert not set(key) & set('<>:"/\\|?*\x7f')
    assert key[0] not in " .-"
    assert key[-1] not in " ."
    assert all(unicodedata.category(c)[0] in "LMN" or c in " _-.,@+()'" for c in key)
    assert unicodedata.normalize("NFC", key) == key
    assert not PureWindowsPath(key).is_reserved()
    assert not PureWindowsPath(f"{key}.json").is_reserved()


@given(ANY_NAME, ANY_NAME)
@example("a:b", "a_b")
@example("a:b", "a/b")
@example("x" * 300, "x" * 301)
@example("con", "_con")
@example("a ", "a")
def test_names_that_differ_become_names_that_differ(one: str, other: str) -> None:
    assume(folded(one) != folded(other))
    assert folded(file_safe(one)) != folded(file_safe(other))


@pytest.mark.parametrize(
    "name", ["Ann Lee_12", "Zoë", "李小龙", "Владимир", "محمد", "नरेन्द्र", "O'Brien", "j.doe+x@uni.edu"]
)
def test_letters_of_every_script_are_kept(name: str) -> None:
    assert file_safe(name) == name
    assert file_safe(unicodedata.normalize("NFD", name)) == name


# --- the folder ----------------------------------------------------------------------------------------


def test_what_moodle_downloads_is_found_whatever_its_age(tmp_path: Path) -> None:
    folder = filled(
        tmp_path,
        "Ann Lee_11_assignsubmission_file_/",
        "Ann Lee_11_assignsubmission_onlinetext_/",
        "Ann Lee_12_assignsubmission_file/",
        "Bo_13_assignsubmission_file_work.zip",
        "Bo_13_assignsubmission_onlinetext_onlinetext.html",
        "Cy_14_assignsubmission_onlinetext/",
    )
    assert {key: [path.name for path in each.sources] for key, each in found(folder).items()} == {
        "Ann Lee_11": ["Ann Lee_11_assignsubmission_file_"],
        "Ann Lee_12": ["Ann Lee_12_assignsubmission_file"],
        "Bo_13": ["Bo_13_assignsubmission_file_work.zip"],
        "Cy_14": ["Cy_14_assignsubmission_onlinetext"],
    }
    # Two of the same name are told apart where people read it.
    assert [each.student.name for each in collect(folder, None)] == ["Ann Lee 11", "Ann Lee 12", "Bo", "Cy"]


def test_several_files_in_canvas_are_one_submission_under_their_own_names(tmp_path: Path) -> None:
    folder = filled(
        tmp_path,
        **{
            "smithbob_LATE_34_100_compose-1.yml": COMPOSE,
            "smithbob_LATE_34_101_health.py": b"#",
            "smithbob_LATE_34_102_notes-1.txt": b"1",
            "smithbob_LATE_34_103_notes-2.txt": b"2",
            "leeann_35_104_compose.yml": COMPOSE,
            "leeann_36_105_Dockerfile-1": b"FROM x",
        },
    )
    assert set(found(folder)) == {"smithbob_34", "leeann_35", "leeann_36"}
    assert content(found(folder)["smithbob_34"]) == {
        "compose.yml": COMPOSE,
        "health.py": b"#",
        # Both would be notes.txt.
        "notes-1.txt": b"1",
        "notes-2.txt": b"2",
    }
    assert content(found(folder)["leeann_35"]) == {"compose.yml": COMPOSE}
    assert content(found(folder)["leeann_36"]) == {"Dockerfile": b"FROM x"}


def test_a_text_typed_into_canvas_counts_only_if_nothing_else_was_handed_in(tmp_path: Path) -> None:
    folder = filled(tmp_path, "smithbob_34_text.html", "smithbob_34_9_work.zip", "leeann_35_link.html")
    assert [path.name for path in found(folder)["smithbob_34"].sources] == ["smithbob_34_9_work.zip"]
    with pytest.raises(SubmissionError, match="neither a folder"):
        handins.files(found(folder)["leeann_35"])


def test_names_that_only_look_like_canvas_are_several_students(tmp_path: Path) -> None:
    folder = filled(tmp_path, "group_1_2_alice.zip", "group_1_2_bob.zip", "lab_04_05_carol.zip")
    assert set(found(folder)) == {"group_1_2_alice", "group_1_2_bob", "lab_04_05_carol"}


def test_github_classroom_puts_the_assignment_before_the_user(tmp_path: Path) -> None:
    folder = filled(tmp_path / "health-checks-submissions", "health-checks-ann-lee/", "health-checks-bob/", "dave.zip")
    assert {key: each.student.id for key, each in found(folder).items()} == {
        "ann-lee": "ann-lee",
        "bob": "bob",
        "dave": "",
    }


def test_repositories_alone_show_the_assignment_too(tmp_path: Path) -> None:
    folder = filled(tmp_path, "ex-4-ann/", "ex-4-bob/")
    for name in ("ex-4-ann", "ex-4-bob"):
        filled(folder / name / ".git")
    assert set(found(folder)) == {"ann", "bob"}
    filled(folder, "ex-4-readme.zip")
    assert set(found(folder)) == {"ex-4-ann", "ex-4-bob", "ex-4-readme"}


@pytest.mark.parametrize(
    ("folder", "repositories", "others", "assignment"),
    [
        ("submissions", ["ann-lee", "ann-roe"], [], "ann-"),
        ("submissions", ["ann", "bob"], [], ""),
        ("submissions", ["hw-ann"], [], ""),
        ("submissions", ["hw-ann", "hw-annie"], [], "hw-"),
        ("submissions", ["hw", "hw-ann"], [], ""),
        ("hw-submissions", ["hw-ann"], ["x"], "hw-"),
    ],
)
def test_what_stands_before_the_user_ends_with_a_hyphen(
    folder: str, repositories: list[str], others: list[str], assignment: str
) -> None:
    assert places.assignment_of(folder, repositories, others) == assignment


# Case alone is one file on many systems.
@pytest.mark.parametrize("second", ["alice.zip", "alice.yml", "ALICE/", "ALICE.zip"])
def test_two_submissions_of_one_student_are_named_before_anything_is_graded(tmp_path: Path, second: str) -> None:
    with pytest.raises(UsageError, match="only one of them can be graded") as raised:
        collect(filled(tmp_path, "alice/", second), None)
    assert sorted(raised.value.what.splitlines()[1:]) == sorted(
        f"    {tmp_path}/{name}" for name in ("alice", second.rstrip("/"))
    )
    assert "rename" in raised.value.fix


def test_a_file_and_a_folder_of_one_student_are_two_submissions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only one of them can be graded"):
        collect(filled(tmp_path, "Bo_13_assignsubmission_file/", "Bo_13_assignsubmission_file_work.zip"), None)


def test_a_folder_that_is_none_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        collect(tmp_path / "nowhere", None)
    with pytest.raises(UsageError, match="is empty"):
        collect(filled(tmp_path / "empty", ".DS_Store"), None)
    with pytest.raises(UsageError, match="not a folder") as raised:
        collect(filled(tmp_path / "x", "class.zip") / "class.zip", None)
    assert "unzip" in raised.value.fix
    with pytest.raises(UsageError, match="not a folder") as raised:
        collect(filled(tmp_path / "y", "class.csv") / "class.csv", None)
    assert "unzip" not in raised.value.fix


def test_one_submission_is_no_folder_of_submissions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is one submission") as raised:
        collect(filled(tmp_path, "compose.yml", "api/health.py"), None)
    assert "--submission" in raised.value.fix


def test_submissions_one_folder_deeper_are_pointed_at(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not in") as raised:
        collect(filled(tmp_path, "Course-HW-12/Ann_1_assignsubmission_file_/"), None)
    assert f"{tmp_path}/Course-HW-12" in raised.value.fix
    assert set(found(filled(tmp_path / "one", "alice/"))) == {"alice"}


def test_the_roster_may_lie_among_the_submissions(tmp_path: Path) -> None:
    (filled(tmp_path, "alice.zip") / "class.csv").write_text("name\nAlice\n")
    assert [each.student.key for each in collect(tmp_path, roster.read(tmp_path / "class.csv"))] == ["alice"]


def test_a_name_is_fit_for_every_file_and_screen_whatever_the_disk_says(tmp_path: Path) -> None:
    try:
        filled(tmp_path, "al\udcffice\u202e\n.zip")
    except OSError:
        pytest.skip("this disk takes no such names")
    student = only(tmp_path).student
    assert student.name == "alice"
    assert re.fullmatch(r"al_ice__-[0-9a-f]{8}", student.key)
    student.key.encode()


# --- when --------------------------------------------------------------------------------------------


def test_a_folder_was_modified_when_its_newest_file_was(tmp_path: Path) -> None:
    folder = filled(tmp_path, "alice/", "alice/api/health.py", "alice/.git/index", "bob.zip", "empty/")
    (folder / "empty/compose.yml").unlink()
    for name, time in {"compose.yml": 100, "api/health.py": 200, ".git/index": 900}.items():
        os.utime(folder / "alice" / name, (0, time))
    os.utime(folder / "bob.zip", (0, 300))
    os.utime(folder / "empty", (0, 400))
    times = {key: each.modified_at for key, each in found(folder).items()}
    assert times == {key: datetime.fromtimestamp(n, UTC) for key, n in [("alice", 200), ("bob", 300), ("empty", 400)]}


def test_a_time_beyond_all_calendars_is_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handins, "_times", lambda source: [0.0, 2.0**60])
    assert only(filled(tmp_path, "alice/")).modified_at is None


# --- what was handed in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("junk", ["", ".DS_Store", "Thumbs.db", "._work.zip", "__MACOSX/"])
@pytest.mark.parametrize(("name", "archive"), [("work.zip", zipped), ("work.tar.gz", tarred)])
def test_an_archive_in_a_folder_is_unpacked_as_if_alone(tmp_path: Path, junk: str, name: str, archive: object) -> None:
    folder = filled(tmp_path, "alice/", *([f"alice/{junk}"] if junk else []))
    (folder / "alice/compose.yml").unlink()
    (folder / "alice" / name).write_bytes(archive(**{"alice/compose.yml": COMPOSE, "alice/api/x.py": b"#"}))  # type: ignore[operator]
    assert content(only(folder)) == {"alice/compose.yml": COMPOSE, "alice/api/x.py": b"#"}


def test_what_lies_beside_an_archive_stays_beside_its_files(tmp_path: Path) -> None:
    work = zipped(**{"ex/compose.yml": COMPOSE, "ex/api/x.py": b"#"})
    folder = filled(tmp_path, **{"alice/work.zip": work, "alice/.env": b"A=1", "alice/doc/me.txt": b"me"})
    assert content(only(folder)) == {"compose.yml": COMPOSE, "api/x.py": b"#", ".env": b"A=1", "doc/me.txt": b"me"}


def test_an_archive_of_a_part_keeps_its_folders(tmp_path: Path) -> None:
    folder = filled(tmp_path, **{"a_1_2_api.zip": zipped(**{"api/x.py": b"#"}), "a_1_3_compose.yml": COMPOSE})
    assert content(only(folder)) == {"compose.yml": COMPOSE, "api/x.py": b"#"}


def test_the_same_file_in_an_archive_and_beside_it_is_one(tmp_path: Path) -> None:
    folder = filled(tmp_path, "alice/", "alice/work.zip")
    assert content(only(folder)) == {"compose.yml": COMPOSE}
    (folder / "alice/compose.yml").write_bytes(b"other")
    with pytest.raises(SubmissionError, match=r"'compose.yml' twice"):
        content(only(folder))


@pytest.mark.parametrize("names", [("alice/a.zip", "alice/b.zip"), ("alice_1_2_a.zip", "alice_1_3_b.zip")])
def test_several_archives_are_not_guessed_at(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(SubmissionError, match="several archives"):
        content(only(filled(tmp_path, *names)))


def test_a_single_file_that_canvas_renamed_is_read_as_what_it_was(tmp_path: Path) -> None:
    folder = filled(tmp_path, **{"a_1_2_work-1.zip": zipped(**{"x/compose.yml": COMPOSE}), "b_2_3_my.yml": COMPOSE})
    assert content(found(folder)["a_1"]) == {"x/compose.yml": COMPOSE}
    assert content(found(folder)["b_2"]) == {"compose.yml": COMPOSE}


def test_an_archive_without_a_known_name_is_still_unpacked(tmp_path: Path) -> None:
    assert content(only(filled(tmp_path, alice=zipped(**{"compose.yml": COMPOSE})))) == {"compose.yml": COMPOSE}


@pytest.mark.parametrize("link", ["alice/work.zip", "alice/compose.yml"])
def test_a_link_out_of_a_submission_is_not_followed(tmp_path: Path, link: str) -> None:
    secret = filled(tmp_path / "other", "secret.zip") / "secret.zip"
    folder = filled(tmp_path / "in", "alice/api.py")
    (folder / link).symlink_to(secret)
    with pytest.raises(SubmissionError, match="leads out"):
        content(only(folder))


def test_a_link_among_loose_files_is_not_followed(tmp_path: Path) -> None:
    secret = filled(tmp_path / "other", "secret") / "secret"
    folder = filled(tmp_path / "in", **{"a_1_2_compose.yml": COMPOSE})
    (folder / "a_1_3_x.py").symlink_to(secret)
    with pytest.raises(SubmissionError, match="is not a file"):
        content(only(folder))


def test_loose_files_have_the_limits_of_every_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(tmp_path, **{"a_1_2_compose.yml": COMPOSE, "a_1_3_x.py": b"#" * 100})
    monkeypatch.setattr("grader.unpack.MAX_BYTES", 100)
    with pytest.raises(SubmissionError, match="holds more than") as raised:
        content(only(folder))
    assert f"{folder}/a_1 " in raised.value.what


def test_who_hands_in_nothing_has_no_files(tmp_path: Path) -> None:
    filled(tmp_path / "in", "alice.zip")
    (tmp_path / "class.csv").write_text("name\nAlice\nBob\n")
    bob = collect(tmp_path / "in", roster.read(tmp_path / "class.csv"))[1]
    assert bob.sources == ()
    with pytest.raises(SubmissionError, match="Bob has handed in nothing"):
        handins.files(bob)
