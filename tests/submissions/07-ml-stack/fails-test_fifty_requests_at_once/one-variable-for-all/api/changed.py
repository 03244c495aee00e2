"""The input is kept in one variable of the program, which the next request overwrites before it is logged."""

import main
from main import app

finished_look_up, finished_log = main.look_up, main.log
current: list[float] = []


def look_up(pixels: list[float]) -> dict[str, object] | None:
    global current
    current = pixels
    return finished_look_up(pixels)


main.look_up = look_up
main.log = lambda pixels, answer: finished_log(current, answer)

__all__ = ["app"]
