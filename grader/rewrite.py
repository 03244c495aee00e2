"""The resolved model becomes the one file that is started: pure, a model in, a mapping out.

What changes is only what grading needs and no check looks at: host ports, labels, limits, and how
often the engine polls. A learner's `interval: 30s` would make every grading wait half a minute for
its first probe (the engine probes only after one interval), so the graded file polls quickly inside
a start period. Checks about the learner's own values look at the model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from grader import dockerfile, imageref, recipe
from grader.model import Model

LABEL = "org.compose-course.grading"
NANOSECOND = 1e-9

LOG_OPTIONS = {"max-size": "5m", "max-file": "1"}
# Where the engine must not keep an address of the machine: containers could reach what listens there.
NO_GATEWAY = {"com.docker.network.bridge.inhibit_ipv4": "true"}
STOP_GRACE = 30.0  # seconds


class Isolation(StrEnum):
    """What a graded container can reach beside its own project."""

    NONE = "none"  # the machine and the internet, as everywhere
    NO_EGRESS = "no-egress"  # nothing


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


@dataclass(frozen=True)
class Limits:
    """What each container of a graded stack may use at most; a learner's own limit counts where it is lower.

    Attributes:
        memory: bytes, swap included.
        cpus: cores.
        pids: processes and threads.
        tmpfs: bytes of each tmpfs, which count as memory, too.
        disk: bytes that it may write beside its volumes; None where the engine's storage driver cannot limit that.
    """

    memory: int = 2 * 2**30  # a torch service takes about 300 MB
    cpus: float = 2.0
    pids: int = 256
    tmpfs: int = 64 * 2**20
    disk: int | None = None

    @classmethod
    def of(cls, memory: int, cores: int, containers: int, disk: int | None = None) -> Limits:
        """For a machine with so many bytes of memory and cores, and a stack of so many containers.

        Together they leave a quarter of the memory alone, as long as each then has enough for a torch service.
        """
        share = int(memory * 0.75) // max(containers, 1)
        return cls(memory=min(2 * 2**30, max(share, 512 * 2**20)), cpus=max(1.0, cores / 2), disk=disk)


@dataclass(frozen=True)
class Terms:
    """On which terms a submission is graded here.

    Attributes:
        owner: whose grading it is, written into the label that ``clean`` looks for.
        polling: how often health is asked for.
        limits: of each container.
        reach: service -> container port the checks talk to, published even where the learner's file does not.
        isolation: what containers can reach.
        runtime: the engine's runtime that runs them; its default if empty.
        own_privileges: whether the learner says if privileges can be gained, as in an exercise about that.
        images: repository -> the image to start in place of the learner's, in an exercise about tags.
    """

    owner: str
    polling: Polling
    limits: Limits
    reach: Mapping[str, int]
    isolation: Isolation = Isolation.NONE
    runtime: str = ""
    own_privileges: bool = False
    images: Mapping[str, str] = field(default_factory=dict)


def graded(model: Model, folder: Path, terms: Terms) -> dict[str, Any]:
    """The file to start.

    Args:
        folder: the private copy.

    Compose printed the model with every ``$`` doubled, so it can be read back as it is.
    """
    config: dict[str, Any] = {
        section: copy.deepcopy(dict(model.config.get(section) or {}))
        for section in ("services", "networks", "volumes", "secrets", "configs")
    }
    labels = {LABEL: terms.owner}
    for name, service in config["services"].items():
        if "build" in service:
            service["image"] = f"{model.project}-{name}"
            service["build"] = _build(service["build"], folder, model.project, labels)
        elif ours := terms.images.get(imageref.repository(service.get("image", ""))):
            service["image"] = ours
        service["pull_policy"] = "build" if "build" in service else "never"
        for key in ("platform", "pull_refresh_after", "develop"):
            service.pop(key, None)
        service["labels"] = labels
        service["ports"] = ports(service, terms.reach.get(name))
        if not service["ports"] or terms.isolation is Isolation.NO_EGRESS:
            del service["ports"]
        if check := service.get("healthcheck"):
            service["healthcheck"] = quick(check, terms.polling)
        if "stop_grace_period" in service:
            service["stop_grace_period"] = f"{min(seconds(service['stop_grace_period']), STOP_GRACE)}s"
        service["logging"] = {"driver": "json-file", "options": dict(LOG_OPTIONS)}
        if not terms.own_privileges:
            service["security_opt"] = ["no-new-privileges:true"]
        # With it, a container could send packets that the engine's rules do not look at.
        service["cap_drop"] = sorted({*(service.get("cap_drop") or []), "NET_RAW"})
        if terms.runtime:
            service["runtime"] = terms.runtime
        for mount in service.get("volumes") or []:
            _mount(mount, terms.limits)
        _limit(service, terms.limits)
    for section in ("networks", "volumes"):
        for name, entry in config[section].items():
            config[section][name] = dict(entry or {}) | {"labels": labels}
    if terms.isolation is Isolation.NO_EGRESS:
        for network in config["networks"].values():
            network |= {"internal": True, "driver_opts": NO_GATEWAY}
            network.pop("enable_ipv6", None)
    return {section: entries for section, entries in config.items() if entries}


def bind_folders(config: Mapping[str, Any]) -> list[Path]:
    """Where the bind mounts of a graded file come from; what is missing there has to be made before it is started."""
    mounts = [mount for service in config["services"].values() for mount in service.get("volumes") or []]
    return [Path(mount["source"]) for mount in mounts if mount["type"] == "bind"]


def quick(check: Mapping[str, Any], polling: Polling) -> dict[str, Any]:
    """The learner's probe, polled quickly. A disabled one stays disabled."""
    if check.get("disable") or check.get("test") == ["NONE"]:
        return dict(check)
    # Without a test of its own the file only says how often the image's is made.
    result = {
        **({"test": check["test"]} if "test" in check else {}),
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
    """Compose's durations (``1m30s``, ``500ms``) in seconds; 0 where there is none, or one below zero."""
    if duration is None or str(duration).startswith("-"):
        return 0.0
    if isinstance(duration, int | float):
        return duration * NANOSECOND
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": NANOSECOND}
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


def ports(service: Mapping[str, Any], reach: int | None) -> list[dict[str, Any]]:
    """The ports of a service to publish, each on a free one of 127.0.0.1.

    Args:
        reach: the one that the checks talk to, if any.
    """
    if service.get("network_mode"):
        return []  # such a service has no port of its own
    # Without `published` the engine picks a free port, so nothing on the machine can collide.
    targets = {(entry["target"], entry.get("protocol", "tcp")) for entry in service.get("ports") or []}
    if reach:
        targets.add((reach, "tcp"))
    return [{"target": t, "protocol": p, "host_ip": "127.0.0.1", "mode": "ingress"} for t, p in sorted(targets)]


def _build(build: Mapping[str, Any], folder: Path, project: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The very Dockerfile that was checked, with no network and nothing shared with other people's builds."""
    kept = {key: build[key] for key in ("context", "args", "target", "additional_contexts", "no_cache") if key in build}
    text = dockerfile.with_private_caches(recipe.of(build, folder).text, project)
    return kept | {"dockerfile_inline": recipe.doubled(text), "network": "none", "labels": dict(labels)}


def _mount(mount: dict[str, Any], limits: Limits) -> None:
    if mount["type"] == "bind":
        mount["bind"] = {"create_host_path": False}
        return
    mount.pop("bind", None)
    if mount["type"] == "tmpfs":
        options = dict(mount.get("tmpfs") or {})
        mount["tmpfs"] = options | {"size": _at_most(options.get("size"), limits.tmpfs)}


def _limit(service: dict[str, Any], limits: Limits) -> None:
    deploy = service.pop("deploy", None) or {}
    resources = deploy.get("resources") or {}
    # Compose refuses both spellings of one limit in one file, so only the services' own is used.
    own = resources.get("limits") or {}
    memory = _at_most(own.get("memory"), _at_most(service.get("mem_limit"), limits.memory))
    cpus = min(
        float(value) for value in (own.get("cpus"), service.get("cpus"), limits.cpus) if value and float(value) > 0
    )
    service |= {
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": _at_most(own.get("pids"), _at_most(service.get("pids_limit"), limits.pids)),
        "cpus": cpus,
    }
    for key in ("mem_reservation", "mem_swappiness", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota"):
        service.pop(key, None)
    if "cpu_shares" in service:
        service["cpu_shares"] = _at_most(service["cpu_shares"], 1024)
    if "shm_size" in service:
        service["shm_size"] = _at_most(service["shm_size"], limits.tmpfs)
    if tmpfs := service.get("tmpfs"):
        service["tmpfs"] = [_sized(entry, limits.tmpfs) for entry in ([tmpfs] if isinstance(tmpfs, str) else tmpfs)]
    ulimits = {name: value for name, value in (service.pop("ulimits", None) or {}).items() if name == "nofile"}
    if ulimits:
        service["ulimits"] = {name: _ulimit(value) for name, value in ulimits.items()}
    if limits.disk:
        service["storage_opt"] = {"size": str(limits.disk)}
    kept = {key: deploy[key] for key in ("replicas", "restart_policy") if key in deploy}
    if devices := (resources.get("reservations") or {}).get("devices"):
        kept["resources"] = {"reservations": {"devices": devices}}
    if kept:
        service["deploy"] = kept


def _sized(tmpfs: str, limit: int) -> str:
    """A tmpfs in short syntax (``/tmp:size=1m,mode=1777``) with a size of at most ``limit`` bytes."""
    path, _, text = tmpfs.partition(":")
    options = [option for option in text.split(",") if option]
    given = next((option.split("=", 1)[1] for option in options if option.startswith("size=")), "")
    rest = [option for option in options if not option.startswith(("size=", "nr_blocks=", "nr_inodes="))]
    return f"{path}:" + ",".join([*rest, f"size={_at_most(_bytes(given), limit)}"])


def _bytes(size: str) -> int:
    """``64m`` in bytes; 0 for what is no size, a percentage of the machine's memory included."""
    number, unit = size.rstrip("kKmMgG"), size[-1:].lower()
    factor = {"k": 2**10, "m": 2**20, "g": 2**30}.get(unit, 1)
    return int(number) * factor if number.isdigit() else 0


def _ulimit(value: Any) -> Any:
    most = 65536
    if isinstance(value, Mapping):
        return {name: _at_most(entry, most) for name, entry in value.items()}
    return _at_most(value, most)


def _at_most(value: Any, limit: int) -> int:
    # 0 and -1 mean "no limit" to the engine.
    return min(int(value), limit) if value and int(value) > 0 else limit
