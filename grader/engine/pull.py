"""Pulling: whether a registry gives an image, and how much of it has arrived.

The engine is asked, never a registry: only the engine knows its mirrors, its proxy and its certificates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import requests
from docker.errors import DockerException

from grader.engine.connection import connect

ANSWER_WITHIN = 8.0  # seconds in which a registry has to answer; a slow link takes one or two
SILENT_FOR = 120.0  # seconds without a word after which a pull is given up


class NotPulled(Exception):
    """The image did not come; the text is the reason, one line."""


class Stopped(Exception):
    """The pull was given up because the caller is going."""


class PullProgress:
    """Adds up the layers of one image from the events of the engine's pull stream.

    The engine announces a layer's size only when its download begins, so the total grows during a pull.
    """

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    def update(self, event: Mapping[str, Any]) -> tuple[int, int]:
        """Takes in one event.

        Args:
            event: as the engine sends it, e.g.
                {"status": "Downloading", "id": "a1b2", "progressDetail": {"current": 1, "total": 9}}.

        Returns:
            bytes that have arrived, bytes that are known to be needed.
        """
        layer, status = event.get("id"), event.get("status")
        detail = event.get("progressDetail") or {}
        if layer and status == "Downloading" and detail.get("total"):
            self._layers[layer] = (min(detail.get("current", 0), detail["total"]), detail["total"])
        elif layer in self._layers and status in {
            "Download complete",
            "Verifying Checksum",
            "Extracting",
            "Pull complete",
        }:
            size = self._layers[layer][1]
            self._layers[layer] = (size, size)
        arrived = [done for done, _ in self._layers.values()]
        needed = [size for _, size in self._layers.values()]
        return sum(arrived), sum(needed)


def why_not_offered(tag: str, answer_within: float = ANSWER_WITHIN) -> str | None:
    """Asks the engine to look the image up in its registry, without pulling anything.

    Args:
        tag: e.g. "redis:7-alpine".
        answer_within: seconds.

    Returns:
        None if the registry has the image; otherwise the reason, one line.
    """
    client = connect(answer_within)
    try:
        client.api.inspect_distribution(tag)
    except requests.exceptions.Timeout:
        return f"no answer within {answer_within:.0f} s"
    except (DockerException, requests.exceptions.RequestException) as error:
        return _reason(error)
    finally:
        client.close()
    return None


def pull(tag: str, arrived: Callable[[int, int], None], stopping: threading.Event) -> None:
    """Pulls one image.

    Args:
        tag: e.g. "redis:7-alpine".
        arrived: is told the bytes that are here and the bytes that are needed.
        stopping: set by another thread to give the pull up.

    Raises:
        NotPulled: the registry or the engine ended it, or went silent.
        Stopped: `stopping` was set.
    """
    client = connect(SILENT_FOR)
    progress = PullProgress()
    try:
        for event in client.api.pull(tag, stream=True, decode=True):
            if stopping.is_set():
                raise Stopped
            if "error" in event:
                raise NotPulled(_first_line(event["error"]))
            arrived(*progress.update(event))
    except (DockerException, requests.exceptions.RequestException) as error:
        raise NotPulled(_reason(error)) from error
    finally:
        client.close()


def _reason(error: Exception) -> str:
    explanation = getattr(error, "explanation", None) or str(error)
    return _first_line(str(explanation))


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[0]
