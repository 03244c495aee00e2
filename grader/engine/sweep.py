"""What gradings own on the engine, and removing what a killed one left behind: that and nothing else.

Everything a grading makes carries the label ``org.compose-course.grading`` with its owner: which
machine, which process, started when. What has no such label is never touched.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import docker
import psutil
import requests
from docker.errors import APIError, DockerException, NotFound

from grader import folders
from grader.errors import InternalError
from grader.rewrite import LABEL

# Project names begin so.
PREFIX = "grading"
IMAGE = "python:3.11-slim"
# What the engine was doing when the grader was killed may still arrive after the first look.
PASSES = 10
BETWEEN_PASSES = 0.3  # seconds


@dataclass(frozen=True)
class Owner:
    """The process that a grading belongs to, written as ``machine/pid/started/project``."""

    machine: str
    pid: int
    started: int
    project: str

    @classmethod
    def new(cls) -> Owner:
        """This process, with a project name that no other grading has."""
        started = int(psutil.Process().create_time())
        return cls(_machine(), os.getpid(), started, f"{PREFIX}-{uuid.uuid4().hex[:10]}")

    @classmethod
    def parse(cls, label: str) -> Owner | None:
        """The owner that a label names; None if the label is not one of ours."""
        parts = label.split("/")
        if len(parts) != 4 or not parts[1].isdigit() or not parts[2].isdigit():
            return None
        return cls(parts[0], int(parts[1]), int(parts[2]), parts[3])

    def __str__(self) -> str:
        return f"{self.machine}/{self.pid}/{self.started}/{self.project}"

    @property
    def folder(self) -> Path:
        """Where this grading keeps its private copy and the file it starts.

        Its name says whose it is, so there is no moment in which a kill could leave one that is nobody's.
        """
        return state_folder() / str(self).replace("/", "_")

    @classmethod
    def of_folder(cls, folder: Path) -> Owner | None:
        """The owner of a folder of private copies; None if it is none."""
        return cls.parse(folder.name.replace("_", "/"))

    def gone(self) -> bool:
        """Whether the process has ended; an owner on another machine is never said to be gone."""
        if self.machine != _machine():
            return False
        try:
            process = psutil.Process(self.pid)
            return int(process.create_time()) != self.started or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


def state_folder() -> Path:
    """Where private copies lie while they are graded: one folder per user, readable by nobody else."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir()).resolve() / f"compose-course-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


def keep(owner: Owner) -> None:
    """Mark a grading as kept on purpose (``--keep``), so that ``clean`` leaves it alone."""
    (state_folder() / f"{owner.project}.kept").write_text(str(owner))


def kept() -> set[str]:
    """The project names of gradings kept on purpose."""
    return {path.stem for path in state_folder().glob("*.kept")}


@dataclass
class Swept:
    """How many of each were removed."""

    containers: int = 0
    networks: int = 0
    volumes: int = 0
    images: int = 0
    folders: int = 0

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(vars(self).values())

    def __add__(self, other: Swept) -> Swept:
        return Swept(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))


def clean(client: docker.DockerClient, *, kept_too: bool = False) -> Swept:
    """Remove everything whose grading's process is gone.

    Args:
        kept_too: also what ``--keep`` left on purpose.
    """
    spared = set() if kept_too else kept()

    def abandoned(owner: Owner | None) -> bool:
        return owner is not None and owner.project not in spared and owner.gone()

    left = [folder for folder in state_folder().iterdir() if abandoned(Owner.of_folder(folder))]
    _stop_commands([owner.project for folder in left if (owner := Owner.of_folder(folder))])
    swept = Swept()
    for _ in range(PASSES):
        swept += (found := remove(client, lambda label: abandoned(Owner.parse(label))))
        if not found.total:
            break
        time.sleep(BETWEEN_PASSES)
    for folder in left:
        discard(folder, client)
        swept.folders += not folder.exists()
    if kept_too:
        for mark in state_folder().glob("*.kept"):
            mark.unlink(missing_ok=True)
    return swept


def _stop_commands(projects: Sequence[str]) -> None:
    """Kill the Compose commands of these projects: they outlive a grader that was killed, and go on creating things."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "compose" in words and any(word == p or word.startswith(f"{p}-") for word in words for p in projects):
            with contextlib.suppress(psutil.Error):
                process.kill()
                process.wait(5)


def discard(folder: Path, client: docker.DockerClient | None) -> None:
    """Remove a folder of private copies, also what containers have put there as another user."""
    folders.remove(folder)
    if folder.exists() and client is not None:
        with contextlib.suppress(DockerException):
            client.containers.run(
                IMAGE,
                ["find", "/folder", "-mindepth", "1", "-delete"],
                remove=True,
                network_mode="none",
                volumes={str(folder): {"bind": "/folder", "mode": "rw"}},
                labels={LABEL: str(Owner.of_folder(folder) or "")},
            )
        folders.remove(folder)


def remove(client: docker.DockerClient, wanted: Callable[[str], bool]) -> Swept:
    """Remove every container, network, volume and image whose grading label is ``wanted``."""
    swept = Swept()
    mine = {"label": LABEL}
    for container in client.api.containers(all=True, filters=mine):
        if wanted(container["Labels"][LABEL]):
            swept.containers += _removed(partial(client.api.remove_container, container["Id"], v=True, force=True))
    for network in client.api.networks(filters=mine):
        if wanted(network["Labels"][LABEL]):
            swept.networks += _removed(partial(client.api.remove_network, network["Id"]))
    for volume in client.api.volumes(filters=mine).get("Volumes") or []:
        if wanted(volume["Labels"][LABEL]):
            swept.volumes += _removed(partial(client.api.remove_volume, volume["Name"]))
    for image in client.api.images(filters=mine):
        if wanted(image["Labels"][LABEL]):
            swept.images += _removed(partial(client.api.remove_image, image["Id"], force=True))
    return swept


def _removed(action: Callable[[], object]) -> bool:
    try:
        action()
    except NotFound:
        return False
    except APIError as error:
        # Somebody else is removing it at this moment, or it is still in use (a network: 403): `clean` can be run again.
        if error.status_code in (403, 409, 500):
            return False
        raise
    except requests.Timeout:  # the engine cannot get rid of it; whoever asked looks at what is left
        return False
    return True


def _machine() -> str:
    # A pid means something only within one boot of one machine and one PID namespace.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
        return f"{boot}-{namespace}"
    except OSError:
        return f"{socket.gethostname()}-{int(psutil.boot_time())}"


def remove_all_of(client: docker.DockerClient, owner: Owner, problem: str = "") -> None:
    """Remove everything that a grading made on the engine.

    Args:
        problem: what went wrong before, for the message.

    Raises:
        InternalError: a container would not go; says what to do.
    """
    mine = str(owner)
    remove(client, lambda label: label == mine)
    if left := client.api.containers(all=True, filters={"label": f"{LABEL}={mine}"}):
        raise InternalError(
            f"Containers of this grading could not be removed: {[c['Names'][0] for c in left]}. {problem}",
            "Remove them with:\n    python -m grader clean",
        )
