"""Which compose attributes may run on the machine that grades: everything not listed is denied.

Pure: a model goes in, violations come out. Compose treats every file as trusted
(docs.docker.com/compose/trust-model/), so the grader must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.model import Model

MAX_REPLICAS = 10
MAX_PORTS = 20

ALLOWED_CAPABILITIES = frozenset({"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"})


@dataclass(frozen=True)
class Violation:
    """One thing in a submission that must not run.

    Attributes:
        at: ``file:line``.
        what: the attribute and where it stands, ``services.api.privileged``.
        why: the harm it could do.
        instead: what to write.
    """

    at: str
    what: str
    why: str
    instead: str


Reason = tuple[str, str]  # why, instead
Rule = Callable[[Any, Path], Reason | None]

_REMOVE = "Remove it; the exercise does not need it."
_ROOT = "It gives the container power over the machine that grades."
_JOIN = "It joins the machine's own namespaces or another container's."
_LEAK = "It reads files or variables of the machine that grades."
_SHARED = "It reaches outside this project, where other people's containers and data are."


def _deny(why: str, instead: str = _REMOVE) -> Rule:
    return lambda value, folder: (why, instead)


def _only(*allowed: object, why: str, instead: str) -> Rule:
    return lambda value, folder: None if value in allowed else (why, instead)


def _every_value_given(value: Any, folder: Path) -> Reason | None:
    if isinstance(value, Mapping) and any(entry is None for entry in value.values()):
        return _LEAK, "Give every variable a value: NAME: value."
    return None


def inside(path: str, folder: Path) -> bool:
    """Whether ``path`` stays in the submission once every link is followed."""
    return (folder / path).resolve().is_relative_to(folder.resolve())


def _path_inside(value: Any, folder: Path) -> Reason | None:
    # "#" begins a fragment of a remote context; a scheme names something that is fetched.
    if "://" in str(value) or str(value).startswith(("git@", "github.com/")) or not inside(str(value), folder):
        return _LEAK, "Use a path inside the exercise's folder, beginning with ./"
    return None


def _network_mode(value: Any, folder: Path) -> Reason | None:
    return None if value == "none" or str(value).startswith("service:") else (_JOIN, "Use networks: instead.")


def _capabilities(value: Any, folder: Path) -> Reason | None:
    refused = sorted({str(c).upper().removeprefix("CAP_") for c in value} - ALLOWED_CAPABILITIES)
    return (_ROOT, f"Remove {', '.join(refused)}.") if refused else None


def _security_opt(value: Any, folder: Path) -> Reason | None:
    harmless = {"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"}
    return None if set(value) <= harmless else (_ROOT, "Only no-new-privileges:true is accepted.")


def _logging(value: Any, folder: Path) -> Reason | None:
    if value.get("driver") in (None, "", "json-file", "local"):
        return None
    return "Other log drivers send data out of the machine.", "Use driver: json-file."


def _mounts(value: Any, folder: Path) -> Reason | None:
    for mount in value:
        match mount.get("type"):
            case "bind":
                if not inside(mount.get("source", ""), folder):
                    return _LEAK, "Mount only files and folders of the exercise, beginning with ./"
                if mount.get("bind", {}).get("propagation"):
                    return _ROOT, "Remove propagation."
            case "volume" | "tmpfs":
                pass
            case other:
                return (
                    f"Mounts of type {other} are not accepted.",
                    "Use a named volume or a bind mount of ./…",
                )
    return None


def _devices(value: Any, folder: Path) -> Reason | None:
    if (value.get("resources", {}).get("reservations") or {}).get("devices"):
        return _ROOT, "Only the GPU exercise reserves devices."
    if ((value.get("replicas")) or 0) > MAX_REPLICAS:
        return "So many replicas would fill the machine.", f"Use at most {MAX_REPLICAS}."
    return None


def _scale(value: Any, folder: Path) -> Reason | None:
    return (
        None if int(value) <= MAX_REPLICAS else ("So many replicas would fill the machine.", f"At most {MAX_REPLICAS}.")
    )


def _ports(value: Any, folder: Path) -> Reason | None:
    return None if len(value) <= MAX_PORTS else ("So many ports would crowd the machine.", f"At most {MAX_PORTS}.")


def _build(value: Any, folder: Path) -> Reason | None:
    for key, entry in value.items():
        rule = BUILD.get(key, _deny("The grader does not know this key of build:, so it does not run it."))
        if rule and (reason := rule(entry, folder)):
            return f"build.{key}: {reason[0]}", reason[1]
    return None


def _additional_contexts(value: Any, folder: Path) -> Reason | None:
    for entry in value.values():
        if not str(entry).startswith("service:") and (reason := _path_inside(entry, folder)):
            return reason
    return None


def _hooks(value: Any, folder: Path) -> Reason | None:
    return (_ROOT, "Remove privileged: from the hook.") if any(hook.get("privileged") for hook in value) else None


SAFE: Rule | None = None

BUILD: dict[str, Rule | None] = {
    **dict.fromkeys(("target", "labels", "no_cache", "pull", "shm_size", "platforms", "provenance", "sbom"), SAFE),
    "context": _path_inside,
    "dockerfile": SAFE,  # resolved against the context by the build itself
    "dockerfile_inline": SAFE,
    "args": _every_value_given,
    "additional_contexts": _additional_contexts,
    "ssh": _deny(_LEAK),
    "secrets": _deny(_LEAK),
    "tags": _deny("It could replace an image that others use.", "Use image: to name the result."),
    **dict.fromkeys(("network", "extra_hosts", "cache_from", "cache_to"), _deny("Graded builds have no network.")),
    **dict.fromkeys(("privileged", "entitlements", "isolation"), _deny(_ROOT)),
}

SERVICE: dict[str, Rule | None] = {
    **dict.fromkeys(
        (
            "attach", "cap_drop", "command", "entrypoint", "depends_on", "domainname", "hostname", "expose", "init",
            "read_only", "stdin_open", "tty", "stop_signal", "user", "profiles", "links", "healthcheck", "image",
            "pull_policy", "platform", "networks", "labels", "restart", "stop_grace_period", "tmpfs", "shm_size",
            "cpus", "cpu_count", "cpu_percent", "cpu_shares", "cpu_period", "cpu_quota", "mem_limit",
            "mem_reservation", "mem_swappiness", "memswap_limit", "pids_limit", "ulimits", "secrets", "configs",
            "working_dir",
        ),
        SAFE,
    ),
    "environment": _every_value_given,
    "build": _build,
    "network_mode": _network_mode,
    "cap_add": _capabilities,
    "security_opt": _security_opt,
    "logging": _logging,
    "volumes": _mounts,
    "deploy": _devices,
    "scale": _scale,
    "ports": _ports,
    "post_start": _hooks,
    "pre_stop": _hooks,
    "develop": SAFE,  # only `docker compose watch` reads it
    "container_name": _deny(
        "A fixed name collides with other gradings and makes scaling impossible.", "Remove it; use the service's name."
    ),
    **dict.fromkeys(("pid", "ipc", "uts", "cgroup", "userns_mode"), _deny(_JOIN)),
    **dict.fromkeys(
        (
            "privileged", "use_api_socket", "provider", "credential_spec", "runtime", "cgroup_parent",
            "device_cgroup_rules", "devices", "isolation", "sysctls", "group_add", "storage_opt", "annotations",
            "gpus", "models",
        ),
        _deny(_ROOT),
    ),
    **dict.fromkeys(("volumes_from", "external_links"), _deny(_SHARED)),
    **dict.fromkeys(
        ("cpu_rt_runtime", "cpu_rt_period", "cpuset", "oom_kill_disable", "oom_score_adj", "blkio_config"),
        _deny("It changes how the machine shares its time and memory."),
    ),
    **dict.fromkeys(("dns", "dns_opt", "dns_search", "extra_hosts"), _deny("It can send data out of the project.")),
}  # fmt: skip

NETWORK: dict[str, Rule | None] = {
    **dict.fromkeys(("internal", "labels", "enable_ipv6", "name"), SAFE),
    "external": _deny(_SHARED),
    "attachable": _deny(_SHARED),
    "driver": _only("bridge", "", None, why=_SHARED, instead="Remove it; bridge is the default."),
    "driver_opts": _deny(_ROOT),
    "ipam": lambda value, folder: None if not value else ("Fixed addresses collide with other networks.", _REMOVE),
}
VOLUME: dict[str, Rule | None] = {
    "labels": SAFE,
    "name": SAFE,
    "external": _deny(_SHARED),
    "driver": _only("local", "", None, why=_SHARED, instead="Remove it; local is the default."),
    "driver_opts": _deny("It can mount any folder of the machine."),
}
FILE: dict[str, Rule | None] = {
    "content": SAFE,
    "name": SAFE,
    "file": _path_inside,
    "environment": _deny(_LEAK),
    "external": _deny(_SHARED),
}
SECTIONS = {"networks": NETWORK, "volumes": VOLUME, "secrets": FILE, "configs": FILE}


def violations(model: Model, folder: Path) -> list[Violation]:
    """Everything in ``model`` that must not run.

    Args:
        folder: the private copy; every path has to stay inside it.
    """
    return list(_violations(model, folder))


def _violations(model: Model, folder: Path) -> Iterator[Violation]:
    for key, entries in model.config.items():
        if key in ("name", "version") or key.startswith("x-"):
            continue
        if key == "services":
            for name, entry in entries.items():
                yield from _apply(SERVICE, model, ("services", name), entry, folder)
        elif key in SECTIONS:
            for name, entry in (entries or {}).items():
                yield from _apply(SECTIONS[key], model, (key, name), entry or {}, folder)
                yield from _foreign_name(model, key, name, entry or {})
        else:
            yield Violation(model.at(key), key, "The grader does not know it, so it does not run it.", _REMOVE)


def _apply(
    rules: Mapping[str, Rule | None],
    model: Model,
    path: tuple[str, ...],
    entry: Mapping[str, Any],
    folder: Path,
) -> Iterator[Violation]:
    for key, value in entry.items():
        if key.startswith("x-") or value in (None, [], {}) or value is False:
            continue
        rule = rules.get(key, _deny("The grader does not know this attribute, so it does not run it."))
        if rule and (reason := rule(value, folder)):
            yield Violation(model.at(*path, key), ".".join((*path, key)), *reason)


def _foreign_name(model: Model, section: str, name: str, entry: Mapping[str, Any]) -> Iterator[Violation]:
    """Compose names everything ``project_name``; any other name may belong to somebody else."""
    given = entry.get("name")
    if given is not None and given != f"{model.project}_{name}":
        why, instead = _SHARED, "Remove name:; Compose finds a name of its own."
        yield Violation(model.at(section, name, "name"), f"{section}.{name}.name", why, instead)
