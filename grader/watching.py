"""``docker compose watch`` on a stack that is being graded, for the learner's own sync triggers and nothing else.

What is started has no ``develop`` section (``grader.rewrite``). Here it gets back the triggers that copy a folder of
the private copy into a running container; those that build are left out.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grader import compose
from grader.model import Model
from grader.paths import is_inside
from grader.stack import Stack
from grader.text import last_lines

SYNCS = frozenset({"sync", "sync+restart"})
KEPT = ("action", "path", "target", "ignore", "include", "initial_sync")

Triggers = dict[str, list[dict[str, Any]]]


def sync_triggers(model: Model, folder: Path) -> Triggers:
    """Service -> its triggers that only copy, from within ``folder``; a service without any has no entry.

    A folder that some container may write to is left out: what it puts there would be read on this machine.
    """
    writable = [
        Path(mount["source"])
        for service in model.config["services"].values()
        for mount in service.get("volumes") or []
        if mount["type"] == "bind" and not mount.get("read_only")
    ]

    def harmless(path: Path) -> bool:
        overlaps = any(path == other or path in other.parents or other in path.parents for other in writable)
        return is_inside(str(path), folder) and not overlaps

    found: Triggers = {}
    for name, service in model.config["services"].items():
        watched = (service.get("develop") or {}).get("watch") or []
        kept = [
            {key: trigger[key] for key in KEPT if key in trigger}
            for trigger in watched
            if trigger.get("action") in SYNCS and "build" in service and harmless(Path(trigger["path"]))
        ]
        if kept:
            found[name] = kept
    return found


class Watch:
    """A ``docker compose watch`` that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    @property
    def ended(self) -> str:
        """What it said if it has ended by itself, as it does where it cannot watch; else empty."""
        if self._process.poll() is None:
            return ""
        return " ".join(last_lines(self._log.read_text("utf-8", "replace"), count=3)) or "it said nothing"


@contextmanager
def watching(stack: Stack, triggers: Triggers) -> Iterator[Watch]:
    """``docker compose watch`` runs until the block ends; it takes a moment until it notices the first change."""
    project = f"{stack.owner.project}-{stack.name}" if stack.name else stack.owner.project
    folder = stack.owner.folder
    file, log = folder / f"{project}-watch.json", folder / f"{project}-watch.log"
    file.write_text(json.dumps(_with(stack.config, triggers), indent=1), "utf-8")
    # It notes there that it runs, so that nobody watches a project twice.
    notes = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [compose.docker_command(), "compose", "-p", project, "-f", str(file), "watch", "--no-up", *triggers],
            cwd=folder,
            env=compose.environment(compose.private_configuration(folder / "docker")) | notes,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Watch(process, log)
    finally:
        compose.end_session(process)


def _with(config: Mapping[str, Any], triggers: Triggers) -> dict[str, Any]:
    watched = copy.deepcopy(dict(config))
    for name, entries in triggers.items():
        watched["services"][name]["develop"] = {"watch": entries}
    return watched
