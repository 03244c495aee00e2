"""What happened to a project's containers and when, as the engine itself tells it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import docker

SERVICE_LABEL = "com.docker.compose.service"
PROJECT_LABEL = "com.docker.compose.project"


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        at: seconds since 1970 on the engine's clock.
        service: the compose service.
        action: ``start``, ``die``, ``oom``, ``healthy`` or ``unhealthy``.
        seen: when it reached this process, on the monotonic clock; the engine's own clock may be another machine's.
        exit_code: of a ``die``.
    """

    at: float
    service: str
    action: str
    seen: float
    exit_code: int | None = None


class EventLog:
    """Collects one project's events from the moment it is made until ``close``.

    Args:
        on_lost: called, from another thread, when the engine ends the stream by itself: it stopped, or crashed.

    The engine keeps only its last 256 events, and each probe makes three: asking afterwards would miss some.
    """

    def __init__(self, client: docker.DockerClient, project: str, on_lost: Callable[[], object] = lambda: None) -> None:
        self._events: list[Event] = []
        self._on_lost = on_lost
        self._closing = False
        self._heard = 0
        self._news = threading.Condition()
        self._stream = client.api.events(
            decode=True,
            filters={
                "type": "container",
                "label": f"{PROJECT_LABEL}={project}",
                "event": ["start", "die", "oom", "health_status"],
            },
        )
        self._reader = threading.Thread(target=self._read, name=f"events of {project}", daemon=True)
        self._reader.start()

    def all(self) -> list[Event]:
        """Everything so far, oldest first."""
        with self._news:
            return list(self._events)

    def find(self, service: str, action: str) -> list[Event]:
        """Every such event so far, oldest first."""
        return [event for event in self.all() if event.service == service and event.action == action]

    def wait(self, service: str, action: str, timeout: float, after: float = 0.0) -> Event | None:
        """The first such event later than ``after``, waiting up to ``timeout`` seconds for it."""

        def found() -> Event | None:
            return next(
                (e for e in self._events if e.service == service and e.action == action and e.at > after),
                None,
            )

        with self._news:
            self._news.wait_for(lambda: found() is not None, timeout)
            return found()

    @property
    def heard(self) -> int:
        """How many events and nudges there have been so far, for ``wait_for_news``."""
        return self._heard

    def wait_for_news(self, heard: int, timeout: float) -> None:
        """Return once there was more than ``heard``, or after ``timeout`` seconds."""
        with self._news:
            self._news.wait_for(lambda: self._heard > heard, timeout)

    def nudge(self) -> None:
        """Wake whoever waits for news: something has changed that the engine has no event for."""
        with self._news:
            self._heard += 1
            self._news.notify_all()

    def close(self) -> None:
        """Stop listening."""
        self._closing = True
        self._stream.close()

    def _read(self) -> None:
        # The stream may be closed under us, or the engine go: either way it is over.
        with contextlib.suppress(Exception):
            for raw in self._stream:
                with self._news:
                    self._events.append(_event(raw))
                    self._heard += 1
                    self._news.notify_all()
        if not self._closing:
            self._on_lost()


def _event(raw: dict[str, Any]) -> Event:
    attributes = raw["Actor"]["Attributes"]
    action = raw["Action"]
    return Event(
        at=raw["timeNano"] / 1e9,
        service=attributes.get(SERVICE_LABEL, ""),
        action=action.removeprefix("health_status: ") if action.startswith("health_status") else action,
        seen=time.monotonic(),
        exit_code=int(attributes["exitCode"]) if "exitCode" in attributes else None,
    )
