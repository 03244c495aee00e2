"""A command in a container, whatever becomes of the container meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from grader.engine.connection import connect
from grader.probes import execute

pytestmark = pytest.mark.live


@pytest.fixture
def container() -> Iterator[Container]:
    client = connect()
    started = client.containers.run("python:3.11-slim", ["sleep", "infinity"], init=True, detach=True)
    yield started
    with contextlib.suppress(NotFound):
        started.remove(force=True)
    client.close()


def test_its_status_and_what_it_printed(container: Container) -> None:
    done = execute(container.client, container.id, ["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=30)
    assert done.status == 3
    assert sorted(done.output.split()) == ["err", "out"]


def test_a_command_that_goes_on_has_no_status(container: Container) -> None:
    assert execute(container.client, container.id, ["sleep", "60"], timeout=0.5).status is None


@pytest.mark.parametrize("fate", ["kill", "remove"])
def test_a_container_that_ends_under_a_command_is_no_fault(container: Container, fate: str) -> None:
    client: docker.DockerClient = container.client

    def end() -> None:
        if fate == "kill":
            container.kill()
        else:
            client.api.remove_container(container.id, force=True)

    ending = threading.Timer(0.5, end)
    ending.start()
    done = execute(client, container.id, ["sleep", "60"], timeout=30)
    ending.join()
    # The engine may still know how the command ended, or have forgotten it with its container.
    assert done.status in (-1, 137)
