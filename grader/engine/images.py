"""Getting the images that the workbook needs.

An image of a registry is pulled where the registry answers. Where it does not, an equivalent is built from
Debian packages, with the same tag and a label that tells the two apart. The course's own images stand
on these.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from graphlib import TopologicalSorter
from pathlib import Path

from grader.engine.activity import Activity
from grader.engine.build import build_folder, build_root, build_service
from grader.engine.connection import connect
from grader.engine.inventory import (
    BASE,
    COMPOSE_FILE,
    DEBIAN,
    EQUIVALENT,
    FOLDERS,
    INPUTS,
    PYTHON,
    ROOT,
    Image,
    ImageStatus,
    Inventory,
    State,
)
from grader.engine.pull import NotPulled, Stopped, pull, why_not_offered
from grader.engine.wheelhouse import wheelhouse
from grader.errors import MachineError

__all__ = ["Image", "ImageStatus", "State", "ensure", "status"]

AT_ONCE = 4  # builds; they wait for the network as much as they compute


def status() -> list[ImageStatus]:
    """What this machine has of each image. Asks the engine once.

    Returns:
        one entry for each image that something runs on, in the order in which they are built.

    Raises:
        MachineError: the engine does not answer.
    """
    return Inventory.read().statuses()


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
    inventory = Inventory.read()
    if not inventory.work(everything):
        return inventory.statuses()
    with _alone(say), ThreadPoolExecutor() as pool, Activity(say) as activity:
        # Between the two looks another run may have finished the work.
        if Inventory.read().work(everything):
            _pull_missing(pool, activity)
            _build_missing(activity)
    return status()


def _pull_missing(pool: ThreadPoolExecutor, activity: Activity) -> None:
    inventory = Inventory.read()
    missing = [found.image for found in inventory.statuses() if not found.ready]
    wanted = [image.tag for image in missing if image.in_registry]
    refused: dict[str, list[str]] = {}
    offered = []
    for tag, reason in zip(wanted, pool.map(why_not_offered, wanted), strict=True):
        if reason is None:
            offered.append(tag)
        else:
            refused.setdefault(reason, []).append(tag)
    for reason, tags in refused.items():
        activity.say(f"No registry gives {', '.join(tags)}: {reason}")
    without = [tag for tags in refused.values() for tag in tags]
    if any(inventory.table[tag].inputs for tag in without):
        activity.say("Equivalents are built here instead, from Debian packages: some minutes, once.")
    for tag in without:
        if not inventory.table[tag].inputs:
            activity.say(f"{tag} has no equivalent: what needs it is not run.")
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
                "Make room on the disk; this shows what Docker uses:\n    docker system df\n"
                "Then run:\n    python -m grader images",
            ) from failure
        activity.say(f"{tag}: {failure}")


def _build_missing(activity: Activity) -> None:
    inventory = Inventory.read()
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
    inventory = Inventory.read()
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
