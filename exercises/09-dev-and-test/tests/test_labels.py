"""Asks the running api, as its users do. The tests count on a store in which there is nothing yet."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

API = os.environ.get("API_URL", "http://api:8000")


def ask(method: str, path: str) -> Any:
    with urlopen(Request(API + path, method=method), timeout=10) as answer:
        return json.load(answer)


def test_nobody_has_seen_anything_yet() -> None:
    assert ask("GET", "/labels") == []


def test_labels_are_kept_in_order() -> None:
    for digit in (7, 1, 7):
        assert ask("POST", f"/labels/{digit}") == {"digit": digit}
    assert ask("GET", "/labels") == [7, 1, 7]


def test_ten_is_no_digit() -> None:
    with pytest.raises(HTTPError, match="422"):
        ask("POST", "/labels/10")
