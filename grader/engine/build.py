"""Building one image: from a Dockerfile, from a service of a Compose file, or from nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import requests
from docker.errors import DockerException

from grader.engine.connection import connect
from grader.engine.process import CommandFailed, run
from grader.errors import MachineError
from grader.setup import apt

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_12 = "bookworm"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
STEP_AND_TIME = re.compile(r"^#\d+ (\d+\.\d+ )?")  # what BuildKit puts before each line
LOG_SHOWN = 15  # lines
NO_ENGINE = ("cannot connect to the docker daemon", "error during connect")
NO_MIRROR = ("failure resolving", "could not resolve", "failed to fetch", "timed out", "unable to connect")

Said = Callable[[str], None]


def build_folder(
    tag: str,
    folder: Path,
    labels: Mapping[str, str],
    stopping: threading.Event,
    said: Said,
    *,
    context: Path | None = None,
    network: str = "host",
) -> None:
    """Builds a folder's Dockerfile.

    Args:
        tag: what the image will be called.
        folder: where the Dockerfile is.
        labels: for the image.
        stopping: set by another thread to end it.
        said: is told each line of the build's log.
        context: what COPY copies from; None for the folder.
        network: "host" reaches a package mirror wherever this machine does, e.g. through a proxy on it or
            over a link with small packets; "none" reaches nothing.

    Raises:
        MachineError: the build failed.
        grader.engine.process.Interrupted: `stopping` was set.
    """
    command = ["docker", "build", "--progress=plain", f"--network={network}", f"--tag={tag}"]
    command += [f"--label={key}={value}" for key, value in labels.items()]
    command += [f"--build-arg={name}" for name in PROXIES if network != "none" and os.environ.get(name)]
    command += [f"--file={folder / 'Dockerfile'}", str(context or folder)]
    _build(tag, command, stopping, said)


def build_service(
    tag: str,
    service: str,
    compose_file: Path,
    labels: Mapping[str, str],
    stopping: threading.Event,
    said: Said,
) -> None:
    """Builds a service's image as its Compose file says, with labels added to it.

    Args:
        tag: the service's `image`.
        service: its name.
        compose_file: where it is.
        labels: for the image.
        stopping: set by another thread to end it.
        said: is told each line of the build's log.

    Raises:
        MachineError: the build failed.
        grader.engine.process.Interrupted: `stopping` was set.
    """
    with_labels = json.dumps({"services": {service: {"build": {"labels": dict(labels)}}}})
    command = [
        "docker",
        "compose",
        "--progress=plain",
        f"--file={compose_file}",
        "--file=-",
        "build",
        service,
    ]
    _build(tag, command, stopping, said, stdin=with_labels)


def build_root(
    tag: str,
    script: Path,
    labels: Mapping[str, str],
    stopping: threading.Event,
    said: Said,
    *,
    needed_for: Sequence[str],
) -> None:
    """Makes a Debian root file system and imports it.

    Args:
        tag: what the image will be called.
        script: is given the path of the tar file that it has to write and apt sources; runs mmdebstrap.
        labels: for the image.
        stopping: set by another thread to end it.
        said: is told each line of the script's output.
        needed_for: the images that stand on it; where it cannot be made, the user is told how to bring them.

    Raises:
        MachineError: mmdebstrap is not to be had, or failed.
        grader.engine.process.Interrupted: `stopping` was set.
    """
    if not shutil.which("mmdebstrap"):
        _install_mmdebstrap(said, needed_for)
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="root-") as scratch:
        archive = Path(scratch, "root.tar")
        try:
            run([str(script), str(archive), *own_sources()], stopping, said=said)
        except (CommandFailed, OSError) as failure:
            raise _failed(tag, failure) from failure
        try:
            changes = [f"LABEL {json.dumps(key)}={json.dumps(value)}" for key, value in labels.items()]
            repository, version = tag.rsplit(":", 1)
            with closing(connect()) as client:
                client.api.import_image(str(archive), repository=repository, tag=version, changes=changes)
        except (DockerException, requests.exceptions.RequestException, OSError) as error:
            raise MachineError(f"The engine did not take {tag}: {error}", _what_to_do([str(error)])) from error


def own_sources() -> list[str]:
    """The sources of Debian 12 that this machine's apt is set to: a classroom may have a mirror of its own.

    Returns:
        lines for sources.list; none on another system.
    """
    if not shutil.which("apt-get"):
        return []
    lines: dict[str, None] = {}  # a set that keeps its order
    for target in apt.archive_targets().splitlines():
        address, codename, component, origin = (target.split("|") + [""] * 4)[:4]
        if origin == "Debian" and codename.partition("-")[0] == DEBIAN_12 and address.startswith("http"):
            lines[f"deb {address} {codename} {component}"] = None
    return list(lines)


def _install_mmdebstrap(said: Said, needed_for: Sequence[str]) -> None:
    packages = ["mmdebstrap", "debian-archive-keyring"]
    if apt.usable():
        said(f"installing {' and '.join(packages)} with apt")
        apt.update()
        apt.install(packages)
    elif shutil.which("apt-get"):
        raise MachineError(
            "No registry gives the course's images, and to build equivalents mmdebstrap has to be installed.",
            "Install it, then try again:\n"
            f"    sudo apt-get update && sudo apt-get install -y {' '.join(packages)}\n"
            "    python -m grader images",
        )
    else:
        raise MachineError(
            "No registry gives the course's images, and equivalents can be built on Debian and Ubuntu only.",
            "Connect this machine to a registry, or bring the images from one that has them. There:\n"
            f"    docker save {' '.join(needed_for)} | gzip > images.tar.gz\n"
            "Here:\n"
            "    docker load < images.tar.gz\n"
            "    python -m grader images",
        )


def _build(tag: str, command: Sequence[str], stopping: threading.Event, said: Said, stdin: str = "") -> None:
    try:
        # The builder that belongs to the engine: one of the user's own choice may not see the engine's images.
        context = run(["docker", "context", "show"], stopping)[-1]
        environment = os.environ | {"DOCKER_BUILDKIT": "1", "BUILDX_BUILDER": context}
        run(
            command,
            stopping,
            said=lambda line: said(STEP_AND_TIME.sub("", line)),
            stdin=stdin,
            environment=environment,
            folder=ROOT,
        )
    except (CommandFailed, OSError) as failure:
        raise _failed(tag, failure) from failure


def _failed(tag: str, failure: CommandFailed | OSError) -> MachineError:
    if isinstance(failure, OSError):
        return MachineError(f"Building {tag} could not begin: {failure}", "    python -m grader doctor")
    how = f"with exit status {failure.status}"
    if failure.status < 0:
        how = f"because something sent it signal {-failure.status}"
    shown = "\n".join(f"  {line}" for line in failure.log[-LOG_SHOWN:])
    return MachineError(f"Building {tag} ended {how}. The last lines of its log:\n{shown}", _what_to_do(failure.log))


def _what_to_do(log: Sequence[str]) -> str:
    text = "\n".join(log).lower()
    first = ""
    if "no space left on device" in text:
        first = "The disk is full. Make room; this shows what Docker uses:\n    docker system df\n"
    elif any(sign in text for sign in NO_MIRROR):
        first = (
            "The build reached no package mirror. If this machine needs a proxy, set http_proxy and\n"
            "https_proxy; if its clock or its DNS is wrong, mend that.\n"
        )
    elif any(sign in text for sign in NO_ENGINE):
        first = "The Docker engine went away. See why:\n    python -m grader doctor\n"
    return f"{first}What is built already stays. To go on:\n    python -m grader images"
