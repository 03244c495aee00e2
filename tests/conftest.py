"""For all tests."""

from __future__ import annotations

import signal

# A shell that runs the tests in the background has them ignore Ctrl-C, and so would every grading they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The checks of an exercise that is graded in the tests, and no tests themselves.
collect_ignore = ["hostile/exercise"]
