from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from grader import rewrite
from grader.model import Model

POLLING = rewrite.Polling(start=0.2, steady=1.0, start_period=600.0)


LIMITS = rewrite.Limits()
TERMS = rewrite.Terms("owner", POLLING, LIMITS, reach={})


def graded(
    service: dict[str, Any], reach: dict[str, int] | None = None, folder: Path = Path(), **sections: Any
) -> dict[str, Any]:
    model = Model("grading-x", {"name": "grading-x", "services": {"s": service}, **sections}, {})
    return rewrite.graded(model, folder, dataclasses.replace(TERMS, reach=reach or {}))


def graded_on(terms: rewrite.Terms, service: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return rewrite.graded(Model("grading-x", {"services": {"s": service}, **sections}, {}), Path(), terms)


@pytest.fixture
def context(tmp_path: Path) -> dict[str, Any]:
    """A `build` section with a Dockerfile."""
    (tmp_path / "Dockerfile").write_text("FROM python:3.11-slim\nRUN --mount=type=cache,target=/c echo $HOME\n")
    return {"context": str(tmp_path), "dockerfile": "Dockerfile"}


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


def test_an_images_own_test_is_not_made_more_often_than_the_graders() -> None:
    check = graded({"healthcheck": {"interval": "1ms"}})["services"]["s"]["healthcheck"]
    assert "test" not in check
    assert rewrite.seconds(check["interval"]) == POLLING.steady


def test_an_old_engine_gets_no_start_interval() -> None:
    old = rewrite.Polling(start=None, steady=0.5, start_period=600.0)
    check = rewrite.quick({"test": ["CMD", "x"], "interval": "30s", "start_interval": "1s"}, old)
    assert "start_interval" not in check
    assert check["interval"] == "0.5s"


@pytest.mark.parametrize("check", [{"disable": True}, {"test": ["NONE"]}])
def test_a_disabled_health_check_stays_disabled(check: dict[str, Any]) -> None:
    assert graded({"healthcheck": check})["services"]["s"]["healthcheck"] == check


def test_everything_that_is_made_carries_its_owner_and_no_other_label(context: dict[str, Any]) -> None:
    """Programs on the machine act on labels: a proxy may publish what carries its own."""
    result = graded(
        {"build": context, "labels": {"traefik.enable": "true"}},
        folder=Path(context["context"]),
        networks={"n": None},
        volumes={"v": {"name": "g_v", "labels": {"a": "b"}}},
    )
    assert result["services"]["s"]["labels"] == {rewrite.LABEL: "owner"}
    assert result["services"]["s"]["build"]["labels"] == {rewrite.LABEL: "owner"}
    assert result["networks"]["n"]["labels"] == result["volumes"]["v"]["labels"] == {rewrite.LABEL: "owner"}


def test_a_build_gets_a_name_of_its_own_and_no_network(context: dict[str, Any]) -> None:
    service = graded({"build": context, "image": "python:3.11-slim"}, folder=Path(context["context"]))["services"]["s"]
    assert service["image"] == "grading-x-s"
    assert service["build"]["network"] == "none"


def test_what_is_built_is_the_dockerfile_that_was_checked_with_caches_of_its_own(context: dict[str, Any]) -> None:
    section = context | {"pull": True, "platforms": ["linux/s390x"], "sbom": True}
    build = graded({"build": section}, folder=Path(context["context"]))["services"]["s"]["build"]
    assert build["dockerfile_inline"].startswith("FROM python:3.11-slim\nRUN --mount=type=cache,")
    assert "id=grading-x" in build["dockerfile_inline"]
    assert build["dockerfile_inline"].endswith("echo $$HOME\n"), "Compose halves the dollar signs again"
    assert set(build) == {"context", "dockerfile_inline", "network", "labels"}


def test_limits_are_given_and_only_ever_lowered() -> None:
    def limits(service: dict[str, Any]) -> tuple[int, int, int, float]:
        result = graded(service)["services"]["s"]
        assert "deploy" not in result
        return result["mem_limit"], result["memswap_limit"], result["pids_limit"], result["cpus"]

    most = (LIMITS.memory, LIMITS.memory, LIMITS.pids, LIMITS.cpus)
    assert limits({}) == most
    small = {"limits": {"memory": "67108864", "pids": 20, "cpus": "0.5"}, "reservations": {"memory": "1"}}
    assert limits({"deploy": {"resources": small}}) == (67108864, 67108864, 20, 0.5)
    huge = {"mem_limit": str(2**50), "memswap_limit": -1, "pids_limit": -1, "cpus": 99, "cpu_quota": -1}
    assert limits(huge | {"mem_swappiness": 100, "deploy": {"resources": {}}}) == most


def test_a_stack_leaves_some_of_the_machine_alone() -> None:
    alone = rewrite.Limits.of(memory=16 * 2**30, cores=8, containers=1)
    many = rewrite.Limits.of(memory=16 * 2**30, cores=8, containers=20)
    tiny = rewrite.Limits.of(memory=2**30, cores=1, containers=20)
    assert (alone.memory, alone.cpus) == (2 * 2**30, 4)
    assert many.memory * 20 <= 12 * 2**30
    assert (tiny.memory, tiny.cpus) == (512 * 2**20, 1)


@pytest.mark.parametrize(
    ("given", "graded_"),
    [
        ("/tmp", f"/tmp:size={LIMITS.tmpfs}"),
        ("/tmp:size=1m,mode=1777", f"/tmp:mode=1777,size={2**20}"),
        ("/tmp:size=100g", f"/tmp:size={LIMITS.tmpfs}"),
        ("/tmp:size=90%,nr_blocks=0", f"/tmp:size={LIMITS.tmpfs}"),
    ],
)
def test_every_tmpfs_has_a_size(given: str, graded_: str) -> None:
    assert graded({"tmpfs": [given]})["services"]["s"]["tmpfs"] == [graded_]
    mount = {"type": "tmpfs", "target": "/t", "tmpfs": {"size": str(2**40)}}
    assert graded({"volumes": [mount]})["services"]["s"]["volumes"][0]["tmpfs"]["size"] == LIMITS.tmpfs


def test_what_a_container_can_write_is_limited_where_the_engine_can_do_that() -> None:
    terms = dataclasses.replace(TERMS, limits=rewrite.Limits(disk=123))
    assert graded_on(terms, {})["services"]["s"]["storage_opt"] == {"size": "123"}
    assert "storage_opt" not in graded({})["services"]["s"]


def test_no_rights_are_gained_and_no_log_fills_the_disk() -> None:
    service = graded({"security_opt": [], "logging": {"driver": "local", "options": {"max-size": "9g"}}})["services"][
        "s"
    ]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "5m", "max-file": "1"}}


def test_without_egress_networks_lead_nowhere_and_nothing_is_published() -> None:
    terms = dataclasses.replace(TERMS, reach={"s": 80}, isolation=rewrite.Isolation.NO_EGRESS)
    result = graded_on(terms, {"ports": [{"target": 80}]}, networks={"default": {"enable_ipv6": True}, "n": None})
    assert "ports" not in result["services"]["s"]
    for network in result["networks"].values():
        assert network["internal"] is True
        assert network["driver_opts"] == rewrite.NO_GATEWAY
        assert "enable_ipv6" not in network


def test_another_runtime_runs_all_containers() -> None:
    assert graded_on(dataclasses.replace(TERMS, runtime="runsc"), {})["services"]["s"]["runtime"] == "runsc"
    assert "runtime" not in graded({})["services"]["s"]


def test_a_stop_that_takes_for_ever_does_not() -> None:
    service = graded({"stop_grace_period": "24h0m0s"})["services"]["s"]
    assert rewrite.seconds(service["stop_grace_period"]) == rewrite.STOP_GRACE


def test_sections_that_are_not_for_the_engine_are_left_out() -> None:
    result = graded({"develop": {"watch": []}, "platform": "linux/s390x"}, **{"x-note": 1, "name": "other"})
    assert set(result) == {"services"}
    assert not {"develop", "platform"} & set(result["services"]["s"])


def test_only_replicas_and_granted_devices_are_kept_of_deploy() -> None:
    devices = [{"capabilities": ["gpu"], "driver": "nvidia", "count": 1}]
    deploy = {"replicas": 3, "placement": {}, "resources": {"reservations": {"devices": devices, "cpus": "1"}}}
    assert graded({"deploy": deploy})["services"]["s"]["deploy"] == {
        "replicas": 3,
        "resources": {"reservations": {"devices": devices}},
    }


def test_the_model_itself_is_not_changed() -> None:
    service: dict[str, Any] = {"ports": [{"target": 1}], "healthcheck": {"test": ["CMD", "x"], "interval": "30s"}}
    graded(service)
    assert service["healthcheck"]["interval"] == "30s"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1h", 3600),
        ("1.5s", 1.5),
        ("2us", 2e-6),
        (None, 0),
        ("0s", 0),
        (10**9, 1),
        ("-5s", 0),
        ("500µs", 5e-4),
    ],
)
def test_durations(text: str | int | None, seconds: float) -> None:
    assert rewrite.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("image", ["redis", "docker.io/redis:8", "redis:7-alpine@sha256:" + 64 * "0"])
def test_whatever_the_tag_the_image_that_is_here_is_started(image: str) -> None:
    terms = dataclasses.replace(TERMS, images={"docker.io/library/redis": "redis:7-alpine"})
    assert graded_on(terms, {"image": image})["services"]["s"]["image"] == "redis:7-alpine"
    assert graded({"image": image})["services"]["s"]["image"] == image
