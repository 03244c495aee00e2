"""Watches the machine while somebody else's code runs on it: what the engine cannot limit is ended in time.

Containers have limits of their own. What a build takes, and what is written to volumes and to a container's file
system, the engine limits on few machines (memory, pids and disk of a build on none), so it is watched instead.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY = 0.3  # seconds
DISK = 2 * 2**30  # bytes that one grading may write
DISK_LEFT = 512 * 2**20  # bytes that have to stay free, whoever takes them
TASKS = 3_000  # processes and threads that a build may add
MEMORY_LEFT = 0.04  # of the machine's memory, while something is built


@dataclass(frozen=True)
class Danger:
    """Why a grading has to end at once.

    Attributes:
        reason: what was seen.
        submissions: it is the submission's doing; otherwise the machine's, or somebody else's on it.
    """

    reason: str
    submissions: bool


class Guard:
    """Calls ``stop``, once, when the machine is in danger.

    Args:
        folders: where the engine keeps its data, and where the private copy lies; the disk of one that is not on this
            machine is not watched.
        written: bytes that this grading has written; asked only when a disk gets fuller.
        building: whether something is being built.
        stop: is given the danger, from a thread of its own.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        written: Callable[[], int],
        building: Callable[[], bool],
        stop: Callable[[Danger], None],
    ) -> None:
        self._written = written
        self._building = building
        self._stop = stop
        self._ended = threading.Event()
        self._free = {folder: free for folder in folders if (free := _free(folder)) is not None}
        self._tasks = _tasks()
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            if danger := self.danger():
                self._stop(danger)
                return

    def danger(self) -> Danger | None:
        """What endangers the machine at this moment; None if nothing does."""
        for folder, before in self._free.items():
            free = _free(folder)
            taken = before - (before if free is None else free)
            if taken > DISK and (self._building() or self._written() > DISK):
                return Danger(f"the submission wrote more than {DISK // 2**30} GiB to the disk", True)
            if before >= DISK_LEFT and is_full(folder):
                own = self._building() or self._written() > taken / 2
                return Danger(f"less than {DISK_LEFT // 2**20} MiB were left on the machine's disk", own)
        if self._building():
            if _tasks() - self._tasks > TASKS:
                return Danger(f"the build started more than {TASKS} processes", True)
            memory = psutil.virtual_memory()
            if memory.available < MEMORY_LEFT * memory.total:
                return Danger("the build took nearly all memory of the machine", True)
        return None


def is_full(folder: Path) -> bool:
    """Whether the disk of ``folder`` has no room for a grading; False if there is no such folder here."""
    free = _free(folder)
    return free is not None and free < DISK_LEFT


def _free(folder: Path) -> int | None:
    """Bytes free on the disk of ``folder``; None if there is no such folder here."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _tasks() -> int:
    """Processes and threads on this machine, as the kernel counts them (proc_loadavg(5)); 0 where it does not."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])
    except (OSError, ValueError, IndexError):
        return 0
