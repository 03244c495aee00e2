"""What the session waits for beside its workers: saves, and keys."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import watchfiles

# An editor may write a file in several steps: a save is over when nothing has changed for this long.
QUIET = 30  # milliseconds


@contextmanager
def saves_of(folder: Path, tell: Callable[[], None]) -> Iterator[None]:
    """Call ``tell`` from another thread after each save of a file in ``folder``, until the block ends."""

    def watch(over: threading.Event) -> None:
        # Its own filter leaves out what editors, Python and git put beside the files.
        for _ in watchfiles.watch(folder, stop_event=over, step=QUIET, debounce=500, rust_timeout=200):
            tell()

    with _in_a_thread(watch):
        yield


@contextmanager
def keys(tell: Callable[[str], None]) -> Iterator[None]:
    """Call ``tell`` from another thread with each key that is pressed, until the block ends; needs no Enter."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def read(over: threading.Event) -> None:
        while not over.is_set():
            if select.select([terminal], [], [], 0.2)[0]:
                for key in os.read(terminal, 16).decode("utf-8", "ignore"):
                    tell(key)

    tty.setcbreak(terminal)
    try:
        with _in_a_thread(read):
            yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _in_a_thread(listen: Callable[[threading.Event], None]) -> Iterator[None]:
    """``listen`` runs beside the block, and is told when that ends."""
    over = threading.Event()
    thread = threading.Thread(target=listen, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(2)
