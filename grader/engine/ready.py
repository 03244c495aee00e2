"""Whether the engine can run an exercise, before anything is started."""

from __future__ import annotations

from pathlib import Path

import docker

from grader.catalog import Exercise
from grader.engine.connection import connect
from grader.errors import MachineError
from grader.guard import is_full


def engine_for(exercise: Exercise, runtime: str = "") -> docker.DockerClient:
    """The engine, with every image that the exercise starts from, and the runtime if one is asked for.

    Raises:
        MachineError: the engine does not answer, or an image or the runtime is missing.
    """
    client = connect()
    info = client.info()
    if is_full(Path(info["DockerRootDir"])):
        raise MachineError(
            f"The disk that Docker keeps its data on ({info['DockerRootDir']}) is full.",
            "Make room on it; this shows what Docker uses:\n    docker system df",
        )
    if runtime and runtime not in (known := info.get("Runtimes") or {}):
        raise MachineError(
            f"The Docker engine has no runtime called {runtime!r}; it has {', '.join(sorted(known))}.",
            "Install it and name it in the engine's daemon.json (for gVisor's runsc: `runsc install`, then restart "
            "the engine), or grade without --runtime.",
        )
    tags = {tag for image in client.api.images() for tag in image.get("RepoTags") or []}
    if missing := [image for image in exercise.images if image not in tags]:
        raise MachineError(
            f"{exercise.name} needs images that are not on this machine: {', '.join(missing)}.",
            "Pull or build them once:\n    python -m grader images",
        )
    return client
