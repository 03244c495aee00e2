"""The engine's set-up on a bare machine: a privileged container that has Python and apt, and nothing of Docker.

Takes about a minute, most of it the installation. The tests share the machine; each brings about what it needs.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "python:3.11-slim"
SET_UP = "python3 -B -m grader.setup.engine"
UPGRADES = "apt-get --simulate upgrade | tail -1"
WITHIN = 300.0  # seconds for one command, on a busy machine and a slow mirror

# The machine's own archives in the newer format of source files, and beside them one that calls itself by the same
# release's name without being Debian's.
ARCHIVES = r"""
set -e
. /etc/os-release
if grep -qs '^deb ' /etc/apt/sources.list; then
    sed -nE 's/^deb (\S+) (\S+) .*/Types: deb\nURIs: \1\nSuites: \2\nComponents: main\n/p' /etc/apt/sources.list \
        > /etc/apt/sources.list.d/debian.sources
    rm /etc/apt/sources.list
fi
index=main/binary-$(dpkg --print-architecture)
mkdir -p /elsewhere/dists/$VERSION_CODENAME/$index
cd /elsewhere/dists/$VERSION_CODENAME
: > $index/Packages
cat > Release <<END
Origin: Elsewhere
Codename: $VERSION_CODENAME
Components: main
Architectures: $(dpkg --print-architecture)
SHA256:
 $(sha256sum < $index/Packages | cut -d' ' -f1) 0 $index/Packages
END
echo "deb [trusted=yes] file:/elsewhere $VERSION_CODENAME main" > /etc/apt/sources.list.d/elsewhere.list
"""


class Machine:
    """A container that stands for a machine.

    Attributes:
        upgrades: how many packages had newer versions before the set-up.
        said: what the set-up said when it found nothing.
    """

    def __init__(self, container: str) -> None:
        self.container = container
        self.upgrades = ""
        self.said = ""

    def run(self, script: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        command = ["docker", "exec", "--user", user, "--workdir", "/repository", self.container, "bash", "-c", script]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=WITHIN)

    def get(self, script: str) -> str:
        run = self.run(script)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout.strip()

    def dockerd(self) -> str:
        """The process id of the engine that runs; "" when none does."""
        return self.get("for p in /proc/[0-9]*; do grep -qs '^State:.[^ZX]' $p/status && grep -qsx dockerd $p/comm && "
                        "basename $p; done; true")  # fmt: skip

    def stop(self) -> None:
        """No engine runs, whoever started it."""
        self.get(f"{SET_UP} stop")
        if pid := self.dockerd():
            self.get(
                f"kill {pid}; timeout 60 bash -c 'until grep -qs ^State:.[ZX] /proc/{pid}/status; do sleep 0.1; done'"
            )


@pytest.fixture(scope="module")
def bare() -> Iterator[Machine]:
    # Nothing here reaps the dead: a killed engine stays a zombie, as it does under a careless PID 1 elsewhere.
    start = ["docker", "run", "--detach", "--privileged", "--label", "org.compose-course.test=setup-bare"]
    mounts = ["--tmpfs", "/run", "--volume", "/var/lib/docker", "--volume", f"{ROOT}:/repository:ro"]
    run = subprocess.run([*start, *mounts, IMAGE, "sleep", "infinity"], check=True, capture_output=True, text=True)
    machine = Machine(run.stdout.strip())
    try:
        machine.get(ARCHIVES)
        machine.get("apt-get update > /dev/null 2>&1 || true")
        if "Candidate: " not in machine.get("apt-cache policy docker.io | grep -v '(none)'"):
            pytest.skip("containers reach no package archive here")
        machine.upgrades = machine.get(UPGRADES)
        machine.get("rm -rf /var/lib/apt/lists/*")
        machine.said = machine.get(SET_UP)
        yield machine
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", machine.container], check=True, capture_output=True)


def facts(machine: Machine) -> dict[str, str]:
    ask = "import json; from grader.engine.facts import read_facts; print(json.dumps(vars(read_facts())))"
    found: dict[str, str] = json.loads(machine.get(f'python3 -B -c "{ask}"'))
    return found


def test_an_engine_is_installed_and_started_and_each_step_said(bare: Machine) -> None:
    found = facts(bare)
    assert int(found["engine"].split(".")[0]) >= 25
    assert int(found["compose"].split(".")[0]) >= 2
    assert found["buildx"]
    assert found["reasons"].keys() <= {"gpu", "bridge_mtu"}
    for step in (
        "Installing Docker Engine, Compose v2 and buildx",
        "installing docker.io",
        "Starting the Docker engine",
    ):
        assert step in bare.said


def test_only_dockers_packages_come_from_the_next_release(bare: Machine) -> None:
    if "next" not in bare.said:
        pytest.skip("this Debian has a Docker of its own that will do")
    sources = bare.get("cat /etc/apt/sources.list.d/compose-course.sources")
    assert "Suites: trixie\n" in sources
    assert "Suites: trixie-security\n" in sources
    assert "elsewhere" not in sources
    assert bare.get(UPGRADES) == bare.upgrades
    newer = bare.get(
        "dpkg-query -W -f '${Package} ${Version}\\n' | grep -E 'deb13|^docker-(compose|buildx)' | cut -d' ' -f1"
    )
    assert set(newer.split()) <= {"docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd"}


def test_a_second_run_says_nothing_and_changes_nothing(bare: Machine) -> None:
    bare.get(SET_UP)
    files = "/etc/apt /etc/docker /run/compose-course /var/lib/dpkg/status"
    state = f"find {files} -type f -printf '%p %s %T@\\n'"
    before = bare.get(state), bare.dockerd()
    assert bare.get(SET_UP) == ""
    assert (bare.get(state), bare.dockerd()) == before


def test_packets_of_every_network_fit_the_uplink(bare: Machine) -> None:
    bare.get(SET_UP)
    uplink = bare.get("cat /sys/class/net/eth0/mtu")
    bare.get("docker network create --label test packets")
    for network in ("bridge", "packets"):
        options = json.loads(bare.get(f"docker network inspect {network} --format '{{{{json .Options}}}}'"))
        assert int(options.get("com.docker.network.driver.mtu", 1500)) <= int(uplink), network
    bare.get("docker network rm packets")


def test_a_killed_engine_is_started_again(bare: Machine) -> None:
    bare.get(SET_UP)
    killed = bare.dockerd()
    bare.get(f"kill -9 {killed}; timeout 30 bash -c 'while docker version > /dev/null 2>&1; do sleep 0.1; done'")
    assert bare.get("cat /var/run/docker.pid") == killed
    said = bare.get(SET_UP)
    assert "Removing /var/run/docker.pid, left behind by a dockerd that is gone" in said
    assert bare.dockerd() not in ("", killed)


def test_an_engine_that_is_just_ending_is_waited_for_and_started_again(bare: Machine) -> None:
    bare.get(SET_UP)
    ending = bare.dockerd()
    bare.get(f"kill {ending}; timeout 30 bash -c 'while docker version > /dev/null 2>&1; do sleep 0.1; done'")
    bare.get(SET_UP)
    assert bare.dockerd() not in ("", ending)


def test_a_pid_file_that_names_another_program_is_no_obstacle(bare: Machine) -> None:
    bare.stop()
    bare.get("sleep 1000 & echo -n $! > /var/run/docker.pid")
    assert "Removing /var/run/docker.pid" in bare.get(SET_UP)
    assert bare.dockerd()


def test_a_missing_plugin_is_installed_beside_a_running_engine(bare: Machine) -> None:
    bare.get(SET_UP)
    engine = bare.dockerd()
    bare.get("apt-get purge --yes docker-compose docker-buildx > /dev/null 2>&1")
    said = bare.get(SET_UP)
    assert "Installing Docker's Compose v2 and buildx plugins" in said
    assert bare.get("docker compose version --short")
    assert bare.dockerd() == engine


def test_a_user_outside_the_docker_group_is_told_what_to_type(bare: Machine) -> None:
    bare.get(SET_UP)
    run = bare.run(f"HOME=/tmp {SET_UP}", user="1234")
    assert run.returncode == 3
    assert "this user may not talk to it (unix:///var/run/docker.sock)" in run.stderr
    assert 'sudo usermod -aG docker "$USER"' in run.stderr


def test_a_user_without_root_is_told_how_to_start_the_engine(bare: Machine) -> None:
    bare.stop()
    run = bare.run(f"HOME=/tmp {SET_UP}", user="1234")
    assert run.returncode == 3
    assert "The Docker engine is installed, but not running." in run.stderr
    assert "sudo python3 -B -m grader.setup.engine" in run.stderr


def test_a_full_disk_is_called_that(bare: Machine) -> None:
    bare.stop()
    bare.get("mount -t tmpfs -o size=100k none /var/lib/docker")
    try:
        run = bare.run(SET_UP)
    finally:
        bare.get("umount /var/lib/docker")
    assert run.returncode == 3
    assert "no space left on device" in run.stderr
    assert "docker system df" in run.stderr


def test_archives_out_of_reach_are_noticed() -> None:
    offline = ["docker", "run", "--rm", "--network", "none", "--volume", f"{ROOT}:/repository:ro"]
    command = [*offline, "--workdir", "/repository", IMAGE, *SET_UP.split()]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=WITHIN)
    assert run.returncode == 3
    assert "do not offer Docker Engine, Compose v2 and buildx, or could not be reached" in run.stderr
    assert "sudo apt-get update" in run.stderr


def test_only_an_engine_that_the_set_up_started_is_stopped(bare: Machine) -> None:
    bare.stop()
    bare.get(SET_UP)
    assert bare.dockerd()
    assert "Stopping the Docker engine" in bare.get(f"{SET_UP} stop")
    assert bare.dockerd() == ""
    bare.get("setsid dockerd > /tmp/own.log 2>&1 & timeout 60 bash -c 'until docker version; do sleep 0.2; done'")
    own = bare.dockerd()
    assert "nothing to stop" in bare.get(f"{SET_UP} stop")
    assert bare.dockerd() == own != ""


# In the place of `make test`: it sets up the engine, too, and ends with a status of its own.
MAKE = f"""cat > /usr/local/bin/make <<'END'
#!/bin/sh
echo make "$@"
{SET_UP}
exit 7
END
chmod +x /usr/local/bin/make
"""


def test_the_ci_script_stops_the_engine_that_it_caused_to_be_started(bare: Machine) -> None:
    bare.stop()
    bare.get(MAKE)
    run = bare.run(".ci/run")
    assert run.returncode == 7, run.stderr
    assert run.stdout.startswith("make test\n")
    assert "Stopping the Docker engine" in run.stdout
    assert bare.dockerd() == ""


def test_the_ci_script_leaves_an_engine_alone_that_was_there_before(bare: Machine) -> None:
    bare.get(SET_UP)
    engine = bare.dockerd()
    bare.get(MAKE)
    run = bare.run(".ci/run")
    assert run.returncode == 7, run.stderr
    assert bare.dockerd() == engine
