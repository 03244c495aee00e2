"""How checks ask a running stack: a command in a container, HTTP, PostgreSQL, Redis, and waiting.

Nothing here judges; it returns what was seen.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import docker
import httpx
from docker.errors import APIError, NotFound

from grader.budget import Budget
from grader.text import printable

MAX_BODY = 1024 * 1024  # bytes
MAX_OUTPUT = 10_000  # bytes


@dataclass(frozen=True)
class Executed:
    """A command that was run in a container.

    Attributes:
        status: its exit status; None if it was still running when the waiting ended; -1 if the container does not
            run, or ended meanwhile.
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
    try:
        exec_id = client.api.exec_create(container, list(command), user=user)["Id"]
    except APIError as error:
        if error.status_code not in (404, 409):  # it has ended, or is gone
            raise
        return Executed(-1, printable(str(error.explanation)), time.monotonic() - began)
    output: list[bytes] = []

    def collect() -> None:
        try:
            for chunk in _printed(client, exec_id):
                if sum(map(len, output)) < MAX_OUTPUT:
                    output.append(chunk[:MAX_OUTPUT])
        except Exception as error:  # the container died under the command: its state says so
            output.append(str(error).encode())

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    reader.join(timeout)
    try:
        state = client.api.exec_inspect(exec_id)
        status = None if state["Running"] else state["ExitCode"]
    except NotFound:  # the engine forgets a container's commands when it ends
        status = -1
    return Executed(
        status,
        printable(b"".join(output).decode("utf-8", "replace"), limit=MAX_OUTPUT).strip(),
        time.monotonic() - began,
    )


def _printed(client: docker.DockerClient, exec_id: str) -> Iterator[bytes]:
    """What a command prints, from its first byte on.

    docker's own ``exec_start`` reads from the socket, past the buffer that the answer's head was read into. On a busy
    machine what the command has printed already lies in that buffer, and is lost.
    """
    api = client.api
    start = {"Tty": False, "Detach": False}
    response = api._post_json(api._url("/exec/{0}/start", exec_id), data=start, stream=True, timeout=None)
    api._raise_for_status(response)
    # Each piece comes with a head of eight bytes, of which the last four are its length.
    while len(head := response.raw.read(8)) == 8:
        yield response.raw.read(int.from_bytes(head[4:], "big"))


@dataclass(frozen=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: its status code.
        body: at most ``MAX_BODY`` bytes of it.
    """

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def get(url: str, timeout: float = 5.0) -> Answer | None:
    """GET ``url``; None if nothing answered within ``timeout`` seconds."""
    return send("GET", url, timeout=timeout)


def send(
    method: str,
    url: str,
    json: object = None,
    timeout: float = 5.0,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Answer | None:
    """One HTTP request; None if nothing answered within ``timeout`` seconds. A body without end is cut off.

    Args:
        json: sent as the body, if it is not None.
        content: the body as it is, in place of ``json``.
    """
    end = time.monotonic() + timeout
    status: list[int] = []
    body = bytearray()

    def read() -> None:
        with (
            contextlib.suppress(httpx.HTTPError, httpx.StreamError),
            httpx.stream(
                method, url, json=json, content=content, headers=headers, timeout=timeout, trust_env=False
            ) as response,
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
