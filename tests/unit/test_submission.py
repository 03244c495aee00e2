from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader import catalog, submission
from grader.errors import SubmissionError
from grader.submission import private_copy

EXERCISE = catalog.find("04")
SOLUTION = catalog.SOLUTIONS / EXERCISE.key
COMPOSE = (SOLUTION / "compose.yml").read_bytes()


def copied(source: Path, tmp_path: Path) -> dict[str, bytes]:
    """What the private copy of ``source`` holds."""
    folder = tmp_path / "copy"
    with private_copy(source, EXERCISE, folder) as copy:
        files = {p.relative_to(copy.folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert not folder.exists()
    return files


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, *members: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("prefix", ["", "alice/", "Übung 4, Zoë/exercise/"])
def test_a_zip_may_wrap_its_files_in_folders(tmp_path: Path, prefix: str) -> None:
    source = zipped(tmp_path / "alice's work.zip", {f"{prefix}compose.yml": COMPOSE, f"{prefix}api/health.py": b"#"})
    files = copied(source, tmp_path)
    assert files["compose.yml"] == COMPOSE
    assert files["api/health.py"] == b"#"


def test_what_is_not_handed_in_comes_from_the_exercise(tmp_path: Path) -> None:
    source = tmp_path / "compose.yml"
    source.write_bytes(COMPOSE)
    files = copied(source, tmp_path)
    assert files["api/health.py"] == (EXERCISE.folder / "api/health.py").read_bytes()
    assert "postgres/init.sql" in files


def test_provided_files_cannot_be_tampered_with(tmp_path: Path) -> None:
    source = zipped(tmp_path / "a.zip", {"compose.yml": COMPOSE, "postgres/init.sql": b"DROP", "exercise.toml": b"x"})
    files = copied(source, tmp_path)
    assert files["postgres/init.sql"] == (EXERCISE.folder / "postgres/init.sql").read_bytes()
    assert "exercise.toml" not in files


@pytest.mark.parametrize("name", submission.COMPOSE_FILES)
def test_any_name_that_compose_looks_for_replaces_the_starter(tmp_path: Path, name: str) -> None:
    with private_copy(zipped(tmp_path / "a.zip", {name: COMPOSE}), EXERCISE, tmp_path / "copy") as copy:
        assert [path.name for path in copy.compose_files] == [name]
        assert [p.name for p in copy.folder.iterdir() if p.name in submission.COMPOSE_FILES] == [name]


def test_an_override_file_is_used_as_compose_would(tmp_path: Path) -> None:
    files = {"compose.yml": COMPOSE, "compose.override.yml": b"services: {}"}
    with private_copy(zipped(tmp_path / "a.zip", files), EXERCISE, tmp_path / "copy") as copy:
        assert [path.name for path in copy.compose_files] == ["compose.yml", "compose.override.yml"]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "C:evil", "..\\evil", "/"])
def test_nothing_is_unpacked_outside(tmp_path: Path, name: str) -> None:
    for source in (
        zipped(tmp_path / "a.zip", {"compose.yml": COMPOSE, name: b"evil"}),
        tarred(tmp_path / "a.tar.gz", tarfile.TarInfo("compose.yml"), tarfile.TarInfo(name), content=b"x"),
    ):
        with pytest.raises(SubmissionError, match="outside"):
            copied(source, tmp_path)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("api/health.py")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(SubmissionError, match="link or a device"):
        copied(tarred(tmp_path / "a.tar.gz", tarfile.TarInfo("compose.yml"), member), tmp_path)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("api/health.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("compose.yml", COMPOSE)
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SubmissionError, match="link or a device"):
        copied(tmp_path / "a.zip", tmp_path)


def test_a_link_out_of_a_folder_is_refused_and_one_inside_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    (folder / "api").mkdir(parents=True)
    (folder / "real.yml").write_bytes(COMPOSE)
    (folder / "compose.yml").symlink_to("real.yml")
    assert copied(folder, tmp_path)["compose.yml"] == COMPOSE
    (folder / "api/health.py").symlink_to("/etc/passwd")
    with pytest.raises(SubmissionError, match="leads out"):
        copied(folder, tmp_path)


def test_a_named_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "compose.yml").write_bytes(COMPOSE)
    os.mkfifo(folder / "pipe")
    with pytest.raises(SubmissionError, match="neither a file nor a folder"):
        copied(folder, tmp_path)


def test_a_zip_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("compose.yml", COMPOSE)
        archive.writestr("zeros", bytes(submission.MAX_BYTES))
    assert (tmp_path / "a.zip").stat().st_size < 100_000
    with pytest.raises(SubmissionError, match="MiB"):
        copied(tmp_path / "a.zip", tmp_path)


def test_too_many_files_and_too_deep_folders_are_refused(tmp_path: Path) -> None:
    many = {f"f{n}": b"" for n in range(submission.MAX_FILES)}
    with pytest.raises(SubmissionError, match="more than"):
        copied(zipped(tmp_path / "a.zip", {"compose.yml": COMPOSE, **many}), tmp_path)
    with pytest.raises(SubmissionError, match="folders deep"):
        copied(zipped(tmp_path / "b.zip", {"compose.yml": COMPOSE, "d/" * 20 + "f": b""}), tmp_path)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p / "absent",
        lambda p: _text(p / "essay.txt", b"hello"),
        lambda p: _text(p / "broken.zip", b"PK\x05\x06" + bytes(10)),
        lambda p: zipped(p / "other.zip", {"essay.txt": b"hello", "more.txt": b""}),
    ],
)
def test_what_is_no_submission_is_said_to_be_none(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(SubmissionError) as error:
        copied(make(tmp_path), tmp_path)
    assert error.value.fix


def _text(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_unpacking(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    base = tmp_path_factory.mktemp("bytes")
    for name in ("a.zip", "a.tar.gz", "compose.yml"):
        (base / name).write_bytes(content)
        try:
            copied(base / name, base)
        except SubmissionError:
            continue
