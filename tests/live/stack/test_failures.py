"""What the stack promises when something fails. Every test leaves the stack as it found it: healthy."""

from __future__ import annotations

import threading

import httpx
import pytest

from tests.live.stack.conftest import Stack, docker, eventually

pytestmark = pytest.mark.live


def slowest(answers: list[httpx.Response]) -> float:
    return max(answer.elapsed.total_seconds() for answer in answers)


@pytest.mark.parametrize("trouble", ["stopped", "frozen"])
def test_without_redis_answers_are_computed_and_soon(stack: Stack, trouble: str) -> None:
    pixels = stack.fresh_pixels()
    expected = stack.predict(pixels).json()
    with getattr(stack, trouble)("redis"):
        answers = [stack.predict(pixels) for _ in range(20)]
        status, health = stack.health()
        others = [stack.fresh_pixels() for _ in range(20)]
        uncached = [answer.json() for answer in stack.predict_all(others)]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.json()["cached"] is False
        assert answer.json()["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    assert slowest(answers) < 2
    assert sorted(answer.elapsed for answer in answers)[10].total_seconds() < 0.2, "not every request may wait"
    assert (status, health["status"], health["dependencies"]["redis"]) == (200, "degraded", "down")
    stack.until_cache_is_used()
    # An answer of Redis that came too late must not be taken for the answer to a later question.
    for before, after in zip(uncached, stack.predict_all(others), strict=True):
        assert after.json()["probabilities"] == pytest.approx(before["probabilities"], abs=1e-5)


@pytest.mark.parametrize("trouble", ["stopped", "frozen"])
def test_without_postgres_answers_go_on_and_no_row_is_lost(stack: Stack, trouble: str) -> None:
    nothing_waits(stack)
    with getattr(stack, trouble)("postgres"):
        answers = stack.predict_all([stack.fresh_pixels() for _ in range(200)])
        status, health = stack.health()
        waiting = stack.metrics("api", "api_log_rows_waiting")
    assert {answer.status_code for answer in answers} == {200}
    assert (status, health["status"], health["dependencies"]["postgres"]) == (200, "degraded", "down")
    assert waiting == 200
    expect_each_once(stack, answers)
    assert stack.metrics("api", "api_log_rows_dropped_total") == 0


def test_postgres_is_killed_in_the_middle_of_a_burst(stack: Stack) -> None:
    """Some batches break half way: the api cannot know whether they were written, and writes them again."""
    answers: list[httpx.Response] = []

    def burst() -> None:
        answers.extend(stack.predict_all([stack.fresh_pixels() for _ in range(300)]))

    asking = threading.Thread(target=burst)
    asking.start()
    for _ in range(3):
        docker("kill", *stack.containers("postgres"))
        stack.start("postgres")
    asking.join()
    assert {answer.status_code for answer in answers} == {200}
    stack.until_ok()
    expect_each_once(stack, answers)


def test_without_the_model_server_it_says_503_and_nothing_is_cached(stack: Stack) -> None:
    known, unknown = stack.fresh_pixels(), stack.fresh_pixels()
    stack.predict(known)
    with stack.stopped("model-server"):
        keys = stack.compose("exec", "-T", "redis", "redis-cli", "dbsize")
        refused = stack.predict(unknown)
        status, health = stack.health()
        assert stack.predict(known).json()["cached"] is True, "what is cached is still served"
        assert stack.compose("exec", "-T", "redis", "redis-cli", "dbsize") == keys
    assert refused.status_code == 503
    assert "model server" in refused.json()["detail"]
    assert slowest([refused]) < 5
    assert (status, health["status"], health["dependencies"]["model-server"]) == (503, "unavailable", "down")
    answer = stack.predict(unknown)
    assert (answer.status_code, answer.json()["cached"]) == (200, False)


def test_an_orderly_stop_writes_the_rows_that_still_wait(stack: Stack) -> None:
    nothing_waits(stack)
    stopping = threading.Thread(target=stack.compose, args=("stop", "api"))
    stack.compose("pause", "postgres")
    try:
        answers = stack.predict_all([stack.fresh_pixels() for _ in range(100)])
        assert stack.metrics("api", "api_log_rows_waiting") == 100
        stopping.start()
        eventually(lambda: "Shutting down" in stack.compose("logs", "--no-log-prefix", "api"))
    finally:
        stack.compose("unpause", "postgres")
        if stopping.ident:
            stopping.join()
        stopped = stack.inspect("api")["State"]
        stack.start("api")
        eventually(lambda: answers_at_all(stack))
        stack.until_ok()
    assert (stopped["Status"], stopped["ExitCode"]) == ("exited", 0)
    expect_each_once(stack, answers)


def answers_at_all(stack: Stack) -> bool:
    try:
        return stack.client.get("/version").is_success
    except httpx.TransportError:
        return False


def expect_each_once(stack: Stack, answers: list[httpx.Response]) -> None:
    """Every answered request gets its row in the log, and none gets two."""
    asked = {answer.headers["X-Request-ID"] for answer in answers}
    assert len(asked) == len(answers)
    eventually(lambda: asked <= stack.logged().keys(), what="all rows are in the log")
    assert set(stack.logged().values()) == {1}
    nothing_waits(stack)


def nothing_waits(stack: Stack) -> None:
    eventually(lambda: stack.metrics("api", "api_log_rows_waiting") == 0, what="all rows are written")


class Asking:
    """Asks about new inputs, one after the other in each of two threads, until it is left; `answers` has them all."""

    def __init__(self, stack: Stack) -> None:
        self.answers: list[httpx.Response] = []
        self._stack = stack
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def _ask(self) -> None:
        while not self._enough.is_set():
            self.answers.append(self._stack.predict(self._stack.fresh_pixels()))

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def replicas(self, since: int = 0) -> set[str]:
        """Who has answered, from the answer with this number on."""
        return {answer.json().get("served_by", f"HTTP {answer.status_code}") for answer in self.answers[since:]}


def hostnames(stack: Stack) -> set[str]:
    return {container[:12] for container in stack.containers("model-server")}


def scale(stack: Stack, replicas: int) -> None:
    stack.compose("up", "-d", "--no-recreate", "--scale", f"model-server={replicas}")


def test_nginx_and_prometheus_follow_the_replicas_and_no_request_fails(stack: Stack) -> None:
    replicas_up = "sum(up{job='model-server'})"
    try:
        with Asking(stack) as asking:
            scale(stack, 3)
            three = hostnames(stack)
            assert len(three) == 3
            since = len(asking.answers)
            eventually(lambda: asking.replicas(since) == three, within_s=60, what="all three replicas answer")
            eventually(lambda: stack.prometheus_value(replicas_up) == 3, what="Prometheus asks all three")

            scale(stack, 2)
            since = len(asking.answers) + 2
            two = hostnames(stack)
            eventually(lambda: asking.replicas(since) == two, within_s=60, what="the two that are left answer")

            killed = next(iter(two))
            docker("kill", killed)
            since = len(asking.answers) + 2
            eventually(lambda: asking.replicas(since) == two - {killed}, within_s=60, what="the survivor answers")
        failed = [answer.text for answer in asking.answers if answer.status_code != 200]
        assert not failed, f"{len(failed)} of {len(asking.answers)} requests failed: {failed[0]}"
    finally:
        scale(stack, 1)
        stack.until_ok()
    eventually(lambda: stack.prometheus_value(replicas_up) == 1, what="Prometheus asks only the one that is left")
