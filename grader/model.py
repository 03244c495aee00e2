"""``docker compose config`` on the private copy becomes a typed, frozen model.

The model is what Compose resolved (short and long syntax, anchors, extends, override files are all
gone) and still knows the file and line that each part came from. Reading it needs no engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from grader import compose
from grader.errors import SubmissionError
from grader.submission import Submission

CONFIG_TIMEOUT = 20.0

Path_ = tuple[str, ...]


@dataclass(frozen=True)
class Dependency:
    """One entry of a service's ``depends_on``: which condition is waited for, and what else it says."""

    service: str
    condition: str
    required: bool = True
    restart: bool = False


@dataclass(frozen=True)
class Service:
    """One service as Compose resolved it.

    Attributes:
        name: its name in the compose file.
        config: its resolved mapping; every list and number in Compose's long syntax.
        depends_on: name of the other service -> what is waited for.
    """

    name: str
    config: Mapping[str, Any] = field(repr=False)
    depends_on: Mapping[str, Dependency]


@dataclass(frozen=True)
class Model:
    """A whole compose project as Compose resolved it.

    Attributes:
        project: the project's name, unique to this grading.
        config: the resolved file, as ``docker compose config --format json`` prints it.
        services: name -> service.
        warnings: what Compose found worth a warning, each a sentence.
    """

    project: str
    config: Mapping[str, Any] = field(repr=False)
    services: Mapping[str, Service]
    warnings: tuple[str, ...] = ()
    _lines: Mapping[Path_, str] = field(repr=False, default_factory=dict)

    def at(self, *path: str) -> str:
        """``compose.yml:14``, where ``path`` (``"services", "api", "ports"``) is written.

        What the file does not say itself is answered with the nearest thing around it.
        """
        for length in range(len(path), 0, -1):
            if where := self._lines.get(path[:length]):
                return where
        return next(iter(self._lines.values()), "compose.yml").split(":")[0]


def load(
    submission: Submission, documents: Mapping[str, yaml.Node], project: str, required: Sequence[str] = ()
) -> Model:
    """Resolve the submission's compose files.

    Args:
        documents: the raw YAML of each file (``grader.raw.read``), already found harmless to read.
        required: the services that the exercise's checks talk about.

    Raises:
        SubmissionError: Compose refuses them.
        MachineError: there is no docker command.
    """
    lines: dict[Path_, str] = {}
    for path in submission.compose_files:
        name = path.relative_to(submission.folder).as_posix()
        if name in documents:
            lines |= dict(_walk(documents[name], (), name, 0))
    files = [argument for path in submission.compose_files for argument in ("-f", str(path))]
    done = compose.read(
        ["-p", project, *files, "--profile", "*", "config", "--format", "json"],
        submission.folder,
        CONFIG_TIMEOUT,
    )
    names = ", ".join(path.name for path in submission.compose_files)
    if done.status is None:
        raise SubmissionError(
            f"Compose did not finish reading {names} within {CONFIG_TIMEOUT:.0f} s.", "Simplify the file."
        )
    if done.status != 0:
        raise SubmissionError(
            f"Compose cannot read {names}: {_reason(done.stderr, submission)}",
            "Mend it until this command prints the resolved file:\n    docker compose config",
        )
    try:
        config = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise SubmissionError(f"Compose printed no JSON for {names}: {error}", "Try: docker compose config") from error
    services = {name: _service(name, entry) for name, entry in (config.get("services") or {}).items()}
    if not services:
        raise SubmissionError(f"{names} has no services.", "Start from the exercise's own compose.yml.")
    if missing := [name for name in required if name not in services]:
        raise SubmissionError(
            f"{names} has no service called {' and none called '.join(missing)}.",
            f"The exercise's services keep their names: {', '.join(required)}.",
        )
    return Model(project, config, services, _warnings(done.stderr, submission), lines)


def _service(name: str, config: Mapping[str, Any]) -> Service:
    dependencies = {
        other: Dependency(other, entry["condition"], entry.get("required", True), entry.get("restart", False))
        for other, entry in (config.get("depends_on") or {}).items()
    }
    return Service(name, config, dependencies)


def _warnings(stderr: str, submission: Submission) -> tuple[str, ...]:
    found = re.findall(r'level=warning msg="((?:[^"\\]|\\.)*)"', stderr)
    return tuple(text.replace(f"{submission.folder}/", "").replace('\\"', '"') for text in found)


def _reason(stderr: str, submission: Submission) -> str:
    lines = [line for line in stderr.splitlines() if line.strip() and "level=warning" not in line]
    text = " ".join(lines) or "it gives no reason"
    # The private copy's path means nothing to a student.
    text = text.replace(f"{submission.folder}/", "").replace(str(submission.folder), ".")
    return re.sub(r"\s+", " ", text).strip()


# --- where each part is written ---------------------------------------------------------------


def _walk(node: yaml.Node, path: Path_, name: str, depth: int) -> Iterator[tuple[Path_, str]]:
    # A compose file's own keys end at about depth 8; deeper is somebody's x- data or an alias bomb.
    if depth > 10:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value == "<<":
                yield from _walk(value, path, name, depth + 1)
                continue
            here = (*path, key.value)
            yield here, f"{name}:{key.start_mark.line + 1}"
            yield from _walk(value, here, name, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            here = (*path, str(index))
            yield here, f"{name}:{item.start_mark.line + 1}"
            yield from _walk(item, here, name, depth + 1)
