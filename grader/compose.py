"""The one place that runs the ``docker compose`` command.

The environment is scrubbed: what a submission interpolates comes from its own ``.env``, never
from the machine that grades it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grader.errors import MachineError

# What the docker client needs to find its engine, its helpers and its temporary folder.
_KEPT = (
    "PATH", "TMPDIR", "XDG_RUNTIME_DIR", "SYSTEMROOT", "USERPROFILE", "PROGRAMDATA", "LOCALAPPDATA",
    "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY",
)  # fmt: skip
_FIXED = {
    # Remote includes would be fetched while the file is only being read.
    "COMPOSE_EXPERIMENTAL_GIT_REMOTE": "false",
    "COMPOSE_EXPERIMENTAL_OCI_REMOTE": "false",
    "COMPOSE_PROGRESS": "plain",
    "COMPOSE_MENU": "false",
    "BUILDKIT_PROGRESS": "plain",
    "DOCKER_CLI_HINTS": "false",
    "LC_ALL": "C.UTF-8",
}


def environment(*, reading: bool = False) -> dict[str, str]:
    """The environment that the grader's ``docker compose`` commands run in.

    Args:
        reading: for a file that nobody has checked yet: whatever is set here, it could read with ``${NAME}``,
            so nothing of the machine is. Reading needs no engine.
    """
    # Plugins are looked for in the configuration folder, which would otherwise be found through HOME.
    fixed = _FIXED | {"DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")}
    if reading:
        return fixed
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | fixed


@functools.cache
def docker_command() -> str:
    """Where the docker client is.

    Raises:
        MachineError: there is none.
    """
    path = shutil.which("docker")
    if path is None:
        raise MachineError("There is no docker command on this machine.", "Set the workbook up:\n    make setup")
    return path


@functools.cache
def engines_own_builder() -> dict[str, str]:
    """The builder that belongs to the engine: one of the user's own choice may not see the engine's images."""
    shown = subprocess.run(
        [docker_command(), "context", "show"], env=environment(), capture_output=True, text=True, check=False
    )
    return {"BUILDX_BUILDER": shown.stdout.strip()} if shown.returncode == 0 else {}


@dataclass(frozen=True)
class Finished:
    """A command that has ended.

    Attributes:
        status: its exit status; None when it was stopped because ``timeout`` seconds were over.
    """

    command: str
    status: int | None
    stdout: str
    stderr: str


def read(arguments: Sequence[str], cwd: Path, timeout: float) -> Finished:
    """Run ``docker compose ARGUMENTS`` on a file that nobody has checked yet, for at most ``timeout`` seconds."""
    command = [docker_command(), "compose", *arguments]
    shown = " ".join(["docker", "compose", *arguments])
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env=environment(reading=True),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as expired:
        return Finished(shown, None, _text(expired.stdout), _text(expired.stderr))
    return Finished(shown, done.returncode, _text(done.stdout), _text(done.stderr))


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", "replace")
