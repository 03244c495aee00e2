"""Whether the engine can limit what a container writes to its own file system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker
from docker.errors import APIError

from grader.rewrite import LABEL

IMAGE = "python:3.11-slim"
SIZE = 2 * 2**30  # bytes


def limit(client: docker.DockerClient, info: Mapping[str, Any], owner: str) -> int | None:
    """Bytes that a container may be limited to; None where the storage driver cannot limit them.

    btrfs and zfs can; overlay2 can on xfs that is mounted with pquota, which only trying shows
    (docs.docker.com/reference/cli/docker/container/run/, ``--storage-opt``).

    Args:
        info: the engine's ``info``.
        owner: whose grading it is, for the label by which `clean` finds the container that is tried.
    """
    backing = dict(info.get("DriverStatus") or []).get("Backing Filesystem", "")
    if info.get("Driver") not in ("btrfs", "zfs") and backing != "xfs":
        return None
    options = client.api.create_host_config(storage_opt={"size": str(SIZE)})
    try:
        container = client.api.create_container(IMAGE, ["true"], host_config=options, labels={LABEL: owner})["Id"]
    except APIError:
        return None
    client.api.remove_container(container)
    return SIZE
