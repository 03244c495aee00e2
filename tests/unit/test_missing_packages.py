"""The grader typed with a Python that is not the workbook's own."""

from __future__ import annotations

import subprocess
import sys

from grader.catalog import ROOT
from grader.errors import InternalError, MachineError, missing_package


def test_a_python_without_the_packages_is_told_what_to_type() -> None:
    # -S: without site-packages, as a Python beside .venv.
    command = [sys.executable, "-S", "-m", "grader", "exercise-04"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == MachineError.exit_status
    assert "lacks the package click" in done.stderr
    assert "source .venv/bin/activate" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_is_missed_later_is_no_fault_of_the_graders() -> None:
    error = missing_package(ModuleNotFoundError("No module named 'psutil'", name="psutil"))
    assert isinstance(error, MachineError)
    assert "psutil" in error.what


def test_a_missing_part_of_the_grader_is_told_apart() -> None:
    error = missing_package(ModuleNotFoundError("No module named 'grader.policy'", name="grader.policy"))
    assert isinstance(error, InternalError)
    assert "grader.policy" in error.what
