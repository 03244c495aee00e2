"""The results folder: what is written is there whole, and what is not whole is graded again."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from grader.batch import store as stores
from grader.batch.grades import Course, Grade, Status
from grader.batch.store import Record, Store, digest_of, load_class, settings_of, write
from grader.batch.students import Student
from grader.errors import MachineError, UsageError
from grader.results import CheckResult, Report, Verdict
from grader.unpack import File

CHECK = CheckResult(name="test_a", title="It works", verdict=Verdict.PASSED, points=2, seconds=0.5)
REPORT = Report(exercise="04-x", title="X", submission="s", started_at="2026-01-01T00:00:00+00:00", checks=[CHECK])
RECORD = Record(exercise="04-x", status=Status.GRADED, source="alice.zip", digest="d", settings="s", tries=2)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = Store(tmp_path / "results" / "of exercise 04")
    store.save("李雷", RECORD, REPORT)
    found = Store(store.folder).load("李雷")
    assert found is not None
    record, report = found
    assert report == REPORT
    assert record.model_copy(update={"report": ""}) == RECORD
    assert store.load("bob") is None


def test_a_student_without_a_report_has_a_record_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save("alice", RECORD, REPORT)
    store.save("alice", RECORD.model_copy(update={"status": Status.UNREADABLE, "message": "no archive"}), None)
    found = store.load("alice")
    assert found
    assert (found[0].message, found[1]) == ("no archive", None)
    assert not (tmp_path / "alice.json").exists()


@pytest.mark.parametrize("damage", ["", "{", '{"checks": []}', "changed"])
def test_a_report_that_is_not_whole_is_not_taken_for_one(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    store.save("alice", RECORD, REPORT)
    path = tmp_path / "alice.json"
    path.write_text(path.read_text("utf-8").replace("It works", "It worked") if damage == "changed" else damage)
    assert store.load("alice") is None


def test_killed_between_report_and_record_it_is_graded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.save("alice", RECORD, REPORT)
    written: list[Path] = []

    def killed_at_the_second(path: Path, text: str) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(path, text)

    monkeypatch.setattr(stores, "write", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        store.save("alice", RECORD, REPORT.model_copy(update={"title": "Y"}))
    assert store.load("alice") is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grades.csv"
    write(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="No space left") as caught:
        write(path, "new")
    assert "same command again" in caught.value.fix
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_one_batch_at_a_time_writes_to_a_folder(tmp_path: Path) -> None:
    with Store(tmp_path).alone(), pytest.raises(UsageError, match="Another batch"), Store(tmp_path).alone():
        pass
    with Store(tmp_path).alone():
        pass


def test_a_results_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written to"):
        Store(tmp_path / "file" / "results")


def test_a_digest_changes_with_name_content_and_mode() -> None:
    file = File(PurePosixPath("compose.yml"), b"services: {}", False)
    others = [
        File(PurePosixPath("compose.yaml"), b"services: {}", False),
        File(PurePosixPath("compose.yml"), b"services:", False),
        File(PurePosixPath("compose.yml"), b"services: {}", True),
    ]
    assert len({digest_of([each]) for each in [file, *others]} | {digest_of([]), digest_of([file, file])}) == 6
    assert digest_of([file]) == digest_of([File(PurePosixPath("compose.yml"), b"services: {}", False)])
    assert settings_of("a", None) != settings_of("a", 3.0)


def test_the_class_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    ada, bob = Student("ada", "Ada", "7", {"Email": "a@b.example"}), Student("bob", "Bob")
    course = Course(
        exercise="04-x",
        title="X",
        maximum=2,
        grades=[
            Grade(ada, Status.GRADED, REPORT, 2, 2, hidden=frozenset({"test_a"})),
            Grade(bob, Status.MISSING, None, None, 2),
        ],
        checks={"test_a": ("It works", 2)},
        hidden=frozenset({"test_a"}),
        roster_columns=["Email"],
    )
    Store(tmp_path).save_class(course)
    assert load_class(tmp_path) == course


def test_a_folder_without_a_class_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results folder"):
        load_class(tmp_path)
