"""How checks ask a running stack: a command in a container, HTTP, PostgreSQL, Redis, and waiting.

Nothing here judges; it returns what was seen.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import docker
import httpx

from grader.budget import Budget
from grader.text import printable

MAX_BODY = 1024 * 1024  # bytes
MAX_OUTPUT = 10_000  # bytes


@dataclass(frozen=True)
class Executed:
    """A command that was run in a container.

    Attributes:
        status: its exit status; None if it was still running when the waiting ended.
        output: what it printed to stdout and stderr, made printable.
        seconds: how long it was waited for.
    """

    status: int | None
    output: str
    seconds: float


def execute(
    client: docker.DockerClient, container: str, command: Sequence[str], timeout: float, user: str = ""
) -> Executed:
    """Run ``command`` in ``container`` as its health checks are run: same user, environment and folder.

    Args:
        timeout: seconds to wait; a command that runs longer is left behind and goes with its container.
    """
    began = time.monotonic()
    exec_id = client.api.exec_create(container, list(command), user=user)["Id"]
    output: list[bytes] = []

    def collect() -> None:
        try:
            for chunk in client.api.exec_start(exec_id, stream=True):
                if sum(map(len, output)) < MAX_OUTPUT:
                    output.append(chunk[:MAX_OUTPUT])
        except Exception as error:  # the container died under the command: its state says so
            output.append(str(error).encode())

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    reader.join(timeout)
    state = client.api.exec_inspect(exec_id)
    status = None if state["Running"] else state["ExitCode"]
    return Executed(status, printable(b"".join(output).decode("utf-8", "replace")).strip(), time.monotonic() - began)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: its status code.
        body: at most ``MAX_BODY`` bytes of it.
    """

    status: int
    body: bytes


def get(url: str, timeout: float = 5.0) -> Answer | None:
    """GET ``url``; None if nothing answered within ``timeout`` seconds. A body without end is cut off."""
    end = time.monotonic() + timeout
    status: list[int] = []
    body = bytearray()

    def read() -> None:
        with (
            contextlib.suppress(httpx.HTTPError, httpx.StreamError),
            httpx.stream("GET", url, timeout=timeout, trust_env=False) as response,
        ):
            status.append(response.status_code)
            for chunk in response.iter_raw():
                body.extend(chunk)
                if len(body) > MAX_BODY or time.monotonic() > end:
                    break

    # httpx limits only the time between two bytes, of which a header can have any number.
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout)
    return Answer(status[0], bytes(body[:MAX_BODY])) if status else None


def wait_until(condition: Callable[[], bool], budget: Budget, timeout: float, interval: float = 0.05) -> bool:
    """Whether ``condition`` came true within ``timeout`` seconds.

    Raises:
        BudgetExceeded: the budget was spent first.
    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(budget.at_most(interval))
    return True
