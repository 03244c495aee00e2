"""Exercise 14: the complete stack, under 200 requests at once and while its services are killed.

The experiments are fixtures, one after the other on the same stack: digits are asked for, 200 at once, with one more
replica, while services are killed; the checks judge what was seen. In the end the stack is taken down and started anew.

No verdict depends on speed. Every request is given a minute and more. Where the api or nginx gave up waiting by
themselves (TOO_SLOW), the machine was busy: the request is made again, or left out.
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from grader.budget import stretched
from grader.model import Model
from grader.plugin import Blocked, Failure, check, has_probe, healthy, running
from grader.probes import wait_until
from grader.rehearsal import Rehearsal, rehearse
from grader.stack import Stack
from grader.vantage import Vantage

LONG_RUNNING = ("api", "model-server", "redis", "postgres", "nginx", "prometheus")
ONE_SHOT = "model-init"
API_PORT = 8000
PUBLISHED = ("api", "prometheus")
PASSWORD_FILE = "secrets/postgres_password.txt"

AT_ONCE = 200
REPLICAS = 3  # so many after one was added
PATIENCE = 60.0  # seconds for one request, on an idle machine
COMEBACK = 40.0  # seconds in which a killed service has to be healthy again, on an idle machine
SEEN = 8  # so many answers after each kill
NOTICED = 12.0  # seconds until nginx has to know a new replica, however idle or busy the machine is
TURNS = 40  # so many requests later each of three replicas has had one, also if each is picked at random
ASKERS = 3  # requests under way while services are killed

# What the api says when it, or nginx, gave up waiting: the services were too busy, which is no mistake of the file.
TOO_SLOW = re.compile(r"(Pool|Read|Write|Connect)Timeout|HTTP status 504")

# Handwritten digits, 8 x 8 pixels of 0 to 16 (g), from scikit-learn's collection; the first pixel of each is 0.
DIGITS = {
    0: "003db70000bggg2004g91e2004g00g2000g10c8000f90d60009e9e10002cd400",
    1: "0002gg200004gg20014cgc0007gggc00003age000008gc000006gg200002cf40",
    2: "008g500001dbg00000a0d3000031g1000009c000003f500000ef8830007cccd1",
    3: "018cfe4003b88cc000002d700002fc100000d50000009d000078ef0000efb200",
    4: "0000c2000006e100004g780000d90g6006gabg00005adg0000006g000000c800",
    5: "00c8870003ggb70002e1000005e5000002fg90000002g2000048g40000be9000",
    6: "001de300008gd20002gg300003gc100005ge500003gggg6001egggc0003cfe70",
    7: "0008ee200006afb000000ea0028bcg8008gggg700000bf100009g700000cd100",
    8: "00ab400000afdd10008b0e40000dfd0001bgg00001f39a0000e6fa00008e7100",
    9: "009d700000cgg20000cdg600006gge0000002g30000009a00037ceg2007cccb0",
}

# Without these three nobody reads a digit.
serving = running("api", "model-server", "nginx")


# --- asking -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What came of one request.

    Attributes:
        digit: which one was asked for.
        status: of the answer; None if there was none.
        body: of the answer, as JSON; empty if it is none.
        said: the answer as text, or why there was none.
        began, ended: on the monotonic clock.
        gave_up: the grader itself waited no longer.
    """

    digit: int
    status: int | None
    body: Mapping[str, Any]
    said: str
    began: float
    ended: float
    gave_up: bool = False

    @property
    def good(self) -> bool:
        return self.status == 200 and self.body.get("digit") == self.digit

    @property
    def too_slow(self) -> bool:
        return self.gave_up or (self.status in (503, 504) and TOO_SLOW.search(self.said) is not None)

    @property
    def failed(self) -> bool:
        return not self.good and not self.too_slow

    def __str__(self) -> str:
        if self.status == 200 and "digit" in self.body:
            return f"a handwritten {self.digit} was read as {self.body['digit']}"
        return f"{self.status} {self.said}" if self.status else f"no answer: {self.said}"


class Asker:
    """Sends digits to the api, and counts.

    Attributes:
        answered: requests that were answered with 200.
        unknown: requests of which nobody can say whether the api has answered them.
    """

    def __init__(self, stack: Stack) -> None:
        self.answered = 0
        self.unknown = 0
        self._budget = stack.budget
        self._url = stack.url("api", API_PORT)
        self._numbers = itertools.count(1)
        self._counting = threading.Lock()

    @property
    def can_reach(self) -> bool:
        return self._url is not None

    def ask(self, digit: int, fresh: bool = True) -> Outcome:
        """One request.

        Args:
            fresh: with a trace of grey in a corner that no other request has, so that no cache knows the answer.
        """
        return self.all_at_once([digit], fresh)[0]

    def ask_patiently(self, digit: int) -> Outcome:
        """The same request again and again, as long as somebody is too slow for it."""
        end = time.monotonic() + stretched(PATIENCE)
        while (outcome := self.ask(digit, fresh=False)).too_slow and time.monotonic() < end:
            pass
        return outcome

    def all_at_once(self, digits: Sequence[int], fresh: bool = True) -> list[Outcome]:
        """A request for each of ``digits``: first all are connected, then all are sent."""
        together = threading.Barrier(len(digits))
        outcomes: list[Outcome] = []
        threads = [
            threading.Thread(target=lambda d=digit: outcomes.append(self.send(d, fresh, together)), daemon=True)
            for digit in digits
        ]
        for thread in threads:
            thread.start()
        # An answer can drip in for ever; nobody waits for its end.
        wait_until(lambda: len(outcomes) == len(digits), self._budget, stretched(3 * PATIENCE), interval=0.01)
        ended = list(outcomes)
        missing = Counter(digits) - Counter(outcome.digit for outcome in ended)
        now = time.monotonic()
        return ended + [Outcome(digit, None, {}, "no end", now, now, gave_up=True) for digit in missing.elements()]

    def send(self, digit: int, fresh: bool = True, together: threading.Barrier | None = None) -> Outcome:
        """One request, for a thread of its own: it takes as long as it takes."""
        pixels: list[float] = [int(pixel, 17) for pixel in DIGITS[digit]]
        if fresh:
            pixels[0] = next(self._numbers) / 10_000
        began = time.monotonic()
        status, said, gave_up = self._send(json.dumps({"pixels": pixels}), together)
        with self._counting:
            self.answered += status == 200
            self.unknown += status is None
        body = _json(said)
        return Outcome(digit, status, body, " ".join(said.split())[:160], began, time.monotonic(), gave_up)

    def _send(self, body: str, together: threading.Barrier | None) -> tuple[int | None, str, bool]:
        """Status, what was said, and whether the waiting was given up."""
        patience = stretched(PATIENCE)
        address = urlsplit(self._url or "")
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=patience)
        try:
            try:
                connection.connect()
            finally:
                if together is not None:
                    together.wait(patience)
            connection.request("POST", "/predict", body, {"Content-Type": "application/json", "Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read(65536).decode("utf-8", "replace"), False
        except (TimeoutError, threading.BrokenBarrierError):
            return None, f"nothing within {patience:.0f} s", True
        except (OSError, http.client.HTTPException) as error:
            return None, f"{type(error).__name__} {error}".strip(), False
        finally:
            connection.close()


def _json(text: str) -> Mapping[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


@pytest.fixture(scope="module")
def asker(stack: Stack) -> Asker:
    """The one through which every request goes."""
    return Asker(stack)


# --- experiments ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class First:
    """The first requests.

    Attributes:
        outcomes: one of each digit.
        cached: the answer of a digit that had been asked for before came from the cache.
    """

    outcomes: list[Outcome]
    cached: bool


@pytest.fixture(scope="module")
def first(stack: Stack, asker: Asker) -> First:
    """Each digit once, and then one of them until its answer comes from the cache."""
    if not asker.can_reach:
        return First([], False)
    # A model server without a health check may still load its model.
    works = wait_until(lambda: asker.ask(0, fresh=False).good, stack.budget, stretched(15), interval=0.2)
    outcomes = [asker.ask_patiently(digit) for digit in DIGITS]

    def cached() -> bool:
        # Under load the api may have had to do without redis for a second.
        return asker.ask(0, fresh=False).body.get("cached") is True

    return First(outcomes, works and wait_until(cached, stack.budget, stretched(10), interval=0.1))


@pytest.fixture(scope="module")
def burst(asker: Asker, first: First) -> list[Outcome]:
    """200 requests at once. Those that somebody was too slow for are asked again, all at once."""
    if not any(outcome.good for outcome in first.outcomes):
        raise Blocked("the api reads no digits")
    digits = [number % 10 for number in range(AT_ONCE)]
    done: list[Outcome] = []
    end = time.monotonic() + stretched(PATIENCE)
    while digits:
        outcomes = asker.all_at_once(digits)
        done += [outcome for outcome in outcomes if not outcome.too_slow]
        slow = [outcome for outcome in outcomes if outcome.too_slow]
        digits = [outcome.digit for outcome in slow]
        if time.monotonic() > end:
            return done + slow
    return done


@dataclass(frozen=True)
class Scaled:
    """What was seen when one more replica was started.

    Attributes:
        at_first: how many replicas there were.
        problem: why there is not one more; empty if there is.
        replicas: the names of all that there are now.
        answered: those of them that have answered.
    """

    at_first: int
    problem: str
    replicas: frozenset[str]
    answered: frozenset[str]


@pytest.fixture(scope="module")
def scaled(stack: Stack, asker: Asker, rehearsing: Future[dict[str, Rehearsal]]) -> Scaled:
    """One replica of model-server more, and who answers then."""
    at_first = len(_running_containers(stack, "model-server"))
    problem = stack.scale("model-server", max(REPLICAS, at_first + 1))
    containers = _running_containers(stack, "model-server")
    replicas = frozenset(stack.client.api.inspect_container(c)["Config"]["Hostname"] for c in containers)
    answered: set[str] = set()
    noticed = time.monotonic() + NOTICED
    turns = 0

    def every_one_had_its_turn() -> bool:
        nonlocal turns
        outcome = asker.ask(0)
        if outcome.good:
            answered.add(str(outcome.body.get("served_by")))
            turns += time.monotonic() > noticed
        return answered >= replicas or turns > TURNS

    if not problem:
        wait_until(every_one_had_its_turn, stack.budget, stretched(PATIENCE))
    return Scaled(at_first, problem, replicas, frozenset(answered))


def _running_containers(stack: Stack, service: str) -> list[str]:
    states = [(c, stack.client.api.inspect_container(c)["State"]) for c in stack.containers(service)]
    return [container for container, state in states if state["Running"]]


@dataclass
class Ordeal:
    """What was seen while services were killed.

    Attributes:
        before: the requests that ended before anything was killed.
        during: those that ended later.
        kills: each killed service, and when.
        down: the services that did not come back, and why.
    """

    before: list[Outcome] = field(default_factory=list)
    during: list[Outcome] = field(default_factory=list)
    kills: list[tuple[str, float]] = field(default_factory=list)
    down: dict[str, str] = field(default_factory=dict)

    def killed_before(self, outcome: Outcome) -> str:
        """The service that was killed last before the request ended."""
        return next(name for name, at in reversed(self.kills) if at <= outcome.ended)


@pytest.fixture(scope="module")
def ordeal(stack: Stack, asker: Asker, scaled: Scaled) -> Ordeal:
    """redis, postgres and one model-server are killed while requests go on; then nginx and prometheus, in silence."""
    seen = Ordeal()
    waiting: dict[str, Callable[[], str | None]] = {}
    with _traffic(stack, asker) as outcomes:
        _await_answers(stack, outcomes)
        for name in ("redis", "postgres", "model-server"):
            seen.kills.append((name, time.monotonic()))
            waiting[name] = _kill(stack, name)
            _await_answers(stack, outcomes)
        seen.down = _await_all(stack, waiting)
        _await_answers(stack, outcomes)
    silent: dict[str, Callable[[], str | None]] = {
        name: _kill(stack, name) for name in ("nginx", "prometheus") if name in stack.running
    }
    began = seen.kills[0][1]
    seen.before = [outcome for outcome in outcomes if outcome.ended < began]
    seen.during = [outcome for outcome in outcomes if outcome.ended >= began]
    seen.down |= _await_all(stack, silent)
    return seen


@contextmanager
def _traffic(stack: Stack, asker: Asker) -> Iterator[list[Outcome]]:
    """A few requests at any time, about digits that are new and digits that are not, until it is left."""
    outcomes: list[Outcome] = []
    enough = threading.Event()

    def keep_asking(thread: int) -> None:
        for number in itertools.count(thread):
            if enough.is_set():
                return
            outcomes.append(asker.send(number % 10, fresh=number % 4 != 0))
            time.sleep(0.02)  # on two cores the services need them more

    threads = [threading.Thread(target=keep_asking, args=(number,), daemon=True) for number in range(ASKERS)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        enough.set()
        wait_until(lambda: not any(t.is_alive() for t in threads), stack.budget, stretched(2 * PATIENCE))


def _await_answers(stack: Stack, outcomes: list[Outcome]) -> None:
    """Wait until some requests that begin from now on have ended."""
    now = time.monotonic()
    wait_until(lambda: sum(o.began > now for o in outcomes) >= SEEN, stack.budget, stretched(PATIENCE))


def _kill(stack: Stack, name: str) -> Callable[[], str | None]:
    """Kill a service's first container.

    Returns:
        A function that says what has become of it: empty if it is well again, None if that is still to be seen.
    """
    container = next(iter(_running_containers(stack, name)), None)
    if container is None:
        return lambda: "had ended already"
    before = stack.client.api.inspect_container(container)["State"]["StartedAt"]
    # A probe that never passed before cannot pass now; that is another check's matter.
    probed = stack.probe_command(name) is not None and not stack.not_well[name]
    stack.faults.crash([container])

    def became() -> str | None:
        state = stack.client.api.inspect_container(container)["State"]
        if state["Status"] in ("exited", "dead"):
            return f"stayed down with exit code {state['ExitCode']}"
        again = state["Status"] == "running" and state["StartedAt"] != before
        return "" if again and (not probed or state["Health"]["Status"] == "healthy") else None

    return became


def _await_all(stack: Stack, waiting: Mapping[str, Callable[[], str | None]]) -> dict[str, str]:
    """Service -> why it did not come back, of those that did not."""
    became: dict[str, str] = {}

    def settled() -> bool:
        for name, look in waiting.items():
            if name not in became and (state := look()) is not None:
                became[name] = state
        return len(became) == len(waiting)

    wait_until(settled, stack.budget, stretched(COMEBACK), interval=0.1)
    return {name: why for name in waiting if (why := became.get(name, "was not healthy again in time"))}


@pytest.fixture(scope="module")
def rehearsing(stack: Stack) -> Iterator[Future[dict[str, Rehearsal]]]:
    """What is started all the same when something that it needs fails; in the background."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(
            rehearse,
            stack.client,
            stack.model,
            stack.owner,
            watched=("api", "model-server"),
            failing=("redis", "postgres", "model-server", ONE_SHOT),
            one_shots=frozenset({ONE_SHOT}),
        )


def _rows(stack: Stack) -> int:
    """How many rows the log has."""
    [[count]] = stack.sql("SELECT count(*) FROM predictions")
    return int(count)


# --- it works -------------------------------------------------------------------------------------


@check(
    points=2,
    section="From one request to all services",
    hint="A service that ended has said why: docker compose logs. Is its health check's program in the image?",
)
def test_every_service_is_healthy(stack: Stack) -> None:
    """Every service runs and its health check passes"""
    for name in LONG_RUNNING:
        ended = _ended(stack, name)
        if ended or (name in stack.running and stack.not_well[name]):
            raise Failure(
                ended or stack.not_well[name],
                expected="running, and healthy",
                at=stack.model.at("services", name, *([] if ended else ["healthcheck"])),
                reproduce=f"docker compose up -d; docker compose ps -a; docker compose logs {name}",
            )
    if not_there := [stack.not_well[name] for name in (*LONG_RUNNING, ONE_SHOT) if stack.not_well[name]]:
        raise Blocked(not_there[0])
    without = [name for name in LONG_RUNNING if stack.probe_command(name) is None]
    if without:
        raise Failure(
            f"{without[0]} has no health check",
            expected="a health check for each service that runs for long",
            at=stack.model.at("services", without[0]),
            reproduce=f"docker compose ps {without[0]}      # the STATUS column says nothing about health",
        )


def _ended(stack: Stack, name: str) -> str:
    """That the service has ended, or does so again and again; empty if it runs, or was never started."""
    state = (stack.inspect(name) or {}).get("State") or {}
    if name in stack.running or state.get("Status") not in ("exited", "dead", "restarting"):
        return ""
    return f"{name} has ended with exit code {state['ExitCode']}"


@check(
    points=2,
    needs=serving,
    section="From one request to all services",
    hint="GET /health of the api names who is down. The api finds each service by its name in their common network.",
)
def test_digits_are_read(stack: Stack, asker: Asker, first: First) -> None:
    """Digits are read, the second time from the cache"""
    if not asker.can_reach:
        raise Failure(
            f"api's port {API_PORT} cannot be reached from this machine: all its networks are internal",
            at=stack.model.at("services", "api", "networks"),
            reproduce="docker compose ps api      # the PORTS column",
        )
    reproduce = "curl -i localhost:8000/health; docker compose logs api"
    if all(outcome.good or outcome.too_slow for outcome in first.outcomes):
        if slow := [outcome for outcome in first.outcomes if outcome.too_slow]:
            raise Blocked(f"somebody was too slow: {slow[0]}")
    else:
        wrong = next(outcome for outcome in first.outcomes if outcome.failed)
        raise Failure(
            f"A handwritten {wrong.digit} was sent to the api, and was not read",
            expected=f'200 and "digit": {wrong.digit}',
            actual=str(wrong),
            at=stack.model.at("services", "api"),
            reproduce=reproduce,
        )
    if not first.cached:
        raise Failure(
            "The same digit was sent again and again, and no answer came from redis",
            expected='"cached": true',
            actual='"cached": false',
            at=stack.model.at("services", "api", "environment"),
            reproduce=reproduce,
        )


# --- who gets in, who may what --------------------------------------------------------------------


WAY_OUT = "docker compose exec postgres cat /proc/net/route      # destination 00000000: a way to everywhere"


@check(
    points=2,
    needs=running("postgres"),
    section="Two networks and one secret",
    hint="A port without an address is open to everybody. A network with `internal: true` leads nowhere.",
)
def test_only_what_must_be_reached_can_be(stack: Stack) -> None:
    """Only this machine reaches the api, nothing outside the database"""
    for name, service in stack.model.services.items():
        for port in service.config.get("ports") or []:
            _judge_port(stack.model, name, port)
    if API_PORT not in {port.get("target") for port in stack.model.services["api"].config.get("ports") or []}:
        raise Failure(
            f"Port {API_PORT} of api is not published",
            expected=f"127.0.0.1:8000 of this machine leads to port {API_PORT} of api",
            at=stack.model.at("services", "api", "ports"),
            reproduce="docker compose port api 8000",
        )
    # The engine goes by this flag. Where the grading itself lets nobody out, no try could tell.
    networks = stack.model.config.get("networks") or {}
    for name in stack.model.services["postgres"].config.get("networks") or {}:
        if not (networks.get(name) or {}).get("internal"):
            raise Failure(
                f"postgres is in the network {name}, which has a way out and is not for services behind the api",
                expected="postgres only in networks that are internal",
                actual=f"{name} is not internal",
                at=stack.model.at("services", "postgres", "networks"),
                reproduce=WAY_OUT,
            )
    with Vantage(stack.client, str(stack.owner), stack.containers("postgres")[:1]) as vantage:
        if vantage.gateways(stack.containers("postgres")[0]):
            raise Failure(
                "postgres has a way out of its networks",
                expected="postgres only in networks that are internal",
                at=stack.model.at("services", "postgres"),
                reproduce=WAY_OUT,
            )


def _judge_port(model: Model, name: str, port: Mapping[str, Any]) -> None:
    shown = f"port {port.get('target')} of {name}"
    if name not in PUBLISHED:
        raise Failure(
            f"{shown} is published: whoever reaches this machine gets past the api",
            expected=f"only {' and '.join(PUBLISHED)} have ports on this machine",
            at=model.at("services", name, "ports"),
            reproduce="docker compose ps      # the PORTS column",
        )
    address = str(port.get("host_ip") or "")
    if not (address.startswith("127.") or address == "::1"):
        raise Failure(
            f"{shown} is open to the whole network, not only to this machine",
            expected="published on 127.0.0.1",
            actual=f"published on {address or 'every address of this machine'}",
            at=model.at("services", name, "ports"),
            reproduce="docker compose ps      # the PORTS column",
        )


PASSWORD_VARIABLES = ("POSTGRES_PASSWORD", "DATABASE_PASSWORD", "PGPASSWORD")


@check(
    points=1,
    needs=healthy("postgres"),
    section="Two networks and one secret",
    hint="Both images read a file where a variable with _FILE at its end names one.",
)
def test_password_is_in_no_environment(stack: Stack, files: Path) -> None:
    """The database's password is in no environment or command"""
    password = (files / PASSWORD_FILE).read_text("utf-8").strip()
    for name in stack.model.services:
        for container in stack.containers(name):
            config = stack.client.api.inspect_container(container)["Config"]
            if what := _gives_away(config, password):
                raise Failure(
                    f"{what} of {name} gives the password away: `docker inspect` shows it",
                    expected="the password only in a file that is mounted",
                    at=stack.model.at("services", name, "environment"),
                    reproduce=f"docker compose exec {name} env",
                )
    environment = _variables(stack.inspect("postgres") or {})
    if environment.get("POSTGRES_HOST_AUTH_METHOD") == "trust":
        raise Failure(
            "postgres lets everybody in without a password",
            at=stack.model.at("services", "postgres", "environment"),
            reproduce="docker compose exec postgres env",
        )


def _gives_away(config: Mapping[str, Any], password: str) -> str:
    """What of a container's configuration holds a password; empty if nothing does."""
    for variable in config.get("Env") or []:
        name, _, value = variable.partition("=")
        if password in value or (name in PASSWORD_VARIABLES and value):
            return f"The variable {name}"
        if value.startswith("postgres") and _password_in(value):
            return f"The URL in {name}"
    words = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    words += (config.get("Healthcheck") or {}).get("Test") or []
    return "A command" if any(password in word for word in words) else ""


def _password_in(url: str) -> bool:
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return False


def _variables(state: Mapping[str, Any]) -> dict[str, str]:
    found = (variable.partition("=") for variable in (state.get("Config") or {}).get("Env") or [])
    return {name: value for name, _, value in found}


# Of every process in the container.
LOOK = "grep -hE '^(Pid|PPid|Uid|CapEff|CapBnd|NoNewPrivs):' /proc/[0-9]*/status 2> /dev/null"


@check(
    points=3,
    needs=running(*LONG_RUNNING),
    section="No rights to spare",
    hint="user, read_only, cap_drop, security_opt; and a tmpfs for what has to be written.",
)
def test_nobody_has_rights_to_spare(stack: Stack) -> None:
    """Nobody is root, writes to the image or keeps privileges"""
    with ThreadPoolExecutor(len(LONG_RUNNING)) as pool:
        looks = {name: pool.submit(stack.execute, name, ["sh", "-c", LOOK]) for name in LONG_RUNNING}
        processes = {name: list(_own_processes(look.result().output)) for name, look in looks.items()}
    processes[ONE_SHOT] = [_of_the_ended(stack.inspect(ONE_SHOT) or {})]
    for name, found in processes.items():
        host = (stack.inspect(name) or {}).get("HostConfig") or {}
        if not found:
            raise Blocked(f"what {name}'s processes may do could not be seen")
        if any("0" in process["Uid"] for process in found):
            _spare(stack, name, "user", "runs as root", "a user other than root", f"{name} id")
        if not host.get("ReadonlyRootfs"):
            _spare(stack, name, "read_only", "can change the files of its image", "read-only files", f"{name} touch /x")
        if any(int(process[key][0], 16) for process in found for key in ("CapEff", "CapBnd")):
            _spare(stack, name, "cap_drop", "keeps capabilities", "none", f"{name} grep Cap /proc/1/status")
        if any(process["NoNewPrivs"] != ["1"] for process in found):
            command = f"{name} grep NoNewPrivs /proc/1/status"
            _spare(stack, name, "security_opt", "can gain new privileges", "no-new-privileges", command)


def _own_processes(output: str) -> Iterator[dict[str, list[str]]]:
    """Process 1 and what it has started. What the engine starts for a probe has no parent in the container."""
    every: dict[str, dict[str, list[str]]] = {}
    for line in output.splitlines():
        key, _, values = line.partition(":")
        if key == "Pid":
            every[values.strip()] = process = {}
        if every:
            process[key] = values.split()

    def own(process: Mapping[str, list[str]]) -> bool:
        pid, [parent] = process["Pid"][0], process["PPid"]
        return pid == "1" or (parent in every and own(every[parent]))

    return (process for process in every.values() if own(process))


def _of_the_ended(state: Mapping[str, Any]) -> dict[str, list[str]]:
    """The same of a container that has ended, from what the engine was told when it started it."""
    host, user = state.get("HostConfig") or {}, (state.get("Config") or {}).get("User", "")
    dropped = {str(entry).upper().removeprefix("CAP_") for entry in host.get("CapDrop") or []}
    kept = "ALL" not in dropped or bool(host.get("CapAdd"))
    gained = not any("no-new-privileges" in option for option in host.get("SecurityOpt") or [])
    root = user.partition(":")[0] in ("", "0", "root")
    return {
        "Uid": ["0" if root else user],
        "CapEff": ["0"],
        "CapBnd": ["1" if kept else "0"],
        "NoNewPrivs": ["0" if gained else "1"],
    }


def _spare(stack: Stack, name: str, key: str, what: str, expected: str, command: str) -> None:
    raise Failure(
        f"{name} {what}",
        expected=expected,
        at=stack.model.at("services", name, key),
        reproduce=f"docker compose exec {command}" if name != ONE_SHOT else f"docker compose config {name}",
    )


@check(
    points=1,
    section="No rights to spare",
    hint="deploy.resources.limits has memory and pids; logging has options, max-size among them.",
)
def test_everything_has_limits(model: Model) -> None:
    """Every service has limits: memory, processes, log"""
    # The grading sets limits of its own, so only the file can tell.
    for name, service in model.services.items():
        config = service.config
        limits = ((config.get("deploy") or {}).get("resources") or {}).get("limits") or {}
        logging = config.get("logging") or {}
        driver, options = logging.get("driver") or "json-file", logging.get("options") or {}
        limited = {
            "memory": _above_zero(limits.get("memory") or config.get("mem_limit")),
            "number of processes": _above_zero(limits.get("pids") or config.get("pids_limit")),
            "log": driver == "local" or "max-size" in options,
        }
        for what, is_limited in limited.items():
            if not is_limited:
                raise Failure(
                    f"Nothing limits the {what} of {name}",
                    expected="a limit in the file",
                    actual="none",
                    at=model.at("services", name),
                    reproduce=f"docker compose config {name}",
                )


def _above_zero(value: Any) -> bool:
    return value is not None and int(value) > 0


# --- load, kills, scaling -------------------------------------------------------------------------


@check(
    points=2,
    needs=serving,
    section="Load, and what it meets",
    hint="The answer says who failed. For each request nginx takes one connection from the api, and one to a replica.",
)
def test_200_requests_at_once(stack: Stack, burst: list[Outcome]) -> None:
    """200 requests at once all get the right answer"""
    failed = [outcome for outcome in burst if outcome.failed]
    if failed:
        raise Failure(
            f"{len(failed)} of {AT_ONCE} requests that were made at once failed",
            expected=f"{AT_ONCE} answers, each with the right digit",
            actual=str(failed[0]),
            at="nginx/nginx.conf" if "model server" in failed[0].said else stack.model.at("services", "api"),
            reproduce="docker compose logs --tail 20 nginx api",
        )
    if slow := [outcome for outcome in burst if outcome.too_slow]:
        raise Blocked(f"{len(slow)} requests were not answered in time: {slow[0]}")


@check(
    points=3,
    needs=[serving, running("redis", "postgres")],
    section="Load, and what it meets",
    hint="The api does without redis and postgres by itself. A replica that breaks off, or is not ready: nginx has to "
    "ask another one, also for a POST.",
)
def test_no_request_fails_meanwhile(stack: Stack, ordeal: Ordeal) -> None:
    """No request fails while redis, postgres and a model-server die"""
    if not any(outcome.good for outcome in ordeal.before):
        raise Blocked("the api read no digits before anything was killed")
    failed = [outcome for outcome in ordeal.during if outcome.failed]
    if failed:
        name = ordeal.killed_before(failed[0])
        raise Failure(
            f"{len(failed)} of {len(ordeal.during)} requests failed, the first after {name} was killed",
            expected="every request gets its answer",
            actual=str(failed[0]),
            at="nginx/nginx.conf" if name == "model-server" else stack.model.at("services", name),
            reproduce="sudo kill -9 $(docker inspect --format '{{.State.Pid}}' "
            f"$(docker compose ps -q {name} | head -n 1)); curl -i localhost:8000/health",
        )
    if not any(outcome.good for outcome in ordeal.during):
        raise Blocked("no request was answered in time")


@check(
    points=3,
    needs=[serving, running("redis", "postgres")],
    section="Load, and what it meets",
    hint="Who crashed needs a restart policy. The rows need a table, and the api a way to postgres.",
)
def test_it_comes_back_and_no_row_is_missing(stack: Stack, asker: Asker, ordeal: Ordeal) -> None:
    """What was killed comes back, and no row is missing"""
    if ordeal.down:
        name, why = next(iter(ordeal.down.items()))
        raise Failure(
            f"After its process was killed, {name} {why}",
            expected="restarted, and healthy again",
            at=stack.model.at("services", name, "restart"),
            reproduce="docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' "
            f"$(docker compose ps -aq {name} | head -n 1)",
        )
    found, said = 0, ""

    def all_there() -> bool:
        nonlocal found, said
        try:
            found, said = _rows(stack), ""
        except Blocked as why:
            said = str(why)
        return found >= asker.answered

    wait_until(all_there, stack.budget, stretched(15), interval=0.2)
    if not asker.answered <= found <= asker.answered + asker.unknown or not asker.answered:
        raise Failure(
            f"{asker.answered} requests were answered, and the table predictions does not have a row for each of them",
            expected=f"{asker.answered} rows",
            actual=said or f"{found} rows",
            at=stack.model.at("services", "postgres"),
            reproduce="docker compose logs api; docker compose exec postgres psql -U predictions "
            "-c 'SELECT count(*) FROM predictions'",
        )


@check(
    points=3,
    needs=[serving, running("prometheus")],
    section="Replicas that come and go",
    hint="nginx looks up a name only once, unless it is told otherwise. prometheus needs its configuration, and a "
    "network in common with the replicas.",
)
def test_a_third_replica_is_noticed(stack: Stack, scaled: Scaled) -> None:
    """A third model-server gets requests, and Prometheus sees it"""
    if scaled.at_first < 2:
        raise Failure(
            "There was only one model-server: while it is away, nobody reads digits",
            expected="two replicas from the start",
            actual=str(scaled.at_first),
            at=stack.model.at("services", "model-server"),
            reproduce="docker compose up -d; docker compose ps model-server",
        )
    scale = f"docker compose up -d --scale model-server={REPLICAS}"
    if scaled.problem:
        raise Failure(
            f"A third model-server could not be started: {scaled.problem}",
            at=stack.model.at("services", "model-server"),
            reproduce=scale,
        )
    if not scaled.answered:
        raise Blocked("the api read no digits")
    if left_out := scaled.replicas - scaled.answered:
        raise Failure(
            f"One more model-server was started, and {len(left_out)} of {len(scaled.replicas)} got no request",
            expected="every replica answers now and then (served_by)",
            actual=f"{len(scaled.answered)} replicas answered",
            at="nginx/nginx.conf",
            reproduce=f"{scale}; docker compose logs nginx",
        )
    _prometheus_sees_all(stack)


def _prometheus_sees_all(stack: Stack) -> None:
    replicas = [_addresses(stack, container) for container in _running_containers(stack, "model-server")]
    seen: set[str] = set()

    def sees_all() -> bool:
        nonlocal seen
        seen = _up(stack)
        return f"api:{API_PORT}" in seen and all(seen & addresses for addresses in replicas)

    # It looks the names up every 2 s, takes new targets every 5 s and asks each every 3 s.
    if not wait_until(sees_all, stack.budget, stretched(25), interval=0.5):
        raise Failure(
            f"Prometheus does not get the numbers of api and of all {len(replicas)} model-servers",
            expected="api and each replica are up",
            actual=f"up: {', '.join(sorted(seen)) or 'nothing'}",
            at=stack.model.at("services", "prometheus"),
            reproduce="curl 'http://localhost:9090/api/v1/query?query=up'",
        )


def _addresses(stack: Stack, container: str) -> set[str]:
    networks = stack.client.api.inspect_container(container)["NetworkSettings"]["Networks"]
    return {f"{network['IPAddress']}:{API_PORT}" for network in networks.values()}


def _up(stack: Stack) -> set[str]:
    """The targets that Prometheus got an answer from; asked inside its container, published or not."""
    url = f"http://127.0.0.1:9090/api/v1/query?{urlencode({'query': 'up == 1'})}"
    body = _json(stack.execute("prometheus", ["wget", "-q", "-O", "-", url]).output)
    return {str(sample["metric"].get("instance")) for sample in (body.get("data") or {}).get("result") or []}


# --- start and end --------------------------------------------------------------------------------


@check(
    points=2,
    needs=has_probe("redis", "postgres", "model-server"),
    section="From one request to all services",
    hint="`depends_on` has a long form with a condition for each service.",
)
def test_each_waits_for_what_it_needs(stack: Stack, rehearsing: Future[dict[str, Rehearsal]]) -> None:
    """Each service starts only once what it needs is ready"""
    rehearsed = rehearsing.result()
    for needed in ("redis", "postgres", "model-server", ONE_SHOT):
        for name in ("api", "model-server"):
            if name == needed or (name == "model-server" and needed != ONE_SHOT):
                continue
            if name in rehearsed[needed].started:
                failed = "failed (exit code 1)" if needed == ONE_SHOT else "never became healthy"
                raise Failure(
                    f"{name} was started although {needed} {failed}",
                    expected=f"{name} is not started",
                    actual="when all goes well it comes second by luck only",
                    at=stack.model.at("services", name, "depends_on", needed),
                    reproduce=f"docker compose config {name} | grep -A 16 depends_on",
                )


@check(
    points=2,
    needs=[serving, running("postgres")],
    section="What survives",
    hint="`down` removes containers. What is not in a named volume, mounted exactly where the service writes, is gone.",
)
def test_data_survives_down_and_up(stack: Stack, first: First) -> None:
    """The data survives docker compose down and up"""
    before = _rows(stack)
    if not before:
        raise Blocked("there are no rows that could survive")
    stack.take_down()
    started = stack.compose("up", "--detach", "--no-deps", "postgres")
    problem = started.stderr if started.status else stack.await_well("postgres")
    after = 0 if problem else _rows(stack)
    # Nothing else is asked any more, so nobody waits for it; it is there for whoever keeps the stack to look around.
    stack.compose("up", "--detach", "--no-deps", *stack.model.services)
    if after < before:
        raise Failure(
            "After docker compose down and up, rows of the log are gone",
            expected=f"{before} rows",
            actual=problem or f"{after} rows",
            at=stack.model.at("services", "postgres", "volumes"),
            reproduce="docker compose down; docker compose up -d; docker compose exec postgres "
            "psql -U predictions -c 'SELECT count(*) FROM predictions'",
        )
