"""The connection to the Docker engine that everything in a grading shares."""

from __future__ import annotations

import json
import os
import subprocess

import docker
from docker.errors import DockerException

from grader.errors import MachineError

# A grading looks at several containers from several threads at the same time.
POOL = 32


def connect(timeout: float = 60.0) -> docker.DockerClient:
    """The engine that the docker command talks to.

    Args:
        timeout: seconds for one answer.

    Raises:
        MachineError: no engine answers.
    """
    try:
        client = docker.DockerClient(base_url=_endpoint(), timeout=int(timeout), max_pool_size=POOL, version="auto")
    except (DockerException, OSError) as error:
        raise MachineError(
            f"The Docker engine does not answer: {error}", "See what is missing:\n    python -m grader doctor"
        ) from error
    return client


def _endpoint() -> str | None:
    """Docker Desktop and rootless engines listen where the current context says, not at the default socket."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    if not os.environ.get("DOCKER_CONTEXT") and not os.path.exists(os.path.expanduser("~/.docker/config.json")):
        return None
    shown = subprocess.run(["docker", "context", "inspect"], capture_output=True, text=True, timeout=10)
    if shown.returncode:
        return None
    endpoint: str | None = json.loads(shown.stdout)[0]["Endpoints"]["docker"].get("Host")
    return endpoint
