"""The model server is asked each time, even when the answer is in the cache."""

import main
from main import app

finished = main.look_up


def look_up(pixels: list[float]) -> dict[str, object] | None:
    main.ask_model_server(pixels)
    return finished(pixels)


main.look_up = look_up

__all__ = ["app"]
