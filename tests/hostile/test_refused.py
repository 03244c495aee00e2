"""Submissions that are up to no good are refused, and nothing of what they tried has happened."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.types import CancellableStream

from grader import compose, grading, vetting
from grader.engine import sweep
from grader.engine.connection import connect
from grader.errors import MachineError, SubmissionError
from grader.results import CheckResult, Report, Verdict
from grader.submission import private_copy
from tests.hostile.on_target import TARGET
from tests.hostile.refused import ATTACKS, IN_VAIN, Aim, Attack
from tests.hostile.target import start
from tests.live.grading import left_behind, wait_for


class Silent:
    """Hears what a grading does and says nothing."""

    def stage(self, what: str) -> None:
        pass

    def finished(self, result: CheckResult, done: int, total: int) -> None:
        pass


@dataclass
class Range:
    """What the attacks are aimed at, and what has been seen of them since the last one."""

    aim: Aim
    outside: Path
    listener: socket.socket
    heard: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    projects: set[str] = field(default_factory=set)
    pids: set[int] = field(default_factory=set)
    events: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        return self.aim.values[name]

    def listen(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # the tests are over
                return
            with connection:
                self.heard.append("a connection came in")

    def watch(self, events: Iterable[dict[str, Any]]) -> None:
        """The engine keeps only its last few events, so they are listened to."""
        for event in events:
            self.events.append(json.dumps(event))

    def made(self) -> list[str]:
        """What the engine has made, removed or tagged for one of these gradings."""
        mine = [json.loads(event) for event in self.events if any(project in event for project in self.projects)]
        return sorted({f"engine: {event['Type']} {event['Action']}" for event in mine})

    def effects(self, *texts: str) -> list[str]:
        """What an attack has achieved; forgotten afterwards."""
        found = ["marker was written outside" for _ in self.outside.rglob("marker*")]
        found += [f"the canary got out: {text[:300]}" for text in (*texts, *self.printed) if self.leaked(text)]
        found += self.heard + self.made()
        for path in self.outside.rglob("marker*"):
            path.unlink()
        self.printed.clear()
        self.heard.clear()
        self.projects.clear()
        return found

    def leaked(self, text: str) -> bool:
        return self["canary"] in text


@pytest.fixture(scope="module")
def range_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Range]:
    base = tmp_path_factory.mktemp("machine")
    outside, canary = base / "outside", f"canary-{uuid.uuid4().hex}"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    (base / "variables").write_text(f"CANARY={canary}\n")
    (base / "canary.yml").write_text(
        f"services: {{web: {{image: 'python:3.11-slim', labels: {{a: {canary}}}}}, "
        f"base: {{image: 'python:3.11-slim', labels: {{a: {canary}}}}}}}\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as patch:
        values = {
            "canary_file": str(base / "variables"),
            "canary_yaml": str(base / "canary.yml"),
            "canary": canary,
            "variable": "HOSTILE_CANARY",
            "outside": str(outside),
            "port": str(listener.getsockname()[1]),
            "tag": f"hostile-{uuid.uuid4().hex[:10]}:1",
            "up": "/".join([".."] * 30),
        }
        patch.setenv("HOSTILE_CANARY", canary)
        found = Range(Aim(values), outside, listener)
        _record(found, patch)
        threads = [threading.Thread(target=found.listen, daemon=True)]
        events = _events()
        if events is not None:
            threads.append(threading.Thread(target=found.watch, args=[events], daemon=True))
        for thread in threads:
            thread.start()
        yield found
        if events is not None:
            events.close()
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


def _events() -> CancellableStream | None:
    try:
        events: CancellableStream = connect(timeout=600).events(decode=True)
    except MachineError:  # without an engine there is nothing to be made
        return None
    return events


def _record(range_: Range, patch: pytest.MonkeyPatch) -> None:
    """Keep what Compose prints of a file, and as what gradings call themselves."""
    read, new = compose.read, sweep.Owner.new

    def recorded(arguments: Any, cwd: Path, timeout: float) -> compose.Finished:
        done = read(arguments, cwd, timeout)
        range_.printed += filter(None, [done.stdout, done.stderr])
        return done

    def recorded_owner() -> sweep.Owner:
        owner = new()
        range_.projects.add(owner.project)
        return owner

    patch.setattr(compose, "read", recorded)
    patch.setattr(sweep.Owner, "new", staticmethod(recorded_owner))


def attacked(attack: Attack, range_: Range, folder: Path) -> tuple[list[str], str]:
    """What is wrong with the grader's answer, and the answer."""
    source = attack.make(folder, range_.aim)
    try:
        report = grading.grade(grading.Request(TARGET, source), Silent()).report
    except SubmissionError as error:
        said = f"{error.what}\n{error.fix}"
        wrong = [] if attack.error and attack.error in error.what and error.exit_status == 2 else [f"said: {said}"]
        return wrong, said
    return _wrong(attack, range_, report), report.model_dump_json()


def _wrong(attack: Attack, range_: Range, report: Report) -> list[str]:
    found = {(refusal.at, refusal.what) for refusal in report.refused}
    wrong = [] if (attack.at, range_.aim.fill(attack.what)) in found else [f"refused was {sorted(found)}"]
    wrong += [f"{refusal.what}: no reason" for refusal in report.refused if not (refusal.why and refusal.instead)]
    wrong += [f"{check.name}: {check.verdict}" for check in report.checks if check.verdict is not Verdict.BLOCKED]
    return wrong + ([] if report.exit_status == 1 and report.checks else [f"exit status {report.exit_status}"])


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_is_refused_and_has_no_effect(attack: Attack, range_: Range, tmp_path: Path) -> None:
    wrong, answer = attacked(attack, range_, tmp_path)
    assert wrong + range_.effects(answer) == []


@pytest.mark.parametrize("attack", IN_VAIN, ids=lambda attack: attack.name)
def test_gets_nothing_whether_it_is_refused_or_not(attack: Attack, range_: Range, tmp_path: Path) -> None:
    with private_copy(attack.make(tmp_path, range_.aim), TARGET, tmp_path / "copy") as copy:
        vetting.vetted(copy, "grading-test", TARGET)
    text = "".join(range_.printed)
    paths = re.findall(r'"(?:source|file|context)": "(.*/.*?)"', text)
    elsewhere = [path for path in paths if str(copy.folder) not in path]
    assert range_.effects() + elsewhere + re.findall("somebodys", text) == []


AS_A_PROCESS = [
    "gains-every-right-of-root",
    "reads-the-machine-through-env-file",
    "includes-a-repository",
    "links-to-a-file-of-the-machine",
    "unpacks-above-from-a-tar",
]


@pytest.mark.parametrize("name", AS_A_PROCESS)
def test_the_command_line_says_so_and_ends_with_1_or_2(name: str, range_: Range, tmp_path: Path) -> None:
    [attack] = [attack for attack in ATTACKS if attack.name == name]
    process = start("-s", str(attack.make(tmp_path, range_.aim)), "-f", "json")
    stdout, stderr = process.communicate(timeout=60)
    range_.pids.add(process.pid)
    if attack.error:
        assert (process.returncode, stdout) == (2, "")
        assert attack.error in stderr
        assert "Traceback" not in stderr
    else:
        assert process.returncode == 1
        report = json.loads(stdout)
        assert (attack.at, attack.what) in {(entry["at"], entry["what"]) for entry in report["refused"]}
        assert {check["verdict"] for check in report["checks"]} == {"blocked"}
    assert range_.effects(stdout, stderr) == []


def test_every_attack_has_a_name_of_its_own() -> None:
    names = [attack.name for attack in ATTACKS + IN_VAIN]
    assert len(set(names)) == len(names)


@pytest.mark.live
def test_nothing_at_all_was_made_on_the_engine(range_: Range) -> None:
    """Behind all the others: it looks at what they left; what happened meanwhile each of them has looked at."""
    client = connect()
    try:
        assert [name for pid in {os.getpid(), *range_.pids} for name in left_behind(client, pid)] == []
        assert [event for event in range_.events if range_["tag"] in event] == []
        with pytest.raises(docker.errors.ImageNotFound):
            client.images.get(range_["tag"])
        # The ear is a good one: it hears a volume come and go.
        client.volumes.create(name := f"hostile-{uuid.uuid4().hex[:10]}").remove()
        wait_for(lambda: any(name in event for event in range_.events), "the engine's own word", timeout=5)
    finally:
        client.close()


# --- the targets are real -----------------------------------------------------------------------------------

LEAKING = [
    "reads-the-machine-through-env-file",
    "reads-the-machine-through-env-file-from-above",
    "reads-the-machine-through-extends",
    "reads-the-machine-through-environment",
    "reads-the-machine-through-environment-without-a-value",
    "reads-the-machine-behind-two-byte-order-marks",
    "reads-the-machine-in-an-override-file",
    "asks-for-variables-of-the-machine",
    "names-another-compose-file-in-its-env",
]


def plain_compose(attack: Attack, range_: Range, folder: Path) -> str:
    """What Compose prints by itself, as students run it."""
    command = [compose.docker_command(), "compose", "config"]
    source = attack.make(folder, range_.aim)
    return subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=30).stdout


@pytest.mark.parametrize("name", LEAKING)
def test_without_the_grader_the_canary_gets_out(name: str, range_: Range, tmp_path: Path) -> None:
    [attack] = [attack for attack in ATTACKS + IN_VAIN if attack.name == name]
    assert range_.leaked(plain_compose(attack, range_, tmp_path))


def test_without_the_grader_an_included_file_gets_out(range_: Range, tmp_path: Path) -> None:
    attack = Attack("", {"compose.yml": "include: ['{canary_yaml}']\n"})
    assert range_.leaked(plain_compose(attack, range_, tmp_path))


def test_the_listener_hears_who_connects(range_: Range) -> None:
    with socket.create_connection(("127.0.0.1", int(range_["port"]))) as connection:
        connection.recv(1)
    assert range_.effects() == ["a connection came in"]
