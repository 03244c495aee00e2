"""The cache is a dictionary of the program, not Redis."""

import main
from main import app

found: dict[str, dict[str, object]] = {}


def look_up(pixels: list[float]) -> dict[str, object] | None:
    return found.get(main.cache_key(main.version.current or "", pixels))


def remember(pixels: list[float], answer: dict[str, object]) -> None:
    found[main.cache_key(str(answer["model_version"]), pixels)] = answer


main.look_up, main.remember = look_up, remember

__all__ = ["app"]
