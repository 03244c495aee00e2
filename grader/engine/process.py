"""Running a command whose output is read line by line while it runs."""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOK_EVERY = 0.2  # seconds between two looks at `stopping`
LINES_KEPT = 400


class Interrupted(Exception):
    """The command was ended because the caller is going."""


class CommandFailed(Exception):
    """The command's exit status was not 0.

    Attributes:
        status: the exit status; negative is the number of the signal that ended it.
        log: the last lines of its output and its errors, in the order they came.
    """

    def __init__(self, command: Sequence[str], status: int, log: Sequence[str]) -> None:
        super().__init__(f"{' '.join(command)}: exit status {status}")
        self.status = status
        self.log = list(log)


def run(
    command: Sequence[str],
    stopping: threading.Event,
    *,
    said: Callable[[str], None] = lambda line: None,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> list[str]:
    """Runs a command to its end.

    Args:
        command: the program and its arguments.
        stopping: set by another thread to end it before.
        said: is told each line of output and of errors.
        stdin: what the command reads.
        environment: its whole environment; None for ours.
        folder: where it runs; None for where we are.

    Returns:
        the last lines of its output and its errors.

    Raises:
        CommandFailed: its exit status is not 0.
        Interrupted: `stopping` was set.
        OSError: there is no such program.
    """
    log: deque[str] = deque(maxlen=LINES_KEPT)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        cwd=folder,
    )
    assert process.stdin
    assert process.stdout

    def end_when_stopping() -> None:
        while process.poll() is None:
            if stopping.wait(LOOK_EVERY):
                process.terminate()
                return

    guard = threading.Thread(target=end_when_stopping, daemon=True)
    guard.start()
    try:
        process.stdin.write(stdin)
        process.stdin.close()
    except BrokenPipeError:
        pass  # it ended without reading; its exit status says the rest
    for line in process.stdout:
        log.append(line.rstrip())
        if line.strip():
            said(line.rstrip())
    status = process.wait()
    process.stdout.close()
    guard.join()
    if stopping.is_set():
        raise Interrupted
    if status:
        raise CommandFailed(command, status, log)
    return list(log)
