"""Signals: the alarm that ends a grading in time, and the ones that make it tear down in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from grader.budget import Budget, BudgetExceeded


@contextmanager
def alarm(budget: Budget) -> Iterator[None]:
    """Raise ``BudgetExceeded`` in the running check when the time is over, whatever it is doing."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise BudgetExceeded

    if not hasattr(signal, "SIGALRM"):  # Windows: every wait still looks at the budget
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(budget.left, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def teardown_on_signals() -> Iterator[None]:
    """Make a polite kill (SIGTERM, SIGHUP) end as Ctrl-C does: with everything torn down."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _polite()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def teardown_undisturbed() -> Iterator[None]:
    """A second, impatient Ctrl-C or kill must not leave containers behind; the teardown has its own deadline."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *_polite())}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _polite() -> list[signal.Signals]:
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
