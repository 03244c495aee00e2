"""Facts about an engine that is not there, and versions."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import fields
from pathlib import Path

import pytest

from grader.engine import facts
from grader.engine.facts import EngineFacts, default_interface, read_facts, release

OF_THE_ENGINE = {"engine", "api", "product", "system", "storage_driver", "cpus", "memory", "data_root", "disk_free"}


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("v2.26.1-4", (2, 26, 1)),
        ("20.10.24", (20, 10, 24)),
        ("5:28.0.1-1~debian.12~bookworm", (28, 0, 1)),
        ("27.0.0-rc.1", (27, 0, 0)),
        ("2", (2,)),
        ("unknown", ()),
        ("", ()),
        (None, ()),
    ],
)
def test_release(version: str | None, numbers: tuple[int, ...]) -> None:
    assert release(version) == numbers


def test_without_a_client_each_fact_is_none_with_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = read_facts()
    assert {found.client, found.engine, found.compose, found.buildx} == {None}
    assert found.reason("engine") == "there is no `docker` command on this machine"


def test_an_engine_that_does_not_answer_has_no_facts_but_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    found = read_facts()
    assert {getattr(found, name) for name in OF_THE_ENGINE} == {None}
    for name in OF_THE_ENGINE:
        assert "/nowhere.sock" in found.reason(name)
    assert found.endpoint == "unix:///nowhere.sock"
    assert not found.is_local


def test_every_fact_is_known_or_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    found = read_facts()
    for name in {field.name for field in fields(EngineFacts)} - {"reasons"}:
        assert (getattr(found, name) is None) == bool(found.reason(name)), name


def test_a_client_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client(tmp_path, "sleep 60")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(facts, "ANSWER_WITHIN", 0.2)
    start = time.monotonic()
    found = read_facts()
    assert time.monotonic() - start < 30
    assert "did not answer within" in found.reason("engine")


def test_a_client_that_prints_nonsense_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client(tmp_path, "echo '[1, 2'; echo 'out of order' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert read_facts().reason("engine") == "out of order"


def test_podman_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = '{"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]}'
    client(tmp_path, f"""[ "$1" = version ] && echo '{{"Client": {{"Version": "27"}}, "Server": {server}}}'""")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert read_facts().product == "Podman"


def client(folder: Path, script: str) -> None:
    """A docker command that does this."""
    path = folder / "docker"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
"""


def test_the_uplink_is_the_default_route_with_the_lowest_metric() -> None:
    assert default_interface(ROUTES) == "eth0"
    assert default_interface(ROUTES.splitlines()[0]) is None
    assert default_interface("") is None


@pytest.mark.skipif(not Path("/proc/net/route").exists(), reason="needs Linux")
def test_the_uplink_of_this_machine_takes_packets() -> None:
    mtu = facts.uplink_mtu()
    assert mtu is None or 500 < mtu <= 65536
