"""Small projects made from parts of a model, to see what the whole stack cannot show by itself.

In a live stack everything usually becomes healthy in an order that hides a missing condition. A
rehearsal keeps the learner's ``depends_on`` and puts stand-ins (containers that only sleep) in the
services' places, with one of them failing on purpose: whoever waits properly is then never started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import docker

from grader.engine.sweep import Owner
from grader.events import SERVICE_LABEL
from grader.helper import IMAGE
from grader.model import Model
from grader.project import Project
from grader.rewrite import LABEL


@contextmanager
def side_project(
    client: docker.DockerClient, owner: Owner, suffix: str, config: Mapping[str, Any]
) -> Iterator[Project]:
    """A project of its own beside the learner's stack, removed at the end.

    Args:
        owner: of the grading that the project belongs to.
        suffix: tells it from the grading's other projects.
        config: the whole compose file, without networks and volumes.
    """
    project = Project(f"{owner.project}-{suffix}", config, owner.folder)
    try:
        yield project
    finally:
        project.discard(client)


@dataclass(frozen=True)
class Rehearsal:
    """What happened when ``failing`` failed.

    Attributes:
        started: the services that were started all the same.
        created: the services that Compose got as far as creating.
    """

    failing: str
    started: frozenset[str]
    created: frozenset[str]


def rehearse(
    client: docker.DockerClient,
    model: Model,
    owner: Owner,
    watched: Sequence[str],
    failing: Sequence[str],
    one_shots: frozenset[str],
) -> dict[str, Rehearsal]:
    """Let each of ``failing`` fail in a project of its own, all at the same time, and start everything else.

    Args:
        watched: the services whose start is rehearsed.
        one_shots: the services that end instead of running on; they fail by ending with 1,
            all others by becoming unhealthy.

    Returns:
        The failing service -> what happened. Only the watched services have a part in it, and those
        through which they depend on the failing one.
    """

    def one(name: str) -> Rehearsal:
        config = _stand_ins(model, str(owner), watched, name, one_shots)
        with side_project(client, owner, f"without-{name}", config) as project:
            project.up()
            states = {c["Labels"][SERVICE_LABEL]: c["State"] for c in project.containers(client)}
        started = {service for service, state in states.items() if state != "created"}
        return Rehearsal(name, frozenset(started), frozenset(states))

    with ThreadPoolExecutor(len(failing)) as pool:
        return dict(zip(failing, pool.map(one, failing), strict=True))


def _stand_ins(
    model: Model, owner: str, watched: Sequence[str], failing: str, one_shots: frozenset[str]
) -> dict[str, Any]:
    services: dict[str, dict[str, Any]] = {}
    taking_part = {failing}.union(*(_between(model, name, failing) for name in watched if name in model.services))
    for name in sorted(taking_part):
        fails = name == failing
        depends_on = {
            other: {"condition": d.condition, "required": d.required}
            for other, d in model.services[name].depends_on.items()
        }
        services[name] = {
            "image": IMAGE,
            "pull_policy": "never",
            "command": ["sh", "-c", f"exit {int(fails)}"] if name in one_shots else ["sleep", "infinity"],
            "init": True,
            "network_mode": "none",
            "restart": "no",
            "labels": {LABEL: owner},
            "depends_on": depends_on,
        }
        if name not in one_shots and model.services[name].config.get("healthcheck"):
            services[name]["healthcheck"] = {
                "test": ["CMD", "false" if fails else "true"],
                "interval": "0.1s",
                "retries": 1,
            }
    for service in services.values():
        service["depends_on"] = {o: d for o, d in service["depends_on"].items() if o in services}
    return {"services": services}


def _between(model: Model, waiting: str, failing: str) -> set[str]:
    """The services on any way from ``waiting`` down to ``failing``, both ends included."""

    def reaches(name: str, seen: frozenset[str]) -> bool:
        return name == failing or any(
            other not in seen and reaches(other, seen | {other}) for other in model.services[name].depends_on
        )

    found, todo = {waiting}, [waiting]
    while todo:
        for other in model.services[todo.pop()].depends_on:
            if other in model.services and other not in found and reaches(other, frozenset({other})):
                found.add(other)
                todo.append(other)
    return found
