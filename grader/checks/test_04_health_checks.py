"""Exercise 04: health checks that notice failure, and services that wait for each other.

Experiments are fixtures; the checks only judge what an experiment has seen. Some run in projects of their
own, ``unready`` and the rehearsals, while the stack is still coming up: mostly one core is free then.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from grader.budget import stretched
from grader.events import SERVICE_LABEL
from grader.plugin import Blocked, Failure, check, has_probe, running
from grader.probes import Executed, execute, get, wait_until
from grader.rehearsal import Rehearsal, rehearse, side_project
from grader.stack import Stack

LONG_RUNNING = ("api", "model-server", "redis", "postgres")
ONE_SHOT = "model-init"
API_PORT = 8000

# A probe of a frozen service is watched this many times longer than it took when the service was well, and at
# least so many seconds. One that never asks the service has ended by then; one that does is still waiting.
WATCHED_TIMES = 3.0
WATCHED_AT_LEAST = 0.5
OUTAGES = 3  # how often the model server is killed until somebody has seen the api without it
COMEBACK = 30.0  # seconds in which a crashed service has to be healthy again, on an idle machine

INIT_FOLDER = "/docker-entrypoint-initdb.d"
HOLDING = "the init scripts are held"


# --- experiments beside the stack ---------------------------------------------------------------


@dataclass(frozen=True)
class Unready:
    """What probes say where no service is ready; a service without a probe has no entry.

    Attributes:
        silent: each service's probe in a container of its own in which the service does not run.
        initialising: postgres' probe while the init scripts are still running.
    """

    silent: dict[str, Executed]
    initialising: Executed | None

    def is_fooled(self, name: str) -> bool:
        """Whether the service's probe passes although the service does not run."""
        return name in self.silent and self.silent[name].status == 0


@pytest.fixture(scope="module")
def unready(beside: Stack) -> Unready:
    """Every service's container with nothing in it but a sleep, and a postgres whose init scripts are held."""
    if beside.builds:
        beside.settle()  # only then are the images there
    probes = {name: command for name in LONG_RUNNING if (command := beside.probe_command(name)) is not None}
    services = {
        f"silent-{name}": _alone(beside, name) | {"entrypoint": ["sleep", "600"], "command": []} for name in probes
    }
    if "postgres" in probes:
        services["postgres"] = _held(beside)
    if not services:
        return Unready({}, None)
    with side_project(beside.client, beside.owner, "unready", {"services": services}) as project:
        project.up()
        containers = {c["Labels"][SERVICE_LABEL]: c["Id"] for c in project.containers(beside.client)}

        def ask(service: str, probe: str) -> Executed:
            return execute(beside.client, containers[service], probes[probe], stretched(5))

        with ThreadPoolExecutor() as pool:
            asked = {
                name: pool.submit(ask, f"silent-{name}", name) for name in probes if f"silent-{name}" in containers
            }
        initialising = ask("postgres", "postgres") if _is_held(beside, containers.get("postgres")) else None
    return Unready({name: future.result() for name, future in asked.items()}, initialising)


def _alone(beside: Stack, name: str) -> dict[str, Any]:
    """The learner's service without anything that ties it to the others."""
    service = copy.deepcopy(dict(beside.config["services"][name]))
    for key in ("healthcheck", "depends_on", "ports", "networks", "build", "hostname", "links", "profiles"):
        service.pop(key, None)
    binds = [mount for mount in service.get("volumes") or [] if mount["type"] == "bind"]
    return service | {"network_mode": "none", "restart": "no", "init": True, "pull_policy": "never", "volumes": binds}


def _held(beside: Stack) -> dict[str, Any]:
    hold = beside.owner.folder / "hold.sh"
    hold.write_text(f"echo '{HOLDING}'\nsleep 600\n")
    hold.chmod(0o644)
    service = _alone(beside, "postgres") | {"tmpfs": ["/var/lib/postgresql/data"]}
    # A folder mounted over the init scripts' would hide the one that holds them up.
    service["volumes"] = [mount for mount in service["volumes"] if mount["target"].rstrip("/") != INIT_FOLDER]
    hold_mount = {"type": "bind", "source": str(hold), "target": f"{INIT_FOLDER}/zz-hold.sh", "read_only": True}
    service["volumes"].append(hold_mount)
    return service


def _is_held(beside: Stack, container: str | None) -> bool:
    if container is None:
        return False
    return wait_until(lambda: HOLDING.encode() in beside.client.api.logs(container), beside.budget, stretched(30))


@pytest.fixture(scope="module")
def rehearsed(beside: Stack) -> dict[str, Rehearsal]:
    """What is started all the same when one of api's dependencies fails, for each of them."""
    return rehearse(
        beside.client,
        beside.model,
        beside.owner,
        watched=("api",),
        failing=("redis", "postgres", "model-server", ONE_SHOT),
        one_shots=frozenset({ONE_SHOT}),
    )


# --- experiments on the live stack --------------------------------------------------------------


@pytest.fixture(scope="module")
def frozen(stack: Stack) -> dict[str, Executed]:
    """What each service's probe says while every process of the service is frozen."""
    probes = {
        name: command
        for name in LONG_RUNNING
        if not stack.not_well[name] and (command := stack.probe_command(name)) is not None
    }
    containers = {name: stack.containers(name)[0] for name in probes}
    stack.faults.freeze(containers.values())
    try:
        return _probe_all(stack, probes, containers)
    finally:
        stack.faults.thaw(containers.values())


def _probe_all(stack: Stack, probes: dict[str, list[str]], containers: dict[str, str]) -> dict[str, Executed]:
    if not probes:
        return {}
    watched = {name: max(WATCHED_AT_LEAST, WATCHED_TIMES * stack.probe_seconds(name)) for name in probes}
    with ThreadPoolExecutor(len(probes)) as pool:
        done = {
            name: pool.submit(execute, stack.client, containers[name], command, watched[name])
            for name, command in probes.items()
        }
    return {name: future.result() for name, future in done.items()}


@pytest.fixture(scope="module")
def busy_redis(stack: Stack, frozen: dict[str, Executed]) -> Executed:
    """What redis' probe says while redis answers every command with an error, as it does while it loads its data."""
    [container] = stack.containers("redis")
    probe = stack.probe_command("redis")
    assert probe is not None

    def redis(*arguments: str, timeout: float = 5) -> Executed:
        return execute(stack.client, container, ["redis-cli", *arguments], timeout)

    redis("config", "set", "lua-time-limit", "1")
    stuck = stack.client.api.exec_create(container, ["redis-cli", "eval", "while true do end", "0"])["Id"]
    stack.client.api.exec_start(stuck, detach=True)
    if not wait_until(lambda: "BUSY" in redis("ping").output, stack.budget, stretched(10)):
        raise Blocked("redis would not get busy")
    try:
        return execute(stack.client, container, probe, timeout=5)
    finally:
        redis("script", "kill")


@dataclass
class Outage:
    """What was seen while the model server was down.

    Attributes:
        status: of the api's /health; None if nothing answered.
        probe: the api's own probe.
        killed: the services whose processes were killed in the end.
        killed_at: when, on the engine's clock.
    """

    status: int | None = None
    probe: Executed | None = None
    killed: tuple[str, ...] = ()
    killed_at: float = 0.0


@pytest.fixture(scope="module")
def outage(stack: Stack) -> Outage:
    """The model server is killed, what the api says meanwhile; then all the others are killed, too.

    Nobody waits here until they are back.
    """
    seen = Outage()
    for _ in range(OUTAGES):
        seen.killed_at = stack.now()
        stack.faults.crash(stack.containers("model-server"))
        if "api" not in stack.running or _watch_api(stack, seen):
            break
        # On a busy machine it can be back before anybody has looked.
        _come_back(stack, ["model-server"], seen.killed_at)
    others = [name for name in LONG_RUNNING if name in stack.running and name != "model-server"]
    stack.faults.crash(container for name in others for container in stack.containers(name))
    seen.killed = ("model-server", *others)
    return seen


def _watch_api(stack: Stack, seen: Outage) -> bool:
    """Whether all there is to see was seen while the model server was down."""
    url = stack.url("api", API_PORT, "/health")
    command = stack.probe_command("api")
    assert url is not None

    def is_back() -> bool:
        return stack.events.wait("model-server", "healthy", timeout=0, after=seen.killed_at) is not None

    def probe() -> Executed | None:
        return execute(stack.client, stack.containers("api")[0], command, timeout=5) if command else None

    answers = 0
    began = time.monotonic()

    def seen_enough() -> bool:
        nonlocal answers
        response = get(url)
        if response is not None and not is_back():
            seen.status = response.status
            answers += 1
        # Three seconds: whoever remembers the last state for a second or two does well.
        return seen.status == 503 or is_back() or (answers >= 5 and time.monotonic() - began > 3)

    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(probe)
        wait_until(seen_enough, stack.budget, stretched(10))
        asked = probing.result()
    if seen.status != 503:
        # It may have been back for a moment before the engine knew, so this counts only while it is still gone.
        return seen.status is not None and not is_back()
    if asked is not None and asked.status == 0:
        asked = probe()  # the first may have asked before the api had noticed
    if is_back():
        return False
    seen.probe = asked
    return True


def _come_back(stack: Stack, services: Sequence[str], killed_at: float) -> dict[str, str]:
    down = {}
    for name in services:
        # A probe that never passed before cannot pass now; that is another check's matter.
        probed = stack.probe_command(name) is not None and not stack.not_well[name]
        died = stack.events.wait(name, "die", timeout=stretched(10), after=killed_at)

        def settled(name: str = name, probed: bool = probed, died_at: float = died.at if died else killed_at) -> bool:
            state = (stack.inspect(name) or {}).get("State", {})
            if state.get("Status") in ("exited", "dead"):
                return True
            came = stack.events.wait(name, "healthy" if probed else "start", timeout=0, after=died_at)
            return came is not None

        in_time = wait_until(settled, stack.budget, stretched(COMEBACK))
        state = (stack.inspect(name) or {}).get("State", {})
        if state.get("Status") in ("exited", "dead"):
            down[name] = f"stayed down with exit code {state['ExitCode']}"
        elif not in_time:
            down[name] = "was not healthy again in time"
        else:
            down[name] = ""
    return down


# --- health checks ------------------------------------------------------------------------------


@check(
    points=2,
    section="What a health check is",
    hint="A service without `healthcheck:` counts as fine as soon as its process runs.",
)
def test_every_service_has_a_probe(stack: Stack) -> None:
    """Every long-running service has a health check"""
    without = [name for name in LONG_RUNNING if stack.probe_command(name) is None]
    if without:
        raise Failure(
            f"{_and(without)} {_have(without)} no health check",
            at=stack.model.at("services", without[0], "healthcheck"),
            reproduce=f"docker compose ps {without[0]}      # the STATUS column says nothing about health",
        )


@check(
    points=2,
    section="A probe runs inside the container",
    hint="The command runs inside the image: use a program that is there.",
)
def test_every_probe_works(stack: Stack) -> None:
    """Every health check passes while its service is fine"""
    for name in LONG_RUNNING:
        if name in stack.running and stack.not_well[name] and stack.probe_command(name) is not None:
            log = ((stack.inspect(name) or {})["State"].get("Health") or {}).get("Log") or [{}]
            said = _complaint(log[-1].get("Output", ""))
            raise Failure(
                f"The health check of {name} never passed, although {name} runs: {said}",
                expected="exit code 0",
                actual=f"exit code {log[-1].get('ExitCode', 'none: it never ended')}",
                at=stack.model.at("services", name, "healthcheck", "test"),
                reproduce=f"docker compose exec {name} {_shell(stack.probe_command(name))}",
            )
    if down := [stack.not_well[name] for name in LONG_RUNNING if name not in stack.running]:
        raise Blocked(down[0])


def _notices(name: str, stack: Stack, unready: Unready, frozen: dict[str, Executed]) -> None:
    """Fails if the probe passes where the service does not even run, or while it is frozen."""
    if unready.is_fooled(name):
        raise Failure(
            f"The health check of {name} passed in a container in which {name} does not run at all",
            expected="an exit code other than 0",
            actual="exit code 0",
            at=stack.model.at("services", name, "healthcheck", "test"),
            reproduce=f"docker compose run --rm --no-deps --entrypoint '' {name} "
            f"{_shell(stack.probe_command(name))}; echo $?",
        )
    if frozen[name].status == 0:
        raise Failure(
            f"The health check of {name} passed although every process of {name} was frozen",
            expected="a probe that fails, or waits for an answer until its timeout",
            actual=f"exit code 0 after {frozen[name].seconds:.1f} s",
            at=stack.model.at("services", name, "healthcheck", "test"),
            reproduce=f"docker compose kill -s STOP {name}; "
            f"docker compose exec {name} {_shell(stack.probe_command(name))}; "
            f"docker compose kill -s CONT {name}",
        )


ASK_THE_SERVICE = "A probe has to ask the service something that only a working service can answer."


@check(points=1, needs=has_probe("api"), section="A probe that notices", hint=ASK_THE_SERVICE)
def test_api_probe_notices_freezing(stack: Stack, unready: Unready, frozen: dict[str, Executed]) -> None:
    """api's health check notices an api that is frozen or gone"""
    _notices("api", stack, unready, frozen)


@check(points=1, needs=has_probe("model-server"), section="A probe that notices", hint=ASK_THE_SERVICE)
def test_model_server_probe_notices_freezing(stack: Stack, unready: Unready, frozen: dict[str, Executed]) -> None:
    """model-server's health check notices a server that is frozen or gone"""
    _notices("model-server", stack, unready, frozen)


@check(points=1, needs=has_probe("redis"), section="A probe that notices", hint=ASK_THE_SERVICE)
def test_redis_probe_notices_freezing(stack: Stack, unready: Unready, frozen: dict[str, Executed]) -> None:
    """redis' health check notices a redis that is frozen or gone"""
    _notices("redis", stack, unready, frozen)


@check(points=1, needs=has_probe("postgres"), section="A probe that notices", hint=ASK_THE_SERVICE)
def test_postgres_probe_notices_freezing(stack: Stack, unready: Unready, frozen: dict[str, Executed]) -> None:
    """postgres' health check notices a postgres that is frozen or gone"""
    _notices("postgres", stack, unready, frozen)


@check(
    points=1,
    needs=has_probe("redis"),
    section="redis: an answer is not yet a good answer",
    hint="An option of `redis-cli` turns an error reply into an exit code (see --help); or look for PONG in the reply.",
)
def test_redis_probe_notices_errors(
    stack: Stack, unready: Unready, frozen: dict[str, Executed], busy_redis: Executed
) -> None:
    """redis' health check notices error replies"""
    if frozen["redis"].status == 0 or unready.is_fooled("redis"):
        raise Blocked("redis' health check does not ask redis at all")
    if busy_redis.status == 0:
        raise Failure(
            "redis answered every command with an error (BUSY), and its health check still passed",
            expected="an exit code other than 0",
            actual=f"exit code 0, output: {_first_line(busy_redis.output)}",
            at=stack.model.at("services", "redis", "healthcheck", "test"),
            reproduce="docker compose exec redis redis-cli no-such-command; echo $?      # an error reply, and yet 0",
        )


@check(
    points=2,
    section="postgres: the server that runs the init scripts",
    hint="The temporary server listens on its Unix socket only: ask over TCP.",
)
def test_postgres_probe_is_not_fooled(beside: Stack, unready: Unready) -> None:
    """postgres' health check fails while the init scripts run"""
    if beside.probe_command("postgres") is None:
        raise Blocked("postgres has no health check")
    if unready.is_fooled("postgres"):
        raise Blocked("postgres' health check does not ask postgres at all")
    if unready.initialising is None:
        raise Blocked("postgres did not get as far as running its init scripts")
    if unready.initialising.status == 0:
        raise Failure(
            "postgres was still running its init scripts, and its health check already passed",
            expected="a failing health check until the real server answers",
            actual=f"exit code 0, output: {_first_line(unready.initialising.output)}",
            at=beside.model.at("services", "postgres", "healthcheck", "test"),
            reproduce="docker compose logs postgres      # two servers start, one after the other",
        )


# --- the api's own health ------------------------------------------------------------------------


@check(
    points=2,
    needs=running("api", "model-server"),
    section="What the api's own health means",
    hint="api/health.py decides: which of its dependencies can the api not do without?",
)
def test_api_health_turns_503(stack: Stack, frozen: dict[str, Executed], outage: Outage) -> None:
    """api's /health answers 503 when it cannot serve"""
    if outage.status != 503:
        raise Failure(
            "The model server was down, so that api could not answer a single prediction",
            expected="GET /health answers 503",
            actual=f"it answered {outage.status}" if outage.status else "nothing answered",
            at="api/health.py",
            reproduce="docker compose stop model-server; curl -i http://localhost:8000/health; "
            "docker compose start model-server",
        )


@check(
    points=1,
    needs=has_probe("api", "model-server"),
    section="A probe that notices",
    hint="An HTTP answer is not yet a good one: the probe has to look at the status, too.",
)
def test_api_probe_notices_503(stack: Stack, unready: Unready, frozen: dict[str, Executed], outage: Outage) -> None:
    """api's health check fails while /health answers 503"""
    if outage.probe is None:
        raise Blocked("api's /health did not answer 503 while the model server was down")
    if frozen["api"].status == 0 or unready.is_fooled("api"):
        raise Blocked("api's health check does not ask the api at all")
    if outage.probe.status == 0:
        raise Failure(
            "api answered 503 (it could not serve), and its health check still passed",
            expected="an exit code other than 0",
            actual=f"exit code 0, output: {_first_line(outage.probe.output)}",
            at=stack.model.at("services", "api", "healthcheck", "test"),
            reproduce="docker compose stop model-server; "
            f"docker compose exec api {_shell(stack.probe_command('api'))}; echo $?",
        )


# --- start-up order -----------------------------------------------------------------------------

LONG_FORM = "`depends_on` has a long form with a condition for each service."


def _waits(stack: Stack, rehearsed: dict[str, Rehearsal], other: str) -> None:
    """Fails if api was started before ``other`` was healthy, in the live stack or when ``other`` never was."""
    where = stack.model.at("services", "api", "depends_on", other)
    reproduce = (
        "docker compose down; docker compose up -d; "
        "docker events --since 2m --until 0s --filter event=start --filter event=health_status"
    )
    started = stack.events.find("api", "start")
    ready = stack.events.find(other, "healthy")
    if started and (not ready or started[0].at < ready[0].at):
        early = f"{ready[0].at - started[0].at:.1f} s " if ready else ""
        raise Failure(f"api started {early}before {other} was healthy", at=where, reproduce=reproduce)
    if "api" in rehearsed[other].started:
        raise Failure(
            f"api does not wait until {other} is healthy: it was started although {other} never became healthy",
            expected=f"api is not started before {other} is healthy",
            actual="this time it came second by luck only",
            at=where,
            reproduce=f"docker compose config api | grep -A 4 '{other}:'      # which condition is waited for?",
        )


@check(points=1, needs=has_probe("redis"), section="depends_on and its three conditions", hint=LONG_FORM)
def test_api_waits_for_redis(stack: Stack, rehearsed: dict[str, Rehearsal]) -> None:
    """api starts only after redis is healthy"""
    _waits(stack, rehearsed, "redis")


@check(points=1, needs=has_probe("postgres"), section="depends_on and its three conditions", hint=LONG_FORM)
def test_api_waits_for_postgres(stack: Stack, rehearsed: dict[str, Rehearsal]) -> None:
    """api starts only after postgres is healthy"""
    _waits(stack, rehearsed, "postgres")


@check(points=1, needs=has_probe("model-server"), section="depends_on and its three conditions", hint=LONG_FORM)
def test_api_waits_for_model_server(stack: Stack, rehearsed: dict[str, Rehearsal]) -> None:
    """api starts only after model-server is healthy"""
    _waits(stack, rehearsed, "model-server")


@check(
    points=1,
    section="depends_on and its three conditions",
    hint="api may wait for model-init itself, or for a service that does.",
)
def test_api_is_not_started_without_weights(beside: Stack, rehearsed: dict[str, Rehearsal]) -> None:
    """api is not started when model-init fails"""
    if "api" in rehearsed[ONE_SHOT].started:
        raise Failure(
            "api was started although model-init had failed (exit code 1)",
            expected="api is not started",
            at=beside.model.at("services", "api", "depends_on", ONE_SHOT),
            reproduce="docker compose config api | grep -A 12 depends_on",
        )


@check(
    points=2,
    needs=running("model-server"),
    section="depends_on and its three conditions",
    hint="One of the three conditions means: has ended, and with exit code 0.",
)
def test_model_init_finishes_first(stack: Stack) -> None:
    """model-server and api start after model-init has finished with 0"""
    ended = [event for event in stack.events.find(ONE_SHOT, "die") if event.exit_code == 0]
    for name in ("model-server", "api"):
        started = stack.events.find(name, "start")
        if started and (not ended or ended[0].at > started[0].at):
            early = f"{ended[0].at - started[0].at:.1f} s " if ended else ""
            raise Failure(
                f"{name} started {early}before model-init had finished",
                expected="first the weights are in the volume, then whoever needs them is started",
                at=stack.model.at("services", name, "depends_on", ONE_SHOT),
                reproduce="docker compose down -v; docker compose up -d; "
                "docker events --since 2m --until 0s --filter event=start --filter event=die",
            )


# --- after a crash -------------------------------------------------------------------------------


@check(
    points=2,
    needs=running(*LONG_RUNNING),
    section="restart: what happens after a crash",
    hint="Without `restart:` a service that has crashed stays down.",
)
def test_crashed_services_come_back(stack: Stack, frozen: dict[str, Executed], outage: Outage) -> None:
    """A service that crashed is restarted and healthy again"""
    down = {name: why for name, why in _come_back(stack, outage.killed, outage.killed_at).items() if why}
    if down:
        first = next(iter(down))
        raise Failure(
            "After its process was killed, " + ", ".join(f"{name} {why}" for name, why in down.items()),
            expected="restarted, and healthy again",
            at=stack.model.at("services", first, "restart"),
            reproduce="docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' "
            f"$(docker compose ps -aq {first})",
        )


# --- words --------------------------------------------------------------------------------------


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _have(names: Sequence[str]) -> str:
    return "have" if len(names) > 1 else "has"


def _first_line(output: str) -> str:
    return next((line.strip() for line in output.splitlines() if line.strip()), "it printed nothing")


def _complaint(output: str) -> str:
    """The line that says what is wrong: a Python traceback's last, else the first."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines and lines[0].startswith("Traceback") else _first_line(output)


def _shell(command: Sequence[str] | None) -> str:
    import shlex

    return shlex.join(command or [])
