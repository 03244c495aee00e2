"""Alerts and dashboard ask for numbers that somebody gives, and Grafana is told where everything is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import metrics  # noqa: F401 - its metrics are registered when it is imported
import pytest
import serve  # noqa: F401
import yaml
from prometheus_client import REGISTRY

from tests.unit.stack.conftest import STACK

DASHBOARD = json.loads((STACK / "grafana/dashboards/digits.json").read_text())
ALERTS = yaml.safe_load((STACK / "prometheus/alerts.yml").read_text())


def queries() -> Iterator[tuple[str, str]]:
    """(where it stands, the query)"""
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_every_query_asks_for_metrics_that_exist(where: str, query: str) -> None:
    exported = {"up"}  # Prometheus' own
    for family in REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        exported |= {family.name + suffix for suffix in suffixes}
    asked = set(re.findall(r"\b(?:api|model_server)_\w+|\bup\b", query))
    assert asked, query
    assert asked <= exported


def test_grafana_finds_its_data_source_and_its_dashboards() -> None:
    [source] = yaml.safe_load((STACK / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    used = {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    assert used == {source["uid"]}
    [provider] = yaml.safe_load((STACK / "grafana/provisioning/dashboards/provider.yml").read_text())["providers"]
    compose = yaml.safe_load((STACK.parent / "compose.yml").read_text())
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    assert mounts["./stack/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./stack/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert source["url"] == "http://prometheus:9090"


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
