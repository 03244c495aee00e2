"""Submissions that nobody trusts run, and yet do no harm, forge no verdict and reach nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from grader.engine import sweep
from grader.engine.connection import connect
from grader.events import SERVICE_LABEL
from grader.render import render
from grader.results import Report
from grader.rewrite import LABEL
from tests.hostile import contained
from tests.hostile.contained import ATTACKS, IMAGE, Attack
from tests.hostile.target import clean, folders_of, start
from tests.live.grading import Graded, finish, left_behind, wait_for

pytestmark = pytest.mark.live

MOST_MEMORY = 400 * 2**20  # bytes of the grader's own process
LONGEST_TEARDOWN = 30.0  # seconds
MOST_TEXT = 100_000  # characters of a report
LISTENS = "import socket; socket.create_connection(('127.0.0.1', 8000), 5)"
# What moves the cursor, rings, or turns the direction of writing.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="reads what only root may")


def addresses() -> list[str]:
    """The IPv4 addresses of this machine but loopback's, the uplink's first."""
    found = [a.address for entries in psutil.net_if_addrs().values() for a in entries if a.family == socket.AF_INET]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))  # sends nothing
        uplink = probe.getsockname()[0]
    return sorted((a for a in found if not a.startswith("127.")), key=lambda a: a != uplink)


@dataclass
class Machine:
    """What the submissions are aimed at, and what has been seen of them since the last one."""

    client: docker.DockerClient
    targets: dict[str, str]
    folder: Path
    bystander: Container
    heard: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.targets[name]

    def state(self) -> dict[str, Any]:
        """All that has to stay as it is."""
        name, client = self["bystander"], self.client
        container = client.api.inspect_container(self.bystander.id)
        files = {str(p.relative_to(self.folder)): (p.lstat().st_mode, p.lstat().st_mtime_ns)
                 for p in sorted(self.folder.rglob("*"))}  # fmt: skip
        return {
            "container": (container["State"]["Status"], container["State"]["StartedAt"], container["RestartCount"]),
            "network": client.networks.get(name).id,
            "connected": sorted(client.api.inspect_network(name)["Containers"]),
            "volume": client.volumes.get(name).attrs["CreatedAt"],
            "stored": self.bystander.exec_run("cat /data/word").output,
            "image": client.images.get(f"{name}:1").id,
            "shared image": client.images.get(IMAGE).id,
            "files": files,
            "file": Path(self["canary_file"]).read_text(),
        }

    def effects(self, *texts: str) -> list[str]:
        """What a submission has achieved; forgotten afterwards."""
        found = [f"the canary got out: …{text[:300]}" for text in texts if self["canary"] in text]
        found += self.heard
        self.heard.clear()
        after = self.state()
        found += [f"{name} changed: {self.before[name]} -> {after[name]}"
                  for name in after if after[name] != self.before[name]]  # fmt: skip
        found += left_behind(self.client, os.getpid())  # what claims to be another grading's
        return found


def _listen(machine: Machine, listener: socket.socket) -> None:
    while True:
        try:
            connection, address = listener.accept()
        except OSError:  # the tests are over
            return
        with connection:
            machine.heard.append(f"a connection from {address[0]}")


def _hear(machine: Machine, listener: socket.socket) -> None:
    while data := listener.recv(100):
        machine.heard.append(f"a packet: {data!r}")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    base, name, canary = tmp_path_factory.mktemp("machine"), f"bystander-{os.getpid()}", f"canary-{uuid.uuid4().hex}"
    (base / "outside" / "inner").mkdir(parents=True)
    (base / "outside").chmod(0o777)
    (base / "outside" / "inner" / "file").write_text("somebody else's")
    (base / "canary").write_text(canary)
    client = connect()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(client.close)
        network = client.networks.create(name)
        cleanup.callback(network.remove)
        volume = client.volumes.create(name)
        cleanup.callback(volume.remove)
        bystander = client.containers.run(
            IMAGE, ["sh", "-c", "echo mine > /data/word; exec python -m http.server 8000"], name=name, detach=True,
            init=True, network=name, volumes={name: {"bind": "/data", "mode": "rw"}},
            labels={"com.docker.compose.project": name, SERVICE_LABEL: "api", "com.docker.compose.oneoff": "False"},
        )  # fmt: skip
        cleanup.callback(lambda: bystander.remove(force=True, v=True))
        bystander.commit(name, "1")
        cleanup.callback(lambda: client.images.remove(f"{name}:1"))
        listener = cleanup.enter_context(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True))
        packets = cleanup.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        packets.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        packets.bind(("::", listener.getsockname()[1]))
        bystander.reload()
        here = addresses()
        found = Machine(
            client,
            {
                "canary": canary,
                "canary_file": str(base / "canary"),
                "outside": str(base / "outside"),
                "port": str(listener.getsockname()[1]),
                "addresses": " ".join(here),
                "uplink": here[0],
                "bystander": name,
                "bystander_id": bystander.id,
                "bystander_address": bystander.attrs["NetworkSettings"]["Networks"][name]["IPAddress"],
                "owner": str(sweep.Owner.new()),
            },
            base,
            bystander,
        )
        threads = [threading.Thread(target=_listen, args=(found, listener), daemon=True),
                   threading.Thread(target=_hear, args=(found, packets), daemon=True)]  # fmt: skip
        for thread in threads:
            thread.start()
        wait_for(lambda: bystander.exec_run("cat /data/word").output, "the bystander")
        found.before = found.state()
        yield found
        for end in (listener, packets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


# --- grading one, and what has to be so afterwards -----------------------------------------------------------


@dataclass
class Running:
    """A grading in progress."""

    attack: Attack
    process: subprocess.Popen[str]
    began: float = field(default_factory=time.monotonic)
    peak: int = 0

    def watch(self) -> None:
        """Keep the most memory that the grader's own process took."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.process.pid)
            while self.process.poll() is None:
                self.peak = max(self.peak, process.memory_info().rss)
                time.sleep(0.05)


def begin(attack: Attack, machine: Machine, folder: Path, **environment: str) -> Running:
    source = attack.make(folder / attack.name, machine.targets)
    environment |= {"HOSTILE_CANARY": machine["canary"]}
    running = Running(attack, start("-s", str(source), "-f", "json", *attack.options, **environment))
    threading.Thread(target=running.watch, daemon=True).start()
    return running


def end(running: Running, machine: Machine) -> tuple[Graded, list[str]]:
    """What was graded, and all that is not as it has to be."""
    attack, pid = running.attack, running.process.pid
    graded = finish(running.process, timeout=attack.deadline)
    try:
        wrong = [] if "Traceback" not in graded.stderr else [graded.stderr]
        wrong += _wrong(attack, graded) if graded.stdout else [f"no report, exit status {graded.status}"]
        wrong += [f"left behind: {name}" for name in left_behind(machine.client, pid)]
        wrong += [f"left behind: {folder}" for folder in folders_of(pid)]
    finally:
        for folder in folders_of(pid):
            subprocess.run(["rm", "-rf", folder], check=False)
    if running.peak > MOST_MEMORY:
        wrong.append(f"the grader took {running.peak >> 20} MiB")
    return graded, wrong + machine.effects(graded.stdout, graded.stderr)


def _wrong(attack: Attack, graded: Graded) -> list[str]:
    report = graded.report
    verdicts = tuple(check["verdict"] for check in report["checks"])
    wrong = [] if verdicts == attack.verdicts else [f"verdicts: {verdicts}: {_messages(report)}"]
    if graded.status != (0 if set(attack.verdicts) == {"passed"} else 1):
        wrong.append(f"exit status {graded.status}")
    wrong += [f"refused: {refusal}" for refusal in report["refused"]]
    spy: Mapping[str, Any] = next((s for s in report["services"] if s["service"] == "spy"), {})
    if attack.says and tuple(spy.get("log", ())) != attack.says:
        wrong.append(f"the spy says {spy.get('log')}")
    wrong += [f"the spy's {name}: {spy.get(name)}" for name, value in attack.ends.items() if spy.get(name) != value]
    places = {
        "answer": report["checks"][1]["actual"],
        "root": report["checks"][2]["actual"],
        "problem": report["start_problem"],
        "note": "\n".join(report["notes"]),
    }
    wrong += [f"{name}: {places[name][:300]!r}" for name, wanted in attack.shows.items()
              if not re.search(wanted, places[name], re.DOTALL)]  # fmt: skip
    if report["seconds"].get("teardown", 0) > LONGEST_TEARDOWN:
        wrong.append(f"the teardown took {report['seconds']['teardown']} s")
    if len(graded.stdout) > MOST_TEXT:
        wrong.append(f"the report has {len(graded.stdout)} characters")
    return wrong + [f"unprintable: {text[:200]!r}" for text in _texts(report) if UNPRINTABLE.search(text)]


def _messages(report: Mapping[str, Any]) -> list[str]:
    return [check["message"] for check in report["checks"] if check["message"]] + [report["start_problem"]]


def _texts(value: Any) -> Iterator[str]:
    """Every text in a report."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)


def held(
    attack: Attack, machine: Machine, folder: Path, look: Callable[[dict[str, Any]], list[str]]
) -> tuple[Graded, list[str]]:
    """Grade ``attack``, whose web becomes healthy only after ``look`` has seen what the engine says of it."""
    running = begin(attack, machine, folder)

    def web() -> list[dict[str, Any]]:
        found = machine.client.api.containers(filters={"label": [LABEL, f"{SERVICE_LABEL}=web"]})
        return [c for c in found if f"/{running.process.pid}/" in c["Labels"][LABEL] and c["State"] == "running"]

    try:
        wait_for(web, "web to run")
        container = machine.client.containers.get(web()[0]["Id"])
        wait_for(lambda: container.exec_run(["python", "-c", LISTENS]).exit_code == 0, "web to listen")
        seen = look(container.attrs)
        container.exec_run("touch /tmp/go")
    except BaseException:
        running.process.terminate()
        running.process.communicate()
        raise
    graded, wrong = end(running, machine)
    return graded, wrong + seen


def _params(attacks: list[Attack]) -> list[Any]:
    return [
        pytest.param(
            attack,
            id=attack.name,
            marks=[pytest.mark.xfail(strict=True, reason=attack.gets_through)] if attack.gets_through else [],
        )
        for attack in attacks
    ]


@pytest.mark.parametrize("attack", _params(ATTACKS))
def test_runs_and_does_no_harm(attack: Attack, machine: Machine, tmp_path: Path) -> None:
    _, wrong = end(begin(attack, machine, tmp_path), machine)
    assert wrong == []


# --- resources ------------------------------------------------------------------------------------------------


def test_a_neighbour_gets_full_marks_beside_one_that_burns_the_processors(machine: Machine, tmp_path: Path) -> None:
    neighbours: list[Graded] = []

    def look(container: dict[str, Any]) -> list[str]:
        neighbours.append(finish(start("-f", "json"), timeout=60))
        return []

    _, wrong = held(contained.BURNING, machine, tmp_path, look)
    assert wrong == []
    assert neighbours[0].status == 0, neighbours[0].stdout + neighbours[0].stderr


@needs_root
def test_a_flooded_log_takes_a_few_megabytes(machine: Machine, tmp_path: Path) -> None:
    sizes: list[int] = []

    def look(container: dict[str, Any]) -> list[str]:
        folder, flooded = Path(container["LogPath"]).parent, machine.client.containers.get(container["Id"])
        wait_for(lambda: flooded.exec_run("test -e /tmp/flooded").exit_code == 0, "the end of the flood")
        sizes.append(sum(path.stat().st_size for path in folder.glob("*.log*")))
        return []

    _, wrong = held(contained.FLOOD, machine, tmp_path, look)
    assert wrong == []
    assert 2**20 < sizes[0] < 12 * 2**20


@pytest.mark.parametrize("attack", _params(contained.WRITERS))
def test_the_disk_is_given_back(attack: Attack, machine: Machine, tmp_path: Path) -> None:
    data = Path(machine.client.info()["DockerRootDir"])
    if not data.exists():
        pytest.skip("the engine's disk is not on this machine")
    before, lowest, running = shutil.disk_usage(data).free, [], begin(attack, machine, tmp_path)
    while running.process.poll() is None:
        lowest.append(shutil.disk_usage(data).free)
        time.sleep(0.05)
    _, wrong = end(running, machine)
    assert wrong == []
    assert min(lowest) < before - contained.GUARD * 0.9, "it was not ended by what it wrote"
    wait_for(lambda: shutil.disk_usage(data).free > before - contained.GUARD / 2, "the disk to be given back")


# --- builds -----------------------------------------------------------------------------------------------------


def commands(word: str) -> list[list[str]]:
    """The commands on this machine that have ``word`` in them."""
    return [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if word in (p.info["cmdline"] or [])]


def test_a_build_that_is_ended_leaves_no_process(machine: Machine, tmp_path: Path) -> None:
    running = begin(contained.BUILDING_WITHOUT_END, machine, tmp_path)
    wait_for(lambda: commands(contained.BUILDING), "the build")
    _, wrong = end(running, machine)
    assert wrong == []
    wait_for(lambda: not commands(contained.BUILDING), "the build to end", timeout=20)


def test_cache_mounts_are_shared_with_nobody(machine: Machine, tmp_path: Path) -> None:
    for attack in contained.CACHES:
        _, wrong = end(begin(attack, machine, tmp_path), machine)
        assert wrong == []


def test_the_proxys_password_stays_with_the_machine(machine: Machine, tmp_path: Path) -> None:
    """Docker hands the proxies of its configuration to whatever it builds and runs."""
    proxy = f"http://user:{machine['canary']}@127.0.0.1:{machine['port']}"
    config = tmp_path / "config"
    config.mkdir()
    names = ("httpProxy", "httpsProxy", "ftpProxy", "allProxy", "noProxy")
    (config / "config.json").write_text(json.dumps({"proxies": {"default": dict.fromkeys(names, proxy)}}))
    _, wrong = end(begin(contained.PROXY, machine, tmp_path, DOCKER_CONFIG=str(config)), machine)
    assert wrong == []


def test_volumes_that_an_image_asks_for_go(machine: Machine, tmp_path: Path) -> None:
    volumes: list[str] = []

    def look(container: dict[str, Any]) -> list[str]:
        volumes.extend(mount["Name"] for mount in container["Mounts"])
        return []

    _, wrong = held(contained.ODD, machine, tmp_path, look)
    assert wrong == []
    assert len(volumes) == 4
    for name in volumes:
        with pytest.raises(NotFound):
            machine.client.volumes.get(name)


# --- verdicts ---------------------------------------------------------------------------------------------------


def test_what_containers_print_is_only_text(machine: Machine, tmp_path: Path) -> None:
    graded, wrong = end(begin(contained.SHOUTING, machine, tmp_path), machine)
    assert wrong == []
    data = {key: value for key, value in graded.report.items() if key not in ("points", "maximum")}
    report = Report.model_validate(data)
    services = {service.service: service for service in report.services}
    assert {"spy", "terminal", "ill"} <= services.keys()
    assert services["ill"].probe_output
    shown = [*services["spy"].log, *services["terminal"].log, services["ill"].probe_output, report.checks[2].actual]
    for text in (*shown, render(report, "text", to_terminal=False)):
        assert UNPRINTABLE.search(text) is None
    for text in (services["ill"].probe_output, report.checks[2].actual, render(report, "text", to_terminal=True)):
        assert "[bold red]markup[/]" in text
    coloured = re.sub("\x1b\\[[0-9;]*m", "", render(report, "text", to_terminal=True))
    assert UNPRINTABLE.search(coloured) is None


# --- ways out ---------------------------------------------------------------------------------------------------


def test_ports_are_published_to_this_machine_only_and_on_free_ones(machine: Machine, tmp_path: Path) -> None:
    reached: list[str] = []

    def look(container: dict[str, Any]) -> list[str]:
        ports: dict[str, Any] = container["NetworkSettings"]["Ports"]
        bound = [(port, binding["HostIp"], binding["HostPort"]) for port in ports for binding in ports[port] or []]
        asked = {"22", "18083", "18090", "18091", "18092", machine["port"], machine["taken"]}
        [web] = [number for port, _, number in bound if port == "8000/tcp"]
        socket.create_connection(("127.0.0.1", int(web)), 5).close()
        for address in machine["addresses"].split():
            with contextlib.suppress(OSError):
                socket.create_connection((address, int(web)), 2).close()
                reached.append(address)
        return [f"{b}" for b in bound if b[1] != "127.0.0.1" or b[2] in asked] + [
            f"{port} is missing" for port in ("8001/tcp", "8002/tcp", "8003/tcp", "9001/udp") if port not in ports
        ]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        machine.targets["taken"] = str(listener.getsockname()[1])
        _, wrong = held(contained.PORTS, machine, tmp_path, look)
    assert wrong == []
    assert reached == []


def test_without_isolation_the_machine_is_reached(machine: Machine, tmp_path: Path) -> None:
    """The tests that nothing is reached can fail."""
    _, wrong = end(begin(contained.REACHING_WITH_EGRESS, machine, tmp_path), machine)
    assert {text.split(" from ")[0] for text in wrong} == {"a connection"}


@needs_root
def test_names_are_not_looked_up_outside(machine: Machine, tmp_path: Path) -> None:
    [attack] = [attack for attack in ATTACKS if attack.name == "asks-for-names-outside-without-egress"]
    seen: list[bytes] = []
    word = machine["canary"].encode()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:

        def listen() -> None:
            with contextlib.suppress(OSError):
                while not ended.is_set():
                    if word in (packet := wire.recv(65536)):
                        seen.append(packet)

        ended, thread = threading.Event(), threading.Thread(target=listen, daemon=True)
        thread.start()
        _, wrong = end(begin(attack, machine, tmp_path), machine)
        before = list(seen)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:  # so much for that a question would be seen
            wait_for(lambda: own.sendto(word, ("127.0.0.1", 9)) and seen, "a packet of the test's own")
        ended.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(b"the end", ("127.0.0.1", 9))
        thread.join(5)
    assert wrong == []
    assert before == []


# --- neighbours -------------------------------------------------------------------------------------------------


def test_clean_spares_what_is_not_a_gradings(machine: Machine) -> None:
    clean()
    assert machine.effects() == []


def test_every_attack_has_a_name_of_its_own() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names)
