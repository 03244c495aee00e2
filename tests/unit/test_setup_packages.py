"""The virtual environment: when it is left alone, when it is mended, and on which Python it is made."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import pytest

from grader.setup import packages
from grader.setup.packages import Stamp, fingerprint, installed, torch_pin

ROOT = Path(__file__).resolve().parents[2]
BOOTSTRAP = ROOT / "grader" / "setup" / "bootstrap.py"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A finished virtual environment with one package in it."""
    folder = tmp_path / ".venv"
    monkeypatch.setattr(packages, "VENV", folder)
    monkeypatch.setattr(packages, "PYTHON", folder / "bin" / "python")
    monkeypatch.setattr(packages, "STAMP", folder / "stamp.json")
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "sample-1.0.dist-info").mkdir()
    (site / "sample-1.0.dist-info" / "RECORD").touch()
    Stamp("abc", False, str(folder), packages._version(), installed()).write()
    return folder


def stamp() -> Stamp:
    found = Stamp.read()
    assert found is not None
    return found


def test_a_finished_environment_holds(environment: Path) -> None:
    assert stamp().packages == ["sample-1.0.dist-info"]
    assert stamp().holds()


def test_a_package_that_lost_its_record_is_noticed(environment: Path) -> None:
    next(environment.glob("**/RECORD")).unlink()
    assert not stamp().holds()


def test_a_python_that_is_gone_is_noticed(environment: Path) -> None:
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to("/nowhere/python3")
    assert not stamp().holds()


def test_a_python_that_became_another_version_is_noticed(environment: Path) -> None:
    assert not replace(stamp(), python="3.10").holds()


def test_an_environment_that_was_moved_is_noticed(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = environment.with_name("moved")
    shutil.move(environment, moved)
    monkeypatch.setattr(packages, "VENV", moved)
    monkeypatch.setattr(packages, "PYTHON", moved / "bin" / "python")
    monkeypatch.setattr(packages, "STAMP", moved / "stamp.json")
    assert not stamp().holds()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fingerprint": "abc"}'])
def test_a_stamp_that_was_cut_short_is_none(environment: Path, text: str) -> None:
    (environment / "stamp.json").write_text(text)
    assert Stamp.read() is None


def test_comments_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("rich==15.0.0      # tables\n")
    before = fingerprint([file])
    file.write_text("# The terminal:\n\nrich==15.0.0\n")
    assert fingerprint([file]) == before
    file.write_text("rich==15.0.1\n")
    assert fingerprint([file]) != before


def test_the_projects_own_pin_of_torch_is_found() -> None:
    pin = torch_pin((ROOT / "requirements.txt").read_text())
    assert pin is not None
    assert pin.startswith("torch==2.")
    assert "#" not in pin
    assert torch_pin("torchvision==1.0\n# torch==2.0\n") is None


def test_every_python_can_read_the_bootstrap_as_far_as_its_advice() -> None:
    ast.parse(BOOTSTRAP.read_text(), feature_version=(3, 4))


def run_as(version: str, path: str) -> subprocess.CompletedProcess[str]:
    """The bootstrap under a Python that takes itself for another version."""
    pretend = (
        f"import runpy, sys; sys.version_info = ({version}, 0, 'final', 0); sys.argv = [{str(BOOTSTRAP)!r}, '--help'];"
        f"sys.path.insert(0, ''); runpy.run_path({str(BOOTSTRAP)!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", pretend]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"PATH": path})


def test_an_old_python_is_told_what_to_install(tmp_path: Path) -> None:
    run = run_as("3, 9", str(tmp_path))
    assert run.returncode == 3
    assert "needs Python 3.11 or newer" in run.stderr
    assert "is 3.9" in run.stderr
    assert "sudo apt-get install python3.11 python3.11-venv" in run.stderr


def test_a_newer_python_beside_an_old_one_takes_over(tmp_path: Path) -> None:
    (tmp_path / "python3.13").write_text("#!/bin/sh\nexit 127\n")  # a version manager's placeholder
    (tmp_path / "python3.13").chmod(0o755)
    (tmp_path / "python3.12").symlink_to(sys.executable)
    run = run_as("3, 9", str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert "--packages-only" in run.stdout


def test_a_new_python_goes_on(tmp_path: Path) -> None:
    run = run_as("3, 12", str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert "--packages-only" in run.stdout
