"""The resolved model becomes the one file that is started: pure, a model in, a mapping out.

What changes is only what grading needs and no check looks at: host ports, labels, limits, and how
often the engine polls. A learner's `interval: 30s` would make every grading wait half a minute for
its first probe (the engine probes only after one interval), so the graded file polls quickly inside
a start period. Checks about the learner's own values look at the model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grader.model import Model

LABEL = "org.compose-course.grading"
NANOSECOND = 1e-9

MEMORY_LIMIT = 2 * 2**30  # bytes; a torch service takes about 300 MB
PIDS_LIMIT = 256
LOG_OPTIONS = {"max-size": "5m", "max-file": "1"}


@dataclass(frozen=True)
class Polling:
    """How often the engine runs health checks while a submission is graded; all in seconds.

    Attributes:
        start: between probes until the first success; None for an Engine < 25, which has no ``start_interval``
            (Compose refuses the key there) and polls steadily all the time.
        steady: between probes afterwards.
        start_period: failures before this age do not count.
    """

    start: float | None
    steady: float
    start_period: float


def graded(model: Model, polling: Polling, reach: Mapping[str, int], owner: str) -> dict[str, Any]:
    """The file to start.

    Args:
        reach: service -> container port the checks talk to, published even where the learner's file does not.
        owner: whose grading this is, written into the label that ``clean`` looks for.

    Compose printed the model with every ``$`` doubled, so it can be read back as it is.
    """
    config = copy.deepcopy(dict(model.config))
    config.pop("name", None)
    labels = {LABEL: owner}
    for name, service in config["services"].items():
        service["labels"] = dict(service.get("labels") or {}) | labels
        service["ports"] = _ports(service.get("ports") or [], reach.get(name))
        service["logging"] = {"driver": "json-file", "options": dict(LOG_OPTIONS)}
        service["mem_limit"] = _at_most(service.get("mem_limit"), MEMORY_LIMIT)
        service["pids_limit"] = _at_most(service.get("pids_limit"), PIDS_LIMIT)
        # Compose refuses both spellings of one limit in one file.
        if limits := (service.get("deploy") or {}).get("resources", {}).get("limits"):
            service["mem_limit"] = _at_most(limits.pop("memory", None), service["mem_limit"])
            service["pids_limit"] = _at_most(limits.pop("pids", None), service["pids_limit"])
        service.pop("mem_reservation", None)
        if service.get("network_mode"):
            service.pop("ports")  # such a service has no port of its own to publish
        if check := service.get("healthcheck"):
            service["healthcheck"] = quick(check, polling)
        if "build" in service:
            service["image"] = f"{model.project}-{name}"
            service["build"] = service["build"] | {"network": "none", "labels": labels}
        service["pull_policy"] = "build" if "build" in service else "never"
    for section in ("networks", "volumes"):
        for name, entry in (config.get(section) or {}).items():
            config[section][name] = dict(entry or {})
            config[section][name]["labels"] = dict((entry or {}).get("labels") or {}) | labels
    return config


def quick(check: Mapping[str, Any], polling: Polling) -> dict[str, Any]:
    """The learner's probe, polled quickly. A disabled one stays disabled."""
    if check.get("disable") or check.get("test") in (None, ["NONE"]):
        return dict(check)
    result = {
        "test": check["test"],
        "interval": f"{polling.steady}s",
        # A probe that hangs holds up the next one, so it is given no more than a few seconds.
        "timeout": f"{min(seconds(check.get('timeout')) or 5.0, 5.0)}s",
        "retries": 3,
        "start_period": f"{polling.start_period}s",
    }
    if polling.start is not None:
        result["start_interval"] = f"{polling.start}s"
    return result


def seconds(duration: str | float | None) -> float:
    """Compose's durations (``1m30s``, ``500ms``) in seconds; 0 where there is none."""
    if duration is None:
        return 0.0
    if isinstance(duration, int | float):
        return duration * NANOSECOND
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": NANOSECOND}
    total, number, unit = 0.0, "", ""
    for character in duration + "0":
        if character.isdigit() or character == ".":
            if unit:
                total += float(number) * units[unit]
                number, unit = "", ""
            number += character
        else:
            unit += character
    return total


def _ports(ports: list[dict[str, Any]], reach: int | None) -> list[dict[str, Any]]:
    # Without `published` the engine picks a free port, so nothing on the machine can collide.
    targets = {(entry["target"], entry.get("protocol", "tcp")) for entry in ports}
    if reach:
        targets.add((reach, "tcp"))
    return [{"target": t, "protocol": p, "host_ip": "127.0.0.1", "mode": "ingress"} for t, p in sorted(targets)]


def _at_most(value: Any, limit: int) -> int:
    # 0 and -1 mean "no limit" to the engine.
    return min(int(value), limit) if value and int(value) > 0 else limit
