"""What a stack's Prometheus says over its HTTP API, and its rules replayed in simulated time.

An alert with ``for: 30s`` would make every grading wait. ``promtool test rules`` evaluates the rules that
Prometheus has loaded over series that are made up: minutes pass in milliseconds, and an outage is the same each time.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from grader.budget import stretched
from grader.errors import InternalError
from grader.probes import send
from grader.rewrite import LABEL, seconds
from grader.stack import Stack

IMAGE = "prom/prometheus:v3.5.0"
PORT = 9090
# Prometheus hands found targets to its scraper only this often (cmd/prometheus, scrape.discovery-reload-interval).
RELOAD = 5.0
LONGEST = 60.0  # seconds; nobody waits for a longer interval

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """One element of an instant vector."""

    labels: Labels
    value: float


@dataclass(frozen=True)
class Target:
    """One address that Prometheus scrapes.

    Attributes:
        job: through which job of the configuration it was found.
        host: as it stands in the scrape's URL.
        health: ``up``, ``down`` or ``unknown``, which is: not scraped yet.
        labels: what every series from there carries.
        discovered: whether its address was looked up by a discovery instead of being written down.
    """

    job: str
    url: str
    host: str
    health: str
    error: str
    labels: Labels
    discovered: bool


@dataclass(frozen=True)
class Pace:
    """The longest interval, in seconds, between two look-ups of targets, two scrapes, two evaluations of the rules."""

    refresh: float
    scrape: float
    evaluation: float

    @property
    def new_target(self) -> float:
        """Within which a target that appears or goes is noticed: looked up, handed to the scraper, scraped."""
        return RELOAD + 3 + self.refresh + 2 * self.scrape

    def scrapes(self, number: int) -> float:
        """Within which every target is scraped so many times."""
        return 2 + number * self.scrape

    @property
    def judged(self) -> float:
        """Within which the rules are evaluated with what was scraped last."""
        return 2 + 2 * self.evaluation


class Prometheus:
    """A stack's Prometheus, asked over HTTP. While it does not answer it has nothing: no targets, rules or samples."""

    def __init__(self, stack: Stack, service: str = "prometheus", port: int = PORT) -> None:
        self._stack, self._service, self._port = stack, service, port

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of ``/api/v1``; None if there is no good answer."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        url = self._stack.url(self._service, self._port, f"/api/v1/{path}{query}")
        # The body is read as it comes, and Prometheus would compress it.
        answer = send("GET", url, headers={"Accept-Encoding": "identity"}) if url else None
        body = answer.json() if answer else None
        return body.get("data") if isinstance(body, dict) and body.get("status") == "success" else None

    def query(self, expression: str) -> list[Sample]:
        """The samples of an instant query, those that are no number left out."""
        data = self.ask("query", query=expression)
        if not data:
            return []
        if data["resultType"] == "scalar":
            found = [Sample({}, float(data["result"][1]))]
        elif data["resultType"] == "vector":
            found = [Sample(s["metric"], float(s["value"][1])) for s in data["result"] if "value" in s]
        else:
            found = []
        return [sample for sample in found if not math.isnan(sample.value)]

    def value(self, expression: str) -> float | None:
        """The one value of an instant query; None if it has none, or several."""
        samples = self.query(expression)
        return samples[0].value if len(samples) == 1 else None

    def targets(self) -> list[Target]:
        """What it scrapes at this moment."""
        data = self.ask("targets", state="active") or {}
        return [
            Target(
                job=entry["scrapePool"],
                url=entry["scrapeUrl"],
                host=urlsplit(entry["scrapeUrl"]).hostname or "",
                health=entry["health"],
                error=entry["lastError"],
                labels=entry["labels"],
                discovered=any(name.startswith("__meta_") for name in entry["discoveredLabels"]),
            )
            for entry in data.get("activeTargets") or []
        ]

    def jobs(self) -> set[str]:
        """The jobs that it was configured with."""
        return {job["job_name"] for job in self._config().get("scrape_configs") or []}

    def evaluated(self) -> tuple[str, ...]:
        """When each group of rules was evaluated last."""
        return tuple(group.get("lastEvaluation", "") for group in self.groups())

    def _config(self) -> dict[str, Any]:
        return yaml.safe_load((self.ask("status/config") or {}).get("yaml") or "") or {}

    def groups(self) -> list[dict[str, Any]]:
        """The groups of rules that it has loaded."""
        return list((self.ask("rules") or {}).get("groups") or [])

    def pace(self) -> Pace:
        """How quickly it works, by the intervals that it was configured with."""
        config = self._config()
        jobs = config.get("scrape_configs") or []
        usual = config.get("global") or {}
        refreshes = [
            seconds(discovery.get("refresh_interval", "30s"))
            for job in jobs
            for key, entries in job.items()
            if key.endswith("_sd_configs")
            for discovery in entries or []
        ]
        scrapes = [seconds(job.get("scrape_interval", usual.get("scrape_interval", "1m"))) for job in jobs]
        evaluations = [seconds(usual.get("evaluation_interval", "1m")), *(float(g["interval"]) for g in self.groups())]
        return Pace(*(min(LONGEST, max(found, default=0.0)) for found in (refreshes, scrapes, evaluations)))

    def names(self) -> dict[str, tuple[str, str]]:
        """Each name and address of the stack's containers, as Prometheus may use it -> its service and container."""
        found: dict[str, tuple[str, str]] = {}
        for service in self._stack.model.services:
            for container in self._stack.containers(service):
                state = self._stack.client.api.inspect_container(container)
                found[state["Name"].strip("/")] = (service, container)
                for network in state["NetworkSettings"]["Networks"].values():
                    known = [network["IPAddress"], *(network.get("Aliases") or []), *(network.get("DNSNames") or [])]
                    # A name that several replicas share leads to any of them.
                    found |= {name: (service, "" if name == service else container) for name in known if name}
            if (first := self._stack.inspect(service)) and service == self._service:
                found |= dict.fromkeys(("localhost", "127.0.0.1"), (service, first["Id"]))
        return found


class Evaluations:
    """Counts how often the rules were evaluated since it was made."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._last = prometheus.evaluated()
        self.seen = 0

    def look(self) -> int:
        """How often by now, as far as anybody looked; each group once counts as one."""
        now = self._prometheus.evaluated()
        if len(now) != len(self._last) or all(a != b for a, b in zip(now, self._last, strict=True)):
            self._last = now
            self.seen += 1
        return self.seen


# --- simulated time -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """One series of a scenario: a value for each step of time; None where it has ended."""

    labels: Labels
    values: Sequence[float | None]

    def written(self) -> dict[str, str]:
        """As promtool reads it."""
        words = ["stale" if value is None else f"{value:.10g}" for value in self.values]
        labels = ",".join(f"{name}={json.dumps(value)}" for name, value in self.labels.items() if name != "__name__")
        return {"series": f"{self.labels['__name__']}{{{labels}}}", "values": " ".join(words)}


@dataclass(frozen=True)
class Scenario:
    """What Prometheus could have seen, and what its rules should make of it.

    Attributes:
        step: seconds between two values of the series.
        expected: a query, when to ask it (seconds from the beginning), its one value; None if it has to be empty.
    """

    series: Sequence[Series]
    expected: Sequence[tuple[str, float, float | None]]
    step: int = 5

    def written(self, rules: str) -> dict[str, Any]:
        """As promtool reads it."""
        tests = [
            {
                "expr": query,
                "eval_time": f"{at:.0f}s",
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }
            for query, at, value in self.expected
        ]
        return {
            "rule_files": [rules],
            "evaluation_interval": f"{self.step}s",
            "tests": [
                {
                    "interval": f"{self.step}s",
                    "input_series": [series.written() for series in self.series],
                    "promql_expr_test": tests,
                }
            ],
        }


@dataclass(frozen=True)
class Replay:
    """How a scenario ended: whether it was as expected, and else the number that was seen first, if any."""

    passed: bool
    seen: str = field(default="")


def replay(stack: Stack, groups: Sequence[Mapping[str, Any]], scenarios: Mapping[str, Scenario]) -> dict[str, Replay]:
    """Evaluate the groups of rules (``Prometheus.groups``) in each scenario, in a container beside the stack."""
    folder = stack.owner.folder / "replay"
    folder.mkdir(mode=0o755)
    _write(folder / "rules", {"groups": [_group(number, group) for number, group in enumerate(groups)]})
    for name, scenario in scenarios.items():
        _write(folder / f"{name}.yml", scenario.written("/replay/rules"))
    script = (
        'for name; do said=$(promtool test rules "/replay/$name.yml" 2>&1); status=$?; '
        'echo "BEGIN $name"; echo "$said" | tail -n 50; echo "STATUS $status"; done'
    )
    container = stack.client.containers.run(
        IMAGE,
        ["-c", script, "sh", *scenarios],
        entrypoint="sh",
        detach=True,
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": "size=64m,mode=1777"},
        working_dir="/tmp",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="512m",
        volumes={str(folder): {"bind": "/replay", "mode": "ro"}},
        labels={LABEL: str(stack.owner)},
    )
    try:
        container.wait(timeout=stretched(60))
        said = container.logs().decode("utf-8", "replace")
    finally:
        container.remove(force=True)
    found = re.findall(r"^BEGIN (\S+)\n(.*?)^STATUS (\d+)$", said, re.MULTILINE | re.DOTALL)
    if {name for name, _, _ in found} != set(scenarios):
        raise InternalError(f"The rules could not be replayed: {said[-2000:]}", "Please report this.")
    return {name: Replay(status == "0", _seen(output)) for name, output, status in found}


def _write(path: Any, content: Any) -> None:
    path.write_text(json.dumps(content), "utf-8")  # which is YAML as well
    path.chmod(0o644)


def _group(number: int, group: Mapping[str, Any]) -> dict[str, Any]:
    # Groups of two files may have the same name.
    return {"name": f"{number} {group['name']}", "rules": [_rule(rule) for rule in group["rules"]]}


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    written: dict[str, Any] = {"expr": rule["query"], "labels": rule.get("labels") or {}}
    if rule["type"] == "recording":
        return written | {"record": rule["name"]}
    # Annotations are left out: a template with a mistake in it is no matter of when an alert fires.
    written |= {"alert": rule["name"], "for": f"{rule.get('duration') or 0:.0f}s"}
    return written | ({"keep_firing_for": f"{rule['keepFiringFor']:.0f}s"} if rule.get("keepFiringFor") else {})


def _seen(output: str) -> str:
    match = re.search(r"got:\s*(?:\{[^}]*\}\s*([-+\dEeNaInf.]+)|nil)", output)
    return f"{float(match[1]):.4g}" if match and match[1] else ""
