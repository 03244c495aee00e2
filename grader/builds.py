"""Builds of one of the learner's services beside the stack: another target, other arguments, an edited context.

They are built on the terms of the stack's own builds (``grader.rewrite``): the Dockerfile that was checked, no network,
and the grading's label on every image, so that the teardown finds it. What a build has made is looked into in
containers that run nothing of the learner's (``containers``).
"""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader import dockerfile, recipe
from grader.budget import stretched
from grader.engine.inventory import IMAGES
from grader.errors import Blocked
from grader.events import SERVICE_LABEL
from grader.project import Project
from grader.rehearsal import side_project
from grader.stack import Stack
from grader.text import last_lines

BUILD_TIMEOUT = 90.0  # seconds for one build, on an idle machine

# What ties a service to the others or to the machine.
_TIES = (
    "build", "depends_on", "ports", "networks", "hostname", "links", "profiles", "healthcheck", "deploy", "scale",
    "volumes", "secrets", "configs",
)  # fmt: skip
# What a service says otherwise than its image.
_OWN = ("command", "entrypoint", "environment", "user", "working_dir", "read_only", "tmpfs")
_STEP = re.compile(r"^#\d+ (?=\[|ERROR|CACHED)|^#\d+ [\d.]+ ?")

_TELLING = re.compile(r"error|failed|not found|could not|no such", re.IGNORECASE)


@dataclass(frozen=True)
class Built:
    """One build that has ended.

    Attributes:
        status: its exit status; None if it took too long.
        log: what it printed.
        image: the name of the image; empty if there is none.
        inspected: what the engine says of the image.
    """

    status: int | None
    log: str
    image: str
    inspected: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether there is an image."""
        return self.status == 0

    @property
    def size(self) -> int:
        """Bytes of all its layers, those of the image that it was built from included."""
        return int(self.inspected.get("Size", 0))

    @property
    def problem(self) -> str:
        """Why there is no image: the last lines that say so, without BuildKit's numbers."""
        if self.status is None:
            return "the build took too long"
        lines = [_STEP.sub("", line).strip() for line in self.log.splitlines()]
        telling = [line for line in lines if _TELLING.search(line)]
        return " ".join(last_lines("\n".join(telling or lines), count=2, width=300)) or "it says nothing"


def build(
    stack: Stack,
    service: str,
    name: str,
    *,
    target: str | None = None,
    args: Mapping[str, str] | None = None,
    folder: Path | None = None,
    text: str = "",
) -> Built:
    """Build ``service`` as the stack does, but for what is given here.

    Args:
        name: of this build; no other of the grading has it.
        target: the stage to build.
        args: build arguments that come on top of the service's own.
        folder: a copy of the private copy (``copied``) in which something was changed; the build takes place there.
        text: another Dockerfile, of the check's own.

    Raises:
        Blocked: with these arguments the Dockerfile would do something that is refused.
    """
    graded = copy.deepcopy(dict(stack.config["services"][service]["build"]))
    if args:
        graded["args"] = {**dict(graded.get("args") or {}), **args}
    if target is not None:
        graded["target"] = target
    if text:
        graded = {"context": graded["context"], "network": "none", "labels": graded["labels"]}
        graded["dockerfile_inline"] = recipe.doubled(text)
    if folder is not None:
        graded = _moved(graded, stack.folder, folder)
    _check(graded)
    image = f"{stack.owner.project}-build-{name}"
    config = {"services": {service: {"image": image, "build": graded}}}
    project = Project(image, config, stack.owner.folder)
    project.build = True
    done = project.run(["build"], stack.budget.at_most(stretched(BUILD_TIMEOUT)))
    found: Mapping[str, Any] = stack.client.api.inspect_image(image) if done.status == 0 else {}
    return Built(done.status, f"{done.stdout}\n{done.stderr}", image if done.status == 0 else "", found)


def copied(stack: Stack, name: str) -> Path:
    """A copy of the private copy for ``build``, to change something in; it goes with the grading."""
    folder = stack.owner.folder / f"build-{name}"
    shutil.copytree(stack.folder, folder, symlinks=True)
    return folder


def _moved(graded: Mapping[str, Any], old: Path, new: Path) -> dict[str, Any]:
    """The same build in another folder."""

    def moved(path: str) -> str:
        if path.startswith("service:"):
            return path
        return str(new / Path(path).resolve().relative_to(old.resolve()))

    result = dict(graded) | {"context": moved(str(graded["context"]))}
    if contexts := graded.get("additional_contexts"):
        result["additional_contexts"] = {name: moved(str(path)) for name, path in contexts.items()}
    return result


def _check(graded: Mapping[str, Any]) -> None:
    """The Dockerfile was vetted with the learner's arguments; others can make something else of it."""
    images = {image.tag for image in IMAGES if not image.ingredient}
    arguments = {key: recipe.plain(str(value)) for key, value in (graded.get("args") or {}).items()}
    text = recipe.plain(str(graded["dockerfile_inline"]))
    for problem in dockerfile.problems(text, images, arguments, graded.get("additional_contexts") or {}):
        raise Blocked(f"With other build arguments, line {problem.line} would be refused: {problem.why}")


@contextmanager
def containers(
    stack: Stack,
    service: str,
    name: str,
    run: Mapping[str, str],
    look_into: Mapping[str, str],
    without: Sequence[str] = (),
) -> Iterator[Mapping[str, str]]:
    """Containers of images that were built, in a project without network; gone at the end.

    Nothing is mounted into them: an image stands alone.

    Args:
        run: name -> image; these containers have the service's settings and do what the image or the service says.
        look_into: name -> image; these are as the image says, but only sleep.
        without: names of variables that ``run`` does not get.

    Yields:
        name -> the container's id.
    """
    alone = copy.deepcopy(dict(stack.config["services"][service]))
    for key in _TIES:
        alone.pop(key, None)
    alone |= {"pull_policy": "never", "network_mode": "none", "restart": "no", "init": True}
    plain = {key: value for key, value in alone.items() if key not in _OWN}
    environment = {key: value for key, value in (alone.get("environment") or {}).items() if key not in without}
    services = {key: alone | {"image": image, "environment": environment} for key, image in run.items()}
    services |= {key: plain | {"image": image, "entrypoint": ["sleep", "600"]} for key, image in look_into.items()}
    with side_project(stack.client, stack.owner, name, {"services": services}) as project:
        started = project.up()
        found = {c["Labels"][SERVICE_LABEL]: c["Id"] for c in project.containers(stack.client)}
        if missing := services.keys() - found.keys():
            said = " ".join(last_lines(started.stderr.decode("utf-8", "replace"), count=2))
            raise Blocked(f"no container could be made of an image ({', '.join(sorted(missing))}): {said}")
        yield found
