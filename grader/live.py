"""The live part of a grading: on which terms the stack is started, and what is kept of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import docker
from docker.errors import DockerException
from requests import RequestException

from grader import policy, rewrite
from grader.budget import Budget
from grader.engine import storage, sweep
from grader.interrupts import teardown_undisturbed
from grader.model import Model
from grader.request import Request
from grader.results import PostMortem
from grader.rewrite import Isolation, Limits, Terms
from grader.stack import Stack, engine_lost
from grader.submission import Submission

# Seconds between probes: until the first success, and afterwards. Quick enough that nobody waits for a
# poll, slow enough that four probes do not compete with the services for two cores.
# Failures inside the start period do not count; when to give up is the stack's own decision, not the engine's.
POLLING = rewrite.Polling(start=0.2, steady=10.0, start_period=600.0)
POLLING_BEFORE_25 = rewrite.Polling(start=None, steady=0.5, start_period=600.0)
START_INTERVAL_API = (1, 44)


class LiveStack:
    """The stack of one grading, started when the first check needs it and gone when the grading ends."""

    def __init__(
        self,
        request: Request,
        client: docker.DockerClient | None,
        model: Model,
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
        self._model, self._copy = model, copy
        self._stack: Stack | None = None

    @contextmanager
    def engine_has_to_answer(self) -> Iterator[None]:
        """Raises MachineError if the machine failed under the stack: what was seen means nothing then."""
        try:
            yield
        except (DockerException, RequestException) as error:
            if self._stack is None or (self._stack.machine_failed is None and self._stack.engine_answers()):
                raise
            raise self._stack.machine_failed or engine_lost() from error
        if self._stack is not None and self._stack.machine_failed is not None:
            raise self._stack.machine_failed

    def start(self) -> Stack:
        """Enter the stack, which then comes up in the background."""
        assert self._client is not None  # nothing starts a stack in a static grading
        exercise, info = self._request.exercise, self._client.info()
        config = rewrite.graded(self._model, self._copy.folder, self._terms(info))
        for folder in rewrite.bind_folders(config):
            if not folder.exists():
                folder.mkdir(parents=True)
        self._stack = Stack(
            self._client,
            self._model,
            config,
            self._owner,
            exercise.patience,
            self._budget,
            behind=self._behind_a_gate(),
            data=Path(info["DockerRootDir"]),
        )
        self._stack.__enter__()
        self.started = True
        return self._stack

    def _terms(self, info: Mapping[str, Any]) -> Terms:
        assert self._client is not None
        api = tuple(int(part) for part in self._client.api.api_version.split("."))
        containers = sum(policy.replicas(service) for service in self._model.config["services"].values())
        disk = storage.limit(self._client, info, str(self._owner))
        return Terms(
            owner=str(self._owner),
            polling=POLLING if api >= START_INTERVAL_API else POLLING_BEFORE_25,
            limits=Limits.of(info["MemTotal"], info["NCPU"], containers, disk),
            reach=self._request.exercise.reach,
            isolation=self._request.isolation,
            runtime=self._request.runtime,
        )

    def _behind_a_gate(self) -> list[tuple[str, int]]:
        """The services and ports that an isolated stack does not publish."""
        if self._request.isolation is not Isolation.NO_EGRESS:
            return []
        return [
            (name, port["target"])
            for name, service in self._model.config["services"].items()
            for port in rewrite.ports(service, self._request.exercise.reach.get(name))
            if port["protocol"] == "tcp"
        ]

    def collect_evidence(self) -> None:
        """Keep what the report says of the stack, before it is torn down."""
        if self._stack is not None:
            self.start_problem = self._stack.start_problem
            self.seconds_to_settle = self._stack.seconds_to_settle
            self.services = self._stack.unwell if self._stack.settled else self._stack.post_mortems()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._stack is None:
            return
        began = time.monotonic()
        with teardown_undisturbed():
            if self._request.keep and exception[0] is None:
                self._stack.leave_running()
            else:
                self._stack.__exit__(None, None, None)
        self.seconds_to_stop = time.monotonic() - began
