"""What is said of a build, and where an edited copy is built; no engine is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from grader.builds import Built, _check, _moved
from grader.errors import Blocked

FAILED = """
#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
#5 [2/3] COPY nothing.txt .
#5 ERROR: failed to calculate checksum of ref: "/nothing.txt": not found
------
 > [2/3] COPY nothing.txt .:
------
failed to solve: failed to compute cache key: "/nothing.txt": not found
"""


def built(status: int | None, log: str = "") -> Built:
    return Built(status, log, "", {})


def test_a_failed_build_says_why() -> None:
    assert not built(1, FAILED).ok
    assert built(1, FAILED).problem.endswith('failed to compute cache key: "/nothing.txt": not found')


def test_a_build_that_took_too_long_says_so() -> None:
    assert not built(None, "#5 [2/3] RUN sleep 1000").ok
    assert built(None, "#5 [2/3] RUN sleep 1000").problem == "the build took too long"


def test_a_build_that_printed_nothing_is_told_from_one_that_did() -> None:
    assert built(1).problem == "it says nothing"


def test_a_copy_is_built_in_its_own_folder(tmp_path: Path) -> None:
    old, new = tmp_path / "files", tmp_path / "copy"
    (old / "api").mkdir(parents=True)
    graded = {
        "context": str(old / "api"),
        "additional_contexts": {"root": str(old), "other": "service:other"},
        "network": "none",
    }
    assert _moved(graded, old, new) == {
        "context": str(new / "api"),
        "additional_contexts": {"root": str(new), "other": "service:other"},
        "network": "none",
    }


def test_other_arguments_cannot_make_a_build_pull() -> None:
    text = "ARG BASE=python:3.11-slim\nFROM $${BASE}\n"
    _check({"dockerfile_inline": text})
    with pytest.raises(Blocked, match="line 2"):
        _check({"dockerfile_inline": text, "args": {"BASE": "somebody/else:1"}})
