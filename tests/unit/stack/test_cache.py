"""Lookups in the cache that come at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from cache import Answer, Cache, key

MANY = 200


class SlowRedis:
    """Answers each command when it is told to, one after the other."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.commands: list[list[str]] = []
        self.error: Exception | None = None
        self.may_answer = asyncio.Event()

    async def mget(self, keys: list[str]) -> list[str | None]:
        self.commands.append(keys)
        await self.may_answer.wait()
        if self.error:
            raise self.error
        return [self.values.get(each) for each in keys]


def answer(digit: int) -> Answer:
    return Answer(digit=digit, probabilities=[0.1] * 10, model_version="v", served_by="me")


def run(scenario: Callable[[SlowRedis, Cache], Coroutine[Any, Any, None]], timeout_s: float = 60) -> None:
    async def within_a_minute() -> None:
        store = SlowRedis()
        async with asyncio.timeout(60):
            await scenario(store, Cache(store, ttl_s=60, timeout_s=timeout_s, pause_s=3600))  # type: ignore[arg-type]

    asyncio.run(within_a_minute())


async def asked(store: SlowRedis, cache: Cache, count: int) -> list[asyncio.Task[Answer | None]]:
    """So many lookups for different keys; the first is on its way when the others come."""
    tasks = [asyncio.create_task(cache.get("v", "0"))]
    while not store.commands:
        await asyncio.sleep(0)
    return tasks + [asyncio.create_task(cache.get("v", str(n))) for n in range(1, count)]


def test_what_comes_while_a_lookup_is_on_its_way_travels_together_and_gets_its_own_answer() -> None:
    async def scenario(store: SlowRedis, cache: Cache) -> None:
        store.values = {key("v", str(n)): answer(n % 10).model_dump_json() for n in range(MANY - 1)}
        tasks = await asked(store, cache, MANY)
        store.may_answer.set()
        found = await asyncio.gather(*tasks)
        assert [each and each.digit for each in found] == [*(n % 10 for n in range(MANY - 1)), None]
        assert [len(keys) for keys in store.commands] == [1, MANY - 1]

    run(scenario)


def test_when_redis_hangs_nobody_waits_longer_than_for_one_command() -> None:
    async def scenario(store: SlowRedis, cache: Cache) -> None:
        found = await asyncio.gather(*await asked(store, cache, MANY))
        assert found == [None] * MANY
        assert len(store.commands) == 1, "the others do not wait for a Redis that has just failed"

    run(scenario, timeout_s=0.2)


def test_somebody_who_leaves_takes_nobody_elses_answer_away() -> None:
    async def scenario(store: SlowRedis, cache: Cache) -> None:
        store.values = {key("v", str(n)): answer(n).model_dump_json() for n in range(3)}
        first, leaves, stays = await asked(store, cache, 3)
        await asyncio.sleep(0)
        first.cancel()
        leaves.cancel()
        store.may_answer.set()
        assert await stays == answer(2)
        again = await cache.get("v", "1")
        assert again == answer(1)

    run(scenario)


def test_a_fault_of_the_clients_leaves_nobody_waiting() -> None:
    async def scenario(store: SlowRedis, cache: Cache) -> None:
        store.error = AttributeError("a fault")
        tasks = await asked(store, cache, MANY)
        store.may_answer.set()
        assert await asyncio.gather(*tasks) == [None] * MANY
        store.error = None
        store.values = {key("v", "0"): answer(7).model_dump_json()}
        assert await cache.get("v", "0") == answer(7)
        assert store.commands[-1] == [key("v", "0")], "those that have their answer are not asked for again"

    run(scenario)
