"""The one place that runs the ``docker compose`` command.

The environment is scrubbed: what a submission interpolates comes from its own ``.env``, never
from the machine that grades it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

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
# For reading a file that nobody has checked; an honest one takes 0.1 s, 60 MiB and 20 KiB.
READ_MEMORY = 4 * 2**30  # bytes of address space, of which Go reserves far more than it uses
READ_OUTPUT = 8 * 2**20  # bytes


def environment(configuration: Path | None = None) -> dict[str, str]:
    """The environment that the grader's ``docker compose`` commands run in.

    Args:
        configuration: the docker client's folder; the user's own by default.
    """
    # Plugins are looked for in the configuration folder, which would otherwise be found through HOME.
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | _FIXED | {"DOCKER_CONFIG": str(configuration or _docker_config())}


def private_configuration(folder: Path) -> Path:
    """A configuration of the docker client like the user's, without what is secret in it; made in ``folder``.

    Compose hands the user's proxies to whatever it builds and starts, with their passwords
    (docs.docker.com/engine/cli/proxy/), and a registry's password is of no use where nothing is pulled.
    """
    own = Path(_docker_config())
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        try:
            settings = json.loads((own / "config.json").read_text("utf-8"))
        except (OSError, ValueError):
            settings = {}
        kept = {key: settings[key] for key in ("currentContext", "cliPluginsExtraDirs") if key in settings}
        kept["cliPluginsExtraDirs"] = [*kept.get("cliPluginsExtraDirs", []), str(own / "cli-plugins")]
        (folder / "config.json").write_text(json.dumps(kept), "utf-8")
        (folder / "contexts").symlink_to(own / "contexts")
    return folder


def _docker_config() -> str:
    return os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")


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


def read(
    arguments: Sequence[str], cwd: Path, timeout: float, variables: Mapping[str, str] = MappingProxyType({})
) -> Finished:
    """Run ``docker compose ARGUMENTS`` on a file that nobody has checked yet.

    Args:
        variables: all that its environment has beside what Compose itself needs.

    Whatever is set in its environment the file could read with ``${NAME}``, so nothing of the machine is; reading
    needs no engine. Time, memory and output are limited.
    """
    # The shell only sets limits; `env -i` takes its own variables away again. An address space is not limited on
    # every system: there the size of what is read (grader.yamlfile) has to do.
    limits = f"ulimit -v {READ_MEMORY // 1024} 2> /dev/null; ulimit -f {READ_OUTPUT // 512}; ulimit -c 0"
    command = [
        "sh", "-c", f'{limits}; exec env -i "$@"', "sh",
        *(f"{name}={value}" for name, value in {**variables, **_FIXED}.items()),
        docker_command(), "--config", _docker_config(), "compose", *arguments,
    ]  # fmt: skip
    shown = " ".join(["docker", "compose", *arguments])
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
        try:
            status: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_session(process)
        finished = Finished(shown, status, _text(stdout), _text(stderr))
        if status and not finished.stderr:
            # It could not even write why: on a full disk this raises the OSError that says so.
            stderr.write(bytes(4096))
            stderr.flush()
        return finished


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kill ``process`` and all that it started: the docker command runs Compose as a process of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read(READ_OUTPUT).decode("utf-8", "replace")
