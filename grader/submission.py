"""A submission (a folder, a single compose file, a .zip or .tar.gz) becomes a private copy.

The private copy is the exercise with the submission laid over it and every provided file put
back, so nothing provided can be tampered with and a submission may be just ``compose.yml``.
"""

from __future__ import annotations

import errno
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from grader import folders
from grader.catalog import COMPOSE_FILES, NOT_PROVIDED, Exercise
from grader.errors import MachineError, SubmissionError
from grader.unpack import File, read

OVERRIDE_FILES = tuple(name.replace("compose.y", "compose.override.y") for name in COMPOSE_FILES)


@dataclass(frozen=True)
class Submission:
    """The private copy of one submission.

    Attributes:
        source: what was handed in.
        folder: the private copy, removed after the grading.
        compose_files: the file that Compose would take by itself, and its override file if any; none in an exercise
            that has only stacks with names.
    """

    source: Path
    folder: Path
    compose_files: tuple[Path, ...]


@contextmanager
def private_copy(
    source: Path, exercise: Exercise, folder: Path, files: Sequence[File] | None = None
) -> Iterator[Submission]:
    """Lay ``source`` over ``exercise`` in ``folder`` (new, and removed at the end).

    Args:
        files: what ``source`` holds, if it has been read already, on another machine perhaps.

    Raises:
        SubmissionError: there is nothing to grade, or it is not safe to unpack.
        MachineError: the disk is full.
    """
    handed_in = _of_exercise(read(source) if files is None else list(files), source, exercise)
    with _room_in(folder):
        # Readable by all: containers run as other users. The folder around it is closed.
        folder.mkdir(parents=True, mode=0o755)
    try:
        with _room_in(folder):
            _write(exercise, handed_in, folder)
        yield Submission(source, folder, _compose_files(folder, source) if exercise.has_main else ())
    finally:
        folders.remove(folder)


def _of_exercise(files: list[File], source: Path, exercise: Exercise) -> list[File]:
    """Every file handed in, with its path relative to where the exercise's files begin."""
    files = _without_wrapping_folder(files, exercise)
    if not files:
        raise SubmissionError(
            f"{source} holds none of the files of {exercise.key}.",
            "Expected at least one of: " + ", ".join(exercise.student_files),
        )
    return files


def _without_wrapping_folder(files: list[File], exercise: Exercise) -> list[File]:
    """Archives often wrap everything in one folder (``alice/compose.yml``): take that off."""
    wanted = {*exercise.student_files, *COMPOSE_FILES}
    while files and not any(str(f.path) in wanted for f in files):
        tops = {f.path.parts[0] for f in files}
        if len(tops) != 1 or any(len(f.path.parts) == 1 for f in files):
            return []
        files = [File(PurePosixPath(*f.path.parts[1:]), f.content, f.executable) for f in files]
    return files


# --- writing -------------------------------------------------------------------------------


def _write(exercise: Exercise, handed_in: list[File], folder: Path) -> None:
    brings_compose_file = any(str(f.path) in COMPOSE_FILES for f in handed_in)
    for name in exercise.student_files:
        # The starter's compose.yml would hide a submission's compose.yaml or docker-compose.yml.
        if not (brings_compose_file and name in COMPOSE_FILES):
            _copy(exercise.folder / name, folder / name)
    provided = [PurePosixPath(name) for name in exercise.provided_files]
    for file in handed_in:
        if str(file.path) not in NOT_PROVIDED and not any(_in_the_way(file.path, name) for name in provided):
            _place(file, folder / file.path)
    for name_ in provided:
        _copy(exercise.folder / name_, folder / name_)
    _open_to_all(folder)


def _open_to_all(folder: Path) -> None:
    """Containers run as other users, whatever this user's umask is."""
    for path in folder.rglob("*"):
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if executable else 0o644)


def _in_the_way(path: PurePosixPath, provided: PurePosixPath) -> bool:
    """Whether a file at ``path`` is the provided one, lies below it, or stands where its folder has to be."""
    # macOS and Windows take Postgres for postgres.
    path, provided = (PurePosixPath(str(each).casefold()) for each in (path, provided))
    return path == provided or provided in path.parents or path in provided.parents


def _place(file: File, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
    # The same name as a file and as a folder, a name that this disk or this machine's language does not know.
    except (OSError, UnicodeEncodeError) as error:
        if _disk_is_full(error):
            raise
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise SubmissionError(
            f"{str(file.path)!r} cannot be unpacked: {reason}.", "Give the file a plain, short name."
        ) from error
    if file.executable:
        target.chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


@contextmanager
def _room_in(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not _disk_is_full(error):
            raise
        raise MachineError(
            f"There is no space left for the private copy of the submission in {folder}: {error.strerror}.",
            "Free some space there, or name a folder on another disk in TMPDIR:\n"
            "    TMPDIR=/another/folder python -m grader EXERCISE",
        ) from error


def _disk_is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _compose_files(folder: Path, source: Path) -> tuple[Path, ...]:
    base = next((folder / name for name in COMPOSE_FILES if (folder / name).is_file()), None)
    if base is None:
        raise SubmissionError(f"{source} holds no compose file.", "Expected one of: " + ", ".join(COMPOSE_FILES))
    override = [folder / name for name in OVERRIDE_FILES if (folder / name).is_file()]
    return (base, *override[:1])
