"""The engine's process: started where nothing else starts it, and stopped only by who started it.

Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from grader.engine.facts import read_facts, release, uplink_mtu
from grader.errors import MachineError
from grader.setup import apt
from grader.setup.advice import ETHERNET_MTU, SYSTEM_PATH, Machine, commands, explain

Say = Callable[[str], None]

LOG = Path("/var/log/compose-course-dockerd.log")
RECORD = Path("/run/compose-course/engine.json")  # what we started, so that `stop` stops nothing else
DAEMON_CONFIG = Path("/etc/docker/daemon.json")
PID_FILES = {
    Path("/var/run/docker.pid"): "dockerd",
    Path("/var/run/docker/containerd/containerd.pid"): "containerd",
}
START_WITHIN = 120.0  # seconds; a start takes two, on a busy machine twenty
STOP_WITHIN = 40.0  # seconds; the engine gives each container ten


def start_engine(say: Say, just_installed: bool = False) -> None:
    """Start the installed engine with what this machine starts services with, and wait until it answers.

    Args:
        say: is given one line before each step.
        just_installed: an engine that is starting already was started by its own installation: it is ours.

    Raises:
        MachineError: it does not come up; with the last lines of its log.
    """
    machine = Machine.read()
    remove_stale_pid_files(say)
    if present := _present_dockerd():
        if just_installed:
            _record_process(present)
        say("Waiting for the Docker engine, which is starting or ending ...")
        if _wait_until_it_answers(lambda: _is(present, "dockerd")):
            return
        remove_stale_pid_files(say)
    if machine.dockerd is None:
        again = commands("sudo apt-get install --reinstall docker.io", "make setup")
        raise MachineError("Docker is installed, but its program dockerd is missing.", again)
    if starts_services(machine):
        limit_packets_of_service(say, _version_of(machine.dockerd))
        _start_service(say, machine)
    else:
        _start_ourselves(say, machine.dockerd)


def starts_services(machine: Machine) -> bool:
    """An init system is really at work here: systemd, or PID 1 is init and knows docker."""
    old_init = _text("/proc/1/comm").strip() == "init" and Path("/etc/init.d/docker").exists()
    return machine.systemd or old_init


def _start_service(say: Say, machine: Machine) -> None:
    if machine.systemd:
        start, stop = ["systemctl", "start", "docker"], ["systemctl", "stop", "docker.socket", "docker"]
    else:
        start, stop = ["service", "docker", "start"], ["service", "docker", "stop"]
    say(f"Starting the Docker engine with `{' '.join(start)}` ...")
    run = subprocess.run(start, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if run.returncode:
        said = apt.last_lines(run.stdout + run.stderr)
        fix = explain(said) or commands("journalctl -u docker -n 30", before="Its log says more:")
        raise MachineError(f"`{' '.join(start)}` failed:\n{said}", fix)
    _record({"stop": stop})
    _wait_until_it_answers(lambda: True)


def _start_ourselves(say: Say, dockerd: str) -> None:
    """Start dockerd detached: there is no init system to do it, as on a runner or in a container."""
    if shutil.which("iptables", path=SYSTEM_PATH) is None and apt.usable():
        say("Installing iptables, which the Docker engine needs ...")
        apt.install(["iptables"])
    command = [dockerd, *packet_options(uplink_mtu(), _version_of(dockerd), _daemon_config())]
    say(f"Starting the Docker engine: {' '.join(command)} (its log: {LOG}) ...")
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("ab") as log:
        log_start = log.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # neither Ctrl-C nor the end of the terminal reaches it
            cwd="/",
            env=os.environ | {"PATH": f"{SYSTEM_PATH}:{os.environ.get('PATH', '')}"},
        )
    _record_process(process.pid)
    try:
        if _wait_until_it_answers(lambda: process.poll() is None):
            return
        what = f"The Docker engine ended at once, with exit status {process.returncode}."
    except MachineError as late:
        what = late.what
    text = _text(LOG)[log_start:]
    raise MachineError(
        f"{what} The last lines of its log, {LOG}:\n{apt.last_lines(text, 4)}",
        explain(text) or commands(f"less {LOG}", before="The whole log says more:"),
    )


def _wait_until_it_answers(alive: Callable[[], bool]) -> bool:
    """True as soon as the engine answers, False as soon as it is no longer alive."""
    deadline = time.monotonic() + START_WITHIN
    while read_facts().engine is None:
        if not alive():
            return False
        if time.monotonic() > deadline:
            raise MachineError(
                f"The Docker engine did not answer within {START_WITHIN:.0f} s.",
                commands("journalctl -u docker -n 50      # or, without systemd:", "less /var/log/docker.log"),
            )
        time.sleep(0.2)
    return True


def packet_options(uplink: int | None, version: str | None, config: Mapping[str, object]) -> list[str]:
    """dockerd's options for an uplink that takes smaller packets than Ethernet's; none where it does not.

    The engine assumes 1500 bytes; behind a tunnel that takes fewer, large downloads inside containers hang.
    An option that daemon.json already has is left to it: dockerd refuses to be told twice.
    """
    if uplink is None or uplink >= ETHERNET_MTU:
        return []
    options = [] if "mtu" in config else [f"--mtu={uplink}"]
    # --mtu holds for the default bridge only; a Compose project's networks need the second, new in Engine 24.
    if release(version) >= (24,) and "default-network-opts" not in config:
        options.append(f"--default-network-opt=bridge=com.docker.network.driver.mtu={uplink}")
    return options


def limit_packets_of_service(say: Say, version: str | None) -> None:
    """The same for an engine that an init system starts, which takes its options from daemon.json."""
    uplink = uplink_mtu()
    if uplink is None or uplink >= ETHERNET_MTU or DAEMON_CONFIG.exists():
        return
    say(f"Writing {DAEMON_CONFIG}: this machine's uplink takes packets of {uplink} bytes only ...")
    config: dict[str, object] = {"mtu": uplink}
    if release(version) >= (24,):
        config["default-network-opts"] = {"bridge": {"com.docker.network.driver.mtu": str(uplink)}}
    DAEMON_CONFIG.parent.mkdir(parents=True, exist_ok=True)
    DAEMON_CONFIG.write_text(json.dumps(config, indent=2) + "\n")


def _daemon_config() -> Mapping[str, object]:
    try:
        config = json.loads(_text(DAEMON_CONFIG) or "{}")
    except ValueError:  # dockerd will say what is wrong with it, and better than we could
        return {}
    return config if isinstance(config, dict) else {}


def _version_of(dockerd: str) -> str | None:
    run = subprocess.run([dockerd, "--version"], check=False, capture_output=True, text=True)
    found = re.search(r"version ([^,\s]+)", run.stdout)
    return found[1] if found else None


def remove_stale_pid_files(say: Say, files: Mapping[Path, str] = PID_FILES) -> None:
    """Remove the pid files of engines that were killed: dockerd would believe that it runs already.

    The number in such a file may by now belong to a zombie or to another program.
    """
    for file, program in files.items():
        if file.exists() and _living(file, program) is None:
            say(f"Removing {file}, left behind by a {program} that is gone ...")
            file.unlink(missing_ok=True)


def _living(file: Path, program: str) -> int | None:
    """The process id in a pid file, if that process lives and is this program."""
    digits = _text(file).strip()
    return int(digits) if digits.isdigit() and _is(int(digits), program) else None


def _is(pid: int, program: str) -> bool:
    return _text(f"/proc/{pid}/comm").strip() == program and _lives(pid)


def _lives(pid: int) -> bool:
    return (_stat(pid) or ["X"])[0] not in "ZX"


def _present_dockerd() -> int | None:
    return next((_living(file, program) for file, program in PID_FILES.items() if program == "dockerd"), None)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: the second is the name, which may hold spaces."""
    return _text(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _start_time(pid: int) -> str:
    """When a process was started, in clock ticks since boot: with its id, its identity."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _record_process(pid: int) -> None:
    _record({"pid": pid, "started": _start_time(pid)})


def _record(started: Mapping[str, object]) -> None:
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(started))


def stop_engine(say: Say) -> None:
    """Stop the engine, and with it every container, if and only if the set-up started it.

    Raises:
        MachineError: it is still there after a while.
    """
    try:
        started = json.loads(RECORD.read_text())
    except (OSError, ValueError):
        say("The set-up has started no engine here: nothing to stop.")
        return
    if "stop" in started:
        say(f"Stopping the Docker engine with `{' '.join(started['stop'])}` ...")
        subprocess.run(started["stop"], check=False, stdin=subprocess.DEVNULL)
    elif _start_time(started["pid"]) == started["started"] and _lives(started["pid"]):
        say(f"Stopping the Docker engine (process {started['pid']}) ...")
        _end(started["pid"])
    RECORD.unlink(missing_ok=True)


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_WITHIN
    while _lives(pid):
        if time.monotonic() > deadline:
            raise MachineError(
                f"The Docker engine (process {pid}) still runs {STOP_WITHIN:.0f} s after it was told to end.",
                commands(f"sudo kill -9 {pid}", before=f"Its log is {LOG}. As a last resort:"),
            )
        time.sleep(0.1)
