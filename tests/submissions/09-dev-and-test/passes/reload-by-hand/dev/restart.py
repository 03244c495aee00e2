"""Starts the api under a debugger, and again whenever a file of its source changes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "debugpy", "--listen", "0.0.0.0:5678", "-m", "uvicorn", "app.main:app"]


def state() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path("app").glob("*.py")}


while True:
    seen = state()
    program = subprocess.Popen([*COMMAND, "--host", "0.0.0.0", "--port", "8000"])
    while state() == seen:
        time.sleep(0.2)
    program.kill()
    program.wait()
