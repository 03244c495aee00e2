"""What lesson 08 says about its outputs."""

from __future__ import annotations

import re

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    shown.has("asks-up", r'^api_requests_total\{path="/health",status="200"\} [\d.]+$')
    for job, up in ("prometheus", 1), ("api", 1), ("model-server", 1), ("redis", 0):
        shown.has("asks-up", rf"'job': '{job}'\}}  {up}$")
    shown.has("asks-up", r"redis:6379/metrics.*\n\Z")

    # One target of the name, then one of each address.
    before, after = shown.text("replicas-up").split("kill -s HUP")
    assert before.count("'job': 'model-server'}  1") == before.count("'model-server:8000'") == 1
    assert len(re.findall(r"'instance': '[\d.]+:8000', 'job': 'model-server'\}  1", after)) == 2
    assert "'instance': 'model-server:8000', 'job'" not in after

    shown.has("counters-send", r"'path': '/predict', 'status': '200'\}  [1-9]", "^result=hit: ", "^result=miss: ")
    shown.lacks("counters-send", "'status': '503'")
    rates = r"^result=%s: 0 lookups per second at first, ([\d.]+) lookups"
    assert shown.number("counters-send", rates % "hit") > shown.number("counters-send", rates % "miss")
    shown.has("percentiles-ask", r"\Ano result\n\{\}  [\d.]+\n")
    shown.has(
        "percentiles-ask", *(rf"^\{{'path': '{path}'\}}  [\d.]+$" for path in ("/health", "/metrics", "/predict"))
    )
    # The new container counts anew, and the volume still has the old curve.
    old = shown.number("counters-send", r"'path': '/predict', 'status': '200'\}  (\d+)")
    shown.has("memory-up", r"'path': '/predict', 'status': '200'\}  1$")
    assert shown.number("memory-up", r"([\d.]+) requests after") < old

    shown.has(
        "rules-up",
        "prometheus is exited",
        r"(?s)promtool prometheus check rules .*NoneIsUp.*unclosed left parenthesis[^$]*\[exit status 1\]",
        r'^\{"status":"success","data":\{"groups":\[\]',
        r"(?s)promtool prometheus check config .*alarms\.yml.*\[exit status 1\]\n\Z",
    )
    shown.has(
        "gone-up",
        r"(?s)docker pause.*'IsZero', 'alertstate': 'pending'.*'IsZero', 'alertstate': 'firing'"
        r".*docker rm.*^\{\}  1$.*docker rm.*'NoneIsUp', 'alertstate': 'pending'.*'NoneIsUp', 'alertstate': 'firing'",
        r"^instance=.*: 1 up at first, 0 up after",
    )
    shown.has(
        "part-up",
        r"^\[503, 503, 503, 503, 503\]$",
        r"'PredictionsFail', 'alertstate': '(pending|firing)'",
        r"(?s)\A.*?^\{\}  0\.\d+\n\{\}  1\n.*^\{200\}$",
    )
    assert 0.03 < shown.number("part-up", r"^\{\}  100\n\{\}  [\d.]+\n\{\}  ([\d.]+)$") < 0.08

    shown.has(
        "grafana-up",
        r"config --services\n\$ docker compose .*--profile grafana config --services\ngrafana\n",
        r"^/etc/grafana/provisioning/datasources/prometheus\.yml$",
        r"^/etc/grafana/provisioning/dashboards/provider\.yml$",
        r"^/var/lib/grafana-dashboards/digits\.json$",
        r"^/run/secrets/grafana_admin_password$",
        r"url: http://prometheus:9090",
        r"path: /var/lib/grafana-dashboards",
        r"__rate_interval",
    )
    shown.has("exercise-grade", r"of \d+ points")
