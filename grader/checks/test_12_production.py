"""Exercise 12: a stack that works is made fit for production, and still works.

What the processes of a container may do is read inside it, from /proc and its cgroup; the tries (writing, logging in
with what stands in a variable) are made there, too. The last check crashes every service.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest
from docker.errors import APIError

from grader.budget import stretched
from grader.model import Model, Service
from grader.plugin import Blocked, Failure, check, running
from grader.probes import Answer, send, wait_until
from grader.stack import Stack

SERVICES = ("nginx", "api", "model-server", "redis", "postgres")
DOOR = "nginx"
DOOR_PORT = 80

MEMORY = 500 * 2**20  # bytes that a container may use at most
PROCESSES = 100
LOG = 100 * 10**6  # bytes of log that are kept of a container at most

PATIENCE = 5.0  # seconds in which digits are read, and answers cached
LONGEST = 45.0

# An entry point that starts as root needs these to hand its files over and to become somebody else.
STEPPING_DOWN = frozenset({"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"})
MAY_KEEP = {"redis": STEPPING_DOWN, "postgres": STEPPING_DOWN}
# In the order of their bits: include/uapi/linux/capability.h
CAPABILITIES = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
]  # fmt: skip

# Handwritten digits, 8 x 8, from scikit-learn's collection; the model is sure of each.
DIGITS = {
    0: "0 0 1 12 5 0 0 0 0 0 9 16 14 3 0 0 0 2 16 14 11 13 0 0 0 2 16 10 0 14 4 0 "
    "0 4 16 0 0 12 4 0 0 4 16 3 0 11 10 0 0 0 13 12 8 14 6 0 0 0 3 10 16 12 1 0",
    3: "0 4 13 16 16 12 3 0 0 3 7 4 13 16 6 0 0 0 0 8 15 5 0 0 0 0 0 12 8 0 0 0 "
    "0 0 0 7 12 0 0 0 0 0 0 4 12 0 0 0 0 1 7 12 11 0 0 0 0 3 15 12 2 0 0 0",
    4: "0 0 0 2 13 0 0 0 0 0 0 8 15 0 0 0 0 0 5 16 5 2 0 0 0 0 15 12 1 16 4 0 "
    "0 4 16 2 9 16 8 0 0 0 10 14 16 16 4 0 0 0 0 0 13 8 0 0 0 0 0 0 13 6 0 0",
    7: "0 0 2 11 16 4 0 0 0 0 12 9 11 15 1 0 0 0 2 0 4 16 0 0 0 0 0 2 8 15 1 0 "
    "0 4 16 16 16 15 7 0 0 3 6 4 16 3 0 0 0 0 0 6 11 0 0 0 0 0 0 12 7 0 0 0",
}

# What a container looks like from inside, in one go. It is asked by its root, who may read all there is.
LOOK = """
touch /written-by-the-grader 2> /dev/null && { rm -f /written-by-the-grader; echo written; }
cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null | sed 's/^/memory: /'
cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2> /dev/null | sed 's/^/pids: /'
grep -hE '^(Name|Pid|PPid|Uid|CapEff|CapBnd|NoNewPrivs):' /proc/[0-9]*/status 2> /dev/null
"""


# --- what is looked at ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """One process of a service.

    Attributes:
        users: the numbers of its users: real, effective, saved and for files.
        may_have: the capabilities that it or a program it starts can have.
    """

    pid: int
    name: str
    users: frozenset[int]
    may_have: frozenset[str]
    no_new_privileges: bool


@dataclass(frozen=True)
class Inside:
    """A running container, seen from inside.

    Attributes:
        written: a file could be made in its root folder.
        memory, pids: its limits.
        processes: all that were not started by the engine for a probe.
    """

    written: bool
    memory: float
    pids: float
    processes: tuple[Process, ...]


@pytest.fixture(scope="module")
def inside(stack: Stack) -> dict[str, Inside]:
    """Every service that runs, seen from inside."""
    names = [name for name in SERVICES if name in stack.running]
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        seen = dict(zip(names, pool.map(lambda name: _look(stack, name), names), strict=True))
    return {name: container for name, container in seen.items() if container is not None}


def _look(stack: Stack, service: str) -> Inside | None:
    try:
        done = stack.execute(service, ["sh", "-c", LOOK], user="0")
    except (Blocked, APIError):  # it has died meanwhile, as it does again and again
        return None
    lines = [line.split() for line in done.output.splitlines()]
    host = (stack.inspect(service) or {}).get("HostConfig") or {}
    # Where the cgroup cannot be read from inside, there is still what the engine has set.
    memory = [_number(line[1]) for line in lines if line[:1] == ["memory:"]] or [host.get("Memory") or float("inf")]
    pids = [_number(line[1]) for line in lines if line[:1] == ["pids:"]] or [host.get("PidsLimit") or float("inf")]
    return Inside(["written"] in lines, memory[0], pids[0], tuple(_processes(lines)))


def _number(text: str) -> float:
    return float(text) if text.isdigit() else float("inf")


def _processes(lines: list[list[str]]) -> Iterator[Process]:
    """The service's own: process 1 and what it has started. What the engine starts has no parent in here."""
    found: dict[int, dict[str, list[str]]] = {}
    for key, *values in (line for line in lines if len(line) > 1):
        if key == "Name:":
            entry: dict[str, list[str]] = {}
        if key == "Pid:":
            found[int(values[0])] = entry
        if key not in ("memory:", "pids:"):
            entry[key] = values
    strangers = {pid for pid, process in found.items() if process["PPid:"] == ["0"] and pid != 1}
    for pid, process in sorted(found.items()):
        if pid in strangers or int(process["PPid:"][0]) in strangers:
            continue
        bits = int(process["CapEff:"][0], 16) | int(process["CapBnd:"][0], 16)
        yield Process(
            pid=pid,
            name=" ".join(process["Name:"]),
            users=frozenset(map(int, process["Uid:"])),
            may_have=frozenset(name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1),
            no_new_privileges=process["NoNewPrivs:"] == ["1"],
        )


def _all_seen(inside: Mapping[str, Inside], stack: Stack) -> None:
    """Blocks a check that has found nothing wrong, but has not seen every service."""
    for name in SERVICES:
        if name not in inside:
            raise Blocked(stack.not_well[name] or f"{name} does not run")


@pytest.fixture(scope="module")
def answers(stack: Stack) -> dict[int, Answer | None]:
    """What came of asking for each digit through nginx."""
    patience, answers = PATIENCE, {}
    for digit in DIGITS:
        answers[digit] = answer = _ask(stack, digit, patience)
        if answer is None or answer.status != 200:
            patience = 0.0  # it has had its time
    return answers


def _ask(stack: Stack, digit: int, patience: float = PATIENCE, cached: bool = False) -> Answer | None:
    """The answer about a digit; on a busy machine api may give up on the others once or twice.

    Args:
        patience: seconds in which it may be asked again.
        cached: wait for an answer that comes from redis.
    """
    pixels = [int(pixel) for pixel in DIGITS[digit].split()]
    answer: Answer | None = None

    def answered() -> bool:
        nonlocal answer
        url = stack.url(DOOR, DOOR_PORT, "/predict")
        answer = send("POST", url, json={"pixels": pixels}, timeout=stretched(5)) if url else None
        return answer is not None and answer.status == 200 and (not cached or _field(answer, "cached") is True)

    serving = not any(stack.not_well[name] for name in ("nginx", "api", "model-server"))
    wait_until(answered, stack.budget, _longer(patience) if serving else 0, interval=0.3)
    return answer


def _longer(patience: float) -> float:
    """On a busy machine; but what never comes must not use up the time of all other checks."""
    return min(stretched(patience), LONGEST)


def _wrong(answers: Mapping[int, Answer | None]) -> list[int]:
    return [digit for digit, answer in answers.items() if _field(answer, "digit") != digit]


def _field(answer: Answer | None, name: str) -> object:
    body = answer.json() if answer else None
    return body.get(name) if isinstance(body, dict) else None


# --- it still works -------------------------------------------------------------------------------


@check(
    points=2,
    section="What a service writes",
    hint="If a service has died, its last words are in its log: what could it not write, read or get?",
)
def test_digits_are_read(stack: Stack, answers: dict[int, Answer | None]) -> None:
    """Digits are read right through nginx"""
    if not _wrong(answers):
        return
    digit = _wrong(answers)[0]
    answer = answers[digit]
    down = next((name for name in ("nginx", "api", "model-server") if stack.not_well[name]), "")
    raise Failure(
        stack.not_well[down] if down else f"A handwritten {digit} was sent to nginx, and was not read",
        expected=f'an answer with "digit": {digit}',
        actual=f"{answer.status} {answer.body[:100].decode('utf-8', 'replace')}" if answer else "no answer",
        at=stack.model.at("services", down or DOOR),
        reproduce=f"docker compose up -d; docker compose ps -a; docker compose logs {down}".rstrip(),
    )


@check(
    points=2,
    section="What a service writes",
    hint="The api goes on without redis and postgres, and says so: GET /health names who is down.",
)
def test_answers_are_kept(stack: Stack, answers: dict[int, Answer | None]) -> None:
    """Answers are cached in redis and logged in postgres"""
    if _wrong(answers):
        raise Blocked("digits are not read")
    if not _field(_ask(stack, 0, cached=True), "cached"):
        raise Failure(
            "The same digit was sent again and again, and no answer came from redis",
            expected='"cached": true',
            actual=stack.not_well["redis"] or '"cached": false',
            at=stack.model.at("services", "redis"),
            reproduce="docker compose ps -a redis; docker compose logs redis; curl http://localhost:8080/health",
        )
    said = stack.not_well["postgres"]

    def logged() -> bool:
        nonlocal said
        try:
            [[rows]] = stack.sql("SELECT count(*) FROM predictions")
        except Blocked as why:
            said = str(why)
            return False
        said = f"{rows} rows"
        return int(rows) > len(DIGITS)

    if said or not wait_until(logged, stack.budget, _longer(2 * PATIENCE), interval=0.2):
        raise Failure(
            f"{len(DIGITS) + 1} answers were given, and they are not in the table predictions of postgres",
            expected=f"{len(DIGITS) + 1} rows",
            actual=said,
            at=stack.model.at("services", "postgres"),
            reproduce="docker compose ps -a postgres; docker compose logs postgres; docker compose logs api; "
            "docker compose exec postgres psql -U postgres -d predictions -c 'SELECT count(*) FROM predictions'",
        )


# --- users and rights -----------------------------------------------------------------------------


@check(
    points=2,
    section="Not as root",
    hint="`user:` says as whom the first process starts; the images of nginx, redis and postgres have a user ready.",
)
def test_nobody_is_root(stack: Stack, inside: dict[str, Inside]) -> None:
    """No process runs as root"""
    for name, container in inside.items():
        for process in container.processes:
            if 0 in process.users:
                raise Failure(
                    f"In {name}, process {process.pid} ({process.name}) runs as root",
                    expected="a user number other than 0",
                    actual="user 0",
                    at=stack.model.at("services", name, "user"),
                    reproduce=f"docker compose top {name}; "
                    f"docker compose exec {name} grep Uid /proc/{process.pid}/status",
                )
    _all_seen(inside, stack)


@check(
    points=2,
    section="Capabilities",
    hint="Drop ALL. Whoever starts as an ordinary user needs none back, not even for a port below 1024.",
)
def test_capabilities_are_dropped(stack: Stack, inside: dict[str, Inside]) -> None:
    """No container keeps capabilities that it does not need"""
    for name, container in inside.items():
        kept = frozenset(itertools.chain.from_iterable(process.may_have for process in container.processes))
        allowed = MAY_KEEP.get(name, frozenset())
        if more := sorted(kept - allowed):
            few = ", ".join(more[:4]) + (f" and {len(more) - 4} more" if len(more) > 4 else "")
            raise Failure(
                f"Processes of {name} can have capabilities that they do not need: {few}",
                expected=f"at most {', '.join(sorted(allowed))}" if allowed else "none",
                actual=f"{len(kept)} capabilities",
                at=stack.model.at("services", name, "cap_add" if _adds(stack, name) else "cap_drop"),
                reproduce=f"docker compose exec {name} grep Cap /proc/1/status      # all zeros: none",
            )
    _all_seen(inside, stack)


def _adds(stack: Stack, name: str) -> bool:
    return bool(stack.model.services[name].config.get("cap_add"))


@check(
    points=1,
    section="No new privileges",
    hint="One entry of `security_opt:`; the service keeps what it has, and nothing it starts gets more.",
)
def test_privileges_cannot_be_gained(stack: Stack, inside: dict[str, Inside]) -> None:
    """No process can gain new privileges"""
    for name, container in inside.items():
        if any(not process.no_new_privileges for process in container.processes):
            raise Failure(
                f"A program that {name} starts can gain rights which {name} itself does not have",
                expected="NoNewPrivs: 1",
                actual="NoNewPrivs: 0",
                at=stack.model.at("services", name, "security_opt"),
                reproduce=f"docker compose exec {name} grep NoNewPrivs /proc/1/status",
            )
    _all_seen(inside, stack)


# --- files ----------------------------------------------------------------------------------------


@check(
    points=2,
    section="Read-only",
    hint="One line makes the image's files read-only; volumes and tmpfs stay writable.",
)
def test_root_file_systems_are_read_only(stack: Stack, inside: dict[str, Inside]) -> None:
    """No container can write to its root file system"""
    for name, container in inside.items():
        if container.written:
            raise Failure(
                f"Root could make a file in the root folder of {name}",
                expected="Read-only file system",
                actual="the file was made",
                at=stack.model.at("services", name, "read_only"),
                reproduce=f"docker compose exec -u 0 {name} touch /here",
            )
    _all_seen(inside, stack)


@check(
    points=1,
    section="Read-only",
    hint="`read_only: true` of a service is about its image's files. A mount says it for itself.",
)
def test_mounts_are_read_only(stack: Stack) -> None:
    """No container can change the mounted files"""
    states = {name: stack.inspect(name) for name in SERVICES}
    for name, state in states.items():
        for mount in (state or {}).get("Mounts") or []:
            if mount["Type"] == "bind" and mount["RW"]:
                raise Failure(
                    f"{name} may write to {mount['Destination']}, which lies in this folder",
                    expected="a read-only mount",
                    actual="a writable one",
                    at=stack.model.at("services", name, "volumes"),
                    reproduce="docker inspect --format '{{range .Mounts}}{{println .Destination .RW}}{{end}}' "
                    f"$(docker compose ps -q {name})",
                )
    for name, state in states.items():
        if state is None:
            raise Blocked(stack.not_well[name])


# --- the password ---------------------------------------------------------------------------------

# Logs in over the network, at the address that comes first, with each of the others; prints the numbers of those that
# are let in, and what the first was told.
LOG_IN = """
address="$1"; shift
n=0
for password; do
  export PGPASSWORD="$password"
  said=$(psql -w --no-psqlrc -h "$address" -U "${POSTGRES_USER:-postgres}" -d postgres -c '' 2>&1)
  if [ $? = 0 ]; then echo "let in: $n"; elif [ $n = 0 ]; then echo "$said"; fi
  n=$((n + 1))
done
"""


@check(
    points=2,
    needs=running("postgres"),
    section="The password",
    hint="The images take the password from a file, too, if the variable's name ends in _FILE.",
)
def test_password_is_only_in_a_file(stack: Stack) -> None:
    """No variable or command holds the password"""
    said = list(_said(stack))
    # A password that nobody has chosen comes first: if it is let in, any is.
    tried = ["nobody-has-chosen-this", *dict.fromkeys(word for _, _, word in said)]
    done = stack.execute("postgres", ["sh", "-c", LOG_IN, "sh", _address(stack, "postgres"), *tried], timeout=30)
    let_in = [tried[int(number)] for number in re.findall(r"^let in: (\d+)$", done.output, re.MULTILINE)]
    if not let_in and "password" not in done.output:
        raise Blocked(f"postgres cannot be asked: {done.output or 'no answer in time'}")
    if tried[0] in let_in:
        raise Failure(
            "postgres lets everybody in, with any password",
            expected="a wrong password is refused",
            actual="a wrong password was let in",
            at=stack.model.at("services", "postgres", "environment"),
            reproduce="docker compose exec -e PGPASSWORD=wrong postgres "
            "sh -c 'psql -U postgres -h $(hostname -i) -c \"SELECT 1\"'",
            hint="Without a password there is nothing to keep secret: POSTGRES_PASSWORD_FILE names the file with one.",
        )
    for service, where, word in said:
        if word in let_in:
            raise Failure(
                f"The password of postgres stands in {where} of {service}, where `docker inspect` shows it",
                expected="the password only in a file",
                at=stack.model.at("services", service, "environment" if where.isupper() else where),
                reproduce=f"docker inspect --format '{{{{json .Config}}}}' $(docker compose ps -q {service})",
            )
    _all_there(stack)


def _address(stack: Stack, service: str) -> str:
    networks = ((stack.inspect(service) or {}).get("NetworkSettings") or {}).get("Networks") or {}
    return next((str(network["IPAddress"]) for network in networks.values() if network.get("IPAddress")), "127.0.0.1")


def _all_there(stack: Stack) -> None:
    for name in SERVICES:
        if stack.inspect(name) is None:
            raise Blocked(stack.not_well[name])


def _said(stack: Stack) -> Iterator[tuple[str, str, str]]:
    """Service, where and word, of each word that the student has given to a container."""
    for service in stack.model.services:
        state = stack.inspect(service)
        if state is None:
            continue
        own, image = state["Config"], stack.client.api.inspect_image(state["Image"])["Config"]
        for variable in sorted(set(own.get("Env") or []) - set(image.get("Env") or [])):
            name, _, value = variable.partition("=")
            yield from ((service, name.upper(), word) for word in _words(value))
        for where, key in (("command", "Cmd"), ("entrypoint", "Entrypoint")):
            if (command := own.get(key)) and command != image.get(key):
                yield from ((service, where, word) for word in _words(" ".join(command)))
        probe = (own.get("Healthcheck") or {}).get("Test") or []
        yield from ((service, "healthcheck", word) for word in _words(" ".join(probe)))


def _words(text: str) -> Iterator[str]:
    """What in a text may be a password: all of it, each part of it, and that of a URL."""
    for word in dict.fromkeys((text, *re.split(r"[\s'\"=;&]+", text))):
        for password in re.findall(r"://[^/@:]*:([^/@]+)@", word):
            yield password
            yield unquote(password)
        if word and "://" not in word and not word.startswith("/"):
            yield word


# --- limits ---------------------------------------------------------------------------------------


@check(
    points=1,
    section="Logs",
    hint="The driver json-file keeps everything unless it has a `max-size`; the driver local rotates by itself.",
)
def test_logs_are_bounded(model: Model) -> None:
    """No log can fill the disk"""
    for name in SERVICES:
        size = _log_size(model.services[name])
        if size > LOG:
            raise Failure(
                f"The log of {name} may grow "
                + ("without end" if size == float("inf") else f"to {size / 10**6:.0f} MB"),
                expected=f"at most {LOG // 10**6} MB",
                at=model.at("services", name, "logging"),
                reproduce="docker inspect --format '{{json .HostConfig.LogConfig}}' "
                f"$(docker compose ps -q {name})",
            )


def _log_size(service: Service) -> float:
    """How many bytes of log are kept at most. The defaults are the drivers' own."""
    logging: Mapping[str, Any] = service.config.get("logging") or {}
    options: Mapping[str, Any] = logging.get("options") or {}
    local = logging.get("driver") == "local"
    size = _bytes(options.get("max-size", "20m" if local else "-1"))
    files = str(options.get("max-file", 5 if local else 1))
    return size * int(files) if files.isdigit() else float("inf")


def _bytes(text: object) -> float:
    """``10m`` in bytes, as the drivers read it; without end for what is no size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?", str(text).strip().lower())
    if not found or float(found[1]) == 0:
        return float("inf")
    size: float = float(found[1]) * 1000 ** " kmgt".index(found[2] or " ")
    return size


@check(
    points=2,
    section="Memory and processes",
    hint="Either `mem_limit` and `pids_limit`, or `deploy.resources.limits` with `memory` and `pids`.",
)
def test_memory_and_processes_are_limited(stack: Stack, inside: dict[str, Inside]) -> None:
    """Memory and processes of every container are limited"""
    for name, container in inside.items():
        if container.memory > MEMORY:
            raise Failure(
                f"{name} may use more than 500M of memory",
                expected=f"at most {MEMORY} bytes",
                actual=_limit(container.memory, " bytes", own=_own(stack, name, "memory", "mem_limit")),
                at=stack.model.at("services", name, "mem_limit"),
                reproduce="docker stats --no-stream",
            )
        if container.pids > PROCESSES:
            raise Failure(
                f"{name} may start more than {PROCESSES} processes",
                expected=f"at most {PROCESSES}",
                actual=_limit(container.pids, "", own=_own(stack, name, "pids", "pids_limit")),
                at=stack.model.at("services", name, "pids_limit"),
                reproduce=f"docker inspect --format '{{{{.HostConfig.PidsLimit}}}}' $(docker compose ps -q {name})",
            )
    _all_seen(inside, stack)


def _own(stack: Stack, name: str, key: str, short: str) -> bool:
    """Whether the student's file says anything about it; the grader has limits of its own."""
    config = stack.model.services[name].config
    limits = ((config.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    return key in limits or short in config


def _limit(value: float, unit: str, own: bool) -> str:
    return f"{value:.0f}{unit}" if own and value != float("inf") else "no limit"


# --- images and crashes ---------------------------------------------------------------------------


@check(
    points=1,
    section="Images that stay the same",
    hint="Without a tag the tag is latest, and that is whatever was pushed last.",
)
def test_no_image_is_the_latest(model: Model) -> None:
    """No image depends on the tag latest"""
    for name in SERVICES:
        image = str(model.services[name].config.get("image", ""))
        if not image or "@" in image:
            continue
        tag = image.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest"):
            raise Failure(
                f"{name} runs {image}, which is another image whenever somebody pushes one",
                expected="a tag that stays, or a digest",
                actual=tag or "no tag, so latest",
                at=model.at("services", name, "image"),
                reproduce="docker compose config --images",
            )


@check(
    points=2,
    section="After a crash",
    hint="Without `restart:` what has crashed stays down.",
)
def test_crashed_services_come_back(stack: Stack, inside: dict[str, Inside], answers: dict[int, Answer | None]) -> None:
    """Every service comes back after a crash"""
    crashed = [name for name in SERVICES if name in stack.running]
    killed_at = stack.now()
    stack.faults.crash(container for name in crashed for container in stack.containers(name))
    for name in crashed:
        died = stack.events.wait(name, "die", timeout=stretched(10), after=killed_at)
        status = ""

        def decided(name: str = name, after: float = died.at if died else killed_at) -> bool:
            nonlocal status
            status = ((stack.inspect(name) or {}).get("State") or {}).get("Status", "")
            return status in ("exited", "dead") or stack.events.wait(name, "start", 0, after) is not None

        if not wait_until(decided, stack.budget, stretched(20)) or status in ("exited", "dead"):
            raise Failure(
                f"The first process of {name} was killed, and {name} stayed down",
                expected="it is started again",
                actual=status or "gone",
                at=stack.model.at("services", name, "restart"),
                reproduce="docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' "
                f"$(docker compose ps -aq {name})",
            )
    _all_seen(inside, stack)
