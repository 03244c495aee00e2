"""``python -m tests.hostile.fuzz --seconds 600 [--seed N]``: changed submissions, until one is mistreated.

Whatever is handed in, the grader says that it cannot be read, refuses it or accepts it; it never fails by itself, takes
no longer than half a minute, lets nothing of the machine into the model, and what it accepts is harmless to start
(``dangers``, which knows nothing of the policy's tables). What breaks one of these is written to a folder, with the
number of the case: the same seed and ``--case`` make the same one again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader import rewrite, vetting
from grader.errors import SubmissionError
from grader.rewrite import LABEL, Limits, Polling, Terms
from grader.submission import private_copy
from tests.hostile.harmless import HARMLESS
from tests.hostile.on_target import TARGET
from tests.hostile.refused import ATTACKS, IN_VAIN, Aim

PROJECT = "grading-fuzz"
TERMS = Terms("fuzz", Polling(0.2, 10.0, 600.0), Limits(), TARGET.reach)
LONGEST = 30.0  # seconds
WORDS = [
    line.split(".")[-1].removesuffix("[]")
    for line in (Path(__file__).parent.parent / "unit/compose_attributes.txt").read_text().splitlines()
    if not line.startswith("#")
]
VALUES = [
    "true", "host", "0", "-1", "''", "~", "null", "[]", "{}", "1e9", "0x10", "1us", "1000000h", "/", "..", "./x", "~/x",
    "'{canary_file}'", "['{canary_file}']", "{path: '{canary_file}'}", "${{variable}}", "['{variable}']", "$$", "${",
    "'/:/host'", "['/:/host']", "[{type: bind, source: /, target: /x}]", "{file: '{canary_yaml}', service: web}",
    "[ALL]", '"a\\0b"', "service:web", "container:x", "all", "local", "&a x", "*a", "!reset null",
    "!override [x]", "!!str x",
]  # fmt: skip
# Line ends, blanks and marks that one reader knows and another does not.
CHARACTERS = ["\ufeff", "\u0085", "\u2028", "\u2029", "\u00a0", "\u3000", "\t", "\r", "\0", "\x0b", "\x1b", "\x7f",
              "\ud7ff", "\U0001f433", "#", ":", "- ", "? ", "|", ">", "'", '"', "&", "*", "!", "%", "@", "`", "{", "}",
              "[", "]", ",", "$", "\\", "\n", "---\n", "...\n", "<<: "]  # fmt: skip

Change = Callable[[random.Random, str], str]


# --- what is harmless to start: the oracle ------------------------------------------------------------------------


def dangers(config: Mapping[str, Any], folder: Path) -> list[str]:
    """What in a file that would be started could harm the machine."""
    found = [f"{name}: {what}" for name, service in config["services"].items() for what in _of_service(service, folder)]
    if sum(_replicas(service) for service in config["services"].values()) > 20:
        found.append("more than 20 containers")
    for section in ("networks", "volumes", "secrets", "configs"):
        for name, entry in (config.get(section) or {}).items():
            found += [f"{section}.{name}: {what}" for what in _of_entry(section, name, entry or {}, folder)]
    return found


NEVER = {
    "privileged", "use_api_socket", "provider", "models", "credential_spec", "runtime", "cgroup", "cgroup_parent",
    "device_cgroup_rules", "devices", "gpus", "isolation", "pid", "ipc", "uts", "userns_mode", "sysctls", "group_add",
    "annotations", "storage_opt", "container_name", "external_links", "volumes_from", "extra_hosts", "dns", "dns_opt",
    "dns_search", "mac_address", "cpuset", "cpu_rt_runtime", "cpu_rt_period", "oom_kill_disable", "oom_score_adj",
    "blkio_config", "env_file", "label_file", "extends", "develop", "platform", "pre_start",
}  # fmt: skip
RIGHTS = re.compile(r"(?im)^[ \t]*run[ \t]+(--\S+[ \t]+)*--(security=insecure|network=host|mount=\S*type=(ssh|secret))")
CAPABILITIES = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}


def _of_service(service: Mapping[str, Any], folder: Path) -> Iterator[str]:
    yield from (f"{key} is set" for key in NEVER & set(service) if service[key])
    mode = str(service.get("network_mode") or "none")
    if mode != "none" and not mode.startswith("service:"):
        yield f"network_mode: {mode}"
    if {str(name).upper().removeprefix("CAP_") for name in service.get("cap_add") or []} - CAPABILITIES:
        yield f"cap_add: {service['cap_add']}"
    if service.get("security_opt") != ["no-new-privileges:true"]:
        yield f"security_opt: {service.get('security_opt')}"
    if service.get("labels") != {LABEL: "fuzz"}:
        yield f"labels: {service.get('labels')}"
    if (service.get("logging") or {}).get("driver") != "json-file":
        yield "no bounded log"
    for port in service.get("ports") or []:
        if port.get("host_ip") != "127.0.0.1" or port.get("published"):
            yield f"port {port}"
    for key, most in (("mem_limit", 2 * 2**30), ("memswap_limit", 2 * 2**30), ("pids_limit", 256), ("cpus", 2)):
        if not 0 < float(service.get(key) or 0) <= most:
            yield f"{key}: {service.get(key)}"
    for variables in (service.get("environment"), (service.get("build") or {}).get("args")):
        if isinstance(variables, Mapping) and None in variables.values():
            yield "a variable without a value"
    for hook in [*(service.get("post_start") or []), *(service.get("pre_stop") or [])]:
        if hook.get("privileged"):
            yield "a privileged hook"
    for mount in service.get("volumes") or []:
        yield from _of_mount(mount, folder)
    yield from _of_build(service, folder)


def _of_mount(mount: Mapping[str, Any], folder: Path) -> Iterator[str]:
    kind, source = mount.get("type"), str(mount.get("source") or "")
    if kind == "bind":
        if not _inside(source, folder):
            yield f"a bind of {source}"
        if set(mount.get("bind") or {}) - {"create_host_path"}:
            yield f"a bind with {mount['bind']}"
    elif kind == "tmpfs":
        if not 0 < int((mount.get("tmpfs") or {}).get("size") or 0) <= 64 * 2**20:
            yield "a tmpfs without a size"
    elif kind != "volume" or "/" in source or ".." in source:
        yield f"a mount {kind} of {source!r}"


def _of_build(service: Mapping[str, Any], folder: Path) -> Iterator[str]:
    build = service.get("build")
    if not build:
        if str(service.get("image")).removeprefix("docker.io/").removeprefix("library/") not in IMAGES:
            yield f"the image {service.get('image')}"
        return
    if not str(service["image"]).startswith(PROJECT):
        yield f"an image called {service['image']}"
    if build.get("network") != "none" or not build.get("dockerfile_inline"):
        yield "a build with a network, or by a file that could be swapped"
    known = {"context", "args", "target", "additional_contexts", "no_cache", "dockerfile_inline", "network", "labels"}
    yield from (f"build.{key}" for key in set(build) - known)
    paths = [build.get("context", "."), *(build.get("additional_contexts") or {}).values()]
    yield from (f"a build from {p}" for p in paths if not str(p).startswith("service:") and not _inside(str(p), folder))
    if any(name.upper().startswith("BUILDKIT_") for name in build.get("args") or {}):
        yield "a build argument of the builder's"
    text = str(build.get("dockerfile_inline"))
    if re.match(r"\ufeff?\s*(#|//)\s*syntax\s*=", text, re.I) or (RIGHTS.search(text) and "<<" not in text):
        yield "a Dockerfile with a frontend, rights or keys"


def _of_entry(section: str, name: str, entry: Mapping[str, Any], folder: Path) -> Iterator[str]:
    yield from (f"{key} is set" for key in ("external", "driver_opts", "environment", "attachable") if entry.get(key))
    if entry.get("driver") not in (None, "bridge", "local") or entry.get("template_driver"):
        yield f"driver {entry.get('driver')}"
    if entry.get("name") not in (None, f"{PROJECT}_{name}"):
        yield f"name {entry['name']}"
    if section == "networks" and entry.get("ipam"):
        yield f"ipam {entry['ipam']}"
    if entry.get("file") and not _inside(entry["file"], folder):
        yield f"file {entry['file']}"


def _inside(path: str, folder: Path) -> bool:
    real = os.path.realpath(os.path.join(folder, path))
    return "://" not in path and (real == str(folder) or real.startswith(f"{folder}{os.sep}"))


def _replicas(service: Mapping[str, Any]) -> int:
    return max(0, int((service.get("deploy") or {}).get("replicas") or service.get("scale") or 1))


def _images() -> set[str]:
    from grader.engine.inventory import IMAGES as known

    return {*TARGET.images, *(image.tag for image in known)}


IMAGES = _images()

# --- changes -----------------------------------------------------------------------------------------------------


def _flip(r: random.Random, text: str) -> str:
    if not text:
        return text
    place = r.randrange(len(text))
    return text[:place] + chr((ord(text[place]) ^ (1 << r.randrange(7))) or 1) + text[place + 1 :]


def _insert(r: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    if lines and r.random() < 0.5:  # where a line begins most of it happens
        lines.insert(r.randrange(len(lines) + 1), "")
        place = r.randrange(len(lines))
        lines[place] = r.choice(CHARACTERS) + lines[place]
        return "".join(lines)
    place = r.randrange(len(text) + 1)
    return text[:place] + r.choice(CHARACTERS) + text[place:]


def _begin(r: random.Random, text: str) -> str:
    return r.choice(["\ufeff", "\ufeff\ufeff", "---\n", "\n", "#!", "# x = y\n", "\r\n", " "]) + text


def _remove(r: random.Random, text: str) -> str:
    start = r.randrange(len(text) + 1)
    return text[:start] + text[start + r.randrange(1, 12) :]


def _swap_lines(r: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    if len(lines) < 2:
        return text
    a, b = r.randrange(len(lines)), r.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return "".join(lines)


def _repeat_line(r: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True) or [""]
    lines.insert(r.randrange(len(lines) + 1), r.choice(lines))
    return "".join(lines)


def _move_key(r: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True) or [""]
    line = lines.pop(r.randrange(len(lines)))
    lines.insert(r.randrange(len(lines) + 1), " " * (2 * r.randrange(5)) + line.lstrip())
    return "".join(lines)


def _new_key(r: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True) or [""]
    place = r.randrange(len(lines))
    indent = len(lines[place]) - len(lines[place].lstrip(" "))
    lines.insert(place, f"{' ' * indent}{r.choice(WORDS)}: {r.choice(VALUES)}\n")
    return "".join(lines)


def _new_value(r: random.Random, text: str) -> str:
    keys = list(re.finditer(r"(?m)(?<=: )[^\n{}\[\],]+", text))
    if not keys:
        return text
    match = r.choice(keys)
    return text[: match.start()] + r.choice(VALUES) + text[match.end() :]


def _splice(r: random.Random, text: str) -> str:
    other = r.choice(TEXTS).splitlines(keepends=True)
    lines = text.splitlines(keepends=True)
    start = r.randrange(len(other) + 1)
    place = r.randrange(len(lines) + 1)
    return "".join([*lines[:place], *other[start : start + r.randrange(1, 5)], *lines[place:]])


CHANGES: list[Change] = [_flip, _insert, _begin, _remove, _swap_lines, _repeat_line, _move_key, _new_key, _new_key,
                         _new_value, _new_value, _splice, _splice]  # fmt: skip
FOLDERS = [entry.files for entry in (*ATTACKS, *IN_VAIN, *HARMLESS) if "compose.yml" in entry.files]
FOLDERS = [files for files in FOLDERS if sum(map(len, files.values())) < 20_000]
TEXTS = [text for files in FOLDERS for text in files.values() if isinstance(text, str) and text]
SMALL_ARCHIVES = [attack for attack in ATTACKS if attack.archive and "bomb" not in attack.name
                  and not attack.name.endswith(("thousand", "compose-file"))]  # fmt: skip


def _changed_bytes(r: random.Random, data: bytes) -> bytes:
    for _ in range(r.randint(1, 6)):
        place = r.randrange(len(data) + 1)
        kind = r.randrange(4)
        if kind == 0:
            data = data[:place] + bytes([r.randrange(256)]) + data[place + 1 :]
        elif kind == 1:
            data = data[:place] + data[place + r.randrange(1, 40) :]
        elif kind == 2:
            data = data[:place] + data[max(0, place - r.randrange(1, 80)) :]
        else:
            data = data[:place] + r.choice([b"\xff" * 4, b"\0" * 8, b"../", b"/", b"\x7f" * 11]) + data[place + 4 :]
    return data


# --- one case ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One changed submission; the same number makes the same one."""

    number: str
    source: Path


def make(number: str, folder: Path, aim: Aim) -> Case:
    """The submission of that number, in ``folder``."""
    r = random.Random(number)
    if r.random() < 0.12:
        source = r.choice(SMALL_ARCHIVES).make(folder, aim)
        source.write_bytes(_changed_bytes(r, source.read_bytes()))
        return Case(number, source)
    files = dict(r.choice(FOLDERS))
    name = "compose.yml" if r.random() < 0.7 else r.choice(sorted(files))
    content = files[name]
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    for _ in range(r.choice([1, 1, 2, 3, 6])):
        text = r.choice(CHANGES)(r, text)
    files[name] = text
    source = folder / "submission"
    for path_, content in files.items():
        path = source / path_
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else content.decode("utf-8", "surrogateescape")
        path.write_bytes(aim.fill(text).encode("utf-8", "surrogateescape"))
    return Case(number, source)


def problem(case: Case, folder: Path, canary: str) -> str:
    """What the grader did wrong with it; empty if nothing."""
    began = time.monotonic()
    try:
        found = _graded(case, folder, canary)
    except SubmissionError as error:
        found = f"the canary is in: {error.what}" if canary in error.what + error.fix else ""
    except Exception:
        found = traceback.format_exc()
    seconds = time.monotonic() - began
    return found or (f"it took {seconds:.0f} s" if seconds > LONGEST else "")


def _graded(case: Case, folder: Path, canary: str) -> str:
    with private_copy(case.source, TARGET, folder / "copy") as copy:
        model, found = vetting.vetted(copy, PROJECT, TARGET)
        if canary in json.dumps(model.config if model else {}) + repr(found):
            return "the canary is in the model" if model else "the canary is in the refusal"
        if found:
            return ""
        assert model is not None  # there is one, or a reason why not
        config = rewrite.graded(model, copy.folder, TERMS)
        if harm := dangers(config, copy.folder.resolve()):
            return "\n".join(harm)
        for path in rewrite.bind_folders(config):  # as a grading makes them
            if not path.exists():
                path.mkdir(parents=True)
    return ""


@contextmanager
def targets(folder: Path) -> Iterator[Aim]:
    """Things to aim at: files in ``folder``, and a variable of this process."""
    canary = f"canary-{uuid.uuid4().hex}"
    outside = folder / "outside"
    outside.mkdir(parents=True)
    (folder / "variables").write_text(f"CANARY={canary}\n")
    (folder / "canary.yml").write_text(f"services: {{web: {{image: 'python:3.11-slim', labels: {{a: {canary}}}}}}}\n")
    os.environ["HOSTILE_CANARY"] = canary
    try:
        yield Aim({
            "canary_file": str(folder / "variables"), "canary_yaml": str(folder / "canary.yml"), "canary": canary,
            "variable": "HOSTILE_CANARY", "outside": str(outside), "port": "9", "tag": "hostile-fuzz:1",
            "up": "/".join([".."] * 30),
        })  # fmt: skip
    finally:
        del os.environ["HOSTILE_CANARY"]


def run(seed: int, seconds: float, output: Path, only: str = "") -> tuple[int, list[str]]:
    """How many cases there were, and the problems found; what caused them is in ``output``."""
    found: list[str] = []
    number, end = 0, time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary, targets(Path(temporary) / "machine") as aim:
        while time.monotonic() < end:
            name = only or f"{seed}-{number}"
            folder = Path(temporary) / name
            folder.mkdir()
            case = make(name, folder, aim)
            if what := problem(case, folder, aim.values["canary"]):
                found.append(f"case {name}: {what}")
                kept = output / name
                shutil.rmtree(kept, ignore_errors=True)
                kept.mkdir(parents=True)
                (shutil.copytree if case.source.is_dir() else shutil.copy)(case.source, kept / case.source.name)
                (kept / "problem.txt").write_text(f"{what}\nAgain: python -m tests.hostile.fuzz --case {name}\n")
            shutil.rmtree(folder, ignore_errors=True)
            number += 1
            if only:
                break
    return number, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--case", default="", help="only this one")
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "hostile-fuzz")
    options = parser.parse_args()
    number, found = run(options.seed, options.seconds, options.output, options.case)
    for what in found:
        print(what, end="\n\n")
    print(f"{number} cases with seed {options.seed}, {len(found)} problems" + f" in {options.output}" * bool(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
