"""How checks ask a running stack: a command in a container, HTTP, PostgreSQL, Redis, and waiting.

Nothing here judges; it returns what was seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import docker
import httpx

from grader.budget import Budget
from grader.text import printable


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
                if sum(map(len, output)) < 10_000:
                    output.append(chunk)
        except Exception as error:  # the container died under the command: its state says so
            output.append(str(error).encode())

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    reader.join(timeout)
    state = client.api.exec_inspect(exec_id)
    status = None if state["Running"] else state["ExitCode"]
    return Executed(status, printable(b"".join(output).decode("utf-8", "replace")).strip(), time.monotonic() - began)


def get(url: str, timeout: float = 5.0) -> httpx.Response | None:
    """GET ``url``; None if nothing answered."""
    try:
        return httpx.get(url, timeout=timeout)
    except httpx.TransportError:
        return None


def wait_until(condition: Callable[[], bool], budget: Budget, timeout: float, interval: float = 0.05) -> bool:
    """Whether ``condition`` came true within ``timeout`` seconds (or what the budget has left)."""
    end = time.monotonic() + budget.at_most(timeout)
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(interval)
    return True
