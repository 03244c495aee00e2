"""Gathers requests that wait at the same time into batches: one pass of the network answers all of them.

A pass over 32 digits takes hardly longer than a pass over one, so under load batches multiply what a replica can do.
"""

from __future__ import annotations

import asyncio
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
        wait_s: how long the first request of a batch waits for company.
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
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()

    @property
    def waiting(self) -> int:
        """How many requests are not yet in a batch."""
        return self._queue.qsize()

    async def predict(self, pixels: Pixels) -> Probabilities:
        """The answer to one input. Raises what the network raised for its batch."""
        waiting = _Waiting(pixels, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        return await waiting.answer

    async def run_forever(self) -> None:
        """Works until it is cancelled."""
        while True:
            batch = await self._gather()
            if batch:
                await self._answer(batch)

    async def _gather(self) -> list[_Waiting]:
        batch = [await self._queue.get()]
        deadline = asyncio.get_running_loop().time() + self._wait_s
        while len(batch) < self._size:
            try:
                async with asyncio.timeout_at(deadline):
                    batch.append(await self._queue.get())
            except TimeoutError:
                break
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
