"""Faults that the engine did not order: a process that freezes, a process that is killed.

``docker pause`` would stop the engine's own probing and ``docker kill`` counts as a stop on request,
so that no restart policy applies (moby ``daemon/kill.go``, ``daemon/health.go``). Signals from the
engine's host are the real thing: a helper container that shares only the host's process table sends them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import docker
from docker.models.containers import Container

from grader.budget import stretched
from grader.errors import InternalError
from grader.helper import start_helper
from grader.probes import execute

SIGNAL = 20.0  # seconds in which a signal has been sent


class Faults:
    """Sends signals to the processes of containers.

    Its helper is started by the first signal: most gradings send none, and while a stack starts it wants all cores.
    """

    def __init__(self, client: docker.DockerClient, owner: str) -> None:
        self._client = client
        self._owner = owner
        self._helper: Container | None = None
        self._starting = threading.Lock()

    def close(self) -> None:
        """Remove the helper."""
        if self._helper is not None:
            self._helper.remove(force=True)

    def freeze(self, containers: Iterable[str]) -> None:
        """Stop every process in ``containers`` where it stands; the kernel still accepts connections for them."""
        self._signal("STOP", self._all_processes(containers))

    def thaw(self, containers: Iterable[str]) -> None:
        """Let every process in ``containers`` go on."""
        self._signal("CONT", self._all_processes(containers))

    def crash(self, containers: Iterable[str]) -> None:
        """Kill the main process of each of ``containers``, as a crash or the kernel's OOM killer does."""
        pids = (self._client.api.inspect_container(c)["State"]["Pid"] for c in containers)
        self._signal("KILL", [pid for pid in pids if pid])

    def _all_processes(self, containers: Iterable[str]) -> list[int]:
        pids: list[int] = []
        for container in containers:
            table = self._client.api.top(container, ps_args="-eo pid")
            pids += [int(row[0]) for row in table["Processes"]]
        return pids

    def _signal(self, name: str, pids: list[int]) -> None:
        if not pids:
            return
        command = ["sh", "-c", f"kill -{name} {' '.join(map(str, pids))}"]
        done = execute(self._client, self._started_helper().id, command, stretched(SIGNAL))
        # A process may end between being listed and being signalled; then there is nothing left to do.
        if done.status != 0 and "No such process" not in done.output:
            raise InternalError(f"Sending SIG{name} failed: {done.output or 'no answer in time'}")

    def _started_helper(self) -> Container:
        with self._starting:
            if self._helper is None:
                self._helper = start_helper(
                    self._client, self._owner, pid_mode="host", network_mode="none", cap_add=["KILL"]
                )
            return self._helper
