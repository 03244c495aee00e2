"""What is written for promtool, and how quickly a Prometheus has to have noticed something; no engine is needed."""

from __future__ import annotations

import pytest

from grader.monitoring import Pace, Scenario, Series, _group, _seen


def test_series_is_written_as_promtool_reads_it() -> None:
    series = Series({"__name__": "up", "job": "api", "instance": 'a"b\\c'}, [1, 0.5, None])
    assert series.written() == {"series": r'up{job="api",instance="a\"b\\c"}', "values": "1 0.5 stale"}


def test_scenario_expects_values_or_nothing() -> None:
    written = Scenario([], [("up", 300, 1.0), ("ALERTS", 299, None)]).written("rules")
    assert written["tests"][0]["promql_expr_test"] == [
        {"expr": "up", "eval_time": "300s", "exp_samples": [{"labels": "{}", "value": 1.0}]},
        {"expr": "ALERTS", "eval_time": "299s", "exp_samples": []},
    ]


def test_rules_are_those_that_were_loaded() -> None:
    alerting = {"type": "alerting", "name": "Gone", "query": "up == 0", "duration": 90, "keepFiringFor": 0}
    recording = {"type": "recording", "name": "a:b", "query": "sum(up)", "labels": {"team": "digits"}}
    assert _group(1, {"name": "digits", "rules": [alerting, recording]}) == {
        "name": "1 digits",
        "rules": [
            {"expr": "up == 0", "labels": {}, "alert": "Gone", "for": "90s"},
            {"expr": "sum(up)", "labels": {"team": "digits"}, "record": "a:b"},
        ],
    }


@pytest.mark.parametrize(
    ("output", "seen"),
    [
        ('  FAILED:\n    expr: "x", time: 5m,\n        exp:{} -1E+00\n        got:{} 3.75E-01', "0.375"),
        ("        exp: {} -1E+00\n        got: {} 2.5E+01\n", "25"),
        ("        got: nil\n", ""),
        ("  SUCCESS\n", ""),
    ],
)
def test_number_that_was_seen_is_found(output: str, seen: str) -> None:
    assert _seen(output) == seen


def test_longer_intervals_are_waited_for() -> None:
    quick, slow = Pace(refresh=1, scrape=1, evaluation=1), Pace(refresh=30, scrape=15, evaluation=15)
    assert quick.new_target < slow.new_target
    assert quick.scrapes(2) < slow.scrapes(2)
    assert quick.judged < slow.judged
