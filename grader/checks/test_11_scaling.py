"""Exercise 11: replicas that come and go behind nginx, and no request that is lost.

Each experiment is a fixture and needs the one before it, so that they happen one after the other: crashed, frozen,
scaled up, scaled down. All of them put the service under load, and look at every single answer.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import pytest

from grader.budget import stretched
from grader.load import Load, Sent
from grader.model import Model
from grader.plugin import Blocked, Failure, check, running
from grader.probes import Answer, get, send, wait_until
from grader.stack import Stack
from grader.text import last_lines

SERVICE = "model-server"
REPLICAS, MORE, FEWER = 3, 5, 2  # by the file; then more, then fewer
REQUESTS = 60
LEAST_SHARE = 4  # of these 60; by chance alone a replica of three gets fewer once in a million times
# So many requests are always open that each replica has some of them, whenever something is done to it.
CLIENTS = 20
# Seconds on an idle machine: in which a user wants an answer, in which new replicas have to get requests.
PATIENCE = 10.0
FOLLOWS = 10.0
# However busy the machine is: nginx gives a replica up after 60 s by default, and that is too late.
AT_MOST = 40.0

SCALE = f"docker compose up -d --no-recreate --scale {SERVICE}="
ASK = "curl -i -X POST http://127.0.0.1:8080/predict"
CONF = "nginx/nginx.conf"


# --- experiments --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    """Where nginx passes predictions on."""
    url = stack.url("nginx", 80, "/predict")
    if url is None:  # it is published by exercise.toml, as long as nginx runs
        raise Blocked("nginx has ended")
    return url


@pytest.fixture(scope="module")
def last_words(stack: Stack) -> str:
    """What nginx says when it does not like its configuration and ends; empty if it serves."""
    first = stack.inspect("nginx")
    if first is None or first["State"]["Status"] == "created":
        raise Blocked(stack.not_well["nginx"])

    def ended() -> bool:
        state = stack.inspect("nginx")
        return state is None or not state["State"]["Running"] or state["RestartCount"] > 0

    def serves() -> bool:
        url = stack.url("nginx", 80)
        return url is not None and get(url, stretched(2)) is not None

    wait_until(lambda: ended() or serves(), stack.budget, stretched(10))
    if not ended():
        return ""
    log = last_lines(stack.client.api.logs(first["Id"], tail=30).decode("utf-8", "replace"))
    complaint = next((line for line in reversed(log) if "[emerg]" in line), log[-1] if log else "it says nothing")
    return complaint.rpartition("[emerg]")[2].strip()


@pytest.fixture(scope="module")
def answered(stack: Stack, last_words: str, url: str) -> Answer | None:
    """What nginx answers to a prediction; the last answer if there is no good one in time."""
    if last_words:
        raise Blocked("nginx does not start")
    last: list[Answer | None] = [None]

    def good() -> bool:
        last[0] = send("POST", url, json={}, timeout=stretched(5))
        return last[0] is not None and isinstance(last[0].json(), dict) and "served_by" in last[0].json()

    wait_until(good, stack.budget, stretched(5), interval=0.2)
    return last[0]


@pytest.fixture(scope="module")
def works(answered: Answer | None) -> None:
    """Nothing else can be tried before one prediction is answered."""
    if answered is None or answered.status != 200:
        raise Blocked("nginx does not answer a single POST /predict")


@pytest.fixture(scope="module")
def begun_with(stack: Stack) -> list[str]:
    """The names (``served_by``) of the replicas that the file starts."""
    return list(_replicas(stack).values())


@dataclass(frozen=True)
class Shares:
    """How many of the requests each replica has answered."""

    of: Counter[str]
    unfair: tuple[str, ...]


@pytest.fixture(scope="module")
def shares(stack: Stack, url: str, works: None, begun_with: list[str]) -> Shares:
    """Requests with nothing in their way, to as many replicas as the file starts."""
    load = Load(url, json=_body, clients=CLIENTS, timeout=_patience(PATIENCE))
    load.burst(REQUESTS)
    counts = load.counts("served_by")
    return Shares(counts, tuple(name for name in begun_with if counts[name] < LEAST_SHARE))


@dataclass(frozen=True)
class Outcome:
    """What became of the requests while something was done to replicas."""

    failures: list[Sent]
    answered: int


@pytest.fixture(scope="module")
def crashed(stack: Stack, url: str, shares: Shares) -> Outcome:
    """One of three replicas is killed while it has requests open."""
    if why := stack.scale(SERVICE, REPLICAS):
        raise Blocked(why)
    with _load(url) as load:
        _steady(stack, load)
        stack.faults.crash([_one_that_serves(stack, load)])
        _steady(stack, load)
    return Outcome(load.failures, len(load.results))


@pytest.fixture(scope="module")
def frozen(stack: Stack, url: str, crashed: Outcome) -> Outcome:
    """One of three replicas hangs: it takes connections and does not answer.

    Where a replica that is killed costs requests, one that hangs costs more: that is not tried.
    """
    if crashed.failures:
        return Outcome([], 0)
    if why := stack.scale(SERVICE, REPLICAS):  # starts the one that was killed
        raise Blocked(why)
    with _load(url) as load:
        _steady(stack, load)
        victim = [_one_that_serves(stack, load)]
        stack.faults.freeze(victim)
        try:
            load.stop()  # waits for those that hang
        finally:
            stack.faults.thaw(victim)
    return Outcome(load.failures, len(load.results))


@pytest.fixture(scope="module")
def scaled_up(stack: Stack, url: str, shares: Shares, frozen: Outcome) -> list[str]:
    """The replicas, of five, that got no request in time; not waited for if not even three get theirs."""
    if why := stack.scale(SERVICE, MORE):
        raise Blocked(why)
    began = time.monotonic()
    names = set(_replicas(stack).values())

    def missing() -> set[str]:
        return names - set(load.counts("served_by", after=began))

    with _load(url) as load:
        wait_until(lambda: not missing() or bool(shares.unfair), stack.budget, _patience(FOLLOWS))
    return sorted(missing())


@dataclass(frozen=True)
class ScaledDown:
    """What became of the requests while three of five replicas were stopped, and of those three."""

    requests: Outcome
    exit_codes: list[int | None]


@pytest.fixture(scope="module")
def scaled_down(stack: Stack, url: str, scaled_up: list[str]) -> ScaledDown:
    """Under load, three of five replicas are stopped."""
    with _load(url) as load:
        _steady(stack, load)
        began = stack.now()
        if why := stack.scale(SERVICE, FEWER):
            raise Blocked(why)
        _steady(stack, load)

    def ended() -> list[int | None]:
        return [event.exit_code for event in stack.events.find(SERVICE, "die") if event.at >= began]

    wait_until(lambda: len(ended()) >= MORE - FEWER, stack.budget, stretched(5))
    return ScaledDown(Outcome(load.failures, len(load.results)), ended())


def _patience(seconds: float) -> float:
    return min(stretched(seconds), AT_MOST)


def _body(number: int) -> object:
    return {"pixels": [number % 17] * 64}


def _load(url: str) -> Load:
    return Load(url, json=_body, clients=CLIENTS, timeout=_patience(PATIENCE))


def _steady(stack: Stack, load: Load) -> None:
    """Wait until every client, or nearly, has seen a request through that began after this moment."""
    began = time.monotonic()

    def enough() -> bool:
        return sum(sent.began >= began for sent in load.results) >= CLIENTS

    wait_until(enough, stack.budget, _patience(2 * PATIENCE))


def _replicas(stack: Stack) -> dict[str, str]:
    """Each running replica's container -> its host name, which is what ``served_by`` says."""
    states = [stack.client.api.inspect_container(container) for container in stack.containers(SERVICE)]
    return {state["Id"]: state["Config"]["Hostname"] for state in states if state["State"]["Running"]}


def _one_that_serves(stack: Stack, load: Load) -> str:
    """The container of the replica that gets the most requests."""
    counts = load.counts("served_by")
    replicas = _replicas(stack)
    if not replicas:
        raise Blocked(f"no {SERVICE} runs any more")
    return max(replicas, key=lambda container: counts[replicas[container]])


def _failed(outcome: Outcome) -> str:
    first = Counter(str(sent) for sent in outcome.failures).most_common(1)[0][0]
    return f"{len(outcome.failures)} of {outcome.answered} requests failed, most with: {first}"


# --- the file -----------------------------------------------------------------------------------


@check(
    points=1,
    section="nginx.conf is one file with parts",
    hint="nginx says in its log what it does not like, with file and line.",
)
def test_nginx_starts(stack: Stack, last_words: str) -> None:
    """nginx starts with this configuration"""
    if last_words:
        raise Failure(
            "nginx does not start with this configuration",
            expected="nginx runs",
            actual=last_words,
            at=CONF,
            reproduce="docker compose logs nginx",
        )


@check(
    points=2,
    needs=running("nginx", SERVICE),
    section="A load balancer",
    hint="Ask step by step: does the request reach nginx, and does nginx reach port 8000 of model-server?",
)
def test_predictions_are_answered(stack: Stack, answered: Answer | None) -> None:
    """POST /predict is answered through nginx"""
    said = answered.json() if answered is not None else None
    if answered is None or answered.status != 200 or not isinstance(said, dict) or "served_by" not in said:
        raise Failure(
            "POST /predict on nginx's port 80 was not answered by a model-server",
            expected="status 200, and JSON with `served_by`",
            actual=f"status {answered.status}, {answered.body[:80]!r}" if answered else "no answer",
            at=CONF,
            reproduce=f"{ASK}; docker compose logs nginx",
        )


@check(
    points=2,
    needs=running(SERVICE),
    section="Replicas",
    hint="There is a key for the number of containers of a service.",
)
def test_file_starts_three_replicas(stack: Stack, begun_with: list[str]) -> None:
    """The file by itself starts three replicas"""
    if len(begun_with) != REPLICAS:
        raise Failure(
            f"docker compose up -d starts {len(begun_with)} of {SERVICE}",
            expected=str(REPLICAS),
            actual=str(len(begun_with)),
            at=stack.model.at("services", SERVICE, "deploy", "replicas"),
            reproduce=f"docker compose up -d && docker compose ps {SERVICE}",
        )


@check(
    points=1,
    section="What makes scaling impossible",
    hint="What can there be only one of on a machine? And who needs it, as users come through nginx?",
)
def test_nothing_forbids_scaling(model: Model) -> None:
    """model-server has no fixed port on the host"""
    for index, entry in enumerate(model.services[SERVICE].config.get("ports") or []):
        published = str(entry.get("published") or "0")
        if published != "0" and not _has_room(published):
            raise Failure(
                f"{SERVICE} publishes port {entry['target']} on host port {published}: only one replica can have that",
                expected=f"as many of {SERVICE} as somebody wants",
                actual=f"with {MORE} of them: port is already allocated",
                at=model.at("services", SERVICE, "ports", str(index)),
                reproduce=f"{SCALE}{MORE}",
            )


def _has_room(published: str) -> bool:
    """Whether a range of host ports (``8000-8010``) is enough for everybody."""
    first, _, last = published.partition("-")
    return bool(last) and int(last) - int(first) + 1 >= MORE


# --- coming and going ---------------------------------------------------------------------------


@check(
    points=2,
    needs=running("nginx", SERVICE),
    section="A load balancer",
    hint="Each request is to be passed on by itself: no answer kept, and no user tied to one replica.",
)
def test_every_replica_gets_its_share(stack: Stack, begun_with: list[str], shares: Shares) -> None:
    """Every replica gets its share of the requests"""
    if len(begun_with) < 2:
        raise Blocked(f"there is only one {SERVICE}")
    if shares.unfair:
        raise Failure(
            f"{len(shares.unfair)} of {len(begun_with)} replicas got next to nothing of {REQUESTS} requests",
            expected=f"at least {LEAST_SHARE} requests each",
            actual=", ".join(f"{name} {shares.of[name]}" for name in begun_with),
            at=CONF,
            reproduce="for i in $(seq 20); do curl -s -X POST http://127.0.0.1:8080/predict; echo; done",
        )


@check(
    points=3,
    needs=running("nginx", SERVICE),
    section="nginx looks a name up once",
    hint="A name in `upstream` or in `proxy_pass` is looked up at the start; one in a variable is not.",
)
def test_new_replicas_get_requests(stack: Stack, shares: Shares, scaled_up: list[str]) -> None:
    """Scaled to five, all five get requests within ten seconds"""
    if shares.unfair:
        raise Blocked("not even the replicas that were there from the beginning get their share")
    if scaled_up:
        raise Failure(
            f"{len(scaled_up)} of {MORE} replicas got no request within {FOLLOWS:.0f} s, and nginx was not touched",
            expected=f"all {MORE} answer",
            actual=f"nothing from {', '.join(scaled_up)}",
            at=CONF,
            reproduce=f"{SCALE}{MORE}; sleep 10; for i in $(seq 30); do curl -s -X POST http://127.0.0.1:8080/predict; "
            "echo; done | sort | uniq -c",
        )


@check(
    points=3,
    needs=running("nginx", SERVICE),
    section="Asking the next one",
    hint="By default nginx does not send a POST a second time. `proxy_next_upstream` says when it may.",
)
def test_killed_replica_costs_no_request(stack: Stack, crashed: Outcome) -> None:
    """A replica that is killed costs no request"""
    if crashed.failures:
        raise Failure(
            f"One of {REPLICAS} replicas was killed under load: {_failed(crashed)}",
            expected="nginx asks another replica, and the user notices nothing",
            at=CONF,
            reproduce=f"for i in $(seq 30); do {ASK} -s -o /dev/null -w '%{{http_code}}\\n' & done; "
            f"docker kill $(docker compose ps -q {SERVICE} | head -1); wait",
        )


@check(
    points=2,
    needs=running("nginx", SERVICE),
    section="Asking the next one",
    hint="How long does nginx wait for an answer before it gives a replica up, and may it then ask another?",
)
def test_frozen_replica_costs_no_request(stack: Stack, crashed: Outcome, frozen: Outcome) -> None:
    """A replica that hangs costs no request"""
    if crashed.failures:
        raise Blocked("a replica that is killed costs requests")
    if frozen.failures:
        raise Failure(
            f"One of {REPLICAS} replicas was frozen under load: {_failed(frozen)}",
            expected=f"after 3 s nginx asks another replica; users wait for {PATIENCE:.0f} s at most",
            at=CONF,
            reproduce=f"docker pause $(docker compose ps -q {SERVICE} | head -1); "
            f"for i in $(seq 9); do {ASK} -m {PATIENCE:.0f}; done; docker compose unpause",
        )


@check(
    points=3,
    needs=running("nginx", SERVICE),
    section="Asking the next one",
    hint="When three replicas go at once, nginx may have to ask four of them, and soon has to forget those three.",
)
def test_scaling_down_costs_no_request(
    stack: Stack, crashed: Outcome, scaled_up: list[str], scaled_down: ScaledDown
) -> None:
    """Scaled down to two under load, no request fails"""
    if crashed.failures:
        raise Blocked("a replica that is killed costs requests")
    if scaled_up:
        raise Blocked("some replicas get no requests, so it says nothing when they go")
    if scaled_down.requests.failures:
        raise Failure(
            f"From {MORE} replicas to {FEWER}, under load: {_failed(scaled_down.requests)}",
            expected="every request is answered by a replica that stays",
            at=CONF,
            reproduce=f"{SCALE}{MORE}; sleep 5; "
            f"for i in $(seq 99); do {ASK} -s -o /dev/null -w '%{{http_code}}\\n'; done & {SCALE}{FEWER}; wait",
        )


@check(
    points=2,
    needs=running("nginx", SERVICE),
    section="An orderly stop",
    hint="SIGTERM, then a while for open requests, then SIGKILL. Who gets the first, and how long is the while?",
)
def test_stopped_replicas_finish_their_requests(stack: Stack, scaled_up: list[str], scaled_down: ScaledDown) -> None:
    """A replica that is stopped finishes its open requests"""
    if scaled_up:
        raise Blocked("some replicas get no requests, and so they have none to finish")
    if len(scaled_down.exit_codes) < MORE - FEWER:
        raise Blocked(f"{SERVICE} was not scaled down")
    killed = [code for code in scaled_down.exit_codes if code != 0]
    if killed:
        raise Failure(
            f"{len(killed)} of {len(scaled_down.exit_codes)} replicas that were stopped did not end by themselves",
            expected="exit code 0: every open request is answered",
            actual=f"exit code {killed[0]}" + (", killed with requests open" if killed[0] == 137 else ""),
            at=stack.model.at("services", SERVICE, "stop_grace_period"),
            reproduce=f"docker compose stop {SERVICE}; docker compose ps -a {SERVICE}",
        )
