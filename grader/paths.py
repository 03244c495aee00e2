"""Paths that a submission names: whether they stay where they may lead."""

from __future__ import annotations

from pathlib import Path

MAX_NAME = 255  # bytes of a file's name


def is_inside(path: str, folder: Path) -> bool:
    """Whether ``path`` stays in ``folder`` once every link is followed, and can be a path there at all."""
    if any(len(part.encode("utf-8", "replace")) > MAX_NAME for part in path.split("/")):
        return False
    try:
        found = (folder / path).resolve()
        return found.is_relative_to(folder.resolve()) and not any(parent.is_file() for parent in found.parents)
    except (OSError, ValueError):  # it leads where nobody may look, or has a NUL in it
        return False


def is_in_proc(path: str) -> bool:
    """Whether a working directory is, or could turn out to be, one of the kernel's.

    /proc/self/fd/N was a way out of the container: CVE-2024-21626.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return parts[:1] == ["proc"] or ".." in parts
