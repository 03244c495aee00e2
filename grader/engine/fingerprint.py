"""What an image was built from, as one short word that changes when any of it does."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

# Left behind by running things, and no part of a build: every hidden folder, and these.
LEFT_BEHIND = frozenset({"__pycache__"})


def fingerprint(paths: Iterable[Path], *words: str) -> str:
    """Names the state of some files.

    Args:
        paths: files, and folders with all that is in them. Their own names do not count, those inside do.
        words: anything else the build depends on, e.g. the id of the parent image.

    Returns:
        64 hexadecimal digits, the same in every checkout: they change with the content of a file, its name,
        or its permission to be executed.
    """
    digest = hashlib.sha256()
    for path in paths:
        for name, file in _files(path):
            executable = os.access(file, os.X_OK)
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{name}\0{executable}\0{content}\n".encode())
        digest.update(b"\0")
    for word in words:
        digest.update(f"{word}\0".encode())
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield "", path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in LEFT_BEHIND)
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file():
                yield file.relative_to(path).as_posix(), file
