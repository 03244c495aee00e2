"""The learner's stack, live: started once per grading, watched, and always torn down.

``__enter__`` returns at once while the stack comes up in the background, so that checks which do not need
it can run meanwhile; ``settle`` waits until every service is well or cannot get well any more.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from subprocess import CompletedProcess
from types import TracebackType
from typing import Any, Self

import docker
from docker.errors import NotFound

from grader.budget import Budget, stretched
from grader.engine import sweep
from grader.errors import InternalError, MachineError
from grader.events import PROJECT_LABEL, SERVICE_LABEL, EventLog
from grader.faults import Faults
from grader.folders import size_of
from grader.gate import Gate
from grader.guard import Danger, Guard
from grader.model import Model
from grader.project import Project
from grader.results import PostMortem
from grader.rewrite import LABEL
from grader.text import last_lines, printable

POLL = 0.1  # seconds between two looks at the containers while the stack settles
# A probe that ends so never ran: "cannot execute", "not found", and the engine's own -1.
NEVER_RAN = frozenset({-1, 126, 127})
HOPELESS_AFTER = 5  # such results in a row, or as many crashes
ENGINE_BACK = 20.0  # seconds in which an engine that is being restarted answers again


class Stack:
    """One learner's stack.

    Args:
        model: what the learner wrote, resolved.
        config: what is started: the model, rewritten for grading.
        patience: seconds after its start in which a service's health check has to pass.
        behind: the services and ports that are reached through a gate, because their networks lead nowhere.
        data: where the engine keeps its data.

    Attributes:
        machine_failed: the engine stopped, or the disk is full: nothing that was seen of the stack means anything.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        model: Model,
        config: Mapping[str, Any],
        owner: sweep.Owner,
        patience: float,
        budget: Budget,
        behind: Sequence[tuple[str, int]] = (),
        data: Path = Path("/var/lib/docker"),
    ) -> None:
        self.client = client
        self.model = model
        self.budget = budget
        self.config = config
        self.owner = owner
        self.machine_failed: MachineError | None = None
        self.start_problem = ""
        self.seconds_to_settle = 0.0
        self.unwell: list[PostMortem] = []
        self._patience = patience
        self._project = Project(owner.project, config, owner.folder)
        self.builds = any("build" in service for service in config["services"].values())
        self._up: CompletedProcess[bytes] | None = None
        self._upper = threading.Thread(target=self._run_up, name="compose up", daemon=True)
        self.settled = False
        # Service -> why it was not well when the stack had settled, empty if it was. What checks do to the
        # stack later changes nothing here.
        self.not_well: dict[str, str] = {}
        self.running: set[str] = set()
        self.faults = Faults(client, str(owner))
        self._gate = Gate(client, str(owner), owner.project, behind) if behind else None
        self._guard = Guard(
            (data, owner.folder), self._written, lambda: self.builds and not self.events.all(), self._endanger
        )

    # --- life ------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self.events = EventLog(self.client, self.owner.project, self._lose_engine)
        self._guard.start()
        self._upper.start()
        self.faults.__enter__()
        if self._gate:
            self._gate.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guard.close()
        self._project.abort()
        self._upper.join()
        self.events.close()
        # Should one of them not go, `down` removes it by its label.
        with contextlib.suppress(Exception):
            self.faults.__exit__(kind, error, trace)
        with contextlib.suppress(Exception):
            if self._gate:
                self._gate.__exit__(kind, error, trace)
        self.down()

    def leave_running(self) -> None:
        """End the grader's part but let the stack run on (``--keep``)."""
        self._guard.close()
        self._upper.join()
        self.events.close()
        self.faults.__exit__(None, None, None)
        sweep.keep(self.owner)

    def down(self) -> None:
        """Remove all that this grading made on the engine.

        Raises:
            InternalError: something would not go; says what to do.
            MachineError: the engine has gone and does not come back.
        """
        if self.machine_failed is not None:
            self._await_engine()
        problem = ""
        try:
            self._project.stop()
        except Exception as error:  # the sweep below removes what `down` could not
            problem = str(error)
        mine = str(self.owner)
        sweep.remove(self.client, lambda label: label == mine)
        left = self.client.api.containers(all=True, filters={"label": f"{LABEL}={mine}"})
        if left:
            raise InternalError(
                f"Containers of this grading could not be removed: {[c['Names'][0] for c in left]}. {problem}",
                "Remove them with:\n    python -m grader clean",
            )

    def halt(self, reason: str) -> None:
        """End the grading now, from another thread: kill what runs and let the time be over for this reason."""
        self.budget.stop(reason)
        self._project.abort()
        for container in self._mine():
            with contextlib.suppress(Exception):  # it ended by itself, or the engine is gone
                self.client.api.kill(container["Id"])

    def _mine(self, *, size: bool = False) -> list[dict[str, Any]]:
        """Every container of this grading, side projects included; none if the engine does not answer."""
        try:
            found: list[dict[str, Any]] = self.client.api.containers(
                all=True, size=size, filters={"label": f"{LABEL}={self.owner}"}
            )
        except Exception:
            return []
        return found

    def _written(self) -> int:
        """Bytes that this grading's containers have written, to volumes and to the private copy, too."""
        containers = self._mine(size=True)
        mounted = {mount["Name"] for container in containers for mount in container["Mounts"] if mount.get("Name")}
        volumes = self.client.df().get("Volumes") or []
        in_volumes: int = sum(volume["UsageData"]["Size"] for volume in volumes if volume["Name"] in mounted)
        return in_volumes + sum(c.get("SizeRw") or 0 for c in containers) + size_of(self.owner.folder)

    def _endanger(self, danger: Danger) -> None:
        if not danger.submissions:
            self.machine_failed = MachineError(
                f"The grading was ended: {danger.reason}.",
                "Make room on the disk, and grade again; this shows what Docker uses:\n    docker system df",
            )
        self.halt(danger.reason)

    def _lose_engine(self) -> None:
        self.machine_failed = engine_lost()
        self.halt("the Docker engine stopped before this check had ended")

    def engine_answers(self) -> bool:
        """Whether the engine answers at this moment."""
        try:
            return bool(self.client.ping())
        except Exception:
            return False

    def _await_engine(self) -> None:
        end = time.monotonic() + ENGINE_BACK
        while time.monotonic() < end:
            if self.engine_answers():
                return
            time.sleep(0.5)
        assert self.machine_failed is not None
        raise self.machine_failed

    def _run_up(self) -> None:
        self._up = self._project.up(build=self.builds)

    # --- coming up -------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until every service is well, or it is clear that it will not be.

        Raises:
            BudgetExceeded: the grading's time is over first.
        """
        if self.settled:
            return
        while True:
            self.budget.at_most(0)
            states = self._inspect_every()
            hopeless = [name for name in states if any(self._hopeless(state) for state in states[name])]
            if self._up is None and (hopeless or self._standstill()):
                # Nothing that waits will be started any more; what runs may still become healthy.
                self._project.abort()
                self._upper.join()
            elif self._up is not None and all(self._final(name, states[name]) for name in states):
                break
            time.sleep(POLL)
        self.seconds_to_settle = time.monotonic() - self._began
        self.not_well = {name: self.why_not_well(name) for name in self.model.services}
        self.running = {
            name for name in states if any(state["State"]["Status"] == "running" for state in self._inspect_all(name))
        }
        self.start_problem = self._problem(hopeless)
        # Now, before any experiment kills a service on purpose.
        self.unwell = self.post_mortems()
        self.settled = True

    def _standstill(self) -> bool:
        """`up` still waits for a condition, but nothing has happened for as long as patience lasts."""
        events = self.events.all()
        if not events:  # images may still be being built; only the budget bounds that
            return not self.builds and time.monotonic() - self._began > stretched(self._patience)
        return time.monotonic() - events[-1].seen > stretched(self._patience)

    def _final(self, name: str, states: list[dict[str, Any]]) -> bool:
        """Nothing will change any more: only asked once `up` has ended, so what is not there will not come."""
        return all(self._final_state(name, state) for state in states)

    def _final_state(self, name: str, state: dict[str, Any]) -> bool:
        if state["State"]["Status"] != "running":
            return state["State"]["Status"] in ("exited", "dead", "created") or self._hopeless(state)
        health = state["State"].get("Health")
        if health is None or health["Status"] in ("healthy", "unhealthy", "none"):
            return True
        return self._hopeless(state) or self._age(name) > stretched(self._patience)

    def _age(self, name: str) -> float:
        """Seconds since the service was last started."""
        started = self.events.find(name, "start")
        return time.monotonic() - started[-1].seen if started else 0.0

    @staticmethod
    def _hopeless(state: dict[str, Any]) -> bool:
        """The service crashes each time it is started, or its probe can never run."""
        if state["RestartCount"] >= HOPELESS_AFTER:
            return True
        log = (state["State"].get("Health") or {}).get("Log") or []
        return len(log) >= HOPELESS_AFTER and all(entry["ExitCode"] in NEVER_RAN for entry in log)

    def _problem(self, hopeless: list[str]) -> str:
        if hopeless:
            return "; ".join(self.why_not_well(name) or f"{name} crashes each time it is started" for name in hopeless)
        if self._up is not None and self._up.returncode > 0:
            lines = last_lines(self._up.stderr.decode("utf-8", "replace"), count=3, width=300)
            return printable(" ".join(lines).replace(self.owner.project + "-", "")) or "docker compose up failed"
        ill = [name for name, why in self.not_well.items() if why]
        return f"not everything became healthy: {', '.join(ill)}" if ill else ""

    # --- looking ---------------------------------------------------------------------------

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, first replica first; empty if it was never created."""
        found = self.client.api.containers(
            all=True,
            filters={"label": [f"{PROJECT_LABEL}={self.owner.project}", f"{SERVICE_LABEL}={service}"]},
        )
        number = "com.docker.compose.container-number"
        return [c["Id"] for c in sorted(found, key=lambda c: int(c["Labels"].get(number, 0)))]

    def inspect(self, service: str) -> dict[str, Any] | None:
        """What the engine says of the service's first container; None if there is none."""
        return next(iter(self._inspect_all(service)), None)

    def _inspect_every(self) -> dict[str, list[dict[str, Any]]]:
        states: dict[str, list[dict[str, Any]]] = {name: [] for name in self.model.services}
        for container in self._project.containers(self.client):
            with contextlib.suppress(NotFound):  # it went between the list and the look
                states[container["Labels"][SERVICE_LABEL]].append(self.client.api.inspect_container(container["Id"]))
        return states

    def _inspect_all(self, service: str) -> list[dict[str, Any]]:
        states = []
        for container in self.containers(service):
            with contextlib.suppress(NotFound):
                states.append(self.client.api.inspect_container(container))
        return states

    def probe_command(self, service: str) -> list[str] | None:
        """The service's health check as a command, from the file or its image; None if it has none."""
        if (state := self.inspect(service)) is not None:
            test = (state["Config"].get("Healthcheck") or {}).get("Test") or []
            shell = state["Config"].get("Shell") or ["/bin/sh", "-c"]
        else:  # not created yet; Compose writes a dollar sign twice
            check = self.config["services"][service].get("healthcheck") or {}
            test = [str(word).replace("$$", "$") for word in check.get("test") or []]
            shell = ["/bin/sh", "-c"]
        match test:
            case ["CMD", *command]:
                return command
            case ["CMD-SHELL", command]:
                return [*shell, command]
        return None

    def probe_seconds(self, service: str) -> float:
        """How long the health check took at most when it passed, of the last five that the engine made; 0 if never."""
        log = (((self.inspect(service) or {}).get("State") or {}).get("Health") or {}).get("Log") or []
        return max((_time(e["End"]) - _time(e["Start"]) for e in log if e["ExitCode"] == 0), default=0.0)

    def why_not_well(self, service: str) -> str:
        """Why the service is not in the state it should be in; empty if it is.

        Well is: healthy if it has a health check, else running, or ended with 0.
        """
        states = self._inspect_all(service)
        if not states:
            return f"{service} was never created"
        for state in (entry["State"] for entry in states):
            health = (state.get("Health") or {}).get("Status", "none")
            if state["Status"] == "created":
                return f"{service} was never started"
            if state["Status"] == "exited" and state["ExitCode"] == 0:
                continue
            if state["Status"] != "running":
                return f"{service} is {state['Status']} with exit code {state['ExitCode']}"
            if health not in ("none", "healthy"):
                return f"{service} did not become healthy"
        return ""

    def now(self) -> float:
        """The time on the engine's clock, in seconds since 1970, as events carry it."""
        return _time(self.client.info()["SystemTime"])

    def url(self, service: str, port: int, path: str = "/") -> str | None:
        """Where ``port`` of the service is reached from here; None while it is not published."""
        if self._gate:
            gate = self._gate.url(service, port)
            return gate and gate + path
        state = self.inspect(service)
        bindings = ((state or {}).get("NetworkSettings", {}).get("Ports") or {}).get(f"{port}/tcp")
        return f"http://127.0.0.1:{bindings[0]['HostPort']}{path}" if bindings else None

    def post_mortems(self) -> list[PostMortem]:
        """Every service that is not well at this moment, with its last words."""
        return [self._post_mortem(name) for name in self.model.services if self.why_not_well(name)]

    def _post_mortem(self, service: str) -> PostMortem:
        state = self.inspect(service)
        if state is None:
            return PostMortem(service=service, state="never created")
        now, health = state["State"], state["State"].get("Health") or {}
        # Only of its last life: a service that crashes again and again says the same each time.
        # The engine's note of the start may come after a quick service's first words.
        since = _time(now["StartedAt"]) - 0.1 if not now["StartedAt"].startswith("0001") else None
        log = self.client.api.logs(state["Id"], tail=30, since=since).decode("utf-8", "replace")
        probe = [entry["Output"] for entry in health.get("Log") or [] if entry["ExitCode"]]
        ended = now["Status"] in ("exited", "dead", "restarting")
        return PostMortem(
            service=service,
            state=now["Status"],
            health=health.get("Status", ""),
            exit_code=now["ExitCode"] if ended else None,
            out_of_memory=now["OOMKilled"],
            probe_output=printable(probe[-1], 300).strip() if probe else "",
            log=last_lines(log),
        )


def engine_lost() -> MachineError:
    """What to say when the engine went away under a grading."""
    return MachineError(
        "The Docker engine stopped, or was restarted, during the grading: its verdicts would mean nothing.",
        "Start the engine and grade again. What is left of this grading goes with:\n"
        "    make setup\n    python -m grader clean",
    )


def _time(text: str) -> float:
    """Seconds since 1970. The engine writes UTC with nanoseconds, or local time with an offset."""
    return datetime.fromisoformat(text).timestamp()
