from __future__ import annotations

import os
import signal

import pytest

from grader.interrupts import teardown_on_signals, teardown_undisturbed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_kill_ends_as_ctrl_c_does(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), teardown_on_signals():
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_teardown_goes_on_whatever_is_sent_and_only_so_long(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with teardown_on_signals(), teardown_undisturbed():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
