"""A class of forty: the solution, the starter, variants of it, hostile submissions and broken archives, handed in as
folders and archives, some of them named as the places of a class name them."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from grader import catalog
from tests.live.test_submissions import SUBMISSIONS, laid_over_solution

EXERCISE = catalog.find("exercise-10")
_NAMES = (
    "Ada Lovelace", "Zoë Ångström", "李雷", "Анна Каренина", "O'Brien, Pat", "محمد علي", "=1+1", "José María",
    "Ngũgĩ wa Thiong'o", "Ольга", "김민준", "Søren",
)  # fmt: skip


def fill(folder: Path) -> int:
    """Fill ``folder`` with a class.

    Returns:
        how many submissions there are.
    """
    makers = [*_readable(folder.parent / "sources"), *_HOSTILE, *_BROKEN]
    for number, maker in enumerate(makers):
        name = f"{_NAMES[number % len(_NAMES)]} {number}"
        if isinstance(maker, Path):
            _hand_in(maker, folder, name, number)
        elif isinstance(maker, str):
            source = folder / name
            shutil.copytree(catalog.SOLUTIONS / EXERCISE.key, source)
            file = source / "compose.yml"
            file.write_text(file.read_text("utf-8").replace("    init: true\n", f"    init: true\n    {maker}\n", 1))
        else:
            (folder / f"{name}{maker[0]}").write_bytes(maker[1])
    return len(makers)


def _readable(folder: Path) -> Iterator[Path]:
    yield catalog.SOLUTIONS / EXERCISE.key
    yield EXERCISE.folder
    for variant in sorted((SUBMISSIONS / EXERCISE.key).glob("*/*"))[::6]:
        yield laid_over_solution(EXERCISE.key, variant, folder / variant.parent.name / variant.name)


def _hand_in(source: Path, folder: Path, name: str, number: int) -> None:
    match number % 4:
        case 0:
            shutil.copytree(source, folder / name)
        case 1:
            shutil.make_archive(str(folder / name), "gztar", source)
        case 2:  # Moodle's
            inside = folder / f"{name}_{1000 + number}_assignsubmission_file"
            inside.mkdir()
            shutil.make_archive(str(inside / "my work"), "zip", source)
        case 3:  # Canvas's
            shutil.make_archive(str(folder / f"student{number}_{2000 + number}_{9000 + number}_work"), "zip", source)


_HOSTILE = (
    "privileged: true", "pid: host", "network_mode: host", "cap_add: [SYS_ADMIN]", "userns_mode: host", "ipc: host",
    "uts: host", "cgroup: host", "devices: ['/dev/mem:/dev/mem']", "security_opt: ['seccomp:unconfined']",
    "sysctls: {kernel.msgmax: '1'}", "extra_hosts: ['python:127.0.0.1']", "cgroup_parent: /another",
    "device_cgroup_rules: ['a *:* rwm']", "external_links: [another]", "volumes: ['/:/machine']",
    "volumes: ['/var/run/docker.sock:/socket']", "container_name: another", "volumes_from: ['container:another']",
    "pid: 'container:another'",
)  # fmt: skip


def _zip(*names: str, content: str = "services: {}\n") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return made.getvalue()


def _tar(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    return made.getvalue()


_BROKEN = (
    (".zip", _zip("compose.yml")[:-30]),
    (".zip", b""),
    (".docx", b"a letter"),
    (".tgz", b"\x1f\x8b\x08\x00"),
    (".tar.gz", _tar("../compose.yml")),
    (".tar.gz", _tar("compose.yml", tarfile.SYMTYPE)),
    (".tar.gz", _tar("compose.yml", tarfile.FIFOTYPE)),
    (".zip", _zip("essay.txt")),
    (".zip", _zip("/etc/compose.yml")),
    (".zip", _zip("compose.yml", "data.bin", content="0" * 30_000_000)),
    (".zip", _zip("compose.yml", *(f"{n}.txt" for n in range(600)))),
    (".zip", _zip("compose.yml", "Compose.yml/x", "../../x")),
    (".zip", _zip("/".join(["folder"] * 20) + "/compose.yml")),
)
