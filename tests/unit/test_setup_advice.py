"""What is said to whom: facts about an engine and a machine in, sentences and commands out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grader.engine.facts import EngineFacts
from grader.setup.advice import Machine, explain, install_commands, losses, missing_engine, os_release, shortcomings

GOOD = EngineFacts(
    client="28.2.2",
    engine="26.1.5+dfsg1",
    api="1.45",
    compose="2.26.1-4",
    buildx="0.13.1+ds1",
    product="Docker Engine",
    endpoint="unix:///var/run/docker.sock",
    data_root="/var/lib/docker",
    disk_free=100 << 30,
    uplink_mtu=1500,
)
SILENT = replace(
    GOOD, engine=None, product=None, disk_free=None, reasons={"engine": "Cannot connect. Is the docker daemon running?"}
)
ABSENT = EngineFacts(reasons={"engine": "there is no `docker` command on this machine"})
ROOT = Machine("Linux", "debian", root=True, has_apt=True, dockerd="/usr/sbin/dockerd")
USER = replace(ROOT, root=False)


def test_a_good_engine_lacks_and_loses_nothing() -> None:
    assert shortcomings(GOOD, USER) == {}
    assert losses(GOOD) == {}


@pytest.mark.parametrize(
    ("changed", "topic", "word"),
    [
        ({"engine": "20.10.24+dfsg1"}, "engine", "start_interval"),
        ({"engine": "24.0.7"}, "engine", "start_interval"),
        ({"compose": "2.23.3"}, "compose", "docker compose stats"),
        ({"product": "Podman"}, "product", "Podman"),
        ({"storage_driver": "vfs"}, "storage", "vfs"),
        ({"uplink_mtu": 1400}, "mtu", '"mtu": 1400'),
        ({"uplink_mtu": 1400, "bridge_mtu": 1450}, "mtu", "up to 1450 bytes"),
        ({"disk_free": 3 << 30}, "disk", "3.0 GiB free"),
    ],
)
def test_what_is_lost_is_said_and_no_obstacle(changed: dict[str, object], topic: str, word: str) -> None:
    facts = replace(GOOD, **changed)  # type: ignore[arg-type]
    assert list(losses(facts)) == [topic]
    assert word in losses(facts)[topic]
    assert shortcomings(facts, USER) == {}


@pytest.mark.parametrize(
    "changed",
    [
        {"engine": "25.0.0", "compose": "2.24.0"},
        {"uplink_mtu": 1400, "bridge_mtu": 1400},
        {"uplink_mtu": 1400, "endpoint": "tcp://10.0.0.7:2376"},
        {"uplink_mtu": None},
        {"disk_free": None},
    ],
)
def test_nothing_is_said_where_nothing_is_lost(changed: dict[str, object]) -> None:
    assert losses(replace(GOOD, **changed)) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "topic", "word"),
    [
        ({"engine": "19.03.15"}, "engine", "needs 20.10"),
        ({"compose": None, "reasons": {"compose": "no plugin"}}, "compose", "no plugin"),
        ({"compose": "2.17.3"}, "compose", "needs 2.20"),
        ({"buildx": None, "reasons": {"buildx": "no plugin"}}, "buildx", "no plugin"),
        ({"disk_free": 100 << 20}, "disk", "is full: 0.1 GiB free"),
    ],
)
def test_what_stands_in_the_way_of_grading(changed: dict[str, object], topic: str, word: str) -> None:
    found = shortcomings(replace(GOOD, **changed), USER)  # type: ignore[arg-type]
    assert list(found) == [topic]
    assert word in found[topic].what
    assert found[topic].fix
    assert found[topic].exit_status == 3


def test_without_a_client_there_is_one_problem_and_not_three() -> None:
    assert list(shortcomings(ABSENT, USER)) == ["engine"]


@pytest.mark.parametrize(
    ("facts", "machine", "what", "commands"),
    [
        (
            ABSENT,
            replace(USER, dockerd=None),
            "not installed",
            ["sudo python3 -B -m grader.setup.engine", "newgrp docker"],
        ),
        (ABSENT, Machine("Linux", "fedora"), "not installed", ["sudo dnf install moby-engine", "systemctl enable"]),
        (ABSENT, Machine("Linux", "arch"), "not installed", ["sudo pacman -S docker docker-compose docker-buildx"]),
        (ABSENT, Machine("Linux", "alpine"), "not installed", ["sudo apk add docker docker-cli-compose"]),
        (ABSENT, Machine("Linux", "slackware", root=True), "not installed", ["docs.docker.com/engine/install"]),
        (ABSENT, Machine("Darwin"), "not installed", ["brew install --cask docker-desktop", "open -a Docker"]),
        (SILENT, Machine("Darwin"), "not running", ["open -a Docker"]),
        (ABSENT, Machine("Windows"), "WSL 2", ["wsl --install"]),
        (SILENT, USER, "installed, but not running", ["sudo python3 -B -m grader.setup.engine"]),
        (SILENT, replace(USER, systemd=True), "installed, but not running", ["sudo systemctl start docker"]),
        (
            replace(
                SILENT, reasons={"engine": "permission denied while trying to connect to the Docker daemon socket"}
            ),
            USER,
            "this user may not talk to it",
            ['sudo usermod -aG docker "$USER"', "newgrp docker"],
        ),
        (
            replace(SILENT, endpoint="ssh://far", reasons={"engine": "Permission denied (publickey)"}),
            USER,
            "ssh://far, does not answer: Permission denied (publickey)",
            ["docker context use default"],
        ),
        (replace(SILENT, endpoint="tcp://10.0.0.7:2376"), ROOT, "tcp://10.0.0.7:2376", ["docker context use default"]),
    ],
)
def test_what_a_user_has_to_type(facts: EngineFacts, machine: Machine, what: str, commands: list[str]) -> None:
    error = missing_engine(facts, machine)
    assert error is not None
    assert what in error.what
    for command in commands:
        assert command in error.fix
    assert all(line.startswith("    ") for line in error.fix.splitlines() if "sudo" in line)


def test_an_endpoint_of_the_users_own_is_named_after_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.7:2376")
    error = missing_engine(replace(SILENT, endpoint="tcp://10.0.0.7:2376"), ROOT)
    assert error is not None
    assert "DOCKER_HOST names" in error.what
    assert "    unset DOCKER_HOST" in error.fix


@pytest.mark.parametrize("machine", [ROOT, replace(ROOT, dockerd=None), replace(ROOT, distribution="ubuntu")])
def test_root_on_debian_and_ubuntu_needs_no_advice(machine: Machine) -> None:
    assert missing_engine(SILENT, machine) is None
    assert missing_engine(ABSENT, machine) is None


def test_root_needs_no_group() -> None:
    assert not any("usermod" in command for command in install_commands(ROOT))


# What engines and clients really printed.
@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("write /var/lib/docker/buildkit/snapshots.db: no space left on device", "docker system prune"),
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get",
            "Run the set-up again",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            "make setup",
        ),
        (
            'failed to register "bridge" driver: failed to create NAT chain DOCKER: iptables failed: iptables -t nat',
            "iptables-legacy",
        ),
        ('exec: "iptables": executable file not found in $PATH: iptables not found', "sudo apt-get install iptables"),
        ("Devices cgroup isn't mounted", "cgroupfs-mount"),
        ("cgroups: cgroup mountpoint does not exist", "cgroupfs-mount"),
        ("failed to mount overlay: operation not permitted", "not in a container"),
        (
            "iptables failed: iptables -t nat -N DOCKER: Could not fetch rule set generation id: Permission denied",
            "not in a container",
        ),
        ("all is well", ""),
    ],
)
def test_errors_of_the_engine_are_explained(error: str, advice: str) -> None:
    assert advice in explain(error)
    assert bool(explain(error)) == bool(advice)


def test_os_release() -> None:
    text = "# a comment\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID='12'\n\n"
    assert os_release(text) == {"PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)", "ID": "debian", "VERSION_ID": "12"}
