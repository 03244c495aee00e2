"""Work that a module's tests ask for, begun ahead, a few pieces at a time: most of it waits for containers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

AT_ONCE = os.cpu_count() or 1

Result = TypeVar("Result")


@contextmanager
def ahead(
    request: pytest.FixtureRequest, fixture: str, work: Callable[..., Result]
) -> Iterator[Mapping[str, Future[Result]]]:
    """What ``work`` returns for each test of this module that uses ``fixture``, by the test's id.

    Args:
        work: called with the test's own parameters, in another thread.
    """
    tests: list[Any] = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            yield {
                test.nodeid: pool.submit(work, **test.callspec.params) for test in tests if fixture in test.fixturenames
            }
        finally:
            pool.shutdown(cancel_futures=True)
