"""What the stack carries: ``python -m tests.benchmarks.serving``, on a machine that does nothing else.

Predictions a second, and how long they take, from a load that is a process of its own (wrk). In turn, for each number
of clients: the api and the straightforward one (fresh digits), the api and a bare endpoint (the same digit, from the
cache), the model server and the same model in LitServe; and the api with one, two and four replicas behind nginx. The
processes share the machine's cores, the load's included.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import httpx
from rich.console import Console
from rich.table import Table

from grader.catalog import ROOT
from grader.engine import images
from grader.setup.secrets import ensure_secrets
from tests.benchmarks.table import Comparison

RIVALS = Path(__file__).parent / "rivals"
LITSERVE, LITSERVE_AT = "litserve==0.2.19", ROOT / ".cache" / "litserve"
PORTS = {"nginx": "8080"}
ZERO = [0, 0, 5, 13, 9, 1, 0, 0] * 8


@dataclass(frozen=True)
class Load:
    """What so many clients got from one server.

    Attributes:
        rate: answers a second.
        p50, p99: milliseconds.
        failed: requests without a good answer.
    """

    rate: float
    p50: float
    p99: float
    failed: int


class Servers:
    """The stack and its rivals, running."""

    def __init__(self, project: str) -> None:
        self._command = [
            "docker", "compose", "--project-directory", str(ROOT), "-p", project,
            "-f", str(ROOT / "compose.yml"), "-f", str(RIVALS / "stack.yml"),
        ]  # fmt: skip
        self._environment = os.environ | {"API_PORT": "0", "PROMETHEUS_PORT": "0", "GRAFANA_PORT": "0"}

    def compose(self, *words: str) -> str:
        done = subprocess.run(
            [*self._command, *words], env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"docker compose {' '.join(words)}:\n{done.stderr}")
        return done.stdout.strip()

    def url(self, service: str) -> str:
        """Where its predictions are, once it answers."""
        url = f"http://{self.compose('port', service, PORTS.get(service, '8000'))}/predict"
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.post(url, json={"pixels": ZERO}, timeout=10).status_code == 200:
                    return url
            if time.monotonic() > deadline:
                raise SystemExit(f"{service} does not answer:\n{self.compose('logs', '--tail', '20', service)}")
            time.sleep(0.5)


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """All of them up; removed at the end."""
    if not shutil.which("wrk"):
        raise SystemExit("This needs wrk, which makes the load:\n    sudo apt-get install wrk")
    ensure_secrets()
    images.ensure()
    if not LITSERVE_AT.is_dir():
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", LITSERVE_AT, LITSERVE], check=True)
    running = Servers(f"bench-serving-{os.getpid()}")
    try:
        running.compose("up", "-d", "api", "model-server", "naive-api", "bare", "litserve")
        yield running
    finally:
        running.compose("down", "--volumes", "--timeout", "0")


def load(url: str, clients: int, seconds: int, digits: str) -> Load:
    """So many clients ask for so long, each as soon as it has its answer.

    Args:
        digits: ``fresh`` or ``same``.
    """
    command = ["wrk", "-t", "1", "-c", str(clients), "-d", f"{seconds}s", "--latency", "--timeout", "10s"]
    command += ["-s", str(RIVALS / "digits.lua"), url, "--", digits]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bad = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", said))
    bad += sum(int(n) for line in re.findall(r"Socket errors: (.*)", said) for n in re.findall(r"\d+", line))
    return Load(float(_after("Requests/sec:", said)), _ms(_after("50%", said)), _ms(_after("99%", said)), bad)


def _after(label: str, said: str) -> str:
    found = re.search(rf"^\s*{re.escape(label)}\s+(\S+)", said, re.MULTILINE)
    if not found:
        raise SystemExit(f"wrk did not say {label}\n{said}")
    return found[1]


def _ms(text: str) -> float:
    factor = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
    number, unit = re.fullmatch(r"([\d.]+)(\D+)", text).groups()  # type: ignore[union-attr]
    return float(number) * factor[unit]


PAIRS = (
    ("fresh digits", "api", "naive-api", "fresh", 5.0),
    ("a digit from the cache", "api", "bare", "same", 0.7),
    ("the model server alone", "model-server", "litserve", "fresh", 1.0),
)


def compare(clients: Sequence[int], seconds: int, rounds: int) -> Iterator[Comparison]:
    """Each pair, for each number of clients, in turn."""
    detail = Table("what", "clients", "server", "answers a second", "p50 ms", "p99 ms", "failed", title="each round")
    with servers() as running:
        urls = {name: running.url(name) for pair in PAIRS for name in pair[1:3]}
        for what, ours, theirs, digits, aim in PAIRS:
            for number in clients:
                rates: dict[str, list[float]] = {ours: [], theirs: []}
                for _ in range(rounds):
                    for name in (ours, theirs):
                        found = load(urls[name], number, seconds, digits)
                        rates[name].append(found.rate)
                        row = (found.rate, found.p50, found.p99)
                        detail.add_row(what, str(number), name, *(f"{n:.1f}" for n in row), str(found.failed))
                yield Comparison(f"{what}, {number} clients", rates[ours], theirs, rates[theirs], "/s", aim)
    Console(width=110).print(detail)


def scaling(replicas: Sequence[int], clients: int, seconds: int, rounds: int) -> Iterator[Comparison]:
    """Fresh digits, and those alone that the load asks nginx about directly, for each number of replicas in turn."""
    rates: dict[tuple[str, int], list[float]] = {(where, n): [] for where in ("api", "nginx") for n in replicas}
    with servers() as running:
        for _ in range(rounds):
            for number in replicas:
                running.compose("up", "-d", "--wait", "--no-recreate", "--scale", f"model-server={number}", "api")
                for where in ("api", "nginx"):
                    rates[where, number].append(load(running.url(where), clients, seconds, "fresh").rate)
    for where in ("api", "nginx"):
        for number in replicas[1:]:
            what = f"{number} replicas behind nginx, asked through {where}, {clients} clients"
            yield Comparison(what, rates[where, number], "one replica", rates[where, replicas[0]], "/s")


@click.command()
@click.option("--clients", multiple=True, type=int, default=(1, 16, 64, 256), show_default=True)
@click.option("--seconds", default=6, show_default=True, help="Of each measurement.")
@click.option("--rounds", default=3, show_default=True)
def main(clients: tuple[int, ...], seconds: int, rounds: int) -> None:
    """Measure the stack against its rivals."""
    from tests.benchmarks.table import show

    show([*compare(clients, seconds, rounds), *scaling((1, 2, 4), 64, seconds, rounds)])


if __name__ == "__main__":
    main()
