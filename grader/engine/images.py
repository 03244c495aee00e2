"""The images that the workbook needs: which there are, what this machine has, and getting the rest.

An image of a registry is pulled where the registry answers. Where it does not, an equivalent is built from
Debian packages, with the same tag and a label that tells the two apart. The course's own images stand
on these.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml
from docker.errors import DockerException

from grader.engine.activity import Activity
from grader.engine.build import build_folder, build_root, build_service
from grader.engine.connection import connect
from grader.engine.fingerprint import fingerprint
from grader.engine.pull import NotPulled, Stopped, pull, why_not_offered
from grader.engine.wheelhouse import wheelhouse
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

AT_ONCE = 4  # builds; they wait for the network as much as they compute


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


def status() -> list[ImageStatus]:
    """What this machine has of each image. Asks the engine once.

    Returns:
        one entry for each image that something runs on, in the order in which they are built.

    Raises:
        MachineError: the engine does not answer.
    """
    return _Inventory.read().statuses()


def ensure(say: Callable[[str], None] = print, *, everything: bool = False) -> list[ImageStatus]:
    """Gets what is missing or outdated: pulls it, or builds it. Quick when nothing is.

    An image that somebody pulled or built under one of the tags is used as it is and never replaced.

    Args:
        say: is given a line for each thing that begins or ends; where errors go to a terminal, bars show the
            rest.
        everything: also ask again for an image that only a registry can give. Otherwise it is asked for when
            there is other work to do.

    Returns:
        what there is now. An image that only a registry has may still be missing; nothing else is.

    Raises:
        MachineError: the engine does not answer, or an image can be neither pulled nor built.
    """
    inventory = _Inventory.read()
    if not inventory.work(everything):
        return inventory.statuses()
    with _alone(say), ThreadPoolExecutor() as pool, Activity(say) as activity:
        # Between the two looks another run may have finished the work.
        if _Inventory.read().work(everything):
            _pull_missing(pool, activity)
            _build_missing(activity)
    return status()


class _Inventory:
    """The table of images beside what the engine has of them."""

    def __init__(self, table: Mapping[str, Image], present: Mapping[str, _Present]) -> None:
        self.table = table
        self._present = present
        self._children = {tag: [image for image in table.values() if image.parent == tag] for tag in table}

    @classmethod
    def read(cls) -> _Inventory:
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
            f"Restore it:\n  git checkout -- {COMPOSE_FILE.name}",
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
        raise MachineError(f"The Docker engine does not answer: {error}", "python -m grader doctor") from error
    return {
        tag: _Present(entry["Id"], entry["Size"], entry.get("Labels") or {})
        for entry in listed
        for tag in entry.get("RepoTags") or ()
    }


def _pull_missing(pool: ThreadPoolExecutor, activity: Activity) -> None:
    wanted = [found.image.tag for found in _Inventory.read().statuses() if found.image.in_registry and not found.ready]
    refused: dict[str, list[str]] = {}
    offered = []
    for tag, reason in zip(wanted, pool.map(why_not_offered, wanted), strict=True):
        if reason is None:
            offered.append(tag)
        else:
            refused.setdefault(reason, []).append(tag)
    for reason, tags in refused.items():
        activity.say(f"No registry gives {', '.join(tags)}: {reason}")
    for pulled in [pool.submit(_pull_one, tag, activity) for tag in offered]:
        pulled.result()


def _pull_one(tag: str, activity: Activity) -> None:
    try:
        with activity.step(tag, "pulling") as step:
            pull(tag, step.bytes, activity.stopping)
            step.outcome("pulled")
    except Stopped:
        return
    except NotPulled as failure:
        if "no space left on device" in str(failure):
            raise MachineError(
                f"{tag} could not be pulled: {failure}",
                "Make room on the disk; this shows what Docker uses:\n  docker system df\n"
                "Then run:\n  python -m grader images",
            ) from failure
        activity.say(f"{tag}: {failure}")


def _build_missing(activity: Activity) -> None:
    inventory = _Inventory.read()
    parents = {tag: [image.parent] if image.parent else [] for tag, image in inventory.table.items()}
    order = TopologicalSorter(parents)
    order.prepare()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wheels = None
        if inventory.to_build(inventory.table[BASE]) or inventory.to_build(inventory.table[PYTHON]):
            wheels = pool.submit(_fetch_wheels, activity)
        running: dict[Future[None], str] = {}
        try:
            while order.is_active():
                for tag in order.get_ready():
                    running[pool.submit(_build_if_needed, tag, wheels, activity)] = tag
                for finished in wait(running, return_when=FIRST_COMPLETED).done:
                    finished.result()
                    order.done(running.pop(finished))
        except BaseException:
            activity.stopping.set()  # or leaving the block would wait for every build to end by itself
            raise


def _fetch_wheels(activity: Activity) -> Path:
    with activity.step("wheelhouse", "getting the packages of the base image") as step:
        return wheelhouse(FOLDERS / "course" / "requirements.txt", _architecture(), activity.stopping, step.note)


def _build_if_needed(tag: str, wheels: Future[Path] | None, activity: Activity) -> None:
    # Looked at anew: a parent may have been built since, and with its id the fingerprint changes.
    inventory = _Inventory.read()
    image = inventory.table[tag]
    if not inventory.to_build(image):
        return
    stands_in = image.in_registry or image.ingredient
    labels = {EQUIVALENT: "true" if stands_in else "false", INPUTS: inventory.fingerprint(image)}
    what = "building from Debian packages" if stands_in else "building"
    with activity.step(tag, what) as step:
        if image.service:
            build_service(tag, image.service, COMPOSE_FILE, labels, activity.stopping, step.note)
        elif tag == DEBIAN:
            script = image.inputs[0] / "build.sh"
            build_root(tag, script, labels, activity.stopping, step.note, needed_for=inventory.equivalents())
        elif tag == BASE and wheels:
            context = wheels.result()
            build_folder(tag, image.inputs[0], labels, activity.stopping, step.note, context=context, network="none")
        else:
            build_folder(tag, image.inputs[0], labels, activity.stopping, step.note)
        step.outcome("built as an equivalent" if image.in_registry else "built")


def _architecture() -> str:
    with closing(connect()) as client:
        return str(client.info()["Architecture"])


@contextmanager
def _alone(say: Callable[[str], None]) -> Iterator[None]:
    """One run at a time prepares images: two would build the same ones twice."""
    lock = ROOT / ".cache" / "images.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another run is preparing the images; this one goes on when it has finished.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
