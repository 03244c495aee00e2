"""The time that one grading may take, and how patient it is on a busy machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

OUT_OF_TIME = "the time budget was over before this check had ended"


class BudgetExceeded(BaseException):
    """The time budget is over.

    No ``Exception``: a check's own ``except Exception`` must not swallow it.
    """


class Budget:
    """Counts down from ``seconds``.

    Args:
        seconds: how long the grading may take; teardown is not counted.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.reason = OUT_OF_TIME
        self._clock = clock
        self._end = clock() + seconds

    def stop(self, reason: str) -> None:
        """Let the time be over now, for this reason."""
        if not self.spent:
            self.reason = reason
            self._end = self._clock()

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - self._clock())

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.left == 0.0

    def at_most(self, seconds: float) -> float:
        """``seconds``, or what is left if that is less.

        Raises:
            BudgetExceeded: nothing is left.
        """
        if self.spent:
            raise BudgetExceeded
        return min(seconds, self.left)


def stretched(seconds: float) -> float:
    """``seconds`` of patience, as many times longer as there are processes waiting for each core.

    A service that is ready in 3 s on an idle machine may take 30 s while a whole class is being graded on it;
    that must not cost the student points.
    """
    try:
        waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:  # no load average on this system
        waiting = 1.0
    return seconds * max(1.0, waiting)
