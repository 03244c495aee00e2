"""The Dockerfile of a ``build`` section, wherever it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.paths import is_inside
from grader.violation import LEAK

MAX_BYTES = 128 * 2**10  # grader.dockerfile refuses what is half as large


@dataclass(frozen=True)
class Recipe:
    """A Dockerfile.

    Attributes:
        path: where it lies in the submission; empty if it is written in the compose file.
        text: what it says.
    """

    path: str
    text: str


class NoRecipe(Exception):
    """There is no Dockerfile that could be looked at.

    Args:
        why: what is wrong.
        instead: what to do.
    """

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(why)
        self.why = why
        self.instead = instead


def of(build: Mapping[str, Any], folder: Path) -> Recipe:
    """The Dockerfile of a resolved ``build`` section.

    Args:
        folder: the private copy.

    Raises:
        NoRecipe: there is none, or it lies outside of ``folder``.
    """
    if inline := build.get("dockerfile_inline"):
        return Recipe("", plain(str(inline)))
    root = folder.resolve()
    written = f"{build.get('context', '.')}/{build.get('dockerfile') or 'Dockerfile'}"
    if str(build.get("dockerfile", "")).startswith("/") or not is_inside(written, root):
        raise NoRecipe(LEAK, "Use a Dockerfile inside the exercise's folder.")
    path = (root / written).resolve()
    name = path.relative_to(root).as_posix()
    if not path.is_file():
        raise NoRecipe(
            f"There is no file {name} to build from.", "Hand it in, too, or name the Dockerfile that is there."
        )
    with path.open("rb") as stream:
        return Recipe(name, stream.read(MAX_BYTES).decode("utf-8", "replace"))


def plain(text: str) -> str:
    """``text`` of a resolved model as it is: Compose prints every dollar sign twice, so that it can be read back."""
    return text.replace("$$", "$")


def doubled(text: str) -> str:
    """The opposite of ``plain``."""
    return text.replace("$", "$$")
