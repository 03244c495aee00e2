"""Exercise 05: which doors are open to the outside, and who reaches whom inside.

What the graded stack publishes is rewritten (free ports of 127.0.0.1), so the learner's own ports are judged on the
model. Everything inside is tried live, from within the containers' network namespaces.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from grader.budget import stretched
from grader.model import Model
from grader.plugin import Blocked, Failure, check, running
from grader.probes import get, wait_until
from grader.stack import Stack
from grader.vantage import ONCE, Target, Vantage

PORTS = {"nginx": 80, "api": 8000, "postgres": 5432, "redis": 6379}
PAGE_PORT = "8080"  # of the host
STATUS_PORT = 8081  # of nginx's container
ALIAS = "db"
READY = 20.0  # seconds in which a service that has been started takes connections, on an idle machine
WANTED_WITHIN = 2.0  # seconds in which it is tried again what should work, on an idle machine

Pair = tuple[str, str]  # from, to
WANTED: tuple[Pair, ...] = (("nginx", "api"), ("api", "postgres"), ("api", "redis"))
UNWANTED: tuple[Pair, ...] = (("nginx", "postgres"), ("postgres", "nginx"), ("nginx", "redis"), ("redis", "nginx"))


# --- what the file says -------------------------------------------------------------------------


def _ports(model: Model, service: str) -> list[Mapping[str, Any]]:
    return list(model.services[service].config.get("ports") or [])


def _networks(model: Model, service: str) -> list[str]:
    """The networks that a service stands on, its own or those of the service whose network it shares."""
    config = model.services[service].config
    mode, _, other = str(config.get("network_mode") or "").partition(":")
    if mode == "service" and other in model.services and other != service:
        return list(model.services[other].config.get("networks") or {})
    return list(config.get("networks") or {})


def _leads_out(model: Model, network: str) -> bool:
    entry = (model.config.get("networks") or {}).get(network) or {}
    return not entry.get("internal")


def _in_common(model: Model, one: str, other: str) -> str:
    shared = [network for network in _networks(model, one) if network in _networks(model, other)]
    return f"both stand on the network {' and on '.join(shared)}" if shared else ""


# --- what is seen from inside -------------------------------------------------------------------


@pytest.fixture(scope="module")
def view(stack: Stack) -> Iterator[Vantage]:
    """A place to look from, in the network of each service that runs."""
    containers = [container for name in PORTS if name in stack.running for container in stack.containers(name)[:1]]
    with Vantage(stack.client, str(stack.owner), containers) as view:
        yield view


@pytest.fixture(scope="module")
def places(stack: Stack, view: Vantage) -> dict[str, str]:
    """The container of each service that can be looked from."""
    first = {name: container for name in PORTS for container in stack.containers(name)[:1]}
    return {name: container for name, container in first.items() if view.stands_in(container)}


@pytest.fixture(scope="module")
def addresses(stack: Stack) -> dict[str, list[str]]:
    """Every address of each service's containers, on whichever network."""
    return {name: [address for c in stack.containers(name) for address in _addresses(stack, c)] for name in PORTS}


def _addresses(stack: Stack, container: str) -> list[str]:
    state = stack.client.api.inspect_container(container)
    mode, _, other = state["HostConfig"]["NetworkMode"].partition(":")
    if mode == "container":
        state = stack.client.api.inspect_container(other)
    networks = (state["NetworkSettings"]["Networks"] or {}).values()
    return [network[key] for network in networks for key in ("IPAddress", "GlobalIPv6Address") if network.get(key)]


@pytest.fixture(scope="module")
def listening(stack: Stack, view: Vantage, places: dict[str, str], addresses: dict[str, list[str]]) -> frozenset[str]:
    """The services that take connections at all, be it only from themselves: before that, nobody can be refused."""
    ready: set[str] = set()

    def all_ready() -> bool:
        wanted = {
            place: [(host, PORTS[name]) for host in ("127.0.0.1", *addresses[name])]
            for name, place in places.items()
            if name not in ready
        }
        seen = view.matrix(wanted, ONCE)
        ready.update(name for name, place in places.items() if any(seen.get(place, {}).values()))
        return ready >= set(places)

    wait_until(all_ready, stack.budget, stretched(READY), interval=0.2)
    return frozenset(ready)


@dataclass(frozen=True)
class Sight:
    """From one service to another: at which of its addresses a TCP connection is accepted.

    By address, because it is no protection that a name is not known.
    """

    view: Vantage
    places: Mapping[str, str]
    addresses: Mapping[str, list[str]]

    def of(self, pairs: Iterable[Pair]) -> dict[Pair, list[str]]:
        """What is accepted at this moment; a pair whose first service does not run is left out."""
        tried = [pair for pair in pairs if pair[0] in self.places]
        by_place: dict[str, list[Target]] = {}
        for name, other in tried:
            by_place.setdefault(self.places[name], []).extend((host, PORTS[other]) for host in self.addresses[other])
        found = self.view.matrix(by_place)
        return {
            (name, other): [host for host in self.addresses[other] if found[self.places[name]][host, PORTS[other]]]
            for name, other in tried
        }


@pytest.fixture(scope="module")
def sight(view: Vantage, places: dict[str, str], addresses: dict[str, list[str]], listening: frozenset[str]) -> Sight:
    """Who sees whom, now that who listens at all does so."""
    return Sight(view, places, addresses)


@pytest.fixture(scope="module")
def leaking(sight: Sight) -> Iterator[Future[dict[Pair, list[str]]]]:
    """What should be closed; in the background, because it takes its time to find that nobody answers."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(sight.of, UNWANTED)


@pytest.fixture(scope="module")
def reached(stack: Stack, sight: Sight, leaking: Future[dict[Pair, list[str]]]) -> dict[Pair, list[str]]:
    """What should be open; meanwhile ``leaking`` is under way."""
    seen: dict[Pair, list[str]] = {}

    def as_wanted() -> bool:
        seen.update(sight.of(pair for pair in WANTED if not seen.get(pair)))
        return all(seen.values())

    wait_until(as_wanted, stack.budget, stretched(WANTED_WITHIN), interval=0.2)
    return seen


def _must_reach(stack: Stack, reached: Mapping[Pair, list[str]], listening: frozenset[str], pair: Pair) -> None:
    name, other = pair
    if pair not in reached:
        raise Blocked(f"{name} does not run any more")
    if other not in listening:
        raise Blocked(f"{other} does not take connections on port {PORTS[other]}, not even from itself")
    if reached[pair]:
        return
    common = _in_common(stack.model, name, other)
    raise Failure(
        f"From {name}, nothing answers at {other}:{PORTS[other]}, although {common}"
        if common
        else f"{name} and {other} have no network in common",
        expected=f"{name} can open a connection to {other}:{PORTS[other]}",
        at=stack.model.at("services", other, *(("environment",) if common else ("networks",))),
        reproduce=f"docker compose exec {name} {_connect(name, other)}",
        hint=f"On which addresses does {other} listen? 127.0.0.1 is the container itself." if common else "",
    )


def _must_not_reach(stack: Stack, leaks: Mapping[Pair, list[str]], listening: frozenset[str], other: str) -> None:
    for name, target in (("nginx", other), (other, "nginx")):
        if (name, target) not in leaks:
            raise Blocked(f"{name} does not run any more")
        if target not in listening:
            raise Blocked(f"{target} does not take connections on port {PORTS[target]}")
        if where := leaks[name, target]:
            common = _in_common(stack.model, name, target)
            raise Failure(
                f"{name} reaches {target} at {where[0]}:{PORTS[target]}" + (f": {common}" if common else ""),
                expected="no network in common, and so no way from one to the other",
                at=stack.model.at("services", other, "networks"),
                reproduce=f"docker compose exec {name} {_connect(name, target)}",
            )


def _connect(name: str, other: str) -> str:
    """A command for the container of ``name``: the api's image has Python, the others have `nc`."""
    if name == "api":
        return f"python -c \"import socket; socket.create_connection(('{other}', {PORTS[other]}), 3)\""
    return f"nc -zv -w 3 {other} {PORTS[other]}"


# --- the outside --------------------------------------------------------------------------------


@check(
    points=1,
    section="Publishing a port",
    hint="HOST:CONTAINER. The host's port comes first; nginx listens on port 80 of its container.",
)
def test_page_is_published_on_8080(model: Model) -> None:
    """Port 8080 of this machine leads to nginx"""
    ports = _ports(model, "nginx")
    if any(str(p.get("published")) == PAGE_PORT and p["target"] == 80 and _is_tcp(p) for p in ports):
        return
    raise Failure(
        "No port of nginx's is published so that http://127.0.0.1:8080/ leads to its port 80",
        expected=f"host port {PAGE_PORT} to port 80 of the container",
        actual=", ".join(f"{p.get('published') or 'any host port'} to {p['target']}" for p in ports) or "no ports",
        at=model.at("services", "nginx", "ports"),
        reproduce="docker compose ps nginx      # the PORTS column",
    )


@check(
    points=2,
    section="Publishing a port",
    hint="A third part in front of the two ports says on which of this machine's addresses the port is open.",
)
def test_ports_are_open_on_localhost_only(model: Model) -> None:
    """nginx's ports are open on 127.0.0.1 only"""
    ports = _ports(model, "nginx")
    if not ports:
        raise Blocked("nginx publishes no port")
    for index, entry in enumerate(ports):
        host = str(entry.get("host_ip") or "")
        if not host or not ipaddress.ip_address(host).is_loopback:
            raise Failure(
                f"Port {entry['target']} of nginx is published on {host or 'every address of this machine'}: "
                "whoever reaches this machine over the network gets in",
                expected="127.0.0.1",
                actual=host or "0.0.0.0, the default",
                at=model.at("services", "nginx", "ports", str(index)),
                reproduce="docker compose ps nginx      # 0.0.0.0:… in the PORTS column means: every address",
            )


@check(
    points=2,
    section="ports and expose",
    hint="Services reach each other over their networks; `ports:` is only for those outside of Compose.",
)
def test_only_nginx_publishes_ports(model: Model) -> None:
    """No service but nginx publishes a port"""
    for name in model.services:
        if name != "nginx" and (ports := _ports(model, name)):
            raise Failure(
                f"{name} publishes its port {ports[0]['target']} on this machine",
                expected=f"{name} is reached by other services only",
                at=model.at("services", name, "ports"),
                reproduce=f"docker compose port {name} {ports[0]['target']}",
            )


@check(
    points=2,
    needs=running("nginx", "api"),
    section="Publishing a port",
    hint="The request takes two steps: from this machine to nginx, and from nginx to the api. Try each.",
)
def test_api_answers_through_nginx(stack: Stack, reached: dict[Pair, list[str]], listening: frozenset[str]) -> None:
    """The api answers through nginx"""
    if not reached.get(("nginx", "api")):
        raise Blocked("nginx does not reach the api")
    if "nginx" not in listening:
        raise Blocked("nginx does not listen on port 80")
    if not _has_a_way_in(stack):
        raise Failure(
            "nginx stands on internal networks only: its published ports lead nowhere",
            expected="one network that is not internal",
            at=stack.model.at("services", "nginx", "networks"),
            reproduce="curl http://127.0.0.1:8080/      # nobody answers",
        )
    url = stack.url("nginx", PORTS["nginx"])
    answer = get(url, stretched(5)) if url else None
    said = answer.json() if answer is not None else None
    if not isinstance(said, dict) or said.get("service") != "api":
        raise Failure(
            "The page on nginx's port 80 is not the api's",
            expected='status 200, and JSON that begins with {"service": "api"',
            actual=f"status {answer.status}, {answer.body[:60]!r}" if answer else "no answer",
            at=stack.model.at("services", "nginx"),
            reproduce="curl -i http://127.0.0.1:8080/",
        )


@check(
    points=2,
    needs=running("nginx"),
    section="Publishing a port",
    hint="Leave the host's port out: between the two colons of ADDRESS::PORT there is nothing.",
)
def test_status_page_gets_a_free_port(stack: Stack) -> None:
    """nginx's status page gets a host port that is free"""
    reproduce = f"docker compose port nginx {STATUS_PORT}      # says which host port it is"
    entry = next((p for p in _ports(stack.model, "nginx") if p["target"] == STATUS_PORT and _is_tcp(p)), None)
    if entry is None:
        raise Failure(
            f"Port {STATUS_PORT} of nginx is not published",
            at=stack.model.at("services", "nginx", "ports"),
            reproduce=reproduce,
        )
    if (fixed := str(entry.get("published") or "0")) != "0" and "-" not in fixed:
        raise Failure(
            f"The status page is published on the fixed host port {fixed}: taken, when a second copy is started",
            expected="a host port that the engine picks",
            actual=f"always {fixed}",
            at=stack.model.at("services", "nginx", "ports"),
            reproduce=reproduce,
        )
    if not _has_a_way_in(stack):
        raise Blocked("nginx stands on internal networks only")
    url = stack.url("nginx", STATUS_PORT)
    answer = get(url, stretched(5)) if url else None
    if answer is None or b"Active connections" not in answer.body:
        raise Failure(
            f"nginx's status page did not answer on port {STATUS_PORT}",
            actual=f"status {answer.status}" if answer else "no answer",
            at=stack.model.at("services", "nginx", "volumes"),
            reproduce=f'curl "http://$(docker compose port nginx {STATUS_PORT})/"',
        )


def _is_tcp(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("protocol", "tcp") == "tcp")


def _has_a_way_in(stack: Stack) -> bool:
    """Ports of a container that stands on internal networks only are not published."""
    return any(_leads_out(stack.model, network) for network in _networks(stack.model, "nginx"))


# --- the inside ---------------------------------------------------------------------------------


@check(
    points=1,
    needs=running("nginx", "api"),
    section="Networks: who reaches whom",
    hint="Both need a network in common, and the api has to listen on more than 127.0.0.1.",
)
def test_nginx_reaches_api(stack: Stack, reached: dict[Pair, list[str]], listening: frozenset[str]) -> None:
    """nginx reaches api"""
    _must_reach(stack, reached, listening, ("nginx", "api"))


@check(
    points=2,
    needs=running("api", "postgres", "redis"),
    section="Networks: who reaches whom",
    hint="A service can stand on several networks.",
)
def test_api_reaches_its_services(stack: Stack, reached: dict[Pair, list[str]], listening: frozenset[str]) -> None:
    """api reaches postgres and redis"""
    for other in ("postgres", "redis"):
        _must_reach(stack, reached, listening, ("api", other))


NO_COMMON_NETWORK = "Two services reach each other as soon as they have one network in common, `default` included."


@check(points=2, needs=running("nginx", "postgres"), section="Networks: who reaches whom", hint=NO_COMMON_NETWORK)
def test_nginx_and_postgres_are_apart(
    stack: Stack, leaking: Future[dict[Pair, list[str]]], listening: frozenset[str]
) -> None:
    """nginx and postgres cannot reach each other"""
    _must_not_reach(stack, leaking.result(), listening, "postgres")


@check(points=2, needs=running("nginx", "redis"), section="Networks: who reaches whom", hint=NO_COMMON_NETWORK)
def test_nginx_and_redis_are_apart(
    stack: Stack, leaking: Future[dict[Pair, list[str]]], listening: frozenset[str]
) -> None:
    """nginx and redis cannot reach each other"""
    _must_not_reach(stack, leaking.result(), listening, "redis")


@check(
    points=2,
    needs=running("api", "postgres"),
    section="Names and aliases",
    hint="Under a service's `networks:` each network can be a mapping, with `aliases`.",
)
def test_postgres_is_called_db(
    stack: Stack,
    view: Vantage,
    places: dict[str, str],
    addresses: dict[str, list[str]],
    reached: dict[Pair, list[str]],
) -> None:
    """The api finds postgres under the name db"""
    if not reached.get(("api", "postgres")):
        raise Blocked("api does not reach postgres")
    found = view.resolves(places["api"], ALIAS)
    if not found or not set(found) <= set(addresses["postgres"]):
        raise Failure(
            f"In the api's container the name {ALIAS} does not mean postgres",
            expected=f"one of postgres' addresses, {', '.join(addresses['postgres'])}",
            actual=", ".join(found) or "nobody is called so",
            at=stack.model.at("services", "postgres", "networks"),
            reproduce=f"docker compose exec api getent hosts {ALIAS}",
        )


def _must_have_no_way_out(stack: Stack, view: Vantage, places: Mapping[str, str], name: str) -> None:
    if name not in places:
        raise Blocked(f"{name} does not run any more")
    # The grading may have closed every way out (--isolation no-egress), so the file counts as well.
    out = [network for network in _networks(stack.model, name) if _leads_out(stack.model, network)]
    gateways = view.gateways(places[name])
    if out or gateways:
        raise Failure(
            f"From {name} there is a way out"
            + (f": it stands on the network {out[0]}, which leads there" if out else ""),
            expected="no route but to its own networks",
            actual=f"a default route, by way of {gateways[0]}" if gateways else "a network that is not internal",
            at=stack.model.at("networks", out[0]) if out else stack.model.at("services", name, "networks"),
            reproduce=f"docker compose exec {name} ip route      # the line that begins with `default` is the way out",
        )


NO_WAY_OUT = (
    "One word in a network's declaration closes its way out; a service has as many ways out as it has networks."
)


@check(points=2, needs=running("postgres"), section="A network without a way out", hint=NO_WAY_OUT)
def test_postgres_has_no_way_out(stack: Stack, view: Vantage, places: dict[str, str]) -> None:
    """postgres has no way out to the internet"""
    _must_have_no_way_out(stack, view, places, "postgres")


@check(points=1, needs=running("redis"), section="A network without a way out", hint=NO_WAY_OUT)
def test_redis_has_no_way_out(stack: Stack, view: Vantage, places: dict[str, str]) -> None:
    """redis has no way out to the internet"""
    _must_have_no_way_out(stack, view, places, "redis")
