"""The way from the checks to services whose networks lead nowhere.

A port of a container on an internal network is not published (moby ``libnetwork/drivers/bridge``). The gate is a
container of the grader's own that stands on a learner's networks and on one with a way to this machine, and passes
TCP connections on, inwards only: it routes nothing, and nothing behind it can open a connection through it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import docker
from docker.errors import APIError
from docker.models.containers import Container
from docker.models.networks import Network

from grader.errors import InternalError
from grader.events import PROJECT_LABEL
from grader.helper import start_helper
from grader.rewrite import LABEL

FIRST_PORT = 20_000
# PORT HOST PORT: listen on the one, pass on to the other. A connection to a service that is gone is closed.
_FORWARD = """
import asyncio, sys
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def serve(port, host, target):
    async def accept(reader, writer):
        try:
            inner_reader, inner_writer = await asyncio.wait_for(asyncio.open_connection(host, target), 5)
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
    return await asyncio.start_server(accept, "0.0.0.0", port)
async def main(words):
    servers = [await serve(int(p), h, int(t)) for p, h, t in zip(words[::3], words[1::3], words[2::3])]
    await asyncio.gather(*(server.serve_forever() for server in servers))
asyncio.run(main(sys.argv[1:]))
"""


class Gate:
    """Opens in the background, as the stack does.

    Args:
        targets: each service and container port that has to be reached.
    """

    def __init__(
        self, client: docker.DockerClient, owner: str, project: str, targets: Sequence[tuple[str, int]]
    ) -> None:
        self._client = client
        self._owner = owner
        self._project = project
        self._ports = {target: FIRST_PORT + number for number, target in enumerate(sorted(targets))}
        self._network: Network | None = None
        self._container: Container | None = None
        self._error: Exception | None = None
        self._joining = threading.Lock()
        self._joined: set[str] = set()
        self._starter = threading.Thread(target=self._start, name="gate", daemon=True)

    def __enter__(self) -> Self:
        self._starter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removed before the stack: its networks could not go while the gate stands on them."""
        self._starter.join()
        if self._container is not None:
            self._container.remove(force=True)
        if self._network is not None:
            self._network.remove()

    def url(self, service: str, port: int) -> str | None:
        """``http://127.0.0.1:PORT`` behind which the service's port is; None if that is none of the targets."""
        if (service, port) not in self._ports:
            return None
        self._starter.join()
        if self._container is None:
            raise InternalError(f"The container that leads to the isolated services did not start: {self._error}")
        self._join()
        bindings = self._published(f"{self._ports[service, port]}/tcp")
        return f"http://127.0.0.1:{bindings[0]['HostPort']}"

    def _published(self, port: str) -> list[dict[str, Any]]:
        assert self._container is not None
        ports: Mapping[str, Any] = self._client.api.inspect_container(self._container.id)["NetworkSettings"]["Ports"]
        found: list[dict[str, Any]] = ports[port]
        return found

    def _join(self) -> None:
        """Stand on every network of the project that exists by now."""
        with self._joining:
            for network in self._client.api.networks(filters={"label": f"{PROJECT_LABEL}={self._project}"}):
                if network["Id"] not in self._joined:
                    self._client.api.connect_container_to_network(self._container.id, network["Id"])  # type: ignore[union-attr]
                    self._joined.add(network["Id"])

    def _start(self) -> None:
        words = [
            word
            for (service, port), listens in self._ports.items()
            # The first replica, by the name that Compose gives it.
            for word in (str(listens), f"{self._project}-{service}-1", str(port))
        ]
        try:
            self._network = self._client.networks.create(
                f"{self._project}-gate", labels={LABEL: self._owner}, check_duplicate=True
            )
            self._container = start_helper(
                self._client,
                self._owner,
                ["python", "-c", _FORWARD, *words],
                network=self._network.name,
                ports={f"{port}/tcp": ("127.0.0.1", None) for port in self._ports.values()},
                user="nobody",
            )
        except (APIError, OSError) as error:  # told to whoever needs the gate first
            self._error = error
