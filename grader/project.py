"""One compose project that the grader starts: testcontainers' ``DockerCompose`` with what it lacks.

It has no project name, environment, timeout or way to stop an ``up`` that waits for ever
(testcontainers 4.15, ``testcontainers/compose/compose.py``); these are added here and nothing else.
"""

from __future__ import annotations

import functools
import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import docker
from testcontainers.compose import DockerCompose

from grader import compose
from grader.events import PROJECT_LABEL
from grader.text import printable

MAX_OUTPUT = 200_000  # characters that are kept of what a command printed; a build prints many
STOP_TIMEOUT = 60.0  # seconds for `down`; with -t 0 it takes about one


class Project(DockerCompose):
    """A named project started from one resolved file.

    Args:
        name: the project's name.
        config: the whole compose file, as a mapping.
        folder: where the file is written and relative paths begin.
    """

    def __init__(self, name: str, config: Mapping[str, Any], folder: Path) -> None:
        self.name = name
        self.file = folder / f"{name}.json"
        self.build = False
        self._aborted = threading.Event()
        self.write(config)
        self._configuration = compose.private_configuration(folder / "docker")
        super().__init__(context=folder, compose_file_name=str(self.file), wait=False)

    def write(self, config: Mapping[str, Any]) -> None:
        """Let the next ``up`` start this."""
        self._aborted.clear()
        self.file.write_text(json.dumps(config, indent=1), "utf-8")

    @property
    def compose_command_property(self) -> list[str]:
        """``docker compose -p NAME -f FILE``."""
        return [compose.docker_command(), "compose", "-p", self.name, "-f", str(self.file)]

    def up(self, *, build: bool = False) -> CompletedProcess[bytes]:
        """Start everything; blocks while Compose waits for conditions. The exit status is in the result.

        Unlike ``start`` it raises nothing when ``up`` fails: what failed is evidence, not an accident.
        """
        self.build = build
        try:
            self.start()
        except subprocess.CalledProcessError as error:
            return CompletedProcess(error.cmd, error.returncode, error.stdout, error.stderr)
        return CompletedProcess(["docker", "compose", "up"], 0, b"", b"")

    def run(self, arguments: Sequence[str], timeout: float) -> compose.Finished:
        """``docker compose ARGUMENTS``; ended after ``timeout`` seconds, with None as its status."""
        command = [*self.compose_command_property, *arguments]
        shown = " ".join(["docker", "compose", *arguments])
        try:
            done = self._run_command(command, timeout=timeout)
        except subprocess.CalledProcessError as error:
            status = None if error.returncode < 0 else error.returncode
            return compose.Finished(shown, status, _text(error.stdout), _text(error.stderr))
        return compose.Finished(shown, 0, _text(done.stdout), _text(done.stderr))

    def containers(self, client: docker.DockerClient) -> list[dict[str, Any]]:
        """What the engine lists of this project, running or not."""
        found: list[dict[str, Any]] = client.api.containers(all=True, filters={"label": f"{PROJECT_LABEL}={self.name}"})
        return found

    def discard(self, client: docker.DockerClient) -> None:
        """Remove the containers of a project without networks and volumes of its own; quicker than ``stop``."""
        remove = functools.partial(client.api.remove_container, v=True, force=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(remove, [container["Id"] for container in self.containers(client)]))

    def abort(self) -> None:
        """Make an ``up`` that is running in another thread return."""
        self._aborted.set()

    def stop(self, down: bool = True) -> None:
        """Remove the project's containers, networks and volumes, without grace.

        No file is named: a file could claim a foreign volume, and ``down -v`` would delete it.
        """
        self._aborted.clear()
        command = [compose.docker_command(), "compose", "-p", self.name]
        command += ["down", "--volumes", "--timeout", "0", "--remove-orphans"] if down else ["stop"]
        self._run_command(command, timeout=STOP_TIMEOUT)

    def _run_command(
        self, cmd: str | list[str], context: str | None = None, timeout: float | None = None
    ) -> CompletedProcess[bytes]:
        process = subprocess.Popen(
            cmd,
            cwd=context or str(self.context),
            env=compose.environment(self._configuration) | (compose.engines_own_builder() if self.build else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C belongs to the grader, which tears down in order
        )
        deadline = time.monotonic() + timeout if timeout else None
        while True:
            try:
                stdout, stderr = process.communicate(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                if self._aborted.is_set() or (deadline and time.monotonic() > deadline):
                    compose.end_session(process)
        result = CompletedProcess(cmd, process.returncode, stdout, stderr)
        if result.returncode:
            raise subprocess.CalledProcessError(result.returncode, cmd, stdout, stderr)
        return result


def _text(output: bytes) -> str:
    return printable(output.decode("utf-8", "replace"), limit=MAX_OUTPUT)
