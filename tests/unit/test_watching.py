from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grader.model import Model, Service
from grader.watching import sync_triggers

FOLDER = Path("/copy")
SYNC = {"action": "sync", "path": "/copy/site", "target": "/site"}


def triggers(*watch: dict[str, Any], volumes: Any = (), **service: Any) -> object:
    config = {"build": {"context": "/copy"}, "develop": {"watch": list(watch)}, **service}
    services = {"web": config, "other": {"image": "redis:7-alpine", "volumes": list(volumes)}}
    model = Model("p", {"services": services}, {name: Service(name, entry, {}) for name, entry in services.items()})
    return sync_triggers(model, FOLDER)


def mount(source: str, **more: object) -> dict[str, object]:
    return {"type": "bind", "source": source, "target": "/x", **more}


def test_what_copies_is_kept_with_what_it_says() -> None:
    restart = {**SYNC, "action": "sync+restart", "ignore": ["drafts/"]}
    assert triggers(SYNC, restart) == {"web": [SYNC, restart]}


@pytest.mark.parametrize("action", ["rebuild", "restart", "sync+exec", "anything"])
def test_what_does_more_is_left_out(action: str) -> None:
    assert triggers({**SYNC, "action": action, "exec": {"command": "id"}}) == {}


def test_only_the_keys_of_a_copy_are_kept() -> None:
    assert triggers({**SYNC, "exec": {"command": "id"}}) == {"web": [SYNC]}


def test_nothing_outside_of_the_copy_is_watched() -> None:
    assert triggers({**SYNC, "path": "/etc"}) == {}


@pytest.mark.parametrize("source", ["/copy", "/copy/site", "/copy/site/pictures"])
def test_nothing_is_watched_that_a_container_may_write_to(source: str) -> None:
    assert triggers(SYNC, volumes=[mount(source)]) == {}
    assert triggers(SYNC, volumes=[mount(source, read_only=True)]) == {"web": [SYNC]}


def test_other_folders_may_be_written_to() -> None:
    assert triggers(SYNC, volumes=[mount("/copy/sites"), {"type": "volume", "target": "/copy/site"}]) == {"web": [SYNC]}


def test_a_service_that_is_not_built_is_not_watched() -> None:
    services = {"web": {"image": "python:3.11-slim", "develop": {"watch": [SYNC]}}}
    assert sync_triggers(Model("p", {"services": services}, {}), FOLDER) == {}
