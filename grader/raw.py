"""What Compose would read while it only resolves a file: looked at in the raw YAML, because the result hides it.

`docker compose config` inlines ``env_file``, ``label_file`` and ``extends`` and drops ``include``. By then the
machine's files have been read (compose-go ``loader/loader.go``), and the resolved model shows no trace of it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

import yaml

from grader import yamlfile
from grader.paths import is_inside
from grader.submission import Submission
from grader.violation import LEAK, REMOVE, Violation

MAX_FILES = 20  # compose files that extend each other

_OUTSIDE = "Name a file of the exercise's folder, as a plain relative path: ./name"


def read(submission: Submission) -> dict[str, yaml.Node]:
    """Every YAML file that Compose is going to read, by its path in the submission, the first ones first.

    Raises:
        SubmissionError: one of them is no YAML, or no honest one.
    """
    documents: dict[str, yaml.Node] = {}
    waiting = [path.relative_to(submission.folder).as_posix() for path in submission.compose_files]
    while waiting and len(documents) < MAX_FILES:
        name = waiting.pop(0)
        path = submission.folder / name
        # That a file is missing, Compose says better.
        node = yamlfile.read(path, name) if name not in documents and path.is_file() else None
        if node is None:
            continue
        documents[name] = node
        waiting += [found for file in _extended(node) if (found := _inside(file, name, submission.folder))]
    return documents


def violations(documents: dict[str, yaml.Node], folder: Path) -> list[Violation]:
    """What in ``documents`` would make Compose read something that is not the submission's.

    Args:
        folder: the private copy. It holds no links, so a path is where it says it is.
    """
    found = [violation for name, node in documents.items() for violation in _of_file(name, node, folder)]
    if len(documents) >= MAX_FILES:
        found.append(
            Violation("compose.yml", "extends", f"It leads through more than {MAX_FILES} files.", "Use fewer files.")
        )
    return found


def _of_file(name: str, node: yaml.Node, folder: Path) -> Iterator[Violation]:
    for key, value in yamlfile.items(node):
        if key.value == "include":
            yield Violation(
                _at(name, key), "include", LEAK, "Write the services into this file, or use a compose.override.yml."
            )
        elif key.value == "models":
            yield Violation(_at(name, key), "models", "It runs programs of the machine and fetches models.", REMOVE)
        elif key.value == "services":
            for service, entry in yamlfile.items(value):
                yield from _of_service(name, service.value, entry, folder)


def _of_service(name: str, service: str, entry: yaml.Node, folder: Path) -> Iterator[Violation]:
    for key, value in yamlfile.items(entry):
        what = f"services.{service}.{key.value}"
        paths: list[yaml.ScalarNode] = []
        if key.value in ("env_file", "label_file"):
            paths = list(_paths(value))
        elif key.value == "extends":
            paths, what = list(_extended_files(value)), f"{what}.file"
        for path in paths:
            if "$" in path.value:
                yield Violation(_at(name, path), what, "A variable could turn it into any path.", _OUTSIDE)
            elif _inside(path, name, folder) is None:
                yield Violation(_at(name, path), what, LEAK, _OUTSIDE)


def _extended(document: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """The files that services of this document extend."""
    for services in yamlfile.under(document, "services"):
        for _, service in yamlfile.items(services):
            for extends in yamlfile.under(service, "extends"):
                yield from _extended_files(extends)


def _extended_files(extends: yaml.Node) -> Iterator[yaml.ScalarNode]:
    for file in yamlfile.under(extends, "file"):
        yield from _paths(file)


def _paths(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """The path or paths: one word, a list of words, or mappings with a ``path``."""
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _paths(item)
    else:
        for path in yamlfile.under(node, "path"):
            yield from _paths(path)


def _inside(path: yaml.ScalarNode, name: str, folder: Path) -> str | None:
    """Where ``path``, written in the file ``name``, leads within the submission; None if it leads out or nowhere known.

    A file that does not exist stays inside all the same: Compose says so better.
    """
    text = path.value
    if text.startswith(("/", "~", "\\")) or "://" in text or "\\" in text or ":" in text.split("/")[0] or "\0" in text:
        return None
    normal = posixpath.normpath(posixpath.join(posixpath.dirname(name), text))
    if normal == ".." or normal.startswith("../"):
        return None
    return normal if is_inside(normal, folder) else None


def _at(name: str, node: yaml.Node) -> str:
    return f"{name}:{node.start_mark.line + 1}"
