"""For all tests: several run at a time, each module's in one process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# A shell that runs the tests in the background has them ignore Ctrl-C, and so would every grading they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The checks of an exercise that is graded in the tests, and no tests themselves.
collect_ignore = ["hostile/exercise"]

TESTS = Path(__file__).parent
# `grader clean` removes what any killed grading left: those that run it must not meet those that look for it.
RUN_CLEAN = ("live/test_batch.py", "live/test_grading.py", "hostile/test_contained.py", "hostile/test_faults.py")
# What takes longest begins first, so that no process is left with it at the end.
LONGEST = ("live/test_submissions.py", *RUN_CLEAN, "live/test_notebooks.py", "live/test_images.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--in-full", action="store_true", help="grade all of tests/submissions, with every check (an hour and more)"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _ByModule(config, log)


class _ByModule(LoadScopeScheduling):
    """The tests of a module run in one process, in their order; so do all that run `grader clean`."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::")[0].removeprefix("tests/")
        return "clean" if module in RUN_CLEAN else module


def _turn(item: pytest.Item) -> tuple[int, bool]:
    module = item.path.relative_to(TESTS).as_posix()
    return LONGEST.index(module) if module in LONGEST else len(LONGEST), item.get_closest_marker("live") is None
