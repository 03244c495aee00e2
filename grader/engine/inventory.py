"""Which images the workbook needs, and what this machine has of them: asking, never changing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from docker.errors import DockerException

from grader.engine.connection import connect
from grader.engine.fingerprint import fingerprint
from grader.errors import MachineError

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "compose.yml"
FOLDERS = ROOT / "stack" / "images"

EQUIVALENT = "org.compose-course.equivalent"  # "true": stands in for an image of a registry
INPUTS = "org.compose-course.inputs"  # the fingerprint of what the image was built from

DEBIAN = "compose-course/debian:12"
BUSYBOX = "compose-course/busybox:12"
PYTHON = "python:3.11-slim"
BASE = "compose-course/base:1"


@dataclass(frozen=True)
class Image:
    """One image that the workbook needs.

    Attributes:
        tag: what Compose files call it.
        purpose: what for, a few words.
        in_registry: a registry has it; building it here gives an equivalent.
        inputs: the files and folders it is built from here; none if it cannot be built here.
        parent: the tag that its Dockerfile starts from.
        service: the service of the root compose.yml that builds it.
        build: that service's `build` section, as JSON.
        ingredient: nothing runs on it; only equivalents stand on it.
    """

    tag: str
    purpose: str
    in_registry: bool = False
    inputs: tuple[Path, ...] = ()
    parent: str | None = None
    service: str | None = None
    build: str = ""
    ingredient: bool = False


def _equivalent(tag: str, purpose: str, folder: str, parent: str) -> Image:
    return Image(tag, purpose, in_registry=True, inputs=(FOLDERS / folder,), parent=parent)


IMAGES = (
    Image(DEBIAN, "what the equivalents stand on", inputs=(FOLDERS / "debian",), ingredient=True),
    Image(BUSYBOX, "what alpine images have", inputs=(FOLDERS / "busybox",), parent=DEBIAN, ingredient=True),
    _equivalent(PYTHON, "the base of everything in Python", "python", DEBIAN),
    _equivalent("postgres:15-alpine", "the prediction log", "postgres", BUSYBOX),
    _equivalent("redis:7-alpine", "the cache", "redis", BUSYBOX),
    _equivalent("nginx:1.28-alpine", "the load balancer", "nginx", BUSYBOX),
    _equivalent("prom/prometheus:v3.5.0", "metrics", "prometheus", BUSYBOX),
    Image("grafana/grafana:12.1.0", "dashboards", in_registry=True),
    Image(BASE, "Python with the course's packages at hand", inputs=(FOLDERS / "course",), parent=PYTHON),
)


class State(StrEnum):
    """Where an image came from."""

    PULLED = "pulled"
    EQUIVALENT = "equivalent"
    BUILT = "built"
    MISSING = "missing"


@dataclass(frozen=True)
class ImageStatus:
    """What this machine has of one image.

    Attributes:
        image: which.
        state: where it came from.
        id: the engine's, "sha256:…"; None if missing.
        size: bytes; None if missing.
        outdated: it was built here, and what it is built from has changed since.
    """

    image: Image
    state: State
    id: str | None = None
    size: int | None = None
    outdated: bool = False

    @property
    def ready(self) -> bool:
        """It can be used as it is."""
        return self.state is not State.MISSING and not self.outdated


@dataclass(frozen=True)
class _Present:
    id: str
    size: int
    labels: Mapping[str, str]


class Inventory:
    """The table of images beside what the engine has of them."""

    def __init__(self, table: Mapping[str, Image], present: Mapping[str, _Present]) -> None:
        self.table = table
        self._present = present
        self._children = {tag: [image for image in table.values() if image.parent == tag] for tag in table}

    @classmethod
    def read(cls) -> Inventory:
        return cls({image.tag: image for image in (*IMAGES, *stack_images())}, _present())

    def statuses(self) -> list[ImageStatus]:
        return [self.status(image) for image in self.table.values() if not image.ingredient]

    def work(self, everything: bool) -> bool:
        """There is something to pull or to build."""
        return any(not found.ready and (found.image.inputs or everything) for found in self.statuses())

    def status(self, image: Image) -> ImageStatus:
        present = self._present.get(image.tag)
        if present is None:
            return ImageStatus(image, State.MISSING)
        if image.in_registry and present.labels.get(EQUIVALENT) != "true":
            return ImageStatus(image, State.PULLED, present.id, present.size)
        outdated = present.labels.get(INPUTS) != self.fingerprint(image)
        state = State.EQUIVALENT if image.in_registry else State.BUILT
        return ImageStatus(image, state, present.id, present.size, outdated)

    def to_build(self, image: Image) -> bool:
        if not image.inputs or self.status(image).ready:
            return False
        return not image.ingredient or any(self.to_build(child) for child in self._children[image.tag])

    def equivalents(self) -> list[str]:
        """The tags that can be built from Debian packages."""
        return [image.tag for image in self.table.values() if image.in_registry and image.inputs]

    def fingerprint(self, image: Image) -> str:
        """Of what the image is built from.

        An equivalent counts its ingredients by what they are built from: they may be pruned without harm.
        Everything else counts its parent by its id: the parent may have been pulled.
        """
        above = ""
        if image.parent:
            parent = self.table[image.parent]
            found = self._present.get(image.parent)
            above = self.fingerprint(parent) if parent.ingredient else found.id if found else "missing"
        return fingerprint(image.inputs, image.tag, image.build, above)


def stack_images() -> list[Image]:
    """The images that the root compose.yml builds.

    Returns:
        one for each tag, in the order of the file.

    Raises:
        MachineError: the file cannot be read.
    """
    try:
        services = (yaml.safe_load(COMPOSE_FILE.read_text()) or {}).get("services") or {}
    except (OSError, yaml.YAMLError) as error:
        raise MachineError(
            f"The workbook's own compose.yml cannot be read: {error}",
            f"Restore it:\n    git checkout -- {COMPOSE_FILE.name}",
        ) from error
    images: dict[str, Image] = {}
    for name, service in services.items():
        if "build" in service and "image" in service and service["image"] not in images:
            images[service["image"]] = _stack_image(name, service)
    return list(images.values())


def _stack_image(name: str, service: Mapping[str, Any]) -> Image:
    build = service["build"] if isinstance(service["build"], dict) else {"context": service["build"]}
    return Image(
        service["image"],
        f"the stack's {name}",
        inputs=(ROOT / build.get("context", "."),),
        parent=BASE,
        service=name,
        build=json.dumps(build, sort_keys=True),
    )


def _present() -> dict[str, _Present]:
    try:
        with closing(connect()) as client:
            # One request for all; `client.images.list()` asks again for each image.
            listed = client.api.images()
    except DockerException as error:
        raise MachineError(
            f"The Docker engine does not answer: {error}", "See why:\n    python -m grader doctor"
        ) from error
    return {
        tag: _Present(entry["Id"], entry["Size"], entry.get("Labels") or {})
        for entry in listed
        for tag in entry.get("RepoTags") or ()
    }
