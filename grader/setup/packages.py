"""The virtual environment .venv: made, filled, mended; left alone when nothing changed.

Standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from grader.engine.facts import nvidia_gpu
from grader.errors import GraderError, MachineError
from grader.setup import apt
from grader.setup.advice import commands

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "compose-course.json"
CACHE = ROOT / ".cache"
LOG = CACHE / "setup-packages.log"
REQUIREMENTS = ROOT / "requirements.txt"
DEV_REQUIREMENTS = ROOT / "tests" / "requirements.txt"
UNREACHABLE = r"connection broken by|NewConnectionError|ProxyError|name resolution|ReadTimeoutError|dns error"


def main(arguments: list[str]) -> int:
    """Make .venv, then become `.venv/bin/python -m grader setup`.

    Returns:
        the exit status where it does not come to that: 0 after --packages-only, 3 when this machine stands in the way.
    """
    parser = argparse.ArgumentParser(prog="bootstrap.py", description="Set up .venv, the engine and the images.")
    parser.add_argument("--dev", action="store_true", help="also what the project's own tests need")
    parser.add_argument("--packages-only", action="store_true", help="only .venv, no engine and no images")
    options = parser.parse_args(arguments)
    try:
        lock = _alone()
        ensure_packages(options.dev)
    except GraderError as error:
        print(f"{error.what}\n{error.fix}", file=sys.stderr)
        return error.exit_status
    except PermissionError as error:
        mine = commands(f'sudo chown -R "$USER" {shlex.quote(str(ROOT))}', "make setup")
        print(f"{error.filename} belongs to another user, perhaps since a `sudo make`. {mine}", file=sys.stderr)
        return MachineError.exit_status
    except KeyboardInterrupt:
        print("\nInterrupted. The next set-up makes .venv anew.", file=sys.stderr)
        return 130
    if not options.packages_only:
        os.chdir(ROOT)
        os.set_inheritable(lock, True)  # held on: two set-ups must not start two engines either
        os.execv(PYTHON, [str(PYTHON), "-m", "grader", "setup"])
    return 0


def _alone() -> int:
    """Wait until no other set-up of this checkout is at work; the lock ends with the process."""
    CACHE.mkdir(exist_ok=True)
    lock = os.open(CACHE / "setup.lock", os.O_RDONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say("Another set-up of this folder is at work; waiting for it ...")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def ensure_packages(dev: bool) -> None:
    """See to it that .venv holds the pinned packages; done in milliseconds when it does.

    Args:
        dev: also those of tests/requirements.txt. Once there, they are kept up to date too.

    Raises:
        MachineError: no network, no room on the disk, or no way to make a virtual environment.
    """
    found = Stamp.read()
    sound = found is not None and found.holds()
    dev = dev or (found is not None and found.dev)
    files = [REQUIREMENTS, *([DEV_REQUIREMENTS] if dev else [])]
    wanted = fingerprint(files)
    if found and sound and found.fingerprint == wanted:
        return
    start = time.monotonic()
    if not sound:
        _make_venv()
    STAMP.unlink(missing_ok=True)  # from here to the end .venv is half-made, and known to be
    _install(files)
    Stamp(wanted, dev, str(VENV), _version(), installed()).write()
    _say(f"  .venv is ready ({time.monotonic() - start:.0f} s)")


@dataclass(frozen=True)
class Stamp:
    """What the finished .venv was: written last, so that without one it is half-made.

    Attributes:
        fingerprint: of the requirement files.
        dev: with tests/requirements.txt.
        folder: where it was made; programs in it know that path.
        python: its Python's version, e.g. "3.11".
        packages: the metadata folders of everything that was installed.
    """

    fingerprint: str
    dev: bool
    folder: str
    python: str
    packages: list[str]

    @classmethod
    def read(cls) -> Stamp | None:
        """The stamp of .venv; None when there is none that can be read."""
        try:
            return cls(**json.loads(STAMP.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self) -> None:
        """Leave it in .venv."""
        STAMP.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def holds(self) -> bool:
        """The environment is still where and what it was: same folder, a Python that runs, no package gone."""
        same = self.folder == str(VENV) and self.python == _version()
        return same and set(self.packages) <= set(installed())


def fingerprint(files: Iterable[Path]) -> str:
    """Of the contents of files, comments left out."""
    lines = [line.partition("#")[0].strip() for file in files for line in file.read_text().splitlines()]
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()


def installed() -> list[str]:
    """The metadata folders of the packages that are wholly in .venv: pip writes RECORD last."""
    return sorted(record.parent.name for record in VENV.glob("lib/python*/site-packages/*.dist-info/RECORD"))


def _version() -> str:
    """The version of .venv's Python, "" when it does not run."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        run = subprocess.run([PYTHON, "-I", "-S", "-c", ask], check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return run.stdout.strip()


def _make_venv() -> None:
    mending = " anew: it is damaged or half-made" if VENV.exists() else ""
    _say(f"Making the virtual environment .venv{mending} (about 5 s) ...")
    if importlib.util.find_spec("ensurepip") is None:
        _install_ensurepip()
    # Not sys.executable: that may be the very .venv that is made anew.
    base = getattr(sys, "_base_executable", sys.executable)
    run = subprocess.run([base, "-m", "venv", "--clear", VENV], check=False, capture_output=True, text=True)
    if run.returncode:
        said = apt.last_lines(run.stdout + run.stderr)
        raise MachineError(
            f"Python could not make {VENV}:\n{said}", _advice(said) or "Run the set-up again after that."
        )


def _install_ensurepip() -> None:
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if not apt.usable():
        raise MachineError(
            "This Python comes without the means to make virtual environments.",
            commands(f"sudo apt-get install {package}", "make setup"),
        )
    _say(f"  installing {package} from this machine's package archives (about 15 s) ...")
    apt.update()
    apt.install([package])
    importlib.invalidate_caches()


def _install(files: list[Path]) -> None:
    torch = torch_pin(REQUIREMENTS.read_text())
    # Only the Linux builds on the usual index come with CUDA.
    there = torch and f"{torch.replace('==', '-')}+cpu.dist-info" in installed()
    if torch and not there and platform.system() == "Linux" and nvidia_gpu() is None:
        _install_torch_for_cpu(torch)
    names = " and ".join(str(file.relative_to(ROOT)) for file in files)
    _say(f"Installing the packages of {names} (1 to 3 minutes, about 150 MB) ...")
    run = _pip("install", *(word for file in files for word in ("-r", str(file))))
    if run.returncode:
        raise _failure("The packages could not be installed.", run.stdout)
    _compile()


def _compile() -> None:
    """Python's bytecode of all packages, on every core; pip makes it on one, in nearly half of its time."""
    # What cannot be compiled is for another version of Python, and is never imported.
    _logged([str(PYTHON), "-I", "-m", "compileall", "-q", "-j", "0", *map(str, VENV.glob("lib/python*/site-packages"))])


def torch_pin(requirements: str) -> str | None:
    """The line that pins torch in the text of a requirement file, without its comment: "torch==2.13.0"."""
    found = re.search(r"^torch==[\w.]+", requirements, re.MULTILINE)
    return found[0] if found else None


def _install_torch_for_cpu(torch: str) -> None:
    """The build without CUDA: a tenth of the size, and all that a machine without an NVIDIA GPU can use.

    The usual index has only the build with CUDA. So: the index pip is set up with, if that has the other one; else
    PyTorch's own, which uv knows.
    """
    _say(f"Installing {torch}, the build for machines without an NVIDIA GPU (about 200 MB, 1 minute) ...")
    run = _pip("install", f"{torch}+cpu")
    if run.returncode == 0:
        return
    if "No matching distribution" not in run.stdout or re.search(UNREACHABLE, run.stdout):
        raise _failure(f"{torch} could not be installed.", run.stdout)
    _say("  pip's index does not have it; asking PyTorch's own, with uv ...")
    if _uv_installs(torch):
        return
    _say(
        f"  Neither index has that build, so {torch} with CUDA comes next: several GB more, no other harm.\n"
        "  To avoid it press Ctrl-C, give pip the CPU index that PyTorch's installation page shows\n"
        "  (`.venv/bin/pip config set global.extra-index-url …`), and run the set-up again."
    )


def _uv_installs(torch: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        if _pip("install", "--target", folder, "uv").returncode:
            return False
        uv = [str(Path(folder, "bin", "uv")), "pip", "install", "--python", str(PYTHON)]
        # Its dependencies come from the usual index, with the rest.
        return _logged([*uv, "--torch-backend=cpu", "--no-deps", torch]).returncode == 0


def _pip(*words: str) -> subprocess.CompletedProcess[str]:
    options = ("--disable-pip-version-check", "--no-input", "--no-compile", "--progress-bar=off", "--retries=2")
    return _logged([str(PYTHON), "-I", "-m", "pip", *words, *options])


def _logged(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command, its output into the log; on a terminal one line shows where it is."""
    terminal = sys.stdout.isatty()
    lines: list[str] = []
    with (
        LOG.open("a") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"PIP_USER": "0"},
        ) as process,
    ):
        log.write(f"$ {' '.join(command)}\n")
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                log.write(line)
                if terminal and line.strip():
                    print(f"\r\033[K  {line.strip()[:76]}", end="", flush=True)
        except BaseException:
            process.terminate()  # or it would go on changing .venv
            raise
    if terminal:
        print("\r\033[K", end="", flush=True)
    return subprocess.CompletedProcess(command, process.returncode, "".join(lines), "")


def _failure(what: str, output: str) -> MachineError:
    return MachineError(f"{what} The last lines of {LOG}:\n{apt.last_lines(output, 6)}", _advice(output))


def _advice(output: str) -> str:
    if "No space left on device" in output:
        return commands("df -h .", before="The disk is full; about 2 GB are needed here. See how full, and make room:")
    if re.search(UNREACHABLE, output):
        return (
            "The package index could not be reached. Check the network (behind a proxy, set HTTPS_PROXY), then run the "
            "set-up again: it goes on where it stopped."
        )
    return commands("rm -rf .venv", "make setup", before="Try once more from the beginning:")


def _say(line: str) -> None:
    print(line, flush=True)
