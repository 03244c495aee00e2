from __future__ import annotations

from typing import Any

import pytest

from grader import rewrite
from grader.model import Model

POLLING = rewrite.Polling(start=0.2, steady=1.0, start_period=600.0)


def graded(service: dict[str, Any], reach: dict[str, int] | None = None, **sections: Any) -> dict[str, Any]:
    model = Model("grading-x", {"name": "grading-x", "services": {"s": service}, **sections}, {})
    return rewrite.graded(model, POLLING, reach or {}, "owner")


def test_host_ports_are_free_ones_of_localhost() -> None:
    published = {"target": 8000, "published": "8000", "host_ip": "0.0.0.0", "protocol": "tcp", "mode": "ingress"}
    [port] = graded({"ports": [published]})["services"]["s"]["ports"]
    assert port == {"target": 8000, "protocol": "tcp", "host_ip": "127.0.0.1", "mode": "ingress"}


def test_what_the_checks_talk_to_is_published_once_whatever_the_learner_publishes() -> None:
    assert [p["target"] for p in graded({}, {"s": 80})["services"]["s"]["ports"]] == [80]
    both = graded({"ports": [{"target": 80}, {"target": 90}]}, {"s": 80})["services"]["s"]["ports"]
    assert [p["target"] for p in both] == [80, 90]


def test_the_learners_interval_does_not_slow_the_grading() -> None:
    learners = {"test": ["CMD", "x"], "interval": "30s", "timeout": "10s", "retries": 3}
    check = graded({"healthcheck": learners})["services"]["s"]["healthcheck"]
    assert check["test"] == ["CMD", "x"]
    assert check["start_interval"] == "0.2s"
    assert rewrite.seconds(check["timeout"]) == 5.0


def test_an_old_engine_gets_no_start_interval() -> None:
    old = rewrite.Polling(start=None, steady=0.5, start_period=600.0)
    check = rewrite.quick({"test": ["CMD", "x"], "interval": "30s", "start_interval": "1s"}, old)
    assert "start_interval" not in check
    assert check["interval"] == "0.5s"


@pytest.mark.parametrize("check", [{"disable": True}, {"test": ["NONE"]}])
def test_a_disabled_health_check_stays_disabled(check: dict[str, Any]) -> None:
    assert graded({"healthcheck": check})["services"]["s"]["healthcheck"] == check


def test_everything_that_is_made_carries_its_owner() -> None:
    result = graded(
        {"build": {"context": "/x"}, "labels": {"mine": "kept"}}, networks={"n": None}, volumes={"v": {"name": "g_v"}}
    )
    assert result["services"]["s"]["labels"] == {"mine": "kept", rewrite.LABEL: "owner"}
    assert result["services"]["s"]["build"]["labels"] == {rewrite.LABEL: "owner"}
    assert result["networks"]["n"]["labels"] == result["volumes"]["v"]["labels"] == {rewrite.LABEL: "owner"}


def test_a_build_gets_a_name_of_its_own_and_no_network() -> None:
    service = graded({"build": {"context": "/x"}, "image": "python:3.11-slim"})["services"]["s"]
    assert service["image"] == "grading-x-s"
    assert service["build"]["network"] == "none"


def test_limits_are_given_and_only_ever_lowered() -> None:
    service = graded({})["services"]["s"]
    assert (service["mem_limit"], service["pids_limit"]) == (rewrite.MEMORY_LIMIT, rewrite.PIDS_LIMIT)
    small = graded({"deploy": {"resources": {"limits": {"memory": "67108864", "pids": 20}}}})["services"]["s"]
    assert (small["mem_limit"], small["pids_limit"]) == (67108864, 20)
    assert small["deploy"]["resources"]["limits"] == {}
    huge = graded({"mem_limit": str(2**50), "pids_limit": -1})["services"]["s"]
    assert (huge["mem_limit"], huge["pids_limit"]) == (rewrite.MEMORY_LIMIT, rewrite.PIDS_LIMIT)


def test_the_model_itself_is_not_changed() -> None:
    service: dict[str, Any] = {"ports": [{"target": 1}], "healthcheck": {"test": ["CMD", "x"], "interval": "30s"}}
    graded(service)
    assert service["healthcheck"]["interval"] == "30s"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1m30s", 90), ("500ms", 0.5), ("1h", 3600), ("1.5s", 1.5), ("2us", 2e-6), (None, 0), ("0s", 0), (10**9, 1)],
)
def test_durations(text: str | int | None, seconds: float) -> None:
    assert rewrite.seconds(text) == pytest.approx(seconds)
