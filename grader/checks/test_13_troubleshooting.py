"""Exercise 13: six broken stacks, each mended without taking anything away.

The six are started a few at a time, observed, and removed at once: together they would need many networks. The checks
only judge what was observed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from grader.budget import stretched
from grader.model import Model
from grader.plugin import Blocked, Failure, check
from grader.probes import Answer, Executed, execute, get, send, wait_until
from grader.rehearsal import rehearse
from grader.stack import Stack
from grader.vantage import Vantage
from grader.vetting import Overlay

AT_ONCE = 3
PORT = 8000
NOTE = {"buy": "milk"}
FROZEN = 3.0  # seconds for a probe of a frozen service: by then one that does not ask the service has ended


@dataclass
class Seen:
    """What was observed of one stack.

    Attributes:
        model: None if Compose cannot read the file.
        problem: why the stack could not be started at all.
        not_well: service -> why it is not well, empty if it is.
        answers: service -> what it answered at its port, with a good status or not; None if nothing did.
        facts: what else the checks of this stack want to know.
    """

    model: Model | None
    problem: str = ""
    not_well: Mapping[str, str] = field(default_factory=dict)
    answers: dict[str, Answer | None] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)

    def at(self, *path: str) -> str:
        return self.model.at("services", *path) if self.model else ""

    def text(self, service: str) -> str:
        """What the service answered, in words."""
        answer = self.answers.get(service)
        if answer is None:
            return "nothing answered"
        return f"status {answer.status}: {answer.body.decode('utf-8', 'replace').strip()[:100]}"

    def says(self, service: str, words: str) -> bool:
        """Whether the service answered well, and with ``words`` in it."""
        answer = self.answers.get(service)
        return answer is not None and answer.status == 200 and words.encode() in answer.body


# --- experiments --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def observing(start: Callable[[str], Stack], overlays: Mapping[str, Overlay]) -> Iterator[dict[str, Future[Seen]]]:
    """Stack -> what is observed of it, in the background."""

    def observe(name: str) -> Seen:
        seen = Seen(overlays[name].model)
        try:
            stack = start(name)
        except Blocked as reason:
            seen.problem = str(reason)
            return seen
        try:
            seen.not_well = dict(stack.not_well)
            OBSERVERS[name](stack, seen)
        finally:
            stack.close()
        return seen

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(observe, name) for name in OBSERVERS}


def _answers(stack: Stack, seen: Seen, *services: str) -> None:
    """Ask each of ``services``, for as long as it is not yet there."""
    for name in services:
        url = stack.url(name, PORT)
        if url is not None and name in stack.running:
            wait_until(lambda url=url: get(url) is not None, stack.budget, stretched(5))  # type: ignore[misc]
        seen.answers[name] = get(url) if url is not None else None


def _observe_command(stack: Stack, seen: Seen) -> None:
    _answers(stack, seen, "app")


def _observe_host(stack: Stack, seen: Seen) -> None:
    _answers(stack, seen, "web")
    visitor = next(iter(stack.containers("visitor")), None)
    redis = (stack.inspect("redis") or {}).get("NetworkSettings", {}).get("Networks") or {}
    targets = [("redis", 6379), *((n["IPAddress"], 6379) for n in redis.values() if n["IPAddress"])]
    if visitor is None or not redis:
        return
    with Vantage(stack.client, str(stack.owner), [visitor]) as vantage:
        if vantage.stands_in(visitor):
            said = vantage.why_not(visitor, targets)
            seen.facts["reached"] = [f"{host}:{port}" for (host, port), why in said.items() if not why]


def _observe_port(stack: Stack, seen: Seen) -> None:
    _answers(stack, seen, "site", "admin")


def _observe_volume(stack: Stack, seen: Seen) -> None:
    _answers(stack, seen, "app")
    url = stack.url("app", PORT)
    if url is None or "app" not in stack.running:
        return
    seen.answers["app"] = send("POST", url, NOTE)
    owner = stack.execute("app", ["sh", "-c", "stat -c %u /proc/1"])
    seen.facts["user"] = owner.output.strip()
    if not _stored(seen):
        return
    stack.take_down()
    if why := stack.bring_up():
        raise Blocked(f"after down and up, {why}")
    back = stack.url("app", PORT)
    assert back is not None
    wait_until(lambda: get(back) is not None, stack.budget, stretched(10))
    answer = get(back)
    seen.facts["kept"] = answer is not None and answer.json() == NOTE


def _stored(seen: Seen) -> bool:
    answer = seen.answers["app"]
    return answer is not None and answer.status == 201


def _observe_probe(stack: Stack, seen: Seen) -> None:
    seen.facts["probe"] = stack.probe_command("app")
    worker = stack.inspect("worker") or {}
    seen.facts["worker"] = "worker" in stack.running and not worker["RestartCount"]
    if stack.model.services["worker"].depends_on.get("app"):
        seen.facts["waits"] = not _started_all_the_same(stack, "worker", "app")
    if stack.not_well["app"] or not (command := stack.probe_command("app")):
        return
    containers = stack.containers("app")
    stack.faults.freeze(containers)
    try:
        seen.facts["frozen"] = execute(stack.client, containers[0], command, stretched(FROZEN))
    finally:
        stack.faults.thaw(containers)


def _observe_health(stack: Stack, seen: Seen) -> None:
    seen.facts["probe"] = stack.probe_command("redis")
    _answers(stack, seen, "app")
    seen.facts["waits"] = not _started_all_the_same(stack, "app", "redis")
    if "redis" in stack.running:
        ping = ["env", "-u", "REDISCLI_AUTH", "redis-cli", "ping"]
        seen.facts["unasked"] = stack.execute("redis", ping)


def _started_all_the_same(stack: Stack, who: str, failing: str) -> bool:
    """Whether ``who`` is started although ``failing`` never becomes healthy."""
    done = rehearse(stack.client, stack.model, stack.owner, (who,), (failing,), frozenset())
    return who in done[failing].started


OBSERVERS: dict[str, Callable[[Stack, Seen], None]] = {
    "command": _observe_command,
    "host": _observe_host,
    "port": _observe_port,
    "volume": _observe_volume,
    "probe": _observe_probe,
    "health": _observe_health,
}


def _seen(observing: Mapping[str, Future[Seen]], name: str) -> Seen:
    """What was observed of a stack.

    Raises:
        Failure: it could not be started at all.
    """
    seen = observing[name].result()
    if seen.problem:
        folder = next(f"{number}-{known}" for number, known in enumerate(OBSERVERS, 1) if known == name)
        raise Failure(
            f"The stack could not be started: {seen.problem}",
            at=f"{folder}/compose.yml",
            reproduce=f"cd {folder}; docker compose config --quiet",
        )
    return seen


def _mended(observing: Mapping[str, Future[Seen]], name: str, service: str, words: str) -> Seen:
    """As ``_seen``, where a check means nothing before the service answers with ``words``."""
    seen = observing[name].result()
    if seen.problem or not seen.says(service, words):
        raise Blocked(seen.problem or f"{service} does not yet work: {seen.text(service)}")
    return seen


# --- 1: a command -------------------------------------------------------------------------------


@check(
    points=2,
    section="Start with ps and logs",
    hint="`docker compose logs app` shows the last words of a service that has ended.",
)
def test_command_app_answers(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """1: app runs and answers"""
    seen = _seen(observing, "command")
    if not seen.says("app", "Stack 1 works."):
        raise Failure(
            f"app does not answer as its server.py does ({seen.not_well['app'] or 'it runs'})",
            expected="status 200: Stack 1 works.",
            actual=seen.text("app"),
            at=seen.at("app", "command"),
            reproduce="cd 1-command; docker compose up -d; docker compose ps -a; docker compose logs app",
        )


# --- 2: a name and a network --------------------------------------------------------------------


@check(
    points=2,
    section="Names and networks",
    hint="Two services reach each other by the service's name, and only on a network that both are on.",
)
def test_host_web_reaches_redis(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """2: web counts its visitors in redis"""
    seen = _seen(observing, "host")
    answer = seen.answers["web"]
    if answer is None or answer.status != 200 or not answer.body.strip().isdigit():
        raise Failure(
            "web does not answer with the number of its visitors",
            expected="status 200 and a number",
            actual=seen.text("web"),
            at=seen.at("web", "environment"),
            reproduce="cd 2-host; docker compose up -d; curl -i http://localhost:8002/",
        )


@check(
    points=1,
    section="Names and networks",
    hint="web can be on two networks; visitor and redis stay on one each.",
)
def test_host_redis_stays_apart(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """2: visitor cannot connect to redis"""
    seen = observing["host"].result()
    answer = seen.answers.get("web")
    if answer is None or answer.status != 200:
        raise Blocked("web does not reach redis yet")
    if "reached" not in seen.facts:
        raise Blocked(seen.not_well.get("visitor") or seen.not_well.get("redis") or "visitor or redis does not run")
    if seen.facts["reached"]:
        raise Failure(
            "visitor can open a connection to redis, which only web may",
            expected="no connection",
            actual=f"a connection to {_joined(seen.facts['reached'])}",
            at=seen.at("redis", "networks"),
            reproduce="cd 2-host; docker compose exec visitor "
            "python -c \"import socket; socket.create_connection(('redis', 6379), 3)\"",
        )


# --- 3: a port ----------------------------------------------------------------------------------


@check(
    points=2,
    section="Ports that are taken",
    hint="Change the first of the two numbers: it is the port of your machine.",
)
def test_port_each_has_its_own(overlays: Mapping[str, Overlay]) -> None:
    """3: site and admin are published on different ports"""
    overlay = overlays["port"]
    if overlay.model is None:
        raise Failure(
            f"Compose cannot read the file: {overlay.problem}",
            at="3-port/compose.yml",
            reproduce="cd 3-port; docker compose config --quiet",
        )
    published = {name: _published(overlay.model, name) for name in ("site", "admin")}
    reproduce = "cd 3-port; docker compose up -d; docker compose ps"
    for name, ports in published.items():
        if not ports:
            raise Failure(
                f"{name} is not published at all",
                expected=f"port {PORT} of {name} on a port of your machine",
                at=overlay.model.at("services", name),
                reproduce=reproduce,
            )
    if both := sorted(published["site"] & published["admin"] - {""}):
        raise Failure(
            f"site and admin both want port {both[0]} of your machine",
            expected="different ports",
            actual=f"{both[0]} and {both[0]}",
            at=overlay.model.at("services", "admin", "ports"),
            reproduce=reproduce,
        )


def _published(model: Model, service: str) -> set[str]:
    """The ports of the machine that lead to the service; an empty one is any that is free."""
    ports = model.services[service].config.get("ports") or []
    return {str(port.get("published", "")) for port in ports if port["target"] == PORT}


@check(
    points=1,
    section="Ports that are taken",
    hint="Both services run the same program on the same port of their own.",
)
def test_port_both_answer(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """3: site and admin both answer"""
    seen = _seen(observing, "port")
    for name in ("site", "admin"):
        if not seen.says(name, f"This is {name}."):
            raise Failure(
                f"{name} does not answer",
                expected=f"status 200: This is {name}.",
                actual=seen.text(name),
                at=seen.at(name),
                reproduce=f"cd 3-port; docker compose up -d; docker compose logs {name}",
            )


# --- 4: a volume --------------------------------------------------------------------------------


@check(
    points=2,
    section="Volumes and their owners",
    hint="A new volume belongs to root. Something that runs as root has to give it away, before app starts.",
)
def test_volume_app_stores(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """4: app stores a note"""
    seen = _seen(observing, "volume")
    if not _stored(seen):
        raise Failure(
            "app did not store a note that was sent to it",
            expected="status 201",
            actual=seen.text("app"),
            at=seen.at("app", "volumes"),
            reproduce="cd 4-volume; docker compose up -d; curl -i -d milk http://localhost:8004/",
        )


def _storing(observing: Mapping[str, Future[Seen]]) -> Seen:
    seen = observing["volume"].result()
    if seen.problem or not _stored(seen):
        raise Blocked("app does not store notes yet")
    return seen


@check(points=1, section="Volumes and their owners", hint="Keep `user:`; it is the folder that has to change hands.")
def test_volume_app_is_not_root(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """4: app does not run as root"""
    seen = _storing(observing)
    if seen.facts["user"] == "0":
        raise Failure(
            "app can store notes, but it runs as root",
            expected="a user other than 0",
            actual="user 0",
            at=seen.at("app", "user"),
            reproduce="cd 4-volume; docker compose exec app id -u",
        )


@check(points=1, section="Volumes and their owners", hint="What lies in a named volume survives `docker compose down`.")
def test_volume_notes_survive(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """4: The note survives down and up"""
    seen = _storing(observing)
    if not seen.facts.get("kept"):
        raise Failure(
            "After `docker compose down` and `up` the note was gone",
            expected="the same note",
            at=seen.at("app", "volumes"),
            reproduce="cd 4-volume; docker compose down; docker compose up -d; curl http://localhost:8004/",
        )


# --- 5: a probe that cannot run -----------------------------------------------------------------


@check(
    points=2,
    section="A probe that cannot run",
    hint="The probe runs inside the image: use a program that is there.",
)
def test_probe_worker_starts(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """5: app is healthy, and worker works"""
    seen = _seen(observing, "probe")
    for name in ("app", "worker"):
        if seen.not_well[name] or (name == "worker" and not seen.facts["worker"]):
            raise Failure(
                seen.not_well[name] or "worker ended, and was started again",
                expected="app is healthy, worker has asked it and runs",
                at=seen.at(name, "healthcheck") if name == "app" else seen.at(name),
                reproduce="cd 5-probe; docker compose up -d; docker compose ps -a; docker compose logs",
            )


@check(points=1, section="A probe that cannot run", hint="A probe has to ask the app itself, or it sees nothing.")
def test_probe_notices(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """5: app's health check notices a frozen app"""
    seen = observing["probe"].result()
    if seen.problem or seen.not_well["app"]:
        raise Blocked(seen.problem or seen.not_well["app"])
    frozen = seen.facts.get("frozen")
    reproduce = "cd 5-probe; docker compose kill -s STOP app; docker compose ps; docker compose kill -s CONT app"
    if not seen.facts["probe"]:
        raise Failure("app has no health check any more", at=seen.at("app"), reproduce=reproduce)
    if isinstance(frozen, Executed) and frozen.status == 0:
        raise Failure(
            "The health check passed although every process of app was frozen",
            expected="a probe that fails, or waits for an answer",
            actual=f"exit code 0 after {frozen.seconds:.1f} s",
            at=seen.at("app", "healthcheck", "test"),
            reproduce=reproduce,
        )


@check(points=1, section="A probe that cannot run", hint="Mend the probe, not the waiting: keep the condition.")
def test_probe_worker_waits(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """5: worker waits until app is healthy"""
    seen = observing["probe"].result()
    if seen.problem or seen.not_well["app"]:
        raise Blocked(seen.problem or seen.not_well["app"])
    if not seen.facts["probe"]:
        raise Blocked("app has no health check")
    if not seen.facts.get("waits"):
        raise Failure(
            "worker is started although app is not healthy",
            expected="worker is not started before app is healthy",
            at=seen.at("worker", "depends_on"),
            reproduce="cd 5-probe; docker compose config worker | grep -A 4 depends_on",
        )


# --- 6: a dependency that never becomes healthy -------------------------------------------------


@check(
    points=2,
    section="Who waits for whom",
    hint="`docker compose ps` shows who is not healthy; its probe says why.",
)
def test_health_app_answers(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """6: app runs, and redis answers it"""
    seen = _seen(observing, "health")
    if not seen.says("app", "+PONG"):
        raise Failure(
            seen.not_well["app"] or "app does not get an answer from redis",
            expected="status 200: +OK +PONG",
            actual=seen.text("app"),
            at=seen.at("redis", "healthcheck", "test"),
            reproduce="cd 6-health; docker compose up -d; docker compose ps -a; curl -i http://localhost:8006/",
        )


@check(points=1, section="Who waits for whom", hint="Give the probe the password, and keep it on redis.")
def test_health_redis_asks(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """6: redis still asks for its password"""
    seen = observing["health"].result()
    unasked = seen.facts.get("unasked")
    if seen.problem or seen.not_well["redis"] or not isinstance(unasked, Executed):
        raise Blocked(seen.problem or seen.not_well["redis"] or "redis does not run")
    if "PONG" in unasked.output:
        raise Failure(
            "redis answers whoever asks, without a password",
            expected="NOAUTH Authentication required.",
            actual=unasked.output,
            at=seen.at("redis", "command"),
            reproduce="cd 6-health; docker compose exec redis env -u REDISCLI_AUTH redis-cli ping",
        )


@check(points=1, section="Who waits for whom", hint="Mend the probe, not the waiting: keep the condition.")
def test_health_app_waits(start: Callable[[str], Stack], observing: dict[str, Future[Seen]]) -> None:
    """6: app waits until redis is healthy"""
    seen = _mended(observing, "health", "app", "")
    if not seen.facts["probe"] or not seen.facts.get("waits"):
        raise Failure(
            "app is started although redis is not healthy",
            expected="a health check of redis, and app is not started before it passes",
            at=seen.at("app", "depends_on"),
            reproduce="cd 6-health; docker compose config app | grep -A 4 depends_on",
        )


# --- words --------------------------------------------------------------------------------------


def _joined(names: object) -> str:
    return " and ".join(map(str, names)) if isinstance(names, list) else str(names)
