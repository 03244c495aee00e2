from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from grader import catalog, submission, unpack
from grader.errors import MachineError, SubmissionError
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


def test_too_many_files_and_too_deep_folders_are_refused(tmp_path: Path) -> None:
    many = {f"f{n}": b"" for n in range(unpack.MAX_FILES)}
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


# --- folders -------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A submission that is a folder."""
    (tmp_path / "work/api").mkdir(parents=True)
    (tmp_path / "work/compose.yml").write_bytes(COMPOSE)
    (tmp_path / "work/api/health.py").write_bytes(b"# mine")
    return tmp_path / "work"


def test_the_folders_walked_over_are_counted(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_ENTRIES", 50)
    for n in range(45):
        (work / f"empty{n}").mkdir()
    copied(work, tmp_path)
    for n in range(45, 50):
        (work / f"empty{n}").mkdir()
    with pytest.raises(SubmissionError, match="more than 50 entries"):
        copied(work, tmp_path)


def test_of_one_endless_folder_no_more_is_listed_than_is_allowed(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = []

    @contextmanager
    def endless(_: int) -> Iterator[Iterator[SimpleNamespace]]:
        yield (listed.append(n) or SimpleNamespace(name=f"f{n}") for n in count())

    monkeypatch.setattr(unpack, "MAX_ENTRIES", 50)
    monkeypatch.setattr(os, "scandir", endless)
    with pytest.raises(SubmissionError):
        copied(work, tmp_path)
    assert len(listed) == 51


def test_folders_without_a_file_are_too_deep_as_well(work: Path, tmp_path: Path) -> None:
    (work / "/".join("d" * unpack.MAX_DEPTH)).mkdir(parents=True)
    copied(work, tmp_path)
    (work / "/".join("d" * 100)).mkdir(parents=True)
    with pytest.raises(SubmissionError, match="folders deep"):
        copied(work, tmp_path)


def test_what_is_ignored_is_not_even_walked_over(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_ENTRIES", 50)
    for n in range(60):
        (work / f"node_modules/p{n}").mkdir(parents=True)
    os.mkfifo(work / "node_modules/pipe")
    assert not any("node_modules" in name for name in copied(work, tmp_path))


@pytest.mark.parametrize("kind", ["a link", "a pipe", "a folder that is a link"])
def test_what_is_swapped_while_it_is_read_is_not_followed(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "health.py").write_bytes(b"secret")
    file = work / "api/health.py"
    check = unpack._check_name

    def swap(source: Path, path: PurePosixPath) -> None:
        """Called when the file has been looked at, and not yet opened."""
        check(source, path)
        if path.name == "health.py":
            file.unlink()
            if kind == "a link":
                file.symlink_to(elsewhere / "health.py")
            elif kind == "a pipe":
                os.mkfifo(file)
            else:
                file.parent.rmdir()
                file.parent.symlink_to(elsewhere)

    monkeypatch.setattr(unpack, "_check_name", swap)
    with pytest.raises(SubmissionError, match="cannot be read") as error:
        copied(work, tmp_path)
    assert "changes it meanwhile" in error.value.fix


def test_a_name_that_is_no_text_is_refused(work: Path, tmp_path: Path) -> None:
    (work / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"")
    with pytest.raises(SubmissionError, match="UTF-8") as error:
        copied(work, tmp_path)
    assert r"'caf\udce9.txt'" in error.value.what


def test_a_file_that_may_not_be_read_is_named(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "secret.txt").write_bytes(b"")
    real = os.open

    def closed(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "secret.txt":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", closed)
    with pytest.raises(SubmissionError, match=r"cannot be read: Permission denied: 'secret\.txt'"):
        copied(work, tmp_path)


def test_a_huge_file_is_refused_before_it_is_read(work: Path, tmp_path: Path) -> None:
    with (work / "disk.img").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SubmissionError, match="20 MiB"):
        copied(work, tmp_path)


def test_a_pipe_in_place_of_a_submission_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(SubmissionError, match="neither a folder"):
        copied(tmp_path / "a.zip", tmp_path)


# --- writing -------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("where", ["pathlib.Path.write_bytes", "shutil.copy", "pathlib.Path.mkdir"])
def test_a_full_disk_is_the_machines_fault(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(where, full)
    with pytest.raises(MachineError) as error:
        copied(work, tmp_path)
    assert str(tmp_path / "copy") in error.value.what
    assert "TMPDIR" in error.value.fix
    assert not (tmp_path / "copy").exists()


def test_a_full_disk_met_by_the_grading_itself_is_passed_on(work: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="elsewhere"), private_copy(work, EXERCISE, tmp_path / "copy"):
        raise OSError(errno.ENOSPC, "elsewhere")


def test_a_folder_that_was_there_before_is_left_alone(work: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/mine").write_bytes(b"")
    with pytest.raises(FileExistsError), private_copy(work, EXERCISE, tmp_path / "copy"):
        pass
    assert (tmp_path / "copy/mine").exists()


@pytest.mark.parametrize("name", ["postgres", "Postgres", "postgres/init.sql/x"])
def test_nothing_stands_where_a_provided_file_has_to_be(tmp_path: Path, name: str) -> None:
    files = copied(zipped(tmp_path / "a.zip", {"compose.yml": COMPOSE, name: b"DROP"}), tmp_path)
    assert files["postgres/init.sql"] == (EXERCISE.folder / "postgres/init.sql").read_bytes()
    assert b"DROP" not in files.values()


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("api",), ("api/health.py/x",)])
def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = zipped(tmp_path / "a.zip", {"compose.yml": COMPOSE, **dict.fromkeys(names, b"")})
    with pytest.raises(SubmissionError, match="cannot be unpacked"):
        copied(source, tmp_path)
