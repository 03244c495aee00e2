"""The model server's batches."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from batching import Batcher
from hypothesis import given, settings
from hypothesis import strategies as st


@contextlib.asynccontextmanager
async def working(batcher: Batcher) -> AsyncIterator[Batcher]:
    work = asyncio.create_task(batcher.run_forever())
    try:
        yield batcher
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


def negated(batch: list[list[float]]) -> list[list[float]]:
    """Stands in for the network: an answer from which its input can be told."""
    return [[-pixel for pixel in pixels] for pixels in batch]


@given(requests=st.integers(0, 60), size=st.integers(1, 16))
@settings(max_examples=30, deadline=None)
def test_everyone_gets_the_answer_to_their_own_input_and_no_batch_is_too_large(requests: int, size: int) -> None:
    sizes: list[int] = []

    async def scenario() -> list[Sequence[float]]:
        async with working(Batcher(negated, size, 0.001, sizes.append)) as batcher:
            return await asyncio.gather(*(batcher.predict([float(number)]) for number in range(requests)))

    assert asyncio.run(scenario()) == [[-float(number)] for number in range(requests)]
    assert sum(sizes) == requests
    assert all(1 <= n <= size for n in sizes)


class Gate:
    """A network that waits until it is let go, so that requests pile up meanwhile."""

    def __init__(self, run: Callable[[list[list[float]]], list[list[float]]] = negated) -> None:
        self.started = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self._run = run

    def __call__(self, batch: list[list[float]]) -> list[list[float]]:
        self.started.release()
        assert self.go_on.acquire(timeout=10)
        return self._run(batch)

    async def wait_until_started(self) -> None:
        assert await asyncio.to_thread(self.started.acquire, True, 10)


def test_what_waits_goes_into_one_batch() -> None:
    sizes: list[int] = []
    gate = Gate()

    async def scenario() -> None:
        async with working(Batcher(gate, 4, 0, sizes.append)) as batcher:
            first = asyncio.create_task(batcher.predict([0.0]))
            await gate.wait_until_started()
            others = [asyncio.create_task(batcher.predict([float(n)])) for n in range(1, 8)]
            while batcher.waiting < 7:
                await asyncio.sleep(0)
            gate.go_on.release(3)
            await asyncio.gather(first, *others)

    asyncio.run(scenario())
    assert sizes == [1, 4, 3]


def test_a_failed_batch_fails_its_callers_only() -> None:
    def fails_on_13(batch: list[list[float]]) -> list[list[float]]:
        if [13.0] in batch:
            raise ArithmeticError("unlucky")
        return negated(batch)

    async def scenario() -> None:
        async with working(Batcher(fails_on_13, 1, 0)) as batcher:
            with pytest.raises(ArithmeticError):
                await batcher.predict([13.0])
            assert await batcher.predict([1.0]) == [-1.0]

    asyncio.run(scenario())


def test_a_network_that_forgets_an_answer_leaves_nobody_waiting() -> None:
    async def scenario() -> None:
        async with working(Batcher(lambda batch: [], 1, 0)) as batcher, asyncio.timeout(10):
            with pytest.raises(ValueError, match="shorter"):
                await batcher.predict([1.0])

    asyncio.run(scenario())


def test_whoever_hung_up_is_not_computed() -> None:
    sizes: list[int] = []
    gate = Gate()

    async def scenario() -> None:
        async with working(Batcher(gate, 8, 0, sizes.append)) as batcher:
            first = asyncio.create_task(batcher.predict([0.0]))
            await gate.wait_until_started()
            gone = asyncio.create_task(batcher.predict([1.0]))
            stays = asyncio.create_task(batcher.predict([2.0]))
            while batcher.waiting < 2:
                await asyncio.sleep(0)
            gone.cancel()
            gate.go_on.release(2)
            assert await first == [0.0]
            assert await stays == [-2.0]

    asyncio.run(scenario())
    assert sizes == [1, 1]
