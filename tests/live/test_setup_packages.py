"""A real .venv, filled by the real pip from a wheel made here: no network, no containers, some seconds each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from grader.errors import MachineError
from grader.setup import packages

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose requirements are one package."""
    (tmp_path / "tests").mkdir()
    (tmp_path / ".cache").mkdir()
    for name, path in {
        "ROOT": "",
        "VENV": ".venv",
        "PYTHON": ".venv/bin/python",
        "STAMP": ".venv/stamp.json",
        "LOG": ".cache/log",
        "REQUIREMENTS": "requirements.txt",
        "DEV_REQUIREMENTS": "tests/requirements.txt",
    }.items():
        monkeypatch.setattr(packages, name, tmp_path / path)
    (tmp_path / "requirements.txt").write_text(f"{wheel(tmp_path, 'sample', '1.0')}\n")
    (tmp_path / "tests" / "requirements.txt").write_text(f"{wheel(tmp_path, 'tool', '1.0')}\n")
    return tmp_path


def wheel(folder: Path, name: str, version: str) -> Path:
    """A package with one module, which knows its version."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": f"version = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in [*contents, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in contents.items():
            archive.writestr(file, text)
    return path


def version_of(project: Path, name: str) -> str:
    ask = [project / ".venv" / "bin" / "python", "-c", f"import {name}; print({name}.version)"]
    return subprocess.run(ask, check=False, capture_output=True, text=True).stdout.strip()


def untouched(project: Path, again: Callable[[], None]) -> bool:
    before = (project / ".venv" / "stamp.json").stat().st_mtime_ns
    again()
    return (project / ".venv" / "stamp.json").stat().st_mtime_ns == before


def test_from_nothing_to_everything_and_then_nothing_more(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packages.ensure_packages(dev=False)
    assert version_of(project, "sample") == "1.0"
    assert version_of(project, "tool") == ""
    said = capsys.readouterr().out
    assert "Making the virtual environment .venv (about 5 s)" in said
    assert "Installing the packages of requirements.txt" in said

    assert untouched(project, lambda: packages.ensure_packages(dev=False))
    assert capsys.readouterr().out == ""

    packages.ensure_packages(dev=True)
    assert version_of(project, "tool") == "1.0"
    assert "Making" not in capsys.readouterr().out
    # What the tests need stays when somebody else only wants to grade.
    assert untouched(project, lambda: packages.ensure_packages(dev=False))

    (project / "requirements.txt").write_text(f"{wheel(project, 'sample', '2.0')}\n")
    packages.ensure_packages(dev=False)
    assert version_of(project, "sample") == "2.0"
    assert "Making" not in capsys.readouterr().out


def test_a_damaged_environment_is_made_anew(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packages.ensure_packages(dev=False)
    next((project / ".venv").glob("lib/*/site-packages/sample*.dist-info/RECORD")).unlink()
    packages.ensure_packages(dev=False)
    assert version_of(project, "sample") == "1.0"
    assert "damaged or half-made" in capsys.readouterr().out


def test_an_interrupted_set_up_is_finished_by_the_next(project: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from grader.setup import packages\n"
        f"root = Path({str(project)!r})\n"
        "for name, path in {'ROOT': '', 'VENV': '.venv', 'PYTHON': '.venv/bin/python', 'STAMP': '.venv/stamp.json',\n"
        "                   'LOG': '.cache/log', 'REQUIREMENTS': 'requirements.txt'}.items():\n"
        "    setattr(packages, name, root / path)\n"
        "packages.ensure_packages(dev=False)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (project / ".venv" / "bin" / "python").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (project / ".venv" / "stamp.json").exists()

    packages.ensure_packages(dev=False)
    assert version_of(project, "sample") == "1.0"


def test_an_index_out_of_reach_is_called_that(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    (project / "requirements.txt").write_text("sample==3.0\n")
    with pytest.raises(MachineError, match="could not be installed") as caught:
        packages.ensure_packages(dev=False)
    assert "The package index could not be reached. Check the network" in caught.value.fix
    assert "sample" in (project / ".cache" / "log").read_text()


def test_an_index_without_the_package_is_not_called_out_of_reach(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = project / "index"
    (empty / "sample").mkdir(parents=True)
    (empty / "sample" / "index.html").write_text("<!DOCTYPE html><html></html>")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", empty.as_uri())
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    (project / "requirements.txt").write_text("sample==3.0\n")
    with pytest.raises(MachineError) as caught:
        packages.ensure_packages(dev=False)
    assert "No matching distribution found for sample==3.0" in caught.value.what
    assert "could not be reached" not in caught.value.fix
