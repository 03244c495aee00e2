"""The learner's stack, live: started once per grading, watched, and always torn down.

``__enter__`` returns at once while the stack comes up in the background, so that checks which do not need
it can run meanwhile; ``settle`` waits until every service is well or cannot get well any more.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from subprocess import CompletedProcess
from types import TracebackType
from typing import Any, Self

import docker
from docker.errors import APIError, NotFound

from grader.budget import Budget, stretched
from grader.compose import Finished
from grader.engine import sweep
from grader.errors import Blocked, InternalError, MachineError
from grader.events import PROJECT_LABEL, SERVICE_LABEL, EventLog
from grader.faults import Faults
from grader.folders import size_of
from grader.gate import Gate
from grader.guard import Danger, Guard
from grader.model import Model
from grader.probes import Executed, execute
from grader.project import Project
from grader.results import PostMortem
from grader.rewrite import LABEL
from grader.text import last_lines, printable

LOOK = 0.5  # seconds between two looks at the containers when the engine tells of nothing new
ONE_OFF = "com.docker.compose.oneoff=False"  # containers of `compose run` are no replicas
# A probe that ends so never ran: "cannot execute", "not found", and the engine's own -1.
NEVER_RAN = frozenset({-1, 126, 127})
ANONYMOUS = re.compile(r"[0-9a-f]{64}")  # the name that the engine gives a volume
HOPELESS_AFTER = 5  # such results in a row, or as many crashes
BELIEVED = 1.0  # seconds that a service without a health check has to run once it has crashed
ENGINE_BACK = 20.0  # seconds in which an engine that is being restarted answers again


class Stack:
    """One learner's stack.

    Args:
        model: what the learner wrote, resolved.
        config: what is started: the model, rewritten for grading.
        patience: seconds after its start in which a service's health check has to pass.
        folder: the private copy, from which files are mounted.
        behind: the services and ports that are reached through a gate, because their networks lead nowhere.
        data: where the engine keeps its data.
        name: of one of the exercise's other stacks, which has a project of its own; empty for the main one.

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
        folder: Path,
        behind: Sequence[tuple[str, int]] = (),
        data: Path = Path("/var/lib/docker"),
        name: str = "",
    ) -> None:
        self.client = client
        self.model = model
        self.budget = budget
        self.config = config
        self.owner = owner
        self.folder = folder
        self.name = name
        self.expected = _start_by_themselves(config)
        self.machine_failed: MachineError | None = None
        self.start_problem = ""
        self.seconds_to_settle = 0.0
        self.unwell: list[PostMortem] = []
        self._patience = patience
        self._project = Project(f"{owner.project}-{name}" if name else owner.project, config, owner.folder)
        self._anonymous: set[str] = set()
        self.builds = any("build" in service for service in config["services"].values())
        self._project.build = self.builds  # one that is not started may still be told to build
        self._up: CompletedProcess[bytes] | None = None
        self._upper = self._thread_for_up()
        self.settled = False
        # Service -> why it was not well when the stack had settled, empty if it was. What checks do to the
        # stack later changes nothing here.
        self.not_well: dict[str, str] = {}
        self.running: set[str] = set()
        self.faults = Faults(client, str(owner))
        self._gate = Gate(client, str(owner), self._project.name, behind) if behind else None
        self._guard = Guard(
            (data, owner.folder), self._written, lambda: self.builds and not self.events.all(), self._endanger
        )

    # --- life ------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.open()
        return self

    def open(self, *, up: bool = True) -> None:
        """Begin to watch the project, and start it in the background unless ``up`` is False."""
        self._began = time.monotonic()
        self.events = EventLog(self.client, self._project.name, self._lose_engine)
        self._guard.start()
        if up:
            self._upper.start()
        else:
            self.settled = True
            self.not_well = {name: f"{name} was never started" for name in self.model.services}
        if self._gate:
            self._gate.__enter__()

    def renew(self, model: Model, config: Mapping[str, Any], anew: Collection[str] | None, budget: Budget) -> None:
        """Let the stack become what another file says, in the background as in ``open``; it has to settle again.

        Args:
            anew: the services whose containers and volumes are made anew, besides what Compose itself recreates;
                None for the whole stack.
        """
        self._project.abort()
        self._join_upper()
        self.model, self.config, self.budget = model, config, budget
        self.expected = _start_by_themselves(config)
        self._project.write(config)
        self.start_problem, self.settled, self._up = "", False, None
        self._began = time.monotonic()
        self._upper = self._thread_for_up(anew)
        self._upper.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> str:
        """Remove the stack. What would not go is for ``sweep.remove_all_of``, which finds it by its label.

        Returns:
            why something would not go; empty if all went.

        Raises:
            MachineError: the engine has gone and does not come back.
        """
        self._guard.close()
        self._project.abort()
        self._join_upper()
        self.events.close()
        with contextlib.suppress(Exception):
            self.faults.close()
        with contextlib.suppress(Exception):
            if self._gate:
                self._gate.__exit__(None, None, None)
        if self.machine_failed is not None:
            self._await_engine()
        problem = ""
        try:
            self._project.stop()
        except Exception as error:
            problem = str(error)
        for volume in self._anonymous:
            with contextlib.suppress(APIError):  # most went with their containers
                self.client.api.remove_volume(volume)
        return problem

    def leave_running(self) -> None:
        """End the grader's part but let the stack run on (``--keep``)."""
        self._guard.close()
        self._join_upper()
        self.events.close()
        self.faults.close()

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

    def _thread_for_up(self, anew: Collection[str] | None = ()) -> threading.Thread:
        return threading.Thread(target=self._run_up, args=(anew,), name="compose up", daemon=True)

    def _run_up(self, anew: Collection[str] | None) -> None:
        if anew is None:
            self._project.stop()
        else:
            self._discard(anew)
        self._up = self._project.up(build=self.builds)
        self.events.nudge()

    def _discard(self, services: Collection[str]) -> None:
        """Remove the containers of ``services``, and every volume that they use."""
        for service in services:
            for container in self.containers(service):
                with contextlib.suppress(NotFound):
                    self.client.api.remove_container(container, v=True, force=True)
        volumes = self.config.get("volumes") or {}
        used = {
            mount.get("source") for name in services for mount in self.config["services"][name].get("volumes") or []
        }
        for name in used & volumes.keys():
            with contextlib.suppress(NotFound):
                self.client.api.remove_volume(volumes[name].get("name") or f"{self._project.name}_{name}", force=True)

    def _join_upper(self) -> None:
        if self._upper.ident is not None:  # it was started at all
            self._upper.join()

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
            heard = self.events.heard
            states = self._inspect_every()
            hopeless = [name for name in states if any(self._hopeless(state) for state in states[name])]
            if self._up is None and (hopeless or self._standstill()):
                # Nothing that waits will be started any more; what runs may still become healthy.
                self._project.abort()
                self._upper.join()
            elif self._up is not None and all(self._final(name, states[name]) for name in states):
                break
            self.events.wait_for_news(heard, LOOK)
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
            return not self.builds and time.monotonic() - self._began > self._patient
        return time.monotonic() - max(events[-1].seen, self._began) > self._patient

    def _final(self, name: str, states: list[dict[str, Any]]) -> bool:
        """Nothing will change any more: only asked once `up` has ended, so what is not there will not come."""
        return all(self._final_state(name, state) for state in states)

    def _final_state(self, name: str, state: dict[str, Any]) -> bool:
        if state["State"]["Status"] != "running":
            return state["State"]["Status"] in ("exited", "dead", "created") or self._hopeless(state)
        test = (state["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"]
        health = (state["State"].get("Health") or {}).get("Status", "none")
        if health in ("healthy", "unhealthy"):
            return True
        # A container that has just been started runs for a moment before the engine notes that it has a probe; and one
        # that crashes each time runs for a moment, too.
        if health == "none" and test[0] == "NONE" and (not state["RestartCount"] or self._age(name) > BELIEVED):
            return True
        return self._hopeless(state) or self._age(name) > self._patient

    @property
    def _patient(self) -> float:
        """Seconds of patience on this machine at this moment; stretched only as far as time is left for the checks."""
        return min(stretched(self._patience), max(self._patience, self.budget.seconds / 2))

    def _age(self, name: str) -> float:
        """Seconds since the service was last started."""
        started = self.events.find(name, "start")
        return time.monotonic() - started[-1].seen if started else 0.0

    @staticmethod
    def _hopeless(state: dict[str, Any]) -> bool:
        """The service crashes each time it is started, or its probe can never run."""
        # Not while it has just been started again: it would pass for a service that is well.
        if state["RestartCount"] >= HOPELESS_AFTER and state["State"]["Status"] != "running":
            return True
        log = (state["State"].get("Health") or {}).get("Log") or []
        return len(log) >= HOPELESS_AFTER and all(entry["ExitCode"] in NEVER_RAN for entry in log)

    def _problem(self, hopeless: list[str]) -> str:
        if hopeless:
            return "; ".join(self.why_not_well(name) or f"{name} crashes each time it is started" for name in hopeless)
        if self._up is not None and self._up.returncode > 0:
            lines = last_lines(self._up.stderr.decode("utf-8", "replace"), count=3, width=300)
            return printable(" ".join(lines).replace(self._project.name + "-", "")) or "docker compose up failed"
        ill = [name for name, why in self.not_well.items() if why and name in self.expected]
        return f"not everything became healthy: {', '.join(ill)}" if ill else ""

    # --- what checks do to it --------------------------------------------------------------

    def compose(self, *arguments: str, timeout: float = 60.0) -> Finished:
        """``docker compose ARGUMENTS`` on what was started; its status is None if it took longer than ``timeout``.

        Its build of one service, ``run --rm SERVICE`` and the like; the file it works on is the graded one.
        """
        self._remember_anonymous_volumes()
        return self._project.run(arguments, self.budget.at_most(stretched(timeout)))

    def take_down(self, volumes: bool = False) -> None:
        """``docker compose down``, and ``-v`` with ``volumes``; images and the private copy stay."""
        done = self.compose("down", "--timeout", "5", *(["--volumes"] if volumes else []))
        if done.status != 0:
            raise InternalError(f"docker compose down failed: {done.stderr}")

    def bring_up(self, *arguments: str) -> str:
        """``docker compose up -d ARGUMENTS``, and wait; why something is not well, empty if all is."""
        done = self.compose("up", "--detach", *arguments, timeout=self._patience + 30)
        if done.status != 0:
            return " ".join(last_lines(done.stderr, count=3, width=300)) or "docker compose up failed"
        return self.await_well()

    def scale(self, service: str, replicas: int) -> str:
        """Let so many containers of the service run; why it is not well, empty if it is."""
        done = self.compose("up", "--detach", "--no-recreate", "--no-deps", "--scale", f"{service}={replicas}", service)
        if done.status != 0:
            return " ".join(last_lines(done.stderr, count=3, width=300)) or "docker compose up failed"
        return self.await_well(service)

    def await_well(self, *services: str, timeout: float = 30.0) -> str:
        """Wait until ``services`` (all that start by themselves by default) are well; why not, empty if they are.

        A service is also awaited while it restarts; one that has ended for good is not.
        """
        end = time.monotonic() + stretched(timeout)
        while True:
            heard = self.events.heard
            why = next((w for name in services or self.expected if (w := self.why_not_well(name))), "")
            if not why or time.monotonic() > end:
                return why
            self.events.wait_for_news(heard, self.budget.at_most(LOOK))

    def execute(self, service: str, command: Sequence[str], timeout: float = 10.0, user: str = "") -> Executed:
        """Run ``command`` in the service's first container, as its health checks are run.

        Raises:
            Blocked: it has no running container.
        """
        state = self.inspect(service)
        if state is None or not state["State"]["Running"]:
            raise Blocked(self.why_not_well(service) or f"{service} has ended")
        return execute(self.client, state["Id"], command, stretched(timeout), user)

    def sql(self, query: str, service: str = "postgres") -> list[list[str]]:
        """The rows that PostgreSQL answers, each value as text; asked with psql inside its container.

        Raises:
            Blocked: it gave no answer, with what it said instead.
        """
        user, database = '"${POSTGRES_USER:-postgres}"', '"${POSTGRES_DB:-${POSTGRES_USER:-postgres}}"'
        line = f'psql --no-psqlrc --set ON_ERROR_STOP=1 -U {user} -d {database} --csv -t -q -c "$1"'
        done = self.execute(service, ["sh", "-c", line, "sh", query])
        if done.status != 0:
            raise Blocked(f"{service} did not answer {query!r}: {done.output or 'no answer in time'}")
        return [row for row in csv.reader(io.StringIO(done.output)) if row]

    def _remember_anonymous_volumes(self) -> None:
        """`down` without -v leaves them behind, and nothing tells whose they were."""
        for container in self._project.containers(self.client):
            self._anonymous |= {
                mount["Name"]
                for mount in container["Mounts"]
                if mount["Type"] == "volume" and ANONYMOUS.fullmatch(mount.get("Name", ""))
            }

    # --- looking ---------------------------------------------------------------------------

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, first replica first; empty if it was never created."""
        found = self.client.api.containers(
            all=True,
            filters={"label": [f"{PROJECT_LABEL}={self._project.name}", f"{SERVICE_LABEL}={service}", ONE_OFF]},
        )
        number = "com.docker.compose.container-number"
        return [c["Id"] for c in sorted(found, key=lambda c: int(c["Labels"].get(number, 0)))]

    def inspect(self, service: str) -> dict[str, Any] | None:
        """What the engine says of the service's first container; None if there is none."""
        return next(iter(self._inspect_all(service)), None)

    def _inspect_every(self) -> dict[str, list[dict[str, Any]]]:
        states: dict[str, list[dict[str, Any]]] = {name: [] for name in self.model.services}
        for container in self._project.containers(self.client):
            if container["Labels"].get(SERVICE_LABEL) not in states:
                continue
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

    def url(self, service: str, port: int, path: str = "/", replica: int = 1) -> str | None:
        """Where ``port`` of the service is reached from here; None while it is not published.

        Behind a gate only the first replica is.
        """
        if self._gate:
            gate = self._gate.url(service, port) if replica == 1 else None
            return gate and gate + path
        state = next(iter(self._inspect_all(service)[replica - 1 :]), None)
        bindings = ((state or {}).get("NetworkSettings", {}).get("Ports") or {}).get(f"{port}/tcp")
        return f"http://127.0.0.1:{bindings[0]['HostPort']}{path}" if bindings else None

    def post_mortems(self) -> list[PostMortem]:
        """Every service that is not well at this moment, with its last words."""
        return [self._post_mortem(name) for name in self.expected if self.why_not_well(name)]

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


def _start_by_themselves(config: Mapping[str, Any]) -> list[str]:
    """The services without a profile; the others start only when they are asked for."""
    return [service for service, entry in config["services"].items() if not entry.get("profiles")]


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
