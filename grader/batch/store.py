"""The results folder: each report is written the moment it is there, and a batch that was killed finds it again.

results/
  alice.json                  the report
  .batch/records/alice.json   what it is the report of; written last, so what has a record is whole
  .batch/class.json           the class as it was last written, for ``diff``
  .batch/lock                 held while a batch writes here
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from grader import results
from grader.batch.grades import Course, Status
from grader.errors import MachineError, UsageError
from grader.results import Report
from grader.unpack import File

_COURSE = TypeAdapter(Course)


class Record(BaseModel):
    """What the results folder remembers of one student.

    Attributes:
        exercise: ``NN-slug``.
        digest: of the files that were graded; empty if they could not be read.
        settings: of how they were graded; see ``settings_of``.
        report: SHA-256 of the report's file; empty if there is none.
        message: why there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exercise: str
    status: Status
    source: str
    digest: str
    settings: str
    report: str = ""
    message: str = ""
    worker: str = ""
    graded_at: str = ""
    tries: int = 1


class Store:
    """The results folder.

    Raises:
        UsageError: it cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = folder / ".batch"
        self._records = self._own / "records"
        try:
            self._records.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"The results cannot be written to {folder}: {error.strerror}.", "Name another folder: --out FOLDER"
            ) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While the block runs, no other batch writes here.

        Raises:
            UsageError: another one does already.
        """
        with (self._own / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"Another batch is writing its results to {self.folder}.",
                    "Wait until it ends, or name another --out.",
                ) from error
            yield

    def save(self, key: str, record: Record, report: Report | None) -> None:
        """Write down what came of one submission. Whenever this is killed, the old or the new is there, whole."""
        if report is None:
            self._report(key).unlink(missing_ok=True)
        else:
            text = report.model_dump_json(indent=2) + "\n"
            write(self._report(key), text)
            record = record.model_copy(update={"report": _sha256(text)})
        write(self._record(key), record.model_dump_json(indent=2) + "\n")

    def load(self, key: str) -> tuple[Record, Report | None] | None:
        """What is known of one student; None if nothing is, or if it is not whole."""
        try:
            record = Record.model_validate_json(self._record(key).read_text("utf-8"))
            if not record.report:
                return record, None
            text = self._report(key).read_text("utf-8")
            return (record, results.read(text)) if _sha256(text) == record.report else None
        except (OSError, ValueError):
            return None

    def save_class(self, course: Course) -> None:
        """Write down the class as gradebooks and pages have it."""
        write(self._own / "class.json", _COURSE.dump_json(course).decode())

    def _report(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _record(self, key: str) -> Path:
        return self._records / f"{key}.json"


def load_class(folder: Path) -> Course:
    """The class that a batch has written to the results folder ``folder``.

    Raises:
        UsageError: none has.
    """
    path = folder / ".batch" / "class.json"
    try:
        return _COURSE.validate_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder} is no results folder of a finished batch: {path} cannot be read.",
            "Name a folder that was given with --out; if its batch was interrupted, let it end first.",
        ) from error


def digest_of(files: Sequence[File]) -> str:
    """Names the content of a submission."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path}\0{file.executable}\0{hashlib.sha256(file.content).hexdigest()}\n".encode())
    return digest.hexdigest()


def settings_of(*words: object) -> str:
    """Names how submissions are graded: another name, and they are graded again."""
    return hashlib.sha256(repr(words).encode()).hexdigest()


def write(path: Path, text: str) -> None:
    """Put ``text`` into ``path``, whole or not at all.

    Raises:
        MachineError: the disk is full, or may not be written to.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise MachineError(
            f"{path} cannot be written: {error.strerror}.",
            "Make room on that disk, or see that you may write there, and type the same command again; "
            "what is graded already is kept.",
        ) from error


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
