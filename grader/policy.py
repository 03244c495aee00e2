"""Which compose attributes may run on the machine that grades: everything not listed is denied.

Pure: a model goes in, violations come out. Compose treats every file as trusted
(docs.docker.com/compose/trust-model/), so the grader must not. The tables below have every attribute of the Compose
specification; ``tests/unit/test_policy.py`` holds them against its schema.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from grader import dockerfile, imageref, recipe
from grader.catalog import Exercise
from grader.engine.inventory import IMAGES
from grader.model import Model
from grader.paths import is_in_proc, is_inside
from grader.rules import Path_, Reason, Rule, Scope, both, deny, each, granted, judge, keys, only, safe, up_to
from grader.violation import ACTED_ON, EGRESS, HOST, JOIN, LEAK, RESERVED_LABELS, ROOT, SHARED, Violation

MAX_CONTAINERS = 20
MAX_REPLICAS = 10
MAX_PORTS = 20
MAX_NETWORKS = 10  # each takes a range of addresses, of which the engine has about thirty for everybody

ALLOWED_CAPABILITIES = frozenset({"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"})

_TOO_MANY = "So many containers would fill the machine."


def violations(model: Model, folder: Path, exercise: Exercise) -> list[Violation]:
    """Everything in ``model`` that must not run.

    Args:
        folder: the private copy; every path has to stay inside it.
        exercise: says which images there are and what it allows beyond the usual.
    """
    scope = Scope(folder, images_of(exercise), frozenset(exercise.grants))
    return [
        Violation(model.at(*path), ".".join(path), *reason)
        for path, reason in (*FILE(model.config, scope), *_foreign_names(model), *_whole(model, scope))
    ] + list(_dockerfiles(model, scope))


def images_of(exercise: Exercise) -> frozenset[str]:
    """What a submission may run and build from."""
    return frozenset({*exercise.images, *(image.tag for image in IMAGES if not image.ingredient)})


# --- paths --------------------------------------------------------------------------------------


def _path_inside(value: Any, scope: Scope) -> Reason | None:
    # "#" begins a fragment of a remote context; a scheme names something that is fetched.
    if "://" in str(value) or str(value).startswith(("git@", "github.com/")) or not is_inside(str(value), scope.folder):
        return LEAK, "Use a path inside the exercise's folder, beginning with ./"
    return None


def _additional_context(value: Any, scope: Scope) -> Reason | None:
    return None if str(value).startswith("service:") else _path_inside(value, scope)


def _not_in_proc(value: Any, scope: Scope) -> Reason | None:
    return (ROOT, "Use a folder of the image, such as /app.") if is_in_proc(str(value)) else None


# --- values -------------------------------------------------------------------------------------


def _every_value_given(value: Any, scope: Scope) -> Reason | None:
    if isinstance(value, Mapping) and any(entry is None for entry in value.values()):
        return LEAK, "Give every variable a value: NAME: value."
    return None


def _image(value: Any, scope: Scope) -> Reason | None:
    if imageref.normalised(str(value)) in {imageref.normalised(image) for image in scope.images}:
        return None
    # Whatever its tag: the graded file has the one that is here.
    own = "own-tags" in scope.granted
    if own and imageref.repository(str(value)) in {imageref.repository(image) for image in scope.images}:
        return None
    return "Nothing is pulled while grading.", "Use one of: " + ", ".join(sorted(scope.images)) + "."


def _network_mode(value: Any, scope: Scope) -> Reason | None:
    return None if value == "none" or str(value).startswith("service:") else (JOIN, "Use networks: instead.")


def _capabilities(value: Any, scope: Scope) -> Reason | None:
    refused = sorted({str(c).upper().removeprefix("CAP_") for c in value} - ALLOWED_CAPABILITIES)
    return (ROOT, f"Remove {', '.join(refused)}.") if refused else None


def _security_opt(value: Any, scope: Scope) -> Reason | None:
    harmless = {"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"}
    return None if set(value) <= harmless else (ROOT, "Only no-new-privileges:true is accepted.")


def _labels(value: Any, scope: Scope) -> Reason | None:
    reserved = sorted(name for name in value if str(name).lower().startswith(RESERVED_LABELS))
    return (ACTED_ON, f"Remove {', '.join(reserved)}.") if reserved else None


def _restart(value: Any, scope: Scope) -> Reason | None:
    if str(value).partition(":")[0] in ("no", "always", "on-failure", "unless-stopped"):
        return None
    return "The grader does not know this policy.", "Use no, on-failure, always or unless-stopped."


def _ports(value: Any, scope: Scope) -> Reason | None:
    return None if len(value) <= MAX_PORTS else ("So many ports would crowd the machine.", f"Use at most {MAX_PORTS}.")


def _ulimits(value: Any, scope: Scope) -> Reason | None:
    known = {"nofile", "nproc", "core", "stack", "memlock"}
    other = sorted(set(value) - known)
    return (HOST, f"Remove {', '.join(other)}; accepted are {', '.join(sorted(known))}.") if other else None


# --- the tables -----------------------------------------------------------------------------------

VARIABLES = judge(_every_value_given)
INSIDE = judge(_path_inside)
LABELS = judge(_labels)
REPLICAS = up_to(MAX_REPLICAS, _TOO_MANY)

BUILD: dict[str, Rule] = {
    **dict.fromkeys(("target", "no_cache", "pull", "platforms", "provenance", "sbom"), safe),
    "context": INSIDE,
    "dockerfile": safe,  # together with the context, in _dockerfiles
    "dockerfile_inline": safe,
    "args": VARIABLES,
    "labels": LABELS,
    "shm_size": safe,
    "ulimits": judge(_ulimits),
    "additional_contexts": each(judge(_additional_context)),
    "ssh": deny(LEAK),
    "secrets": deny(LEAK),
    "tags": deny("It could replace an image that others use.", "Use image: to name the result."),
    **dict.fromkeys(("network", "extra_hosts", "cache_from", "cache_to"), deny("Graded builds have no network.")),
    **dict.fromkeys(("privileged", "entitlements", "isolation"), deny(ROOT)),
}

_FIXED_ADDRESS = deny("Fixed addresses collide with other networks.")
SERVICE_NETWORK: dict[str, Rule] = {
    **dict.fromkeys(("aliases", "priority", "gw_priority"), safe),
    **dict.fromkeys(("ipv4_address", "ipv6_address", "link_local_ips", "mac_address"), _FIXED_ADDRESS),
    **dict.fromkeys(("driver_opts", "interface_name"), deny(ROOT)),
}

DEVICE = keys(
    {
        **dict.fromkeys(("capabilities", "count", "device_ids"), safe),
        "driver": only("nvidia", why=ROOT, instead="Use driver: nvidia."),
        "options": deny(ROOT),
    }
)
GPUS = granted("gpu", each(DEVICE), (ROOT, "Only the GPU exercise reserves devices."))
RESOURCES: dict[str, Rule] = {
    "limits": keys(dict.fromkeys(("cpus", "memory", "pids"), safe)),
    "reservations": keys(
        {**dict.fromkeys(("cpus", "memory"), safe), "generic_resources": deny(HOST), "devices": GPUS},
    ),
}
# What only Swarm acts on is harmless here.
DEPLOY: dict[str, Rule] = {
    **dict.fromkeys(("endpoint_mode", "update_config", "rollback_config", "restart_policy", "placement"), safe),
    "mode": only("replicated", why=_TOO_MANY, instead="Use replicas: with a number."),
    "replicas": REPLICAS,
    "labels": LABELS,
    "resources": keys(RESOURCES),
}

HOOK = keys(
    {
        **dict.fromkeys(("command", "user"), safe),
        "environment": VARIABLES,
        "working_dir": judge(_not_in_proc),
        "privileged": deny(ROOT),
    }
)

# Only `docker compose watch` acts on it. It is left out of what is started; grader.watching runs what copies files.
WATCH: dict[str, Rule] = {
    **dict.fromkeys(("action", "target", "ignore", "include", "initial_sync", "exec"), safe),
    "path": INSIDE,
}

MOUNTS: dict[str, Rule] = {
    "bind": keys(
        {
            **dict.fromkeys(("type", "target", "read_only", "consistency"), safe),
            "source": INSIDE,
            "bind": keys({"create_host_path": safe, "recursive": safe, "selinux": safe, "propagation": deny(ROOT)}),
        }
    ),
    "volume": keys(
        {
            **dict.fromkeys(("type", "source", "target", "read_only", "consistency"), safe),
            "volume": keys({"nocopy": safe, "subpath": safe, "labels": LABELS}),
            "bind": keys({"selinux": safe}),  # what Compose makes of `data:/data:z`
        }
    ),
    "tmpfs": keys(
        {
            **dict.fromkeys(("type", "target", "read_only", "consistency"), safe),
            "tmpfs": keys({"size": safe, "mode": safe}),
        }
    ),
}


def _mount(value: Any, scope: Scope) -> Iterator[tuple[Path_, Reason]]:
    kind = str(value.get("type"))
    other = deny(f"Mounts of type {kind} are not accepted.", "Use a named volume or a bind mount of ./…")
    return MOUNTS.get(kind, other)(value, scope)


SERVICE: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "attach", "cap_drop", "command", "entrypoint", "domainname", "hostname", "expose", "init", "read_only",
            "stdin_open", "tty", "stop_signal", "user", "profiles", "links", "pull_policy", "pull_refresh_after",
            "platform", "stop_grace_period", "tmpfs", "shm_size", "cpus", "cpu_count", "cpu_percent", "cpu_shares",
            "cpu_period", "cpu_quota", "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "pids_limit",
        ),
        safe,
    ),
    "depends_on": each(keys(dict.fromkeys(("condition", "required", "restart"), safe))),
    "healthcheck": keys(
        dict.fromkeys(("test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"), safe)
    ),
    "working_dir": judge(_not_in_proc),
    "environment": VARIABLES,
    "image": safe,  # in _whole: where the service is built, it only names the result
    "build": keys(BUILD),
    "networks": each(keys(SERVICE_NETWORK)),
    "network_mode": judge(_network_mode),
    "cap_add": judge(_capabilities),
    "security_opt": judge(_security_opt),
    "labels": LABELS,
    "restart": judge(_restart),
    "ulimits": judge(_ulimits),
    "logging": keys(
        {
            "driver": only(
                "json-file", "local", why="Other log drivers send data out.", instead="Use driver: json-file."
            ),
            "options": safe,
        }
    ),
    "volumes": each(_mount),
    "secrets": each(keys(dict.fromkeys(("source", "target", "uid", "gid", "mode"), safe))),
    "configs": each(keys(dict.fromkeys(("source", "target", "uid", "gid", "mode"), safe))),
    "deploy": keys(DEPLOY),
    "scale": REPLICAS,
    "ports": both(
        judge(_ports),
        each(
            keys(
                dict.fromkeys(("name", "mode", "host_ip", "target", "published", "protocol", "app_protocol"), safe),
            )
        ),
    ),
    "gpus": GPUS,
    "post_start": each(HOOK),
    "pre_stop": each(HOOK),
    "develop": keys({"watch": each(keys(WATCH))}),
    "container_name": deny(
        "A fixed name collides with other gradings and makes scaling impossible.", "Remove it; use the service's name."
    ),
    **dict.fromkeys(("pid", "ipc", "uts", "cgroup", "userns_mode"), deny(JOIN)),
    **dict.fromkeys(
        (
            "privileged", "use_api_socket", "provider", "credential_spec", "runtime", "cgroup_parent",
            "device_cgroup_rules", "devices", "isolation", "sysctls", "group_add", "storage_opt", "annotations",
            "models", "pre_start",
        ),
        deny(ROOT),
    ),
    **dict.fromkeys(("volumes_from", "external_links"), deny(SHARED)),
    **dict.fromkeys(
        ("cpu_rt_runtime", "cpu_rt_period", "cpuset", "oom_kill_disable", "oom_score_adj", "blkio_config"), deny(HOST)
    ),
    **dict.fromkeys(("dns", "dns_opt", "dns_search", "extra_hosts"), deny(EGRESS)),
    "mac_address": _FIXED_ADDRESS,
    # Read while the file is resolved, and gone by now: grader.raw.
    **dict.fromkeys(("env_file", "label_file", "extends"), deny(LEAK)),
}  # fmt: skip

NETWORK: dict[str, Rule] = {
    **dict.fromkeys(("internal", "enable_ipv4", "enable_ipv6", "name"), safe),
    "labels": LABELS,
    "external": deny(SHARED),
    "attachable": deny(SHARED),
    "driver": only("bridge", why=SHARED, instead="Remove it; bridge is the default."),
    "driver_opts": deny(ROOT),
    "ipam": _FIXED_ADDRESS,
}
VOLUME: dict[str, Rule] = {
    "labels": LABELS,
    "name": safe,
    "external": deny(SHARED),
    "driver": only("local", why=SHARED, instead="Remove it; local is the default."),
    "driver_opts": deny("It can mount any folder of the machine."),
}
SECRET: dict[str, Rule] = {
    **dict.fromkeys(("content", "name"), safe),
    "labels": LABELS,
    "file": INSIDE,
    "environment": deny(LEAK),
    "external": deny(SHARED),
    **dict.fromkeys(("driver", "driver_opts", "template_driver"), deny(SHARED)),
}
SECTIONS = {"networks": NETWORK, "volumes": VOLUME, "secrets": SECRET, "configs": SECRET}

FILE = keys(
    {
        "name": safe,
        "version": safe,
        "services": each(keys(SERVICE)),
        **{name: each(keys(table)) for name, table in SECTIONS.items()},
    }
)


# --- what several places say together ---------------------------------------------------------------


def _foreign_names(model: Model) -> Iterator[tuple[Path_, Reason]]:
    """Compose names everything ``project_name``; any other name may belong to somebody else."""
    for section in SECTIONS:
        for name, entry in (model.config.get(section) or {}).items():
            given = (entry or {}).get("name")
            if given is not None and given != f"{model.project}_{name}":
                yield (section, name, "name"), (SHARED, "Remove name:; Compose finds a name of its own.")


def _whole(model: Model, scope: Scope) -> Iterator[tuple[Path_, Reason]]:
    for name, service in model.config["services"].items():
        if "build" not in service and (reason := _image(service.get("image", ""), scope)):
            yield ("services", name, "image"), reason
    # Too many replicas of one service are refused where they stand.
    if sum(min(max(replicas(s), 0), MAX_REPLICAS) for s in model.config["services"].values()) > MAX_CONTAINERS:
        yield ("services",), (_TOO_MANY, f"Use at most {MAX_CONTAINERS} containers in all.")
    if len(model.config.get("networks") or {}) > MAX_NETWORKS:
        yield ("networks",), ("The engine has addresses for few networks.", f"Use at most {MAX_NETWORKS}.")
    yield from _imitations(model)
    yield from _swappable(model, scope)


def _imitations(model: Model) -> Iterator[tuple[Path_, Reason]]:
    """Names for a container that only Compose gives: the checks find a container by them."""
    for name, service in model.config["services"].items():
        networks = (service.get("networks") or {}).items()
        given: list[tuple[Path_, Any]] = [
            (("hostname",), [service.get("hostname")]),
            (("links",), service.get("links")),
            *((("networks", network, "aliases"), (entry or {}).get("aliases")) for network, entry in networks),
        ]
        for path, names in given:
            if any(model.project in str(each) for each in names or []):
                yield ("services", name, *path), ("It is the name of another container.", "Use a name of your own.")


def replicas(service: Mapping[str, Any]) -> int:
    """How many containers Compose makes of a service."""
    wanted = (service.get("deploy") or {}).get("replicas", service.get("scale"))
    return 1 if wanted is None else int(wanted)


def _swappable(model: Model, scope: Scope) -> Iterator[tuple[Path_, Reason]]:
    """Folders that a container may write to and in which lies something that the machine opens by its path.

    It could be replaced by a link to any place of the machine, which is followed when the next container starts.
    """
    opened: list[Path] = []
    writable: list[tuple[str, Path]] = []
    for section in ("secrets", "configs"):
        opened += [Path(entry["file"]) for entry in (model.config.get(section) or {}).values() if entry.get("file")]
    for name, service in model.config["services"].items():
        build = service.get("build") or {}
        contexts = [build.get("context"), *(build.get("additional_contexts") or {}).values()]
        opened += [Path(path) for path in contexts if path]
        for mount in service.get("volumes") or []:
            if mount.get("type") == "bind":
                opened.append(Path(mount["source"]))
                # What lies outside of the submission is refused where it is mounted.
                if not mount.get("read_only") and is_inside(mount["source"], scope.folder):
                    writable.append((name, Path(mount["source"])))
    for name, folder in writable:
        if any(folder in path.parents for path in opened):
            shown = "the whole folder" if folder == scope.folder else f"{folder.name}/"
            yield (
                ("services", name, "volumes"),
                (
                    f"A container may write to {shown}, in which lies what others mount or build from.",
                    "Mount it read-only (:ro), or mount only the folder that is written to.",
                ),
            )


def _dockerfiles(model: Model, scope: Scope) -> Iterator[Violation]:
    for name, service in model.config["services"].items():
        build = service.get("build")
        if not build or _path_inside(build.get("context", "."), scope):
            continue
        where = ("services", name, "build")
        try:
            found = recipe.of(build, scope.folder)
        except recipe.NoRecipe as missing:
            yield Violation(model.at(*where), ".".join((*where, "dockerfile")), missing.why, missing.instead)
            continue
        arguments = {key: recipe.plain(str(value)) for key, value in (build.get("args") or {}).items()}
        contexts: Collection[str] = build.get("additional_contexts") or {}
        for problem in dockerfile.problems(found.text, scope.images, arguments, contexts):
            at = f"{found.path}:{problem.line}" if found.path else model.at(*where, "dockerfile_inline")
            yield Violation(at, f"{'.'.join(where)}: {problem.what}", problem.why, problem.instead)
