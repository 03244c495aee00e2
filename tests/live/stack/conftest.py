"""The root compose.yml on live containers, started once for all tests of this folder.

It runs as a project of its own, on free ports, with volumes of its own: a stack the user has started is not touched.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from grader.engine import images
from grader.setup.secrets import ensure_secrets

ROOT = Path(__file__).parents[3]
BATCH_SIZE = 8  # small, so that a burst fills it
# Compose starts this one once; it has ended when the others run.
ONE_SHOT = "model-init"


def eventually(condition: Callable[[], object], within_s: float = 60, what: str = "") -> None:
    """Returns once the condition holds; fails when it does not within this time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what or condition}"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


@dataclass
class Stack:
    """The running project and what the tests ask of it."""

    project: str
    environment: dict[str, str]
    client: httpx.Client
    _fresh: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def compose(self, *arguments: str) -> str:
        """Runs `docker compose` on the project and returns its output."""
        done = subprocess.run(
            ["docker", "compose", "-p", self.project, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}:\n{done.stderr}"
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """The ids of the service's running containers."""
        return self.compose("ps", "-q", service).split()

    def inspect(self, service: str) -> dict[str, Any]:
        [container] = self.compose("ps", "-aq", service).split()
        found: dict[str, Any] = json.loads(docker("inspect", container))[0]
        return found

    def start(self, service: str) -> None:
        """Starts the service's containers again. Not with Compose: it would first wait for all that the service depends
        on, and to the engine a container that was paused is unhealthy until its next probe."""
        docker("start", *self.compose("ps", "-aq", service).split())

    def services(self) -> list[str]:
        """All long-running services, Grafana only where its image is."""
        return [name for name in self.compose("config", "--services").split() if name != ONE_SHOT]

    def fresh_pixels(self) -> list[float]:
        """An input that nobody has asked about before: the number is written into it in base 16."""
        number = next(self._fresh)
        return [float(number >> (4 * place) & 15) for place in range(64)]

    def predict(self, pixels: Sequence[float]) -> httpx.Response:
        return self.client.post("/predict", json={"pixels": list(pixels)})

    def predict_all(self, inputs: Iterable[Sequence[float]], at_once: int = 32) -> list[httpx.Response]:
        """Asks about all inputs, this many at the same time."""
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(self.predict, inputs))

    def health(self) -> tuple[int, dict[str, Any]]:
        response = self.client.get("/health")
        return response.status_code, response.json()

    def sql(self, query: str) -> list[str]:
        """The lines of the answer, columns separated by |."""
        out = self.compose("exec", "-T", "postgres", "psql", "-U", "predictions", "-Atc", query)
        return out.split("\n")[:-1]

    def logged(self) -> Counter[str]:
        """How often each request is in the log, by id."""
        return Counter(self.sql("SELECT id FROM predictions"))

    def metrics(self, service: str, name: str) -> float:
        """The sum of this sample over all labels and all replicas, asked in the containers themselves."""
        get = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
        return sum(
            sample.value
            for container in self.containers(service)
            for family in text_string_to_metric_families(docker("exec", container, "python", "-c", get))
            for sample in family.samples
            if sample.name == name
        )

    def prometheus(self, query: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.environment['PROMETHEUS_PORT']}/api/v1/query"
        found: list[dict[str, Any]] = httpx.get(url, params={"query": query}).json()["data"]["result"]
        return found

    def prometheus_value(self, query: str) -> float:
        """The value of a query with one result; 0 without a result."""
        found = self.prometheus(query)
        return float(found[0]["value"][1]) if found else 0.0

    @contextlib.contextmanager
    def stopped(self, service: str) -> Iterator[None]:
        """The service is stopped, and afterwards started again and in use."""
        self.compose("stop", service)
        try:
            yield
        finally:
            self.start(service)
            self.until_ok()

    @contextlib.contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """The service's processes stand still: it takes connections, and answers nothing."""
        self.compose("pause", service)
        try:
            yield
        finally:
            self.compose("unpause", service)
            self.until_ok()

    def until_ok(self) -> None:
        """To the api, and to the engine: it calls a service that was paused unhealthy until the next probe, and Compose
        would start nothing that waits for it."""
        eventually(lambda: self.health()[1]["status"] == "ok", what="all dependencies are up again")
        eventually(lambda: not self.unhealthy(), what="all services are healthy to the engine")

    def unhealthy(self) -> list[str]:
        """The services that have no container which the engine calls healthy, or one that it does not."""
        shown = [json.loads(line) for line in self.compose("ps", "--format", "json").splitlines()]
        health = {name: {each["Health"] for each in shown if each["Service"] == name} for name in self.services()}
        return [name for name, said in health.items() if said != {"healthy"}]

    def until_cache_is_used(self) -> None:
        """The api leaves Redis alone for a second after it failed."""
        pixels = self.fresh_pixels()
        eventually(lambda: self.predict(pixels).json()["cached"], what="answers come from the cache again")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    ensure_secrets()
    images.ensure()
    ports = {name: str(free_port()) for name in ("API_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")}
    project = f"compose-course-test-{os.getpid()}"
    environment = {**os.environ, **ports, "BATCH_SIZE": str(BATCH_SIZE)}
    # A client that many threads share must not close surplus connections: httpcore may take one that is being used.
    limits = httpx.Limits(max_connections=100)
    with httpx.Client(base_url=f"http://127.0.0.1:{ports['API_PORT']}", timeout=15, limits=limits) as client:
        stack = Stack(project, environment, client)
        try:
            stack.compose("up", "-d", "--wait", "--wait-timeout", "180")
            yield stack
        finally:
            stack.compose("down", "--volumes", "--timeout", "0", "--remove-orphans")
