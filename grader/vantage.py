"""What a container sees of its networks: whom it can connect to, and what a name means there.

Images may lack every tool for that, so the questions are asked from a helper container that stands in the same network
namespace: same addresses, same routes, same name server, same /etc/hosts.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import docker
from docker.errors import APIError
from docker.models.containers import Container

from grader.budget import stretched
from grader.errors import InternalError
from grader.helper import start_helper
from grader.probes import execute

Target = tuple[str, int]  # host (name or address) and TCP port

# Seconds for a connection. Between containers of one machine the kernel answers by itself and at once, however busy the
# processes are; or never, where its rules throw the packets away. So this does not depend on the load.
CONNECT = 1.0
# Whenever the engine makes a network it takes its rules between networks away for a moment, and puts them back. What
# connects by such a chance does not do so again; a connection counts when it is accepted each time, after these pauses.
AGAIN = (0.0, 0.1, 0.4)
ONCE = (0.0,)  # will do where those rules have no say: for a container's own addresses
ASK = 30.0  # seconds for one script, with all that it tries

# Each script takes one JSON argument and prints one JSON answer.
_CONNECTS = """
import json, socket, sys, time
from concurrent.futures import ThreadPoolExecutor
timeout, pauses, targets = json.loads(sys.argv[1])
def why_not(target):
    try:
        for pause in pauses:
            time.sleep(pause)
            socket.create_connection(target, timeout).close()
    except (OSError, UnicodeError) as error:
        return str(error) or type(error).__name__
    return ""
with ThreadPoolExecutor(16) as pool:
    print(json.dumps(list(pool.map(why_not, map(tuple, targets)))))
"""
_RESOLVES = """
import json, socket, sys
found = {}
for name in json.loads(sys.argv[1]):
    try:
        found[name] = sorted({entry[4][0] for entry in socket.getaddrinfo(name, None, socket.AF_INET)})
    except (OSError, UnicodeError):
        found[name] = []
print(json.dumps(found))
"""
# The kernel writes addresses as hexadecimal numbers of its own byte order; 00000000 is "everywhere else".
_GATEWAYS = """
import json, socket, struct
rows = [line.split() for line in open("/proc/net/route").read().splitlines()[1:]]
print(json.dumps([socket.inet_ntoa(struct.pack("=L", int(row[2], 16))) for row in rows if row[1] == "00000000"]))
"""


class Vantage:
    """Helpers inside the network namespaces of ``containers``, all started at the same time, always removed.

    A container that has ended has no namespace: asking from it raises ``InternalError``. A check that needs it to run
    says so (``needs=running(…)``), or asks ``stands_in`` first.
    """

    def __init__(self, client: docker.DockerClient, owner: str, containers: Iterable[str]) -> None:
        self._client = client
        self._owner = owner
        self._targets = tuple(dict.fromkeys(containers))
        self._helpers: dict[str, Container] = {}
        self._errors: dict[str, str] = {}

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(max(len(self._targets), 1)) as pool:
            list(pool.map(self._start, self._targets))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ThreadPoolExecutor(max(len(self._helpers), 1)) as pool:
            list(pool.map(_remove, self._helpers.values()))

    def stands_in(self, container: str) -> bool:
        """Whether there is a helper in the container's namespace."""
        return container in self._helpers

    def connects(self, container: str, host: str, port: int) -> bool:
        """Whether a TCP connection from ``container`` to ``host:port`` is accepted."""
        return not self.why_not(container, [(host, port)])[host, port]

    def why_not(self, container: str, targets: Sequence[Target], pauses: Sequence[float] = AGAIN) -> dict[Target, str]:
        """Each target -> what the system says instead of connecting (``timed out``); empty if it connects.

        Args:
            pauses: seconds before each try; all of them have to succeed.
        """
        said = self._ask(container, _CONNECTS, [CONNECT, pauses, list(targets)])
        return dict(zip(targets, said, strict=True))

    def matrix(
        self, wanted: Mapping[str, Sequence[Target]], pauses: Sequence[float] = AGAIN
    ) -> dict[str, dict[Target, bool]]:
        """For each container: to which of its targets it can connect. All are tried at the same time."""
        with ThreadPoolExecutor(max(len(wanted), 1)) as pool:
            said = list(pool.map(lambda container: self.why_not(container, wanted[container], pauses), wanted))
        return {
            container: {target: not why for target, why in answers.items()}
            for container, answers in zip(wanted, said, strict=True)
        }

    def resolves(self, container: str, name: str) -> list[str]:
        """The IPv4 addresses that ``name`` has for ``container``, sorted; none if it is not known there."""
        return self.lookups(container, [name])[name]

    def lookups(self, container: str, names: Sequence[str]) -> dict[str, list[str]]:
        """``resolves`` for several names at once."""
        found: dict[str, list[str]] = self._ask(container, _RESOLVES, list(names))
        return found

    def gateways(self, container: str) -> list[str]:
        """Where packets go that are for none of the container's own networks; none: there is no way out."""
        found: list[str] = self._ask(container, _GATEWAYS, None)
        return found

    def _ask(self, container: str, script: str, question: object) -> Any:
        if container not in self._helpers:
            reason = self._errors.get(container, "it was not asked for")
            raise InternalError(f"There is no helper in the network of container {container[:12]}: {reason}")
        command = ["python", "-c", script, json.dumps(question)]
        done = execute(self._client, self._helpers[container].id, command, stretched(ASK))
        if done.status != 0:
            raise InternalError(f"A question about networks had no answer (exit status {done.status}): {done.output}")
        return json.loads(done.output)

    def _start(self, target: str) -> None:
        try:
            self._helpers[target] = start_helper(self._client, self._owner, network_mode=f"container:{target}")
        except APIError as error:  # told to whoever asks
            self._errors[target] = str(error.explanation)


def _remove(helper: Container) -> None:
    with contextlib.suppress(APIError):  # what would not go is swept by its label at the end of the grading
        helper.remove(force=True)
