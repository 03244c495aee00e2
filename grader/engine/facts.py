"""What the Docker engine and its plugins are, read once and quickly.

Standard library only, and only the ``docker`` command: the set-up calls this before anything is installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ANSWER_WITHIN = 10.0  # seconds; a healthy engine answers in a twentieth of one
DEFAULT_ENDPOINTS = ("unix:///var/run/docker.sock", "unix:///run/docker.sock")


@dataclass(frozen=True)
class EngineFacts:
    """Facts about the engine; one that could not be read is None, and `reason` says why.

    Attributes:
        client, engine, api, compose, buildx: versions as their programs print them, e.g. "26.1.5+dfsg1".
        product: "Docker Engine", "Docker Desktop" or "Podman".
        endpoint: where the client looks for the engine, e.g. "unix:///var/run/docker.sock".
        system: the engine's operating system, e.g. "Debian GNU/Linux 12 (bookworm)".
        storage_driver: e.g. "overlay2".
        cgroup_version: "1" or "2".
        gpu: the NVIDIA GPU that containers can use, e.g. "NVIDIA H100 80GB HBM3".
        cpus: processors that the engine has.
        memory: bytes that the engine has.
        data_root: the folder of the engine's images, containers and volumes.
        disk_free: bytes free where data_root is; only known of an engine on this machine.
        uplink_mtu, bridge_mtu: bytes in one packet, on the machine's default route and in containers.
    """

    client: str | None = None
    engine: str | None = None
    api: str | None = None
    compose: str | None = None
    buildx: str | None = None
    product: str | None = None
    endpoint: str | None = None
    system: str | None = None
    storage_driver: str | None = None
    cgroup_version: str | None = None
    gpu: str | None = None
    cpus: int | None = None
    memory: int | None = None
    data_root: str | None = None
    disk_free: int | None = None
    uplink_mtu: int | None = None
    bridge_mtu: int | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    def reason(self, fact: str) -> str:
        """Why the fact with this name is None; "" when it is not."""
        return self.reasons.get(fact, "")

    @property
    def is_local(self) -> bool:
        """The engine's files and processes are this machine's own: no remote engine, no virtual machine."""
        return _is_local(self.endpoint, self.product)


def release(version: str | None) -> tuple[int, ...]:
    """The numbers a version starts with, to compare: "26.1.5+dfsg1" -> (26, 1, 5), "v2.26.1-4" -> (2, 26, 1).

    A Debian epoch ("5:28.0.1-1~debian.12") is not part of it. None, or no number at all, gives ().
    """
    match = re.match(r"(?:\d+:)?v?(\d+(?:\.\d+)*)", version or "")
    return tuple(int(number) for number in match[1].split(".")) if match else ()


def read_facts() -> EngineFacts:
    """Ask the docker client, in parallel, what there is. Never raises; takes about 0.1 s."""
    uplink = uplink_mtu()
    if shutil.which("docker") is None:
        gone = "there is no `docker` command on this machine"
        unknown = ("client", "engine", "api", "compose", "buildx", "gpu", "disk_free")
        return EngineFacts(uplink_mtu=uplink, reasons=dict.fromkeys(unknown, gone))
    with ThreadPoolExecutor(4) as threads:
        questions = (
            ("version", "--format", "{{json .}}"),
            ("info", "--format", "{{json .}}"),
            ("context", "inspect", "--format", "{{json .Endpoints.docker.Host}}"),
            ("network", "inspect", "bridge", "--format", "{{json .Options}}"),
        )
        version, info, context, bridge = threads.map(lambda words: _ask(*words), questions)
    return _compile(version, info, context, bridge, uplink)


@dataclass(frozen=True)
class _Answer:
    value: Any  # the JSON that was printed; None when there was none
    error: str  # what the client said went wrong


def _ask(*words: str) -> _Answer:
    try:
        run = subprocess.run(
            ["docker", *words],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_WITHIN,
        )
    except subprocess.TimeoutExpired:
        return _Answer(None, f"the Docker engine did not answer within {ANSWER_WITHIN:.0f} s")
    except OSError as error:
        return _Answer(None, f"`docker` cannot be run: {error}")
    try:
        value = json.loads(run.stdout)
    except ValueError:
        value = None
    return _Answer(value, run.stderr.strip())


def _compile(version: _Answer, info: _Answer, context: _Answer, bridge: _Answer, uplink: int | None) -> EngineFacts:
    versions = _mapping(version.value)
    # A client that reaches no engine prints zeros and empty strings: as good as nothing.
    about = {name: value for name, value in _mapping(info.value).items() if value}
    client, server = _mapping(versions.get("Client")), _mapping(versions.get("Server"))
    silent = "" if server else version.error or "the Docker engine does not answer"
    endpoint = os.environ.get("DOCKER_HOST") or (context.value if isinstance(context.value, str) else None)
    product = _product(server, about) if server else None
    local = _is_local(endpoint, product)
    plugins = {one.get("Name"): one for one in map(_mapping, _mapping(about.get("ClientInfo")).get("Plugins") or [])}
    compose, buildx = _mapping(plugins.get("compose")), _mapping(plugins.get("buildx"))
    gpu, no_gpu = _gpu(_mapping(about.get("Runtimes")), local)
    disk_free, no_disk = _free_below(about.get("DockerRootDir"), local)
    values: dict[str, Any] = {
        "client": client.get("Version"),
        "engine": server.get("Version"),
        "api": server.get("ApiVersion"),
        "compose": compose.get("Version"),
        "buildx": buildx.get("Version"),
        "product": product,
        "endpoint": endpoint,
        "system": about.get("OperatingSystem"),
        "storage_driver": about.get("Driver"),
        "cgroup_version": about.get("CgroupVersion"),
        "gpu": gpu,
        "cpus": about.get("NCPU"),
        "memory": about.get("MemTotal"),
        "data_root": about.get("DockerRootDir"),
        "disk_free": disk_free,
        "uplink_mtu": uplink,
        "bridge_mtu": _whole(_mapping(bridge.value).get("com.docker.network.driver.mtu")),
    }
    why = {
        "client": version.error,
        "compose": compose.get("Err") or "the docker client has no Compose v2 plugin",
        "buildx": buildx.get("Err") or "the docker client has no buildx plugin",
        "endpoint": context.error,
        "gpu": silent or no_gpu,
        "disk_free": silent or no_disk,
        "uplink_mtu": "this machine has no default route",
        "bridge_mtu": silent or bridge.error or "the engine's own choice",
    }
    # A client that reaches no engine prints zeros and empty strings: as good as nothing.
    known = {name: value or None for name, value in values.items()}
    missing = {name: why.get(name, silent or "the engine does not say") for name in known if known[name] is None}
    return EngineFacts(**known, reasons=missing)


def _product(server: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    components = [_mapping(part).get("Name", "") for part in server.get("Components") or []]
    if any("Podman" in name for name in components):
        return "Podman"
    return "Docker Desktop" if about.get("OperatingSystem") == "Docker Desktop" else "Docker Engine"


def _is_local(endpoint: str | None, product: str | None) -> bool:
    return endpoint in DEFAULT_ENDPOINTS and product != "Docker Desktop"


def _gpu(runtimes: Mapping[str, Any], local: bool) -> tuple[str | None, str]:
    model = nvidia_gpu() if local else "NVIDIA GPU"
    if model is None:
        return None, "this machine has no NVIDIA GPU"
    # The engine accepts `--gpus` as soon as it finds the toolkit's hook, registered as a runtime or not.
    if "nvidia" in runtimes or (local and shutil.which("nvidia-container-runtime-hook")):
        return model, ""
    return None, "the engine has no NVIDIA runtime"


def _free_below(folder: str | None, local: bool) -> tuple[int | None, str]:
    if not folder or not local:
        return None, "the engine's disk is not this machine's"
    try:
        return shutil.disk_usage(folder).free, ""
    except OSError as error:
        return None, str(error)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int | None:
    return int(value) if str(value).isdigit() else None


def nvidia_gpu() -> str | None:
    """The model of this machine's first NVIDIA GPU whose driver is loaded; None when there is none."""
    for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        match = re.search(r"^Model:\s*(.+)$", about.read_text(errors="replace"), re.MULTILINE)
        return match[1].strip() if match else "NVIDIA GPU"
    # Under WSL 2 the driver is Windows' own and shows nothing below /proc.
    if Path("/dev/dxg").exists() and shutil.which("nvidia-smi"):
        return "NVIDIA GPU"
    return None


def uplink_mtu() -> int | None:
    """Bytes in one packet on the interface of this machine's default route; None where that is not known."""
    try:
        interface = default_interface(Path("/proc/net/route").read_text())
        return int(Path("/sys/class/net", interface, "mtu").read_text()) if interface else None
    except (OSError, ValueError):
        return None


def default_interface(routes: str) -> str | None:
    """The interface of the default route with the lowest metric, from the text of /proc/net/route."""
    best: tuple[int, str] | None = None
    for line in routes.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 7 and columns[1] == "00000000" and columns[7] == "00000000":
            best = min(best or (1 << 32, ""), (int(columns[6]), columns[0]))
    return best[1] if best else None
