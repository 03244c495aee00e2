"""Debian's and Ubuntu's package manager, as far as the set-up needs it. Standard library only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from grader.errors import MachineError

SOURCES = Path("/etc/apt/sources.list.d/compose-course.sources")
PREFERENCES = Path("/etc/apt/preferences.d/compose-course")
NEXT_RELEASE = {"bookworm": "trixie"}
ARCHIVE_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# Patient with another package manager at work, impatient with a mirror that does not answer.
_OPTIONS = ("-o", "DPkg::Lock::Timeout=180", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20")


def usable() -> bool:
    """This machine has apt and this process may install with it."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def update(only: Path | None = None) -> None:
    """Fetch the package lists, of all sources or of one file's. A mirror that is down is missed later."""
    one = (
        "-o",
        f"Dir::Etc::sourcelist={only}",
        "-o",
        "Dir::Etc::sourceparts=-",
        "-o",
        "APT::Get::List-Cleanup=0",
    )
    _apt_get("update", *(one if only else ()))


def install(packages: Iterable[str]) -> None:
    """Install packages of the distribution.

    Raises:
        MachineError: apt failed; with the last lines it printed.
    """
    wanted = list(packages)
    run = _apt_get("install", "--yes", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", *wanted)
    if run.returncode:
        raise MachineError(
            f"apt could not install {' '.join(wanted)}. The last it said:\n{last_lines(run.stdout)}",
            "Put right what apt complains about (`apt-get check` and `df -h` help), then try again.",
        )


def candidates(packages: Iterable[str]) -> dict[str, str]:
    """The version apt would install of each package it can install at all."""
    run = _run("apt-cache", "policy", *packages)
    return parse_policy(run.stdout)


def parse_policy(text: str) -> dict[str, str]:
    """`apt-cache policy`'s text -> candidate versions by package; packages without one are left out."""
    found = re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (\S+)$", text, re.MULTILINE)
    return {package: version for package, version in found if version != "(none)"}


def next_release_sources(index_targets: str) -> tuple[str, str] | None:
    """The machine's own Debian archive entries, one release further.

    Args:
        index_targets: what `archive_targets` prints: apt's own reading of every source file.

    Returns:
        The next release's name and the text of a deb822 source file; None when the machine has no source of a
        Debian release that has a known successor. Other vendors' archives are never repeated.
    """
    entries: dict[tuple[str, str], set[str]] = {}
    successor = ""
    for line in index_targets.splitlines():
        uri, codename, component, origin = (line.split("|") + [""] * 4)[:4]
        release, _, part = codename.partition("-")
        if origin == "Debian" and release in NEXT_RELEASE and part in ("", "updates", "security"):
            successor = NEXT_RELEASE[release]
            entries.setdefault((uri, codename.replace(release, successor, 1)), set()).add(component)
    if not entries:
        return None
    signed = f"\nSigned-By: {ARCHIVE_KEYS}" if ARCHIVE_KEYS.exists() else ""
    stanzas = [
        f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {' '.join(sorted(components))}{signed}\n"
        for (uri, suite), components in sorted(entries.items())
    ]
    heading = f"# Compose course: Docker and only Docker from {successor}; see {PREFERENCES}\n"
    return successor, heading + "\n".join(stanzas)


def preferences(successor: str, packages: Iterable[str]) -> str:
    """The text of a preferences file: these packages, and nothing else, come from the next release."""
    return (
        f"# Compose course: only these packages come from {successor}. To undo, delete it and {SOURCES}.\n"
        f"Package: *\nPin: release n={successor}*\nPin-Priority: -1\n\n"
        f"Package: {' '.join(packages)}\nPin: release n={successor}*\nPin-Priority: 990\n"
    )


def archive_targets() -> str:
    """One line for each package index that apt is configured to read: address|codename|component|origin."""
    fields = "$(REPO_URI)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)"
    return _run("apt-get", "indextargets", "--format", fields, "Created-By: Packages").stdout


def last_lines(text: str, count: int = 12) -> str:
    """The last lines that say something, indented."""
    said = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(f"    {line}" for line in said[-count:])


def _apt_get(*words: str) -> subprocess.CompletedProcess[str]:
    return _run("apt-get", "--quiet", *_OPTIONS, *words)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        words,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    )
