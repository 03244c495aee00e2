"""Exercise 08: what Prometheus sees, what its rules make of it, and what Grafana would show.

Prometheus is asked over HTTP. How long an alert waits is replayed in simulated time (``grader.monitoring``). Grafana's
image is not everywhere, so its files are judged as they lie in its container, and a stand-in asks its data source.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from grader.budget import stretched
from grader.helper import IMAGE
from grader.model import Model
from grader.monitoring import Evaluations, Prometheus, Replay, Sample, Scenario, Series, Target, replay
from grader.plugin import Blocked, Failure, NotRun, check, running
from grader.probes import get, send, wait_until
from grader.rewrite import LABEL
from grader.stack import Stack

SCRAPED = ("api", "model-server", "prometheus")
P95 = "api:predict_seconds:p95"
GONE, FAILING = "NoModelServer", "PredictionsFail"
PIXELS = [0, 0, 5, 13, 9, 1, 0, 0] * 8

GRAFANA_IMAGE = "grafana/grafana:12.1.0"
GUESSED_FIRST = frozenset({"", "admin", "grafana", "password"})
# Grafana replaces them by a duration before it asks; four scrapes are the least that it takes for a rate.
DURATIONS = re.compile(
    r"\$(?:\{(?:__rate_interval|__interval|__range)[^}]*\}|__rate_interval|__interval|__range)(?!\w)"
)

HANG, STOP = "hang", "stop"
PREDICT = (
    'for i in $(seq 60); do curl -s -d "{\\"pixels\\": [$(yes 1 | head -64 | paste -sd,)]}" '
    "http://localhost:8000/predict; sleep 1; done"
)
ALERTS_CURL = "curl -s http://localhost:9090/api/v1/alerts"


# --- what Prometheus sees -----------------------------------------------------------------------


@dataclass
class Traffic:
    """Requests sent to api, a few dozen a second, until ``finish``.

    Attributes:
        sent: how many were answered.
        lost: how many got no answer: they may have been counted, or not.
    """

    sent: int = 0
    lost: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self, url: str) -> None:
        def go_on() -> None:
            while not self._over.wait(0.03):
                answer = send("POST", url, {"pixels": PIXELS})
                self.sent += answer is not None
                self.lost += answer is None

        self._thread = threading.Thread(target=go_on, name="traffic", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()


@dataclass(frozen=True)
class Seen:
    """What Prometheus has seen while everything was well.

    Attributes:
        targets: all, and those of each service.
        replicas: the containers of model-server.
        covered: those of them that are a target of their own, and up.
        counted: the predictions that api has counted itself, and those that Prometheus knows of; None if of none.
        by_replicas: the same of model-server, all replicas together.
        latest: every sample of the targets of api and model-server.
        p95: what the recording rule says; None if nothing.
    """

    targets: tuple[Target, ...]
    of: Mapping[str, tuple[Target, ...]]
    replicas: frozenset[str]
    covered: frozenset[str]
    counted: tuple[int, float | None]
    by_replicas: float | None
    lost: int
    latest: tuple[Sample, ...]
    p95: float | None

    @property
    def not_up(self) -> str:
        """Which target is missing or not up, in words; empty if all are well."""
        for service in SCRAPED:
            if not self.of[service]:
                return f"Prometheus has no target of {service}"
        return next((f"Prometheus does not get {t.url}: {t.error or t.health}" for t in self.targets if _bad(t)), "")


def _bad(target: Target) -> bool:
    return target.health != "up"


@pytest.fixture(scope="module")
def prometheus(stack: Stack) -> Prometheus:
    """The learner's Prometheus."""
    return Prometheus(stack)


@pytest.fixture(scope="module")
def seen(stack: Stack, prometheus: Prometheus, asked: Future[str]) -> Seen:
    """Predictions are made until every target was scraped, or will not be; then what Prometheus knows of them."""
    if "prometheus" not in stack.running:
        raise Blocked(stack.not_well["prometheus"])
    url = stack.url("api", 8000, "/predict") if "api" in stack.running else None
    if url:
        wait_until(lambda: _own_count(stack) is not None, stack.budget, stretched(10), 0.1)
    before = _own_count(stack)
    traffic = Traffic()
    if url and before is not None:
        traffic.begin(url)
    try:
        if not wait_until(lambda: prometheus.ask("status/config") is not None, stack.budget, stretched(30), 0.1):
            raise Blocked("Prometheus does not answer on its port 9090")
        pace, jobs, names = prometheus.pace(), prometheus.jobs(), prometheus.names()
        targets: dict[str, tuple[Target, ...]] = {}

        def all_well() -> bool:
            return _all_well(stack, prometheus, jobs, names, targets)

        wait_until(all_well, stack.budget, stretched(pace.new_target), 0.1)
        is_scraped = bool(targets["api"]) and not any(map(_bad, targets["api"]))
        if is_scraped and before is not None:
            # A rate needs two scrapes, with predictions between them: they have been made all the time.
            count = 'min(count_over_time(api_requests_total{path="/predict"}[5m])) >= 2'
            wait_until(lambda: bool(prometheus.query(count)), stack.budget, stretched(pace.scrapes(2)), 0.1)
            evaluations = Evaluations(prometheus)

            def evaluated() -> bool:
                # With both scrapes; what has no value then will not have one.
                return bool(prometheus.query(P95)) or evaluations.look() > 2

            if P95 in _loaded(prometheus.groups()):
                wait_until(evaluated, stack.budget, stretched(pace.judged), 0.1)
    finally:
        traffic.finish()
    ended = stack.now()

    def scraped_since() -> bool:
        last = prometheus.value('min(timestamp({__name__=~"api_requests_total|model_server_requests_total"}))')
        return last is not None and last > ended

    if is_scraped and before is not None:
        wait_until(scraped_since, stack.budget, stretched(pace.scrapes(2)), 0.1)
    every = tuple(target for found in targets.values() for target in found)
    known = {names[t.host][1] for t in targets["model-server"] if t.health == "up" and t.host in names}
    replicas = frozenset(stack.containers("model-server"))
    jobs = {t.labels.get("job", "") for t in (*targets["api"], *targets["model-server"])}
    latest = tuple(sample for job in sorted(jobs) for sample in prometheus.query(f"{{job={json.dumps(job)}}}"))
    return Seen(
        targets=every,
        of=targets,
        replicas=replicas,
        covered=replicas & known,
        counted=((before or 0) + traffic.sent, prometheus.value('sum(api_requests_total{path="/predict"})')),
        by_replicas=prometheus.value("sum(model_server_requests_total)"),
        lost=traffic.lost,
        latest=latest,
        p95=prometheus.value(P95),
    )


def _own_count(stack: Stack) -> int | None:
    """The predictions that api says it has answered; None if it does not say."""
    url = stack.url("api", 8000, "/metrics") if "api" in stack.running else None
    answer = get(url) if url else None
    if answer is None or answer.status != 200:
        return None
    lines = re.findall(r'^api_requests_total\{path="/predict",.*?\} (\S+)$', answer.body.decode(), re.MULTILINE)
    return int(sum(map(float, lines)))


def _all_well(
    stack: Stack,
    prometheus: Prometheus,
    jobs: set[str],
    names: Mapping[str, tuple[str, str]],
    into: dict[str, tuple[Target, ...]],
) -> bool:
    """Whether nothing is left to wait for; what there is by then is noted in ``into``, by service."""
    targets = prometheus.targets()
    into.clear()
    into |= {
        service: tuple(target for target in targets if names.get(target.host, ("",))[0] == service)
        for service in SCRAPED
    }
    # What is not started here, such as grafana, may be a target as well.
    absent = {service for service in stack.model.services if service not in stack.running}
    into["other"] = tuple(t for t in targets if t.host not in names and t.host not in absent)
    if not targets or jobs - {t.job for t in targets} or any(t.health == "unknown" for t in targets):
        return False
    if any(map(_bad, targets)):
        # Down at one scrape may be a service that was just being started; at three it is down.
        return prometheus.value("min(count_over_time(up[5m]))") in (None, *range(3, 1000))
    known = {names[target.host][1] for target in into["model-server"]}
    return set(stack.containers("model-server")) <= known or not any(t.discovered for t in targets)


def _all_up(seen: Seen) -> None:
    if seen.not_up:
        raise Blocked(seen.not_up)


# --- what the rules make of it ------------------------------------------------------------------


@pytest.fixture(scope="module")
def groups(prometheus: Prometheus, seen: Seen) -> list[dict[str, Any]]:
    """The groups of rules that Prometheus has loaded."""
    return prometheus.groups()


def _loaded(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {rule["name"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def replaying(stack: Stack, seen: Seen, groups: list[dict[str, Any]]) -> Iterator[Future[dict[str, Replay]]]:
    """The rules in each scenario; in the background."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(replay, stack, groups, _scenarios(seen))


@pytest.fixture(scope="module")
def replayed(replaying: Future[dict[str, Replay]]) -> dict[str, Replay]:
    """The scenarios, once they were played."""
    return replaying.result()


def _firing(alert: str) -> str:
    return f'max(ALERTS{{alertname="{alert}",alertstate="firing"}})'


def _ever(alert: str, over: int) -> str:
    return f'max(count_over_time(ALERTS{{alertname="{alert}",alertstate="firing"}}[{over}s]))'


def _scenarios(seen: Seen) -> dict[str, Scenario]:
    return _outages(seen) | _failures(seen) | _latencies(seen)


def _outages(seen: Seen) -> dict[str, Scenario]:
    """Ten minutes in which model-server ends, or does not. A step is 5 s; what happens, happens after five minutes."""
    calm, after = 60, 60

    def series(what: Mapping[str, str], length: int = after) -> list[Series]:
        """``what`` becomes of each instance: it hangs or stops for ``length`` steps; without an entry it stays up."""
        found = []
        for sample in _of_replicas(seen):
            happens = what.get(sample.labels["instance"], "")
            broken: float | None = 0 if sample.labels["__name__"] == "up" and happens == HANG else None
            values: list[float | None] = [sample.value] * (calm + after)
            if happens:
                values[calm : calm + length] = [broken] * length
            found.append(Series(sample.labels, values))
        return found

    instances = sorted({sample.labels["instance"] for sample in _of_replicas(seen)})
    first, all_but_first = instances[:1], instances[1:]
    fires = (_ever(GONE, 300), 299, None), (_firing(GONE), 300 + 120, 1.0)
    silent = ((_ever(GONE, 600), 599, None),)
    return {
        "all-hang": Scenario(series(dict.fromkeys(instances, HANG)), fires),
        "all-stop": Scenario(series(dict.fromkeys(instances, STOP)), fires),
        "all-up": Scenario(series({}), silent),
        "one-hangs": Scenario(series(dict.fromkeys(first, HANG)), silent),
        "one-left": Scenario(series(dict.fromkeys(all_but_first, STOP)), silent),
        "one-scrape-fails": Scenario(series(dict.fromkeys(instances, HANG), length=2), silent),
    }


def _of_replicas(seen: Seen) -> list[Sample]:
    """What is known of model-server; of two replicas at least: where all are one target, of a made-up second one."""
    instances = {target.labels.get("instance", "") for target in seen.of["model-server"]}
    found = [sample for sample in seen.latest if sample.labels.get("instance") in instances]
    found = [sample for sample in found if not sample.labels["__name__"].startswith("scrape_")]
    if len(instances) > 1:
        return found
    return found + [Sample({**sample.labels, "instance": "another:8000"}, sample.value) for sample in found]


def _failures(seen: Seen) -> dict[str, Scenario]:
    """Five minutes in which all is well, then ten with so many requests in each step of 5 s, by path and status."""
    calm = {("/predict", "200"): 50.0, ("/health", "200"): 500.0}

    def series(then: Mapping[tuple[str, str], float]) -> list[Series]:
        found = []
        for sample in seen.latest:
            if sample.labels["__name__"] == "api_requests_total":
                key = sample.labels.get("path", ""), sample.labels.get("status", "")
                found.append(Series(sample.labels, _growing((60, calm.get(key, 0)), (120, then.get(key, 0)))))
        return found

    def mix(good: float, failed: float, refused: float = 0) -> list[Series]:
        counts = {"200": good, "503": failed, "422": refused}
        return series({("/health", "200"): 500.0} | {("/predict", status): n for status, n in counts.items()})

    fires = (_ever(FAILING, 300), 299, None), (_firing(FAILING), 890, 1.0)
    silent = ((_ever(FAILING, 900), 899, None),)
    return {
        "many-fail": Scenario(mix(45, 5), fires),
        "many-of-few-fail": Scenario(mix(0.9, 0.1), fires),
        "few-of-many-fail": Scenario(mix(495, 5, refused=200), silent),
        "no-requests": Scenario(series({}), silent),
    }


# The part of a step's requests to /predict that took at most so many seconds. 95 % of them: 0.375 s.
FAST = {0.0025: 0.5, 0.005: 1.0}
SLOW = {0.1: 0.5, 0.25: 0.9, 0.5: 1.0}


def _latencies(seen: Seen) -> dict[str, Scenario]:
    """An hour in which all requests are fast, then twenty minutes in which those to /predict are slow."""

    def part(of: Mapping[float, float], bound: float) -> float:
        return max((share for upper, share in of.items() if upper <= bound), default=0.0)

    series = []
    for sample in seen.latest:
        if sample.labels["__name__"] == "api_request_seconds_bucket":
            bound, is_predict = float(sample.labels["le"]), sample.labels.get("path") == "/predict"
            number = 100.0 if is_predict else 10_000.0
            then = SLOW if is_predict else FAST
            grows = (240, number * part(FAST, bound)), (80, number * part(then, bound))
            series.append(Series(sample.labels, _growing(*grows)))
    in_range = f"max({P95} > 0.36 < 0.39) > bool 0"
    end = 320 * 15 - 15
    return {
        "slow": Scenario(series, [(in_range, end, 1.0), (f"count({P95})", end, 1.0)], step=15),
        # Only to be able to say what was seen.
        "slow-value": Scenario(series, [(f"max({P95})", end, -1.0)], step=15),
    }


def _growing(*phases: tuple[int, float]) -> list[float]:
    """A counter: for so many steps it grows by so much."""
    values, total = [], 0.0
    for steps, by in phases:
        for _ in range(steps):
            total += by
            values.append(total)
    return values


# --- what Grafana gets --------------------------------------------------------------------------


@dataclass(frozen=True)
class Provisioned:
    """What lies in Grafana's container, as far as the compose file puts it there.

    Attributes:
        tree: each mounted file: its path in the container -> its content.
        sources: the data sources, each with the variables of Grafana's environment put in.
        providers: those of dashboards.
        dashboards: the files below the providers' paths.
    """

    tree: Mapping[str, bytes]
    environment: Mapping[str, str]
    sources: tuple[dict[str, Any], ...]
    providers: tuple[dict[str, Any], ...]
    dashboards: Mapping[str, bytes]

    @classmethod
    def of(cls, model: Model) -> Provisioned:
        config = model.services["grafana"].config
        tree = _mounted(model, config)
        environment = {name: _single(str(value)) for name, value in (config.get("environment") or {}).items()}
        home = environment.get("GF_PATHS_PROVISIONING", "/etc/grafana/provisioning").rstrip("/")
        sources = _entries(tree, f"{home}/datasources/", "datasources", environment)
        providers = _entries(tree, f"{home}/dashboards/", "providers", environment)
        paths = [str((p.get("options") or {}).get("path") or p.get("folder") or "").rstrip("/") for p in providers]
        dashboards = {
            name: content
            for name, content in tree.items()
            if name.endswith(".json") and any(path and name.startswith(f"{path}/") for path in paths)
        }
        return cls(tree, environment, sources, providers, dashboards)


def _single(text: str) -> str:
    """Compose prints every dollar sign twice."""
    return text.replace("$$", "$")


def _mounted(model: Model, config: Mapping[str, Any]) -> dict[str, bytes]:
    """Every file that binds, configs and secrets put into a container; a mount hides what it covers."""
    sources: dict[str, Path | bytes] = {}
    for section, home in (("configs", ""), ("secrets", "/run/secrets")):
        for entry in config.get(section) or []:
            stated = (model.config.get(section) or {}).get(entry["source"]) or {}
            target = str(entry.get("target") or entry["source"])
            target = target if target.startswith("/") else f"{home}/{target}"
            content = _single(str(stated["content"])).encode() if "content" in stated else Path(stated.get("file", ""))
            sources[target] = content
    for mount in config.get("volumes") or []:
        if mount["type"] == "bind":
            sources[mount["target"].rstrip("/")] = Path(mount["source"])
    tree: dict[str, bytes] = {}
    for target in sorted(sources, key=len):
        tree = {name: content for name, content in tree.items() if not f"{name}/".startswith(f"{target}/")}
        source = sources[target]
        if isinstance(source, bytes):
            tree[target] = source
        elif source.is_file():
            tree[target] = source.read_bytes()
        else:
            tree |= {
                f"{target}/{f.relative_to(source).as_posix()}": f.read_bytes() for f in source.rglob("*") if f.is_file()
            }
    return tree


def _entries(
    tree: Mapping[str, bytes], folder: str, key: str, environment: Mapping[str, str]
) -> tuple[dict[str, Any], ...]:
    """The mappings below ``key`` in every YAML file that lies directly in ``folder``."""
    found: list[dict[str, Any]] = []
    for name, content in sorted(tree.items()):
        if name.startswith(folder) and "/" not in name[len(folder) :] and name.endswith((".yml", ".yaml")):
            document = _yaml(content)
            entries = document.get(key) if isinstance(document, dict) else None
            found += [_expanded(entry, environment) for entry in entries or [] if isinstance(entry, dict)]
    return tuple(found)


def _yaml(content: bytes) -> Any:
    try:
        return yaml.safe_load(content)
    except yaml.YAMLError:
        return None


def _expanded(value: Any, environment: Mapping[str, str]) -> Any:
    """Grafana puts variables of its environment into what is provisioned."""
    if isinstance(value, dict):
        return {name: _expanded(entry, environment) for name, entry in value.items()}
    if isinstance(value, str):
        return re.sub(r"\$\{?(\w+)\}?", lambda m: environment.get(m[1], ""), value)
    return value


@dataclass(frozen=True)
class Panel:
    """One panel of a dashboard that asks Prometheus.

    Attributes:
        file: where it stands, relative to the submission.
        source: how it names its data source; None if it asks the default one.
    """

    file: str
    title: str
    queries: tuple[str, ...]
    source: Any


def _panels(files: Path) -> list[Panel]:
    """The panels of all dashboards that were handed in, wherever they lie."""
    found: list[Panel] = []
    for path in sorted(files.rglob("*.json")):
        dashboard = _dashboard(path.read_bytes())
        variables = {
            entry.get("name"): entry for entry in _list(_mapping(dashboard.get("templating")).get("list"))
        }  # fmt: skip
        name = path.relative_to(files).as_posix()
        for panel in _flat(dashboard.get("panels")):
            targets = [t for t in _list(panel.get("targets")) if t.get("expr")]
            if targets:
                source = targets[0].get("datasource") or panel.get("datasource")
                queries = tuple(_asked(str(t["expr"]), variables) for t in targets)
                found.append(Panel(name, str(panel.get("title")), queries, _chosen(source, variables)))
    return found


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _dashboard(content: bytes) -> dict[str, Any]:
    """The dashboard in a JSON file; empty if there is none. The HTTP API wraps it once more."""
    try:
        document = _mapping(json.loads(content))
    except ValueError:
        return {}
    return _mapping(document.get("dashboard")) or document


def _flat(panels: Any) -> Iterator[dict[str, Any]]:
    """Rows hold panels."""
    for panel in _list(panels):
        yield panel
        yield from _flat(panel.get("panels"))


def _asked(query: str, variables: Mapping[Any, Any]) -> str:
    """The query as Grafana sends it: durations put in, a dashboard's own variables as "any"."""
    query = DURATIONS.sub("1m", query)
    names = "|".join(re.escape(str(name)) for name in variables if name)
    return re.sub(rf"\$(?:\{{(?:{names})[^}}]*\}}|(?:{names})\b)", ".*", query) if names else query


def _chosen(source: Any, variables: Mapping[Any, Any]) -> Any:
    """How the panel names its data source: a uid, or a name; None for the default one."""
    name = source.get("uid") if isinstance(source, dict) else source
    variable = re.fullmatch(r"\$\{?(\w+)\}?", str(name))
    if variable and _mapping(variables.get(variable[1])).get("type") == "datasource":
        return None  # it offers all data sources of a type, and begins with the default
    return name


@pytest.fixture(scope="module")
def provisioned(model: Model) -> Provisioned:
    """What lies in Grafana's container."""
    return Provisioned.of(model)


@pytest.fixture(scope="module")
def panels(files: Path) -> list[Panel]:
    """Every panel with a query."""
    return _panels(files)


@pytest.fixture(scope="module")
def asked(stack: Stack, prometheus: Prometheus, provisioned: Provisioned) -> Iterator[Future[str]]:
    """How each data source answers where Grafana would ask it, a line for each; in the background."""

    def ask() -> str:
        # It was started a moment ago, and may not listen yet.
        wait_until(lambda: prometheus.ask("status/buildinfo") is not None, stack.budget, stretched(20), 0.1)
        return _ask_like_grafana(stack, [str(source.get("url")) for source in provisioned.sources])

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(ask)


_ASK = """
import json, sys, urllib.request
for url in sys.argv[1:]:
    try:
        answer = urllib.request.urlopen(url.rstrip("/") + "/api/v1/query?query=up", timeout=10)
        good = json.load(answer)["status"] == "success"
        print("ok" if good else "it is no Prometheus")
    except Exception as error:
        print(" ".join(str(error).split()) or type(error).__name__)
"""


def _ask_like_grafana(stack: Stack, urls: list[str]) -> str:
    """A line for each of ``urls``, asked from a container that stands where Grafana's would."""
    grafana = stack.config["services"]["grafana"]
    mode = str(grafana.get("network_mode") or "")
    networks = {
        network["Id"]
        for name in grafana.get("networks") or {}
        for network in stack.client.api.networks(names=[f"{stack.model.project}_{name}"])
        if network["Name"] == f"{stack.model.project}_{name}"  # the engine also finds parts of names
    }
    if mode.startswith("service:"):
        mode = f"container:{(stack.containers(mode.partition(':')[2]) or [''])[0]}"
    elif not mode and not networks:
        mode = "none"  # it is on no network on which another service runs
    first = None if mode else sorted(networks)[0]
    container = stack.client.containers.create(
        IMAGE,
        ["python", "-c", _ASK, *urls],
        user="nobody",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="128m",
        pids_limit=64,
        labels={LABEL: str(stack.owner)},
        **({"network_mode": mode} if mode else {"network": first}),
    )
    try:
        for network in sorted(networks - {first}) if not mode else ():
            stack.client.api.connect_container_to_network(container.id, network)
        container.start()
        container.wait(timeout=stretched(60))
        said: str = container.logs().decode("utf-8", "replace")
        return said
    finally:
        container.remove(force=True)


# --- without model-server -----------------------------------------------------------------------


@dataclass(frozen=True)
class Calm:
    """The panels' queries while all is well: those that have no data."""

    empty: tuple[tuple[Panel, str], ...]


@pytest.fixture(scope="module")
def calm(stack: Stack, prometheus: Prometheus, seen: Seen, panels: list[Panel]) -> Calm:
    """Each panel's queries, asked after the predictions."""
    asked = [(panel, query) for panel in panels for query in panel.queries]
    return Calm(tuple((panel, query) for panel, query in asked if not prometheus.query(query)))


@dataclass(frozen=True)
class Outage:
    """What was seen after model-server was stopped.

    Attributes:
        state: of the alert: ``pending`` or ``firing``; empty if it was neither in time.
        waited: for how long it was watched at most, in seconds.
        empty: the panels' queries that had no data before, and have none now.
    """

    state: str
    waited: float
    empty: tuple[tuple[Panel, str], ...]


@pytest.fixture(scope="module")
def outage(
    stack: Stack,
    prometheus: Prometheus,
    seen: Seen,
    calm: Calm,
    groups: list[dict[str, Any]],
    replaying: Future[dict[str, Replay]],
) -> Outage:
    """Every replica of model-server is stopped."""
    if GONE not in _loaded(groups) or seen.not_up:
        return Outage("", 0, calm.empty)
    stack.compose("kill", "model-server")
    states: list[str] = []
    evaluations: list[Evaluations] = []
    hosts = {target.host for target in seen.of["model-server"]}

    def decided() -> bool:
        alerts = (prometheus.ask("alerts") or {}).get("alerts") or []
        states[:] = [alert["state"] for alert in alerts if alert["labels"]["alertname"] == GONE]
        if not evaluations and hosts.isdisjoint(target.host for target in prometheus.targets()):
            evaluations.append(Evaluations(prometheus))
        # Once there is no target left, two evaluations say all.
        return bool(states) or (bool(evaluations) and evaluations[0].look() > 1)

    pace = prometheus.pace()
    waited = pace.new_target + pace.judged
    wait_until(decided, stack.budget, stretched(waited), 0.1)
    # Something may only have data when something is wrong.
    empty = tuple((panel, query) for panel, query in calm.empty if not prometheus.query(query))
    return Outage(states[0] if states else "", waited, empty)


# --- Prometheus ---------------------------------------------------------------------------------


def _where(files: Path, pattern: str, otherwise: str) -> str:
    """``file:line`` of what was handed in where ``pattern`` is found first, else ``otherwise``."""
    for path in sorted(files.rglob("*")):
        if path.suffix in (".yml", ".yaml", ".json", ".ini") and path.is_file():
            for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
                if re.search(pattern, line):
                    return f"{path.relative_to(files).as_posix()}:{number}"
    return otherwise


@check(
    points=2,
    section="What Prometheus asks for",
    hint="The page http://localhost:9090/targets shows every target, and why one is down.",
)
def test_every_target_is_up(stack: Stack, files: Path, request: pytest.FixtureRequest) -> None:
    """Prometheus scrapes api, model-server and itself"""
    reproduce = "curl -s 'http://localhost:9090/api/v1/targets?state=active' | python3 -m json.tool"
    if "prometheus" not in stack.running:
        dead = next((found for found in stack.unwell if found.service == "prometheus"), None)
        raise Failure(
            f"Prometheus does not run: {stack.not_well['prometheus']}",
            actual=" ".join(dead.log[-1:]) if dead else "",
            at="prometheus/prometheus.yml",
            reproduce="docker compose up -d; docker compose logs prometheus",
        )
    seen: Seen = request.getfixturevalue("seen")
    if seen.not_up:
        raise Failure(
            seen.not_up,
            expected="every target is up",
            at=_where(files, r"^\s*-?\s*job_name:", "prometheus/prometheus.yml"),
            reproduce=reproduce,
        )


@check(
    points=2,
    needs=running("prometheus", "model-server"),
    section="A target for each replica",
    hint="Let Prometheus look the name model-server up: it answers with the address of every replica.",
)
def test_every_replica_is_a_target(stack: Stack, files: Path, seen: Seen) -> None:
    """Each replica of model-server is a target of its own"""
    if not seen.of["model-server"]:
        raise Blocked("Prometheus has no target of model-server")
    if seen.not_up:
        raise Blocked(seen.not_up)
    if len(seen.replicas) < 2:
        raise Failure(
            f"model-server has {len(seen.replicas)} replica",
            expected="two, as in the beginning: of one replica nobody can tell whether the others would be found",
            at=stack.model.at("services", "model-server", "deploy", "replicas"),
            reproduce="docker compose ps model-server",
        )
    if seen.covered != seen.replicas:
        raise Failure(
            "Prometheus does not scrape every replica of model-server",
            expected=f"{len(seen.replicas)} targets, one for each replica's address",
            actual=", ".join(target.url for target in seen.of["model-server"]),
            at=_where(files, r"model-server", "prometheus/prometheus.yml"),
            reproduce="curl -s -G http://localhost:9090/api/v1/query --data-urlencode 'query=up'",
        )


@check(
    points=1,
    needs=running("prometheus", "api"),
    section="Counters, rates, percentiles",
    hint="What is scraped twice is counted twice.",
)
def test_every_request_is_counted_once(seen: Seen, files: Path) -> None:
    """Prometheus counts every prediction exactly once"""
    if not seen.of["api"] or any(map(_bad, seen.of["api"])):
        raise Blocked("Prometheus does not scrape api")
    answered, known = seen.counted
    if not answered:
        raise Blocked("api did not answer a single prediction")
    whole = seen.covered == seen.replicas and not any(map(_bad, seen.of["model-server"]))
    for metric, value, judged in (
        ("api_requests_total", known, True),
        ("model_server_requests_total", seen.by_replicas, whole),
    ):
        if judged and (value is None or not answered <= value <= answered + seen.lost):
            raise Failure(
                f"api answered {answered} predictions, and Prometheus knows another number from {metric}",
                expected=f"{answered}",
                actual="nothing" if value is None else f"{value:.0f}",
                at=_where(files, r"api:8000", "prometheus/prometheus.yml"),
                reproduce="curl -s -G http://localhost:9090/api/v1/query "
                f"--data-urlencode 'query=sum({metric})'      # compare: curl -s http://localhost:8000/metrics",
            )


@check(
    points=1,
    needs=running("prometheus"),
    section="Rules that are loaded",
    hint="The page http://localhost:9090/rules shows what is loaded; a path that leads nowhere is no error.",
)
def test_rules_are_loaded(groups: list[dict[str, Any]], files: Path) -> None:
    """Prometheus has loaded the rules, and none has an error"""
    loaded = _loaded(groups)
    at = _where(files, r"^\s*rule_files:", "prometheus/prometheus.yml")
    reproduce = "curl -s http://localhost:9090/api/v1/rules | python3 -m json.tool"
    if missing := [name for name in (P95, GONE, FAILING) if name not in loaded]:
        raise Failure(
            f"Prometheus knows no rule called {missing[0]}",
            expected=f"{P95}, {GONE} and {FAILING}",
            actual=", ".join(loaded) or "no rules at all",
            at=at,
            reproduce=reproduce,
        )
    if broken := [rule for rule in loaded.values() if rule["health"] == "err"]:
        name, error = broken[0]["name"], broken[0].get("lastError", "")
        at = _where(files, rf"\b{re.escape(name)}\b", at)
        raise Failure(f"The rule {name} cannot be evaluated: {error}", at=at, reproduce=reproduce)


@check(
    points=3,
    needs=running("prometheus", "model-server"),
    section="Alerts: gone is not zero",
    hint="Think of three states: up is 1, up is 0, there is no up. What does your expression give for each?",
)
def test_alert_when_model_server_is_gone(
    seen: Seen, groups: list[dict[str, Any]], outage: Outage, replayed: dict[str, Replay], files: Path
) -> None:
    """NoModelServer fires when no replica is up, and only then"""
    if GONE not in _loaded(groups):
        raise Blocked(f"Prometheus knows no rule called {GONE}")
    _all_up(seen)
    for scenario, fires, what in (
        ("all-stop", True, "Every replica of model-server was stopped, so that it was no target any more"),
        ("all-hang", True, "Every replica of model-server hung, so that up was 0"),
        ("all-up", False, "Every replica of model-server was up"),
        ("one-hangs", False, "One replica of model-server hung, and the other one was up"),
        ("one-left", False, "One replica of model-server was stopped, and the other one was up"),
        ("one-scrape-fails", False, "Every replica of model-server was silent for ten seconds, and up again"),
    ):
        if not replayed[scenario].passed:
            raise Failure(
                what,
                expected=f"{GONE} fires within two minutes, and not before" if fires else f"{GONE} does not fire",
                actual="it did not" if fires else "it fired",
                at=_where(files, rf"alert:\s*[\"']?{GONE}", "prometheus/alerts.yml"),
                reproduce=f"docker compose stop model-server; sleep 45; {ALERTS_CURL}      # then: start model-server",
            )
    if not outage.state:
        raise Failure(
            f"model-server was stopped, and {GONE} was not even pending within {outage.waited:.0f} s",
            expected="pending, and firing after `for`",
            actual="inactive",
            at=_where(files, r"evaluation_interval|^\s*interval:", "prometheus/prometheus.yml"),
            reproduce=f"docker compose stop model-server; sleep 15; {ALERTS_CURL}; docker compose start model-server",
        )


@check(
    points=2,
    needs=running("prometheus", "api"),
    section="Alerts: a part of the whole",
    hint="Divide the failed predictions by all predictions, both as a rate, and both of /predict only.",
)
def test_alert_when_predictions_fail(
    seen: Seen, groups: list[dict[str, Any]], replaying: Future[dict[str, Replay]], files: Path
) -> None:
    """PredictionsFail fires when over 5 % fail, and only then"""
    if FAILING not in _loaded(groups):
        raise Blocked(f"Prometheus knows no rule called {FAILING}")
    if not any(sample.labels["__name__"] == "api_requests_total" for sample in seen.latest):
        raise Blocked("Prometheus has no api_requests_total")
    replayed = replaying.result()
    for scenario, fires, what in (
        ("many-fail", True, "10 % of ten predictions a second were answered with 503, beside many good /health"),
        ("many-of-few-fail", True, "10 % of few predictions, one in five seconds, were answered with 503"),
        ("few-of-many-fail", False, "Less than 1 % of many predictions were answered with 503, others with 422"),
        ("no-requests", False, "There were no predictions at all"),
    ):
        if not replayed[scenario].passed:
            raise Failure(
                what,
                expected=f"{FAILING} fires, and not before" if fires else f"{FAILING} does not fire",
                actual="it did not" if fires else "it fired",
                at=_where(files, rf"alert:\s*[\"']?{FAILING}", "prometheus/alerts.yml"),
                reproduce=f"docker compose stop model-server; {PREDICT}; {ALERTS_CURL}",
            )


@check(
    points=2,
    needs=running("prometheus", "api"),
    section="Counters, rates, percentiles",
    hint="Buckets count from the start of the api. Take their rate first, and choose the path.",
)
def test_latency_rule(
    seen: Seen, groups: list[dict[str, Any]], replaying: Future[dict[str, Replay]], files: Path
) -> None:
    """The recording rule gives the latency that 95 % stay below"""
    if P95 not in _loaded(groups):
        raise Blocked(f"Prometheus knows no rule called {P95}")
    if not any(s.labels["__name__"] == "api_request_seconds_bucket" for s in seen.latest):
        raise Blocked("Prometheus has no api_request_seconds_bucket")
    if not seen.counted[0]:
        raise Blocked("api did not answer a single prediction")
    at = _where(files, rf"record:\s*[\"']?{re.escape(P95)}", "prometheus/alerts.yml")
    reproduce = f"curl -s -G http://localhost:9090/api/v1/query --data-urlencode 'query={P95}'"
    replayed = replaying.result()
    if not replayed["slow"].passed:
        raise Failure(
            "95 % of the requests to /predict took less than 0.375 s for twenty minutes, after an hour in which they "
            f"took milliseconds, and beside many quick health checks; {P95} says something else",
            expected="one value, 0.375",
            actual=replayed["slow-value"].seen or "nothing",
            at=at,
            reproduce=reproduce,
        )
    if seen.p95 is None:
        raise Failure(
            f"Predictions were made, and {P95} still has no value", expected="seconds", at=at, reproduce=reproduce
        )


# --- Grafana ------------------------------------------------------------------------------------


@check(
    points=2,
    needs=running("prometheus", "api", "model-server"),
    section="Grafana, provisioned",
    hint="Paste the panel's query into http://localhost:9090: does it find anything?",
)
def test_every_panel_has_data(seen: Seen, panels: list[Panel], outage: Outage, files: Path) -> None:
    """Every panel's query finds data"""
    if not panels:
        raise Failure(
            "There is no dashboard with a panel that asks Prometheus",
            at="grafana/dashboards/digits.json",
            reproduce="python3 -m json.tool grafana/dashboards/digits.json",
        )
    _all_up(seen)
    for panel, query in outage.empty:
        if P95 in query and seen.p95 is None:
            raise Blocked(f"the panel {panel.title!r} shows {P95}, which has no value")
        raise Failure(
            f"The panel {panel.title!r} stays empty: its query finds nothing",
            expected="data, now that predictions were made",
            actual=query,
            at=_where(files, rf'"title":\s*{re.escape(json.dumps(panel.title, ensure_ascii=False))}', panel.file),
            reproduce="curl -s -G http://localhost:9090/api/v1/query --data-urlencode 'query=…'      # the query",
        )


@check(
    points=2,
    needs=running("prometheus"),
    section="Grafana, provisioned",
    hint="In Grafana's container localhost is Grafana itself; a panel names a data source by its uid.",
)
def test_data_source_answers(
    stack: Stack, files: Path, provisioned: Provisioned, panels: list[Panel], asked: Future[str]
) -> None:
    """The data source that the panels name leads to Prometheus"""
    inside = "docker compose --profile grafana run --rm --entrypoint sh grafana -c"
    if not provisioned.sources:
        raise Failure(
            "Grafana gets no data source: there is none below its provisioning/datasources",
            expected="a YAML file in /etc/grafana/provisioning/datasources, with a data source in it",
            actual=", ".join(sorted(n for n in provisioned.tree if "datasource" in n)) or "no such file is mounted",
            at=stack.model.at("services", "grafana", "volumes"),
            reproduce=f"{inside} 'ls -R /etc/grafana/provisioning'",
        )
    by_name = {
        **{source.get("name"): index for index, source in enumerate(provisioned.sources)},
        **{source.get("uid"): index for index, source in enumerate(provisioned.sources)},
    }
    default = [index for index, source in enumerate(provisioned.sources) if source.get("isDefault")]
    answers = asked.result().splitlines()
    for panel in panels:
        index = by_name.get(panel.source) if panel.source else next(iter(default), None)
        if index is None:
            raise Failure(
                f"The panel {panel.title!r} asks a data source that Grafana does not have",
                expected=f"a data source with the uid {panel.source!r}" if panel.source else "isDefault: true",
                actual="; ".join(f"{s.get('name')}, uid {s.get('uid')}" for s in provisioned.sources),
                at=_where(files, r"^\s*-?\s*uid:", "grafana/provisioning/datasources/prometheus.yml"),
                reproduce="grep -rn uid grafana/",
            )
        answer = answers[index] if index < len(answers) else "it was not asked"
        source = provisioned.sources[index]
        if answer != "ok" or source.get("type") != "prometheus":
            raise Failure(
                f"The data source does not lead to Prometheus: {source.get('url')}"
                if answer != "ok"
                else f"The data source is of type {source.get('type')}",
                expected="Prometheus answers at this address, from Grafana's container"
                if answer != "ok"
                else "prometheus",
                actual=answer if answer != "ok" else str(source.get("type")),
                at=_where(files, r"^\s*-?\s*url:", "grafana/provisioning/datasources/prometheus.yml"),
                reproduce=f"{inside} 'wget -qO- {source.get('url')}/-/ready'",
            )


@check(
    points=2,
    section="Grafana, provisioned",
    hint="A provider says in options.path where in the container the dashboards are: mount them just there.",
)
def test_dashboards_are_found(model: Model, files: Path, provisioned: Provisioned) -> None:
    """Grafana finds the dashboards where the provider says"""
    reproduce = "docker compose --profile grafana run --rm --entrypoint sh grafana -c 'ls -R /etc/grafana/provisioning'"
    if not provisioned.providers:
        raise Failure(
            "Grafana gets no provider of dashboards: there is none below its provisioning/dashboards",
            expected="a YAML file in /etc/grafana/provisioning/dashboards, with a provider in it",
            actual=", ".join(sorted(provisioned.tree)[:6]) or "nothing is mounted",
            at=model.at("services", "grafana", "volumes"),
            reproduce=reproduce,
        )
    if not provisioned.dashboards:
        paths = [str((p.get("options") or {}).get("path")) for p in provisioned.providers]
        raise Failure(
            "There is no dashboard where the provider says",
            expected=f"a .json file below {', '.join(paths)}",
            actual=", ".join(sorted(n for n in provisioned.tree if n.endswith(".json"))) or "none is mounted",
            at=_where(files, r"^\s*path:", "grafana/provisioning/dashboards/provider.yml"),
            reproduce=reproduce,
        )


def _password(provisioned: Provisioned) -> tuple[str, str]:
    """The admin's password, and why there is none; one of both is empty."""
    name = "GF_SECURITY_ADMIN_PASSWORD"
    value, file = provisioned.environment.get(name), provisioned.environment.get(f"{name}__FILE")
    if value and file:
        return "", f"Both {name} and {name}__FILE are set, and Grafana does not start with both"
    if value is None and file is None:
        settings = provisioned.tree.get("/etc/grafana/grafana.ini", b"").decode("utf-8", "replace")
        stated = re.search(r"^\s*admin_password\s*=\s*(.+?)\s*$", settings, re.MULTILINE)
        value = stated[1] if stated else None
    if value and (named := re.fullmatch(r"\$__file\{(.+)\}", value)):
        file = named[1]
    if file is not None:
        if file not in provisioned.tree:
            return "", f"Grafana has to read its password from {file}, and no such file is mounted"
        value = provisioned.tree[file].decode("utf-8", "replace").strip()
    if value is None:
        return "", "Nothing that Grafana reads sets the admin's password, so it is admin"
    if value.lower() in GUESSED_FIRST:
        return "", f"The admin's password is {value!r}"
    return value, ""


@check(
    points=2,
    section="A password that nobody can read",
    hint="Grafana reads any setting from a file if two underscores and FILE follow the variable's name.",
)
def test_admin_password_is_secret(model: Model, files: Path, provisioned: Provisioned) -> None:
    """Grafana's admin password is no default and in no compose file"""
    at = model.at("services", "grafana", "environment")
    password, problem = _password(provisioned)
    if problem:
        raise Failure(
            problem,
            expected="a password of your own, from a secret",
            at=at,
            reproduce="docker compose --profile grafana config grafana      # what Grafana's environment will be",
        )
    for path in sorted(files.glob("*.y*ml")):
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            if password in line:
                raise Failure(
                    "The admin's password stands in the compose file, for everybody to read",
                    expected="only the name of a file, or of a variable, stands there",
                    at=f"{path.name}:{number}",
                    reproduce="docker compose --profile grafana config grafana",
                )


@check(
    points=2,
    needs=running("prometheus"),
    section="Grafana, provisioned",
    hint="Grafana wants the dashboard itself in the file: an object with a title and panels.",
)
def test_grafana_loads_the_dashboard(
    stack: Stack, files: Path, provisioned: Provisioned, outage: Outage, asked: Future[str], panels: list[Panel]
) -> None:
    """Grafana loads the dashboard and asks Prometheus"""
    for name, content in sorted(provisioned.dashboards.items()):
        if problem := _not_loaded(content):
            raise Failure(
                f"Grafana cannot load the dashboard {Path(name).name}: {problem}",
                at=_where(files, r'"panels":', "grafana/dashboards/digits.json"),
                reproduce=f"python3 -m json.tool grafana/dashboards/{Path(name).name}",
            )
    if not any(GRAFANA_IMAGE in (image.get("RepoTags") or []) for image in stack.client.api.images()):
        raise NotRun(f"{GRAFANA_IMAGE} is not on this machine; what can be told from the files was judged")
    password, problem = _password(provisioned)
    if problem or not provisioned.dashboards or "ok" not in asked.result():
        raise Blocked(problem or "Grafana's files have to be right first")
    _in_grafana(stack, password, provisioned, panels)


def _not_loaded(content: bytes) -> str:
    """Why Grafana does not take the file for a dashboard; empty if it does."""
    try:
        document = json.loads(content)
    except ValueError as error:
        return f"it is no JSON, {error}"
    if not isinstance(document, dict) or not document.get("title"):
        return "it has no title"
    return "" if isinstance(document.get("panels"), list) else "it has no panels"


def _in_grafana(stack: Stack, password: str, provisioned: Provisioned, panels: list[Panel]) -> None:
    """Start Grafana, and look whether it has what was provisioned."""
    user = provisioned.environment.get("GF_SECURITY_ADMIN_USER", "admin")
    at = stack.model.at("services", "grafana")
    logs = "docker compose --profile grafana up -d; docker compose logs grafana"
    # In another service's network it is that service whose ports lead to it.
    listens = str(stack.config["services"]["grafana"].get("network_mode") or "service:grafana").removeprefix("service:")
    done = stack.compose("up", "--detach", "--no-deps", "grafana")

    def ask(path: str, as_: str = password) -> Any:
        url = stack.url(listens, 3000, path)
        credentials = base64.b64encode(f"{user}:{as_}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Accept-Encoding": "identity"}
        answer = send("GET", url, headers=headers) if url else None
        return answer.json() if answer and answer.status == 200 else None

    if done.status != 0 or not wait_until(lambda: ask("/api/health") is not None, stack.budget, stretched(60), 0.3):
        raise Failure(
            f"Grafana did not start: {stack.why_not_well('grafana') or 'it does not answer'}", at=at, reproduce=logs
        )
    titles = {str(_dashboard(content).get("title")) for content in provisioned.dashboards.values()}
    found: set[str] = set()

    def has_all() -> bool:
        found.clear()
        found.update(str(entry.get("title")) for entry in _list(ask("/api/search?type=dash-db")))
        return titles <= found

    if not wait_until(has_all, stack.budget, stretched(20), 0.3):
        raise Failure(
            "Grafana does not have the dashboard",
            expected=", ".join(sorted(titles)),
            actual=", ".join(sorted(found)) or "it has none",
            at=at,
            reproduce=logs,
        )
    named = next((panel.source for panel in panels if panel.source), None)
    uids = [
        source.get("uid") for source in provisioned.sources if named in (None, source.get("name"), source.get("uid"))
    ]
    if uids and uids[0] and ask(f"/api/datasources/proxy/uid/{uids[0]}/api/v1/query?query=up") is None:
        raise Failure("Grafana's data source gets no answer from Prometheus", at=at, reproduce=logs)
    if ask("/api/org", as_="admin") is not None:
        raise Failure("Everybody can log in to Grafana as admin with the password admin", at=at, reproduce=logs)
