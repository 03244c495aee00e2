"""The grader on this folder's exercise as a process of its own, and what it leaves behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

from grader.engine import sweep
from tests.live import grading


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The grader on this folder's exercise, in a process group of its own."""
    return grading.start(*arguments, module="tests.hostile.on_target", **environment)


def clean(**environment: str) -> str:
    """What ``python -m grader clean`` says."""
    process = grading.start("clean", **environment)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    return stdout


def folders_of(pid: int) -> list[Path]:
    """The folders of private copies that belong to gradings of that process."""
    found = {folder: sweep.Owner.of_folder(folder) for folder in sweep.state_folder().iterdir()}
    return [folder for folder, owner in found.items() if owner and owner.pid == pid]
