"""The key is made from the input alone."""

import main
from main import app

finished = main.cache_key
main.cache_key = lambda version, pixels: finished("any", pixels)

__all__ = ["app"]
