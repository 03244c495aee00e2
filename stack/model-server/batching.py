"""Gathers requests that wait at the same time into batches: one pass of the network answers all of them.

A pass over 32 digits takes about four times as long as a pass over one, so under load batches multiply what a replica
can do (tests/benchmarks/batch_sizes.py).
They form by themselves: what comes while the network is busy with one batch is the next. To wait for more pays only
where passes are long and cost the same whatever their size, as on a GPU.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Pixels = list[float]
Probabilities = list[float]


@dataclass(frozen=True)
class _Waiting:
    pixels: Pixels
    answer: asyncio.Future[Probabilities]


class Batcher:
    """Answers requests in batches.

    Args:
        run: the network: n inputs -> n answers, in the same order. Called in a thread, one batch at a time.
        size: the most inputs in a batch, at least 1.
        wait_s: how long the first request of a batch waits for company; 0: until the network is free.
        on_batch: is told the size of each batch, for the metrics.
    """

    def __init__(
        self,
        run: Callable[[list[Pixels]], Sequence[Probabilities]],
        size: int,
        wait_s: float,
        on_batch: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._run = run
        self._size = size
        self._wait_s = wait_s
        self._on_batch = on_batch
        self._queue: deque[_Waiting] = deque()
        self._some, self._enough = asyncio.Event(), asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many requests are not yet in a batch."""
        return len(self._queue)

    async def predict(self, pixels: Pixels) -> Probabilities:
        """The answer to one input. Raises what the network raised for its batch."""
        waiting = _Waiting(pixels, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._some.set()
        if len(self._queue) >= self._size:
            self._enough.set()
        return await waiting.answer

    async def run_forever(self) -> None:
        """Works until it is cancelled."""
        while True:
            batch = await self._gather()
            if batch:
                await self._answer(batch)

    async def _gather(self) -> list[_Waiting]:
        await self._some.wait()
        if self._wait_s and len(self._queue) < self._size:
            self._enough.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s):
                    await self._enough.wait()
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._size))]
        if not self._queue:
            self._some.clear()
        # Whoever hung up while waiting needs no answer.
        return [waiting for waiting in batch if not waiting.answer.done()]

    async def _answer(self, batch: list[_Waiting]) -> None:
        self._on_batch(len(batch))
        try:
            answers = await asyncio.to_thread(self._run, [waiting.pixels for waiting in batch])
            answered = list(zip(batch, answers, strict=True))
        except Exception as error:  # it is the callers' to handle; the next batch may well succeed
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, answer in answered:
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
