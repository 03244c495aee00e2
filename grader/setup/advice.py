"""What is wrong with a machine's engine and what to type about it: facts in, sentences out.

Standard library only.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from grader.engine.facts import DEFAULT_ENDPOINTS, EngineFacts, release
from grader.errors import MachineError

ROOT = Path(__file__).resolve().parents[2]
SET_UP_ENGINE = [f"cd {shlex.quote(str(ROOT))}", "sudo python3 -B -m grader.setup.engine"]
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ETHERNET_MTU = 1500

OLDEST_ENGINE = (20, 10)
OLDEST_COMPOSE = (2, 20)
SCARCE_DISK = 1 << 30  # bytes; with less nothing can be built
USUAL_DISK = 8 << 30  # bytes that the images and a few gradings take


@dataclass(frozen=True)
class Machine:
    """What decides how an engine gets onto this machine and what advice fits."""

    system: str = "Linux"  # "Linux", "Darwin", "Windows"
    distribution: str = ""  # /etc/os-release's ID, e.g. "debian"
    root: bool = False
    has_apt: bool = False
    dockerd: str | None = None  # path of the engine's program
    systemd: bool = False

    @classmethod
    def read(cls) -> Machine:
        """This machine."""
        return cls(
            system=platform.system(),
            distribution=os_release(_text("/etc/os-release")).get("ID", ""),
            root=os.geteuid() == 0,
            has_apt=shutil.which("apt-get") is not None,
            dockerd=shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"),
            systemd=Path("/run/systemd/system").is_dir(),
        )


def os_release(text: str) -> dict[str, str]:
    """The text of /etc/os-release -> its values, without their quotes."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def losses(facts: EngineFacts) -> dict[str, str]:
    """What this engine works without: a sentence by topic (engine, compose, product, storage, mtu, disk)."""
    found = {}
    if facts.engine and release(facts.engine) < (25,):
        found["engine"] = (
            f"Docker Engine {facts.engine} can grade, but it is older than 25 and has no start_interval: a compose "
            "file that uses it (the live stack's, the solutions') cannot be started by hand."
        )
    if facts.compose and release(facts.compose) < (2, 24):
        found["compose"] = (
            f"Compose {facts.compose} works, but it is older than 2.24: no start_interval (gradings take "
            "longer), no `docker compose stats`, no optional env_file."
        )
    if facts.product == "Podman":
        found["product"] = (
            "Podman answers in Docker's place. The workbook is made for Docker Engine: some checks may err."
        )
    if facts.storage_driver == "vfs":
        found["storage"] = "The storage driver vfs keeps a full copy of each layer: slow and several times larger."
    if facts.is_local and facts.uplink_mtu and facts.uplink_mtu < (facts.bridge_mtu or ETHERNET_MTU):
        found["mtu"] = (
            f"Containers send packets of up to {facts.bridge_mtu or ETHERNET_MTU} bytes, but this machine's "
            f"uplink takes {facts.uplink_mtu}: downloads inside containers may hang. Put "
            f'"mtu": {facts.uplink_mtu} into /etc/docker/daemon.json and restart the engine.'
        )
    if facts.disk_free is not None and SCARCE_DISK <= facts.disk_free < USUAL_DISK:
        found["disk"] = (
            f"{facts.data_root} has {gigabytes(facts.disk_free)} free; the workbook's images and a few "
            f"gradings take about {gigabytes(USUAL_DISK)}. `docker system df` shows what uses the disk."
        )
    return found


def shortcomings(facts: EngineFacts, machine: Machine) -> dict[str, MachineError]:
    """Why nothing can be graded with this engine, by topic (engine, compose, buildx, disk)."""
    found = {}
    if facts.engine is None:
        found["engine"] = missing_engine(facts, machine) or MachineError(
            f"The Docker engine does not answer: {facts.reason('engine')}", commands("make setup")
        )
    elif release(facts.engine) < OLDEST_ENGINE and facts.product != "Podman":
        found["engine"] = _too_old("Docker Engine", facts.engine, OLDEST_ENGINE, machine)
    if facts.client is None:
        return found  # the plugins come with it
    if facts.compose is None:
        found["compose"] = _no_plugin("Compose v2", facts.reason("compose"), machine)
    elif release(facts.compose) < OLDEST_COMPOSE:
        found["compose"] = _too_old("Compose", facts.compose, OLDEST_COMPOSE, machine)
    if facts.buildx is None:
        found["buildx"] = _no_plugin("buildx", facts.reason("buildx"), machine)
    if facts.disk_free is not None and facts.disk_free < SCARCE_DISK:
        found["disk"] = MachineError(
            f"The disk with Docker's data ({facts.data_root}) is full: {gigabytes(facts.disk_free)} free, "
            f"about {gigabytes(USUAL_DISK)} needed.",
            FULL_DISK,
        )
    return found


def _too_old(what: str, version: str, oldest: tuple[int, ...], machine: Machine) -> MachineError:
    where = "docker info --format '{{range .ClientInfo.Plugins}}{{println .Name .Path}}{{end}}'  # where plugins are"
    update = ["sudo apt-get update", "sudo apt-get upgrade"] if machine.has_apt else []
    return MachineError(
        f"{what} {version} is too old; the workbook needs {'.'.join(map(str, oldest))} or newer.",
        commands(*update, where, before="Bring it up to date the way it came here, or remove it and run the set-up:"),
    )


def _no_plugin(plugin: str, reason: str, machine: Machine) -> MachineError:
    fix = commands(*install_commands(machine), "make setup")
    return MachineError(f"Docker's {plugin} plugin is missing: {reason}", fix)


def missing_engine(facts: EngineFacts, machine: Machine) -> MachineError | None:
    """Why the set-up cannot bring up an engine here, and what to type; None when it can (root on Linux)."""
    reason = facts.reason("engine")
    if machine.system == "Darwin":
        start = commands("open -a Docker", "make setup", before="Start Docker Desktop and wait for its whale:")
        install = commands("brew install --cask docker-desktop", "open -a Docker", "make setup")
        what = "Docker is not installed." if facts.client is None else f"Docker Desktop is not running: {reason}"
        return MachineError(what, install if facts.client is None else start)
    if machine.system != "Linux":
        return MachineError(
            f"The workbook does not run on {machine.system} itself, but it runs there inside WSL 2.",
            commands("wsl --install -d Debian", before="In a terminal, then once more in the Debian it opens:"),
        )
    if "permission denied" in reason.lower() and (facts.endpoint or "").startswith("unix://"):
        group = commands("sudo groupadd -f docker", 'sudo usermod -aG docker "$USER"', "newgrp docker")
        return MachineError(
            f"The Docker engine is there, but this user may not talk to it ({facts.endpoint}).",
            f"{group}\nNew terminals need no newgrp once you have logged out and in again.",
        )
    if facts.endpoint and facts.endpoint not in DEFAULT_ENDPOINTS:
        chosen = "DOCKER_HOST" if os.environ.get("DOCKER_HOST") else "the docker client's context"
        undo = "unset DOCKER_HOST" if chosen == "DOCKER_HOST" else "docker context use default"
        return MachineError(
            f"The engine that {chosen} names, {facts.endpoint}, does not answer: {reason}",
            commands(undo, "make setup", before="Start that engine, or use this machine's own:"),
        )
    if not machine.root:
        if machine.dockerd is None:
            return MachineError("Docker is not installed.", commands(*install_commands(machine), "make setup"))
        by_hand = ["sudo systemctl start docker"] if machine.systemd else SET_UP_ENGINE
        return MachineError("The Docker engine is installed, but not running.", commands(*by_hand, "make setup"))
    if machine.dockerd is None and not machine.has_apt:
        return MachineError("Docker is not installed.", commands(*install_commands(machine), "make setup"))
    return None


def install_commands(machine: Machine) -> list[str]:
    """What to type for an engine with Compose v2 and buildx on this machine."""
    if machine.system == "Darwin":
        return ["brew install --cask docker-desktop", "open -a Docker"]
    join = [] if machine.root else ['sudo usermod -aG docker "$USER"', "newgrp docker"]
    if machine.has_apt:
        return [*SET_UP_ENGINE, *join]
    start = "sudo systemctl enable --now docker"
    others = {
        "fedora": ["sudo dnf install moby-engine docker-cli docker-compose docker-buildx", start],
        "arch": ["sudo pacman -S docker docker-compose docker-buildx", start],
        "opensuse-leap": ["sudo zypper install docker docker-compose docker-buildx", start],
        "opensuse-tumbleweed": ["sudo zypper install docker docker-compose docker-buildx", start],
        "alpine": [
            "sudo apk add docker docker-cli-compose docker-cli-buildx",
            "sudo rc-service docker start",
        ],
    }
    unknown = ["# Install Docker Engine, the Compose plugin and buildx: https://docs.docker.com/engine/install/"]
    return [*others.get(machine.distribution, unknown), *join]


def commands(*lines: str, before: str = "Type:") -> str:
    """Advice whose commands stand on lines of their own."""
    return "\n".join((before, *(f"    {line}" for line in lines)))


def gigabytes(count: int) -> str:
    """Bytes as a person reads them: 8589934592 -> "8.0 GiB"."""
    return f"{count / (1 << 30):.1f} GiB"


FULL_DISK = commands(
    "df -h                     # which disk is full",
    "docker system df          # what Docker uses",
    "docker system prune       # removes stopped containers, unused networks, dangling images; asks first",
    "docker builder prune      # removes the build cache; asks first",
    before="Make room. An engine that cannot even start needs some megabytes from elsewhere first.",
)

_KNOWN_TROUBLES = (
    (r"no space left on device|disk quota exceeded", FULL_DISK),
    (
        r"permission denied.*docker\.sock|docker\.sock.*permission denied",
        "Run the set-up again: it says what to type.",
    ),
    (
        r"Cannot connect to the Docker daemon",
        commands("make setup", before="The engine has stopped. Start it:"),
    ),
    (
        r"operation not permitted|permission denied",
        "The engine may not do its work here. Run the set-up on the machine itself, not in a container.",
    ),
    (
        r"iptables.*not found|failed to find iptables",
        commands("sudo apt-get install iptables", before="The engine needs the package iptables:"),
    ),
    (
        r"nf_tables|iptables",
        commands(
            "sudo update-alternatives --set iptables /usr/sbin/iptables-legacy",
            before="The kernel does not do what iptables asks for. Its older variant often works:",
        ),
    ),
    (
        r"cgroup.*mount|mount.*cgroup",
        commands(
            "sudo apt-get install cgroupfs-mount",
            "sudo cgroupfs-mount",
            before="The control groups are not mounted:",
        ),
    ),
)


def explain(error: str) -> str:
    """What to do about an error that the engine or its client printed; "" when that is not known."""
    return next((fix for sign, fix in _KNOWN_TROUBLES if re.search(sign, error, re.IGNORECASE | re.DOTALL)), "")
