"""What a save has changed of a stack that runs: pure, but for reading the files that its services use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class State:
    """What was started.

    Attributes:
        services: service -> a digest of its entry and of every file that it mounts, is built from or is given.
        volumes: service -> the names of the volumes that it mounts.
        order: service -> what it waits for.
        rest: a digest of all that belongs to no service: networks, volumes, which services there are.
    """

    services: Mapping[str, str]
    volumes: Mapping[str, frozenset[str]]
    order: Mapping[str, str]
    rest: str

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> State:
        """The state of a stack started from ``config``, the file as it is rewritten for grading."""
        services, volumes, order = {}, {}, {}
        for name, service in config["services"].items():
            own = {key: value for key, value in service.items() if key != "depends_on"}
            files = {str(path): _content(path) for path in _files_of(service, config)}
            services[name] = _digest([own, files])
            volumes[name] = frozenset(_volumes_of(service, config))
            order[name] = _digest(service.get("depends_on"))
        rest = {key: value for key, value in config.items() if key not in ("services", "name")}
        return cls(services, volumes, order, _digest([rest, sorted(services)]))


def to_make_anew(before: State, after: State) -> frozenset[str] | None:
    """The services to make anew, with their volumes, so that the stack is as if it had been started from ``after``.

    A database's init scripts run only on an empty volume, so a changed service gets an empty one, and so does each
    service that shares it.

    Returns:
        None if that would not do: networks, volumes or the order of starting have changed.
    """
    if before.rest != after.rest or before.order != after.order:
        return None
    changed = {name for name, digest in after.services.items() if before.services[name] != digest}
    while True:
        used = {volume for name in changed for volume in after.volumes[name]}
        sharing = {name for name, volumes in after.volumes.items() if volumes & used} - changed
        if not sharing:
            return frozenset(changed)
        changed |= sharing


def _files_of(service: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Path]:
    for mount in service.get("volumes") or []:
        if mount["type"] == "bind":
            yield Path(mount["source"])
    for section in ("secrets", "configs"):
        for use in service.get(section) or []:
            entry = (config.get(section) or {}).get(use["source"]) or {}
            if "file" in entry:
                yield Path(entry["file"])
    if "build" in service:
        yield Path(service["build"]["context"])


def _volumes_of(service: Mapping[str, Any], config: Mapping[str, Any]) -> Iterable[str]:
    declared = config.get("volumes") or {}
    for mount in service.get("volumes") or []:
        if mount["type"] == "volume" and mount.get("source"):
            yield (declared.get(mount["source"]) or {}).get("name") or mount["source"]


def _content(path: Path) -> str:
    """A digest of a file, or of all files in a folder with their names; of nothing if there is none."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink()) if path.is_dir() else []
    return _digest([[str(p.relative_to(path)), hashlib.sha256(p.read_bytes()).hexdigest()] for p in files])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
