"""A little of ``tests.hostile.fuzz``, always the same, and properties of the policy that hold for any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from grader import policy, rewrite
from grader.model import Model
from grader.rules import Scope
from grader.violation import UNKNOWN
from tests.hostile import fuzz

SECONDS = 15
SCOPE = Scope(Path("/nonexistent"), frozenset({"python:3.11-slim"}), frozenset())
ATTRIBUTES = [
    line.split(".")[2:]
    for line in (Path(__file__).parent.parent / "unit/compose_attributes.txt").read_text().splitlines()
    if line.startswith("services.*.")
]


def test_changed_submissions_are_refused_or_harmless(tmp_path: Path) -> None:
    number, found = fuzz.run(seed=1, seconds=SECONDS, output=tmp_path)
    assert found == []
    assert number > 20


# --- the oracle ------------------------------------------------------------------------------------------------


def started(**service: Any) -> dict[str, Any]:
    model = Model(fuzz.PROJECT, {"services": {"web": {"image": "python:3.11-slim", **service}}}, {})
    return rewrite.graded(model, Path("/nonexistent"), fuzz.TERMS)


def test_the_oracle_finds_no_harm_in_an_honest_service() -> None:
    mounts = [{"type": "bind", "source": "/nonexistent/x", "target": "/x"}, {"type": "tmpfs", "target": "/t"}]
    config = started(ports=[{"target": 8000, "published": "8000"}], volumes=mounts, cap_add=["KILL"], user="root")
    assert fuzz.dangers(config, Path("/nonexistent")) == []


@pytest.mark.parametrize(
    "service",
    [
        {"privileged": True},
        {"pid": "host"},
        {"network_mode": "host"},
        {"devices": ["/dev/kmsg"]},
        {"cap_add": ["SYS_ADMIN"]},
        {"volumes": [{"type": "bind", "source": "/etc", "target": "/x"}]},
        {"volumes": [{"type": "npipe", "source": "x", "target": "/x"}]},
        {"environment": {"HOME": None}},
        {"image": "evil:1"},
        {"scale": 1000},
        {"post_start": [{"command": "x", "privileged": True}]},
        {"build": {"context": "/etc", "dockerfile_inline": "FROM x"}},
        {"build": {"context": "/nonexistent", "dockerfile_inline": "FROM x\nRUN --security=insecure x"}},
    ],
    ids=str,
)
def test_the_oracle_finds_harm_without_the_policy(service: dict[str, Any]) -> None:
    assert fuzz.dangers(started(**service), Path("/nonexistent")) != []


@pytest.mark.parametrize(
    "entry",
    [{"external": True}, {"name": "somebodys"}, {"driver": "macvlan"}, {"driver_opts": {"a": "b"}},
     {"ipam": {"driver": "x"}}],
    ids=str,
)  # fmt: skip
def test_the_oracle_finds_foreign_networks(entry: dict[str, Any]) -> None:
    assert fuzz.dangers({**started(), "networks": {"n": entry}}, Path("/nonexistent")) != []


# --- properties of the policy ------------------------------------------------------------------------------------

WORDS = st.text(max_size=12) | st.sampled_from(["host", "x-a", "/", "..", "service:web", "container:x", "a\0b", "1"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6
)


def put(mapping: dict[str, Any], path: list[str], value: Any) -> None:
    """``value`` at ``ports[].target`` of a mapping, or instead of what is in its way."""
    name, *rest = path
    name = "name" if name == "*" else name
    if not rest:
        if name.endswith("[]"):
            name, value = name[:-2], [value]
        mapping[name] = value
        return
    inside: dict[str, Any] = {}
    before = mapping.get(name.removesuffix("[]"))
    if isinstance(before, dict):
        inside = before
    elif isinstance(before, list) and before and isinstance(before[0], dict):
        inside = before[0]
    put(inside, rest, value)
    mapping[name.removesuffix("[]")] = [inside] if name.endswith("[]") else inside


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    service: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from(ATTRIBUTES), min_size=1, max_size=8)):
        put(service, path, draw(VALUES))
    return service


def judged(service: dict[str, Any]) -> dict[tuple[str, ...], str]:
    return {path: why for path, (why, _) in policy.FILE({"services": {"s": service}}, SCOPE)}


RELAXED = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@given(services())
@RELAXED
def test_any_service_is_judged(service: dict[str, Any]) -> None:
    judged(service)


@given(services(), st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12), SCALARS)
@RELAXED
def test_what_is_unknown_is_denied_beside_anything(service: dict[str, Any], key: str, value: Any) -> None:
    assume(key not in policy.SERVICE and value not in (None, False, ""))
    assert judged({key: value, **service})["services", "s", key] == UNKNOWN


@given(st.sampled_from(["healthcheck", "build", "deploy"]), st.sampled_from(["privileged", "new", "pid"]), SCALARS)
@RELAXED
def test_what_is_unknown_is_denied_further_inside(section: str, key: str, value: Any) -> None:
    assume(value not in (None, False, ""))
    assert ("services", "s", section, key) in judged({section: {key: value}})


@given(services())
@RELAXED
def test_nothing_makes_a_privileged_service_pass(service: dict[str, Any]) -> None:
    assert ("services", "s", "privileged") in judged({**service, "privileged": True})
