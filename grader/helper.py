"""The grader's own small containers: what all of them have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import docker
from docker.models.containers import Container

from grader.rewrite import LABEL

IMAGE = "python:3.11-slim"
FOR_EVER = ("sleep", "infinity")


def start_helper(client: docker.DockerClient, owner: str, command: Sequence[str] = FOR_EVER, **more: Any) -> Container:
    """Start a container that may do next to nothing; whoever starts it removes it.

    Args:
        owner: of the grading, for its label: ``clean`` finds by it what was left behind.
        more: what this one needs beyond the others, as docker's ``containers.run`` takes it.
    """
    return client.containers.run(
        IMAGE,
        list(command),
        detach=True,
        init=True,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="128m",
        pids_limit=64,
        labels={LABEL: owner},
        **more,
    )
