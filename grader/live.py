"""The live part of a grading: on which terms its stacks are started, and what is kept of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import docker
from docker.errors import DockerException
from requests import RequestException

from grader import imageref, policy, rewrite
from grader.budget import Budget, stretched
from grader.engine import storage, sweep
from grader.errors import Blocked, MachineError
from grader.interrupts import teardown_undisturbed
from grader.model import Model
from grader.request import Request
from grader.results import PostMortem
from grader.rewrite import Isolation, Limits, Polling, Terms
from grader.stack import Stack, engine_lost
from grader.submission import Submission
from grader.vetting import Overlay

# Seconds between probes: until the first success, and afterwards. A probe in Python costs as much as an eighth of the
# start of a service: made five times a second, four of them took a tenth of a grading's CPU time, and it took longer.
# Failures inside the start period do not count; when to give up is the stack's own decision, not the engine's.
POLLING = Polling(start=0.5, steady=10.0, start_period=600.0)
POLLING_BEFORE_25 = Polling(start=None, steady=0.5, start_period=600.0)
START_INTERVAL_API = (1, 44)


class LiveStacks:
    """The stacks of one grading, each started when the first check needs it and gone when the grading ends.

    Args:
        model: of the main stack; None if the exercise has none.
        overlays: the other stacks, by name.
    """

    def __init__(
        self,
        request: Request,
        client: docker.DockerClient | None,
        model: Model | None,
        overlays: Mapping[str, Overlay],
        copy: Submission,
        owner: sweep.Owner,
        budget: Budget,
    ) -> None:
        self.started = False
        self.start_problem = ""
        self.services: list[PostMortem] = []
        self.seconds_to_settle = 0.0
        self.seconds_to_stop = 0.0
        self._request, self._client, self._owner, self._budget = request, client, owner, budget
        self._model, self._overlays, self._copy = model, overlays, copy
        self._stack: Stack | None = None
        self._others: dict[str, Future[Stack]] = {}
        self._opening = threading.Lock()
        self._info: Mapping[str, Any] = {}
        # Where others wait for the cores, too, probes must not take what the services need to start. Decided once:
        # Compose makes a container with another health check anew.
        self._polling = replace(POLLING, start=round(stretched(POLLING.start or 0.0), 1))

    @contextmanager
    def engine_has_to_answer(self) -> Iterator[None]:
        """Raises MachineError if the machine failed under the stack: what was seen means nothing then."""
        try:
            yield
        except (DockerException, RequestException) as error:
            stack = next(iter(self._stacks()), None)
            if stack is None or (self._machine_failed is None and stack.engine_answers()):
                raise
            raise self._machine_failed or engine_lost() from error
        if self._machine_failed is not None:
            raise self._machine_failed

    def start(self) -> Stack:
        """Enter the main stack, which then comes up in the background."""
        exercise = self._request.exercise
        assert self._model is not None, f"{exercise.key} has no main stack"
        self._stack = self._enter(self._model, exercise.reach, exercise.patience, "")
        return self._stack

    def renew(self, model: Model, config: Mapping[str, Any], anew: Collection[str] | None, budget: Budget) -> Stack:
        """Let the running main stack become ``config``, which is ``config_of(model)``; see ``Stack.renew``."""
        assert self._stack is not None
        self._model, self._budget = model, budget
        self._stack.renew(model, config, anew, budget)
        return self._stack

    def start_other(self, name: str, up: bool = True) -> Stack:
        """The stack called so in ``exercise.toml``, settled; in a project of its own, and started only once.

        Args:
            up: whether it is started at all, or only made ready for ``Stack.compose``.

        Raises:
            Blocked: Compose cannot read its files.
        """
        overlay = self._overlays[name]
        if overlay.model is None:
            raise Blocked(overlay.problem)
        with self._opening:
            mine = name not in self._others
            future = self._others.setdefault(name, Future())
        if mine:
            try:
                future.set_result(self._enter(overlay.model, overlay.files.reach, overlay.files.patience, name, up))
            except BaseException as error:
                future.set_exception(error)
        stack = future.result()
        stack.settle()
        return stack

    def _enter(self, model: Model, reach: Mapping[str, int], patience: float, name: str, up: bool = True) -> Stack:
        assert self._client is not None  # nothing starts a stack in a static grading
        config = self._rewritten(model, reach)
        stack = Stack(
            self._client,
            model,
            config,
            self._owner,
            patience,
            self._budget,
            folder=self._copy.folder,
            behind=self._behind_a_gate(model, reach),
            data=Path(self._info["DockerRootDir"]),
            name=name,
        )
        stack.open(up=up)
        self.started = True
        return stack

    def config_of(self, model: Model) -> dict[str, Any]:
        """What is started for ``model`` as the main stack."""
        return self._rewritten(model, self._request.exercise.reach)

    def _rewritten(self, model: Model, reach: Mapping[str, int]) -> dict[str, Any]:
        """What is started, with the folders that it mounts in place."""
        assert self._client is not None
        with self._opening:
            self._info = self._info or self._client.info()
        config = rewrite.graded(model, self._copy.folder, self._terms(model, reach))
        for folder in rewrite.bind_folders(config):
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
        return config

    def _terms(self, model: Model, reach: Mapping[str, int]) -> Terms:
        assert self._client is not None
        api = tuple(int(part) for part in self._client.api.api_version.split("."))
        containers = sum(policy.replicas(service) for service in model.config["services"].values())
        disk = storage.limit(self._client, self._info, str(self._owner))
        exercise = self._request.exercise
        tags = policy.images_of(exercise) if "own-tags" in exercise.grants else ()
        return Terms(
            owner=str(self._owner),
            polling=self._polling if api >= START_INTERVAL_API else POLLING_BEFORE_25,
            limits=Limits.of(self._info["MemTotal"], self._info["NCPU"], containers, disk),
            reach=reach,
            isolation=self._request.isolation,
            runtime=self._request.runtime,
            own_privileges="own-privileges" in exercise.grants,
            images={imageref.repository(image): image for image in sorted(tags)},
        )

    def _behind_a_gate(self, model: Model, reach: Mapping[str, int]) -> list[tuple[str, int]]:
        """The services and ports that an isolated stack does not publish."""
        if self._request.isolation is not Isolation.NO_EGRESS:
            return []
        return [
            (name, port["target"])
            for name, service in model.config["services"].items()
            for port in rewrite.ports(service, reach.get(name))
            if port["protocol"] == "tcp"
        ]

    def _stacks(self) -> list[Stack]:
        """All that were entered, the main one first."""
        others = [future.result() for future in self._others.values() if future.done() and not future.exception()]
        return [*([self._stack] if self._stack else []), *others]

    @property
    def _machine_failed(self) -> MachineError | None:
        return next((stack.machine_failed for stack in self._stacks() if stack.machine_failed), None)

    def collect_evidence(self) -> None:
        """Keep what the report says of the stacks, before they are torn down."""
        stacks = self._stacks()
        self.seconds_to_settle = self._stack.seconds_to_settle if self._stack else 0.0
        self.start_problem = "; ".join(stack.start_problem for stack in stacks if stack.start_problem)
        self.services = [
            found for stack in stacks for found in (stack.unwell if stack.settled else stack.post_mortems())
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        stacks = self._stacks()
        if not stacks:
            return
        assert self._client is not None
        began = time.monotonic()
        with teardown_undisturbed(), ThreadPoolExecutor(len(stacks)) as pool:
            if self._request.keep and exception[0] is None:
                list(pool.map(Stack.leave_running, stacks))
                sweep.keep(self._owner)
            else:
                problems = list(pool.map(Stack.close, stacks))
                sweep.remove_all_of(self._client, self._owner, " ".join(filter(None, problems)))
        self.seconds_to_stop = time.monotonic() - began
