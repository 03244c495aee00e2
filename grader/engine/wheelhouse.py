"""The wheels of the course's base image, downloaded by this machine's own pip with its own settings.

So a mirror, a proxy or a certificate that this machine's pip is set to serves the image too, and no build
needs them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from grader.engine.fingerprint import fingerprint
from grader.engine.process import CommandFailed, run
from grader.errors import MachineError

CACHE = Path(__file__).resolve().parents[2] / ".cache"
PYTHON = "3.11"  # of the base image
NEWEST_GLIBC = 36  # 2.36: Debian 12's, which python:3.11-slim had first; wheels for older ones run on it
TORCH = re.compile(r"^torch==(?P<version>[\w.]+)", re.MULTILINE)


def wheelhouse(
    requirements: Path,
    architecture: str,
    stopping: threading.Event,
    said: Callable[[str], None] = lambda line: None,
) -> Path:
    """A folder with a wheel for each requirement and for everything that these require.

    Args:
        requirements: a requirements.txt.
        architecture: the engine's, as it names it: "x86_64", "aarch64".
        stopping: set by another thread to end it.
        said: is told each line of pip's output.

    Returns:
        the folder, in the repository's cache, with the requirements beside the wheels. It is there at once when
        nothing has changed since the last time.

    Raises:
        MachineError: pip could not get them.
        grader.engine.process.Interrupted: `stopping` was set.
    """
    shelf = CACHE / "wheelhouse"
    ready = shelf / fingerprint([requirements], PYTHON, architecture)[:16]
    if ready.is_dir():
        return ready
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shelf, prefix="incomplete-") as scratch:
        wheels = Path(scratch, "wheels")
        _download(requirements, wheels, architecture, stopping, said)
        shutil.copy(requirements, wheels / "requirements.txt")
        for old in shelf.iterdir():
            if old.name != Path(scratch).name:
                shutil.rmtree(old, ignore_errors=True)
        os.rename(wheels, ready)
    return ready


def _download(
    requirements: Path,
    wheels: Path,
    architecture: str,
    stopping: threading.Event,
    said: Callable[[str], None],
) -> None:
    text = requirements.read_text()
    pinned = TORCH.search(text)
    cpu_build = wheels.with_name("cpu.txt")
    cpu_build.write_text(TORCH.sub(r"torch==\g<version>+cpu", text))
    target = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
    target += [f"--platform={name}" for name in _platforms(architecture)]

    def pip_download(what: Path, *more: str) -> None:
        pip(["download", f"--dest={wheels}", f"--requirement={what}", *target, *more], stopping, said)

    try:
        pip_download(cpu_build)
        return
    except CommandFailed as failure:
        if not pinned or not _lacks(failure.log, f"torch=={pinned['version']}+cpu"):
            raise _no_wheels(failure) from failure
    said("pip's own index has no CPU build of torch; looking for PyTorch's index")
    index = cpu_torch_index(pinned["version"], stopping, said)
    try:
        if index:
            pip_download(cpu_build, f"--extra-index-url={index}")
        else:
            said("torch: only the build with CUDA is to be had, some 3 GB more than the CPU build")
            pip_download(requirements)
    except CommandFailed as failure:
        raise _no_wheels(failure) from failure


def cpu_torch_index(
    version: str, stopping: threading.Event, said: Callable[[str], None] = lambda line: None
) -> str | None:
    """Where torch's CPU build is to be had. Only uv knows, so it is asked, in a folder of its own.

    Args:
        version: of torch, e.g. "2.13.0".
        stopping: set by another thread to end it.
        said: is told each line of output.

    Returns:
        the address of a package index, for pip's `--extra-index-url`; None if uv cannot be had or finds none.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch, "torch.txt")
        wanted.write_text(f"torch=={version}\n")
        uv = Path(scratch, "bin", "uv")
        question = [
            str(uv),
            "pip",
            "compile",
            "--torch-backend=cpu",
            "--no-deps",
            "--no-header",
            "--color=never",
        ]
        question += ["--emit-index-annotation", f"--python-version={PYTHON}", str(wanted)]
        try:
            pip(["install", f"--target={scratch}", "uv"], stopping, said)
            answer = run(question, stopping, said=said)
        except (CommandFailed, OSError):
            return None
    return annotated_index(answer)


def annotated_index(lines: Sequence[str]) -> str | None:
    """The index that uv says a package came from.

    Args:
        lines: of `uv pip compile --emit-index-annotation` for one package, such as "    # from https://…".

    Returns:
        the address, or None if there is none.
    """
    for line in lines:
        found = re.match(r"\s*# from (?P<index>\w+://\S+)$", line)
        if found:
            return found["index"]
    return None


def pip(arguments: Sequence[str], stopping: threading.Event, said: Callable[[str], None] = lambda line: None) -> None:
    """Runs the pip of the Python that runs us.

    Raises:
        CommandFailed: with pip's last lines.
    """
    run(
        [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments],
        stopping,
        said=said,
    )


def _platforms(architecture: str) -> list[str]:
    names = [f"manylinux_2_{minor}_{architecture}" for minor in range(NEWEST_GLIBC, 16, -1)]
    return [*names, f"manylinux2014_{architecture}"]


def _lacks(log: Sequence[str], requirement: str) -> bool:
    return any("No matching distribution found" in line and requirement in line for line in log)


def _no_wheels(failure: CommandFailed) -> MachineError:
    errors = [line for line in failure.log if line.startswith("ERROR:")] or failure.log[-5:]
    return MachineError(
        "pip could not download the packages of the course's base image:\n"
        + "\n".join(f"  {line}" for line in errors[-5:]),
        "If this machine reaches packages through a mirror or a proxy, tell pip (what pip is set to:\n"
        "`python -m pip config debug`); if its disk is full (`df -h .`), make room. Then run:\n"
        "    python -m grader images",
    )
