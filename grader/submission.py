"""A submission (a folder, a single compose file, a .zip or .tar.gz) becomes a private copy.

The private copy is the exercise with the submission laid over it and every provided file put
back, so nothing provided can be tampered with and a submission may be just ``compose.yml``.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from grader.catalog import NOT_PROVIDED, Exercise
from grader.errors import SubmissionError

# The order in which Compose itself looks for them: docs.docker.com/compose/intro/compose-application-model/
COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
OVERRIDE_FILES = tuple(name.replace("compose.y", "compose.override.y") for name in COMPOSE_FILES)

MAX_FILES = 500
MAX_BYTES = 20 * 2**20
MAX_DEPTH = 12
# What people's editors and systems leave in a folder, and what no exercise asks for.
IGNORED = frozenset({".git", ".venv", "__pycache__", "__MACOSX", ".DS_Store", "node_modules", ".ipynb_checkpoints"})


@dataclass(frozen=True)
class Submission:
    """The private copy of one submission.

    Attributes:
        source: what was handed in.
        folder: the private copy, removed after the grading.
        compose_files: the file that Compose would take by itself, and its override file if any.
    """

    source: Path
    folder: Path
    compose_files: tuple[Path, ...]


@contextmanager
def private_copy(source: Path, exercise: Exercise, folder: Path) -> Iterator[Submission]:
    """Lay ``source`` over ``exercise`` in ``folder`` (new, and removed at the end).

    Raises:
        SubmissionError: there is nothing to grade, or it is not safe to unpack.
    """
    # Readable by all: containers run as other users. The folder around it is closed.
    folder.mkdir(parents=True, mode=0o755)
    try:
        handed_in = _read(source, exercise)
        _write(exercise, handed_in, folder)
        yield Submission(source, folder, _compose_files(folder, source))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- reading -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    path: PurePosixPath
    content: bytes
    executable: bool


def _read(source: Path, exercise: Exercise) -> list[_File]:
    """Every file handed in, with its path relative to where the exercise's files begin."""
    if not source.exists():
        raise SubmissionError(
            f"There is no submission at {source}.",
            "Give the folder, the .zip or .tar.gz, or the compose file that holds your work:\n"
            f"    python -m grader {exercise.name} --submission PATH",
        )
    if source.is_dir():
        files = list(_from_folder(source))
    elif zipfile.is_zipfile(source):
        files = list(_from_zip(source))
    elif tarfile.is_tarfile(source):
        files = list(_from_tar(source))
    elif source.suffix in (".yml", ".yaml"):
        files = [_File(PurePosixPath("compose.yml"), _whole(source), False)]
    else:
        raise SubmissionError(
            f"{source} is neither a folder, a .zip, a .tar.gz nor a compose file.",
            "Put the files you edited into a folder or a .zip and hand that in.",
        )
    files = _without_wrapping_folder(files, exercise)
    if not files:
        raise SubmissionError(
            f"{source} holds none of the files of {exercise.key}.",
            "Expected at least one of: " + ", ".join(exercise.student_files),
        )
    return files


def _whole(source: Path) -> bytes:
    with source.open("rb") as stream:
        return _bounded(stream, source.name, MAX_BYTES)


def _from_folder(source: Path) -> Iterator[_File]:
    budget = _Budget(source)
    root = source.resolve()
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in IGNORED)
        for name in (*folders, *sorted(names)):
            path = Path(parent, name)
            relative = PurePosixPath(path.relative_to(root).as_posix())
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                # A link that stays inside is followed: editors and Windows checkouts make them.
                if not path.resolve().is_relative_to(root):
                    raise _refused(source, relative, "is a link that leads out of the submission")
                if not path.is_file():
                    raise _refused(source, relative, "is a link to something that is not a file")
            elif stat.S_ISDIR(mode):
                continue
            elif not stat.S_ISREG(mode):
                raise _refused(source, relative, "is neither a file nor a folder")
            if name in IGNORED:
                continue
            budget.take(relative)
            with path.open("rb") as stream:
                content = _bounded(stream, str(relative), budget.bytes_left)
            budget.read(len(content))
            yield _File(relative, content, bool(mode & stat.S_IXUSR))


def _from_zip(source: Path) -> Iterator[_File]:
    budget = _Budget(source)
    try:
        with zipfile.ZipFile(source) as archive:
            for member in archive.infolist():
                mode = member.external_attr >> 16
                path = _safe_path(source, member.filename)
                if member.is_dir() or _ignored(path):
                    continue
                if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                    raise _refused(source, path, "is a link or a device, not a file")
                if member.flag_bits & 1:
                    raise _refused(source, path, "is encrypted; hand in an archive without a password")
                budget.take(path)
                with archive.open(member) as stream:
                    content = _bounded(stream, str(path), budget.bytes_left)
                budget.read(len(content))
                yield _File(path, content, bool(mode & stat.S_IXUSR))
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise SubmissionError(
            f"{source} cannot be unpacked: {error}", "Make the archive anew and hand it in again."
        ) from error


def _from_tar(source: Path) -> Iterator[_File]:
    budget = _Budget(source)
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                path = _safe_path(source, member.name)
                if member.isdir() or _ignored(path):
                    continue
                if not member.isreg():
                    raise _refused(source, path, "is a link or a device, not a file")
                budget.take(path)
                stream = archive.extractfile(member)
                assert stream is not None  # a regular member always has one
                content = _bounded(stream, str(path), budget.bytes_left)
                budget.read(len(content))
                yield _File(path, content, bool(member.mode & stat.S_IXUSR))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SubmissionError(
            f"{source} cannot be unpacked: {error}", "Make the archive anew and hand it in again."
        ) from error


@dataclass
class _Budget:
    """Counts what is read, so that an absurd submission stops before it fills memory or disk."""

    source: Path
    files: int = 0
    bytes_left: int = MAX_BYTES

    def take(self, path: PurePosixPath) -> None:
        self.files += 1
        if self.files > MAX_FILES:
            raise SubmissionError(
                f"{self.source} holds more than {MAX_FILES} files.", "Hand in only the files of the exercise."
            )
        if len(path.parts) > MAX_DEPTH:
            raise _refused(self.source, path, f"lies more than {MAX_DEPTH} folders deep")

    def read(self, size: int) -> None:
        self.bytes_left -= size


def _bounded(stream: IO[bytes], name: str, limit: int) -> bytes:
    # One byte more than allowed tells "too large" without trusting any size written in the archive.
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise SubmissionError(
            f"{name}: the submission holds more than {MAX_BYTES // 2**20} MiB.",
            "Hand in only the files of the exercise, no data and no images.",
        )
    return content


def _safe_path(source: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    if path.is_absolute() or ".." in path.parts or "\0" in name or (path.parts and ":" in path.parts[0]):
        raise _refused(source, path, "would be unpacked outside the submission")
    return path


def _ignored(path: PurePosixPath) -> bool:
    return any(part in IGNORED for part in path.parts)


def _refused(source: Path, path: PurePosixPath, why: str) -> SubmissionError:
    return SubmissionError(f"{source}: {str(path)!r} {why}.", "Hand in plain files and folders only.")


def _without_wrapping_folder(files: list[_File], exercise: Exercise) -> list[_File]:
    """Archives often wrap everything in one folder (``alice/compose.yml``): take that off."""
    wanted = {*exercise.student_files, *COMPOSE_FILES}
    while files and not any(str(f.path) in wanted for f in files):
        tops = {f.path.parts[0] for f in files}
        if len(tops) != 1 or any(len(f.path.parts) == 1 for f in files):
            return []
        files = [_File(PurePosixPath(*f.path.parts[1:]), f.content, f.executable) for f in files]
    return files


# --- writing -------------------------------------------------------------------------------


def _write(exercise: Exercise, handed_in: list[_File], folder: Path) -> None:
    brings_compose_file = any(str(f.path) in COMPOSE_FILES for f in handed_in)
    for name in exercise.student_files:
        # The starter's compose.yml would hide a submission's compose.yaml or docker-compose.yml.
        if not (brings_compose_file and name in COMPOSE_FILES):
            _copy(exercise.folder / name, folder / name)
    for file in handed_in:
        if str(file.path) in NOT_PROVIDED:
            continue
        target = folder / file.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
        except OSError as error:  # the same name as a file and as a folder, a name too long for the disk
            raise SubmissionError(
                f"{str(file.path)!r} cannot be unpacked: {error.strerror}.",
                "Give the file a plain, short name.",
            ) from error
        target.chmod(0o755 if file.executable else 0o644)
    for name_ in exercise.provided_files:
        target = folder / name_
        if target.is_dir():
            shutil.rmtree(target)
        _copy(exercise.folder / name_, target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _compose_files(folder: Path, source: Path) -> tuple[Path, ...]:
    base = next((folder / name for name in COMPOSE_FILES if (folder / name).is_file()), None)
    if base is None:
        raise SubmissionError(f"{source} holds no compose file.", "Expected one of: " + ", ".join(COMPOSE_FILES))
    override = [folder / name for name in OVERRIDE_FILES if (folder / name).is_file()]
    return (base, *override[:1])
