"""Exercise 10: limits that hold, a job that dies alone, and a GPU that only an overlay asks for.

Limits are read in the container's own cgroup and tried there: by a program that takes memory, one that starts threads.
Of the overlay the containers are made but not started, so that what the engine is asked for shows without a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from docker.errors import APIError

from grader.budget import stretched
from grader.engine.facts import read_facts
from grader.model import Model, Service
from grader.plugin import Blocked, Failure, NotRun, check
from grader.probes import Executed, get, send, wait_until
from grader.stack import Stack
from grader.vetting import Overlay

MIB = 2**20
PORT = 8000
OVERLAY = "docker compose -f compose.yml -f compose.gpu.yml"


@dataclass(frozen=True)
class Share:
    """What a container gets, or may get at most: bytes, cores, and processes and threads."""

    memory: float
    cpus: float
    pids: float


NO_LIMIT = float("inf")
TABLE = {
    "api": Share(64 * MIB, 0.25, 30),
    "model-server": Share(256 * MIB, 0.75, 60),
    "batch": Share(128 * MIB, 0.5, 30),
}
TOO_BIG = 300  # MiB of a job that does not fit into batch

# What NVIDIA's part of the engine takes for parts of the driver. Without any it gives those for computing.
DRIVER_PARTS = frozenset({"compute", "compat32", "graphics", "utility", "video", "display"})

# The cgroup's files, of version 2 or 1.
LIMITS = """
cd /sys/fs/cgroup
cat memory.max memory/memory.limit_in_bytes 2> /dev/null | sed 's/^/memory /'
cat cpu.max 2> /dev/null | sed 's/^/cpu /'
[ ! -e cpu/cpu.cfs_quota_us ] || echo "cpu $(cat cpu/cpu.cfs_quota_us) $(cat cpu/cpu.cfs_period_us)"
cat pids.max pids/pids.max 2> /dev/null | sed 's/^/pids /'
"""
# If somebody has to be killed for it, then this program and not the service.
TAKE_MEMORY = """
import sys
try:
    open("/proc/self/oom_score_adj", "w").write("1000")
except OSError:
    pass
taken = [b"x" * 2**20 for _ in range(int(sys.argv[1]))]
print("survived")
"""
START_THREADS = """
import sys, threading
end, started = threading.Event(), 0
try:
    for _ in range(int(sys.argv[1])):
        threading.Thread(target=end.wait, daemon=True).start()
        started += 1
except RuntimeError:
    pass
print("started", started, flush=True)
end.set()
"""


# --- what is looked at ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """A service's limits, as its cgroup has them, and what came of trying them.

    Attributes:
        memory: of a program that took more memory than the table allows.
        threads: of one that started more threads than it allows.
    """

    limits: Share
    memory: Executed
    threads: Executed


@pytest.fixture(scope="module")
def trials(stack: Stack) -> dict[str, Trial]:
    """Each service that runs, and its limits."""
    with ThreadPoolExecutor(len(TABLE)) as pool:
        found = dict(zip(TABLE, pool.map(lambda name: _try(stack, name), TABLE), strict=True))
    return {name: trial for name, trial in found.items() if trial is not None}


def _try(stack: Stack, name: str) -> Trial | None:
    most = TABLE[name]
    try:
        limits = _limits(stack, name)
        mib, threads = most.memory // MIB + 32, most.pids + 10
        return Trial(
            limits,
            stack.execute(name, ["python", "-c", TAKE_MEMORY, f"{mib:.0f}"], timeout=20),
            stack.execute(name, ["python", "-c", START_THREADS, f"{threads:.0f}"], timeout=20),
        )
    except (Blocked, APIError):  # it does not run, or dies again and again
        return None


def _limits(stack: Stack, name: str) -> Share:
    lines = [line.split() for line in stack.execute(name, ["sh", "-c", LIMITS]).output.splitlines()]
    said = {line[0]: line[1:] for line in lines if len(line) > 1}
    if set(said) < {"memory", "cpu", "pids"}:  # they cannot be read from inside: what the engine has set, then
        return _ordered((stack.inspect(name) or {}).get("HostConfig") or {})
    quota, period = _number(said["cpu"][0]), _number(said["cpu"][-1])
    return Share(_number(said["memory"][0]), quota / period if quota < NO_LIMIT else NO_LIMIT, _number(said["pids"][0]))


def _number(text: str) -> float:
    return float(text) if text.isdigit() else NO_LIMIT


def _ordered(host: Mapping[str, Any]) -> Share:
    """The limits that the engine was told, as `docker inspect` shows them."""

    def given(value: Any) -> float:
        return float(value) if value and int(value) > 0 else NO_LIMIT

    return Share(given(host.get("Memory")), given(host.get("NanoCpus")) / 1e9, given(host.get("PidsLimit")))


def _own(service: Service) -> Share:
    """What the student's file says; the grader has limits of its own where it says nothing."""
    limits = ((service.config.get("deploy") or {}).get("resources") or {}).get("limits") or {}

    def given(key: str, short: str) -> float:
        value = float(limits.get(key) or service.config.get(short) or 0)
        return value if value > 0 else NO_LIMIT

    return Share(given("memory", "mem_limit"), given("cpus", "cpus"), given("pids", "pids_limit"))


@pytest.fixture(scope="module")
def too_big(stack: Stack, trials: dict[str, Trial]) -> Job:
    """A job for batch that takes more memory than batch may have."""
    url = stack.url("batch", PORT)
    if "batch" not in trials or url is None:
        raise Blocked(stack.not_well["batch"] or "batch does not run")
    if trials["batch"].limits.memory > TABLE["batch"].memory:
        raise Blocked("batch has no limit for its memory yet")
    if not wait_until(lambda: get(f"{url}health") is not None, stack.budget, stretched(10)):
        raise Blocked("batch does not answer")
    before = {name: _life(stack, name) for name in TABLE}
    began = stack.now()
    answer = send("POST", f"{url}work?mib={TOO_BIG}", timeout=stretched(20))
    died = stack.events.wait("batch", "die", timeout=0 if answer else stretched(10), after=began)
    return Job(
        answered=answer is not None,
        exit_code=died.exit_code if died else None,
        disturbed=tuple(name for name in TABLE if name != "batch" and _life(stack, name) != before[name]),
        died_at=died.at if died else began,
    )


@dataclass(frozen=True)
class Job:
    """What came of the job.

    Attributes:
        answered: batch lived to answer.
        exit_code: of batch; None if it did not end.
        disturbed: the other services that did not simply go on.
    """

    answered: bool
    exit_code: int | None
    disturbed: tuple[str, ...]
    died_at: float


def _life(stack: Stack, name: str) -> tuple[str, str]:
    """Changes when the service ends or is started again."""
    state = (stack.inspect(name) or {}).get("State") or {}
    return state.get("Status", ""), state.get("StartedAt", "")


@pytest.fixture(scope="module")
def made(overlays: Mapping[str, Overlay], start: Callable[..., Stack]) -> Stack:
    """The overlay's containers, made but not started."""
    if overlays["gpu"].model is None:
        raise Blocked(f"compose.gpu.yml cannot be used: {overlays['gpu'].problem}")
    stack = start("gpu", up=False)
    done = stack.compose("create")
    if done.status != 0:
        raise Blocked(f"the containers of the overlay cannot be made: {done.stderr.strip()[-300:]}")
    return stack


def _requests(stack: Stack, name: str) -> list[Mapping[str, Any]]:
    """The devices that the engine was asked for."""
    requests: list[Mapping[str, Any]] = ((stack.inspect(name) or {}).get("HostConfig") or {}).get(
        "DeviceRequests"
    ) or []
    return requests


# --- limits ---------------------------------------------------------------------------------------

WHERE_LIMITS = "`deploy.resources.limits` takes `memory`, `cpus` and `pids`; a reservation limits nothing."


def _at(stack: Stack, name: str) -> str:
    return stack.model.at("services", name, "deploy", "resources", "limits")


def _all_tried(stack: Stack, trials: Mapping[str, Trial]) -> None:
    """Blocks a check that has found nothing wrong, but has not seen every service."""
    for name in TABLE:
        if name not in trials:
            raise Blocked(stack.not_well[name] or f"{name} does not run")


@check(points=2, section="Limits: memory, CPUs, processes", hint=WHERE_LIMITS)
def test_memory_is_limited(stack: Stack, trials: dict[str, Trial]) -> None:
    """No container gets more memory than in the table"""
    for name, trial in trials.items():
        most = TABLE[name].memory
        if trial.limits.memory > most:
            own = _own(stack.model.services[name]).memory
            raise Failure(
                f"A program in {name} took {most // MIB + 32:.0f} MiB of memory, and nothing stopped it"
                if "survived" in trial.memory.output
                else f"{name} may use more memory than {most // MIB:.0f}M",
                expected=f"at most {most // MIB:.0f}M",
                actual=f"a limit of {own / MIB:.0f}M" if own < NO_LIMIT else "no limit",
                at=_at(stack, name),
                reproduce=f"docker stats --no-stream; docker compose exec {name} "
                f"python -c 'x = b\"x\" * ({most // MIB + 32:.0f} << 20)'; echo $?      # 137: killed",
            )
    _all_tried(stack, trials)


@check(points=2, section="Limits: memory, CPUs, processes", hint=WHERE_LIMITS)
def test_cpus_are_limited(stack: Stack, trials: dict[str, Trial]) -> None:
    """No container gets more CPU time than in the table"""
    for name, trial in trials.items():
        if trial.limits.cpus > TABLE[name].cpus + 0.001:
            own = _own(stack.model.services[name]).cpus
            raise Failure(
                f"{name} may use more than {TABLE[name].cpus:g} of a CPU core",
                expected=f"at most {TABLE[name].cpus:g}",
                actual=f"{own:g}" if own < NO_LIMIT else "no limit",
                at=_at(stack, name),
                reproduce=f"docker inspect --format '{{{{.HostConfig.NanoCpus}}}}' $(docker compose ps -q {name})",
            )
    _all_tried(stack, trials)


@check(points=2, section="Limits: memory, CPUs, processes", hint=WHERE_LIMITS)
def test_processes_are_limited(stack: Stack, trials: dict[str, Trial]) -> None:
    """No container gets more processes than in the table"""
    for name, trial in trials.items():
        most = TABLE[name].pids
        started = re.search(r"started (\d+)", trial.threads.output)
        if trial.limits.pids > most:
            own = _own(stack.model.services[name]).pids
            raise Failure(
                f"A program in {name} started {started[1]} threads, and each counts as a process"
                if started and int(started[1]) > most
                else f"{name} may have more than {most:.0f} processes",
                expected=f"at most {most:.0f}",
                actual=f"a limit of {own:.0f}" if own < NO_LIMIT else "no limit",
                at=_at(stack, name),
                reproduce=f"docker inspect --format '{{{{.HostConfig.PidsLimit}}}}' $(docker compose ps -q {name})",
            )
    _all_tried(stack, trials)


@check(
    points=1,
    section="Reservations",
    hint="`deploy.resources.reservations.memory`. The engine makes no container that reserves more than it may use.",
)
def test_model_server_reserves_memory(model: Model) -> None:
    """model-server reserves memory, no more than its limit"""
    service = model.services["model-server"]
    resources = (service.config.get("deploy") or {}).get("resources") or {}
    reserved = float((resources.get("reservations") or {}).get("memory") or service.config.get("mem_reservation") or 0)
    most = min(_own(service).memory, TABLE["model-server"].memory)
    if not 0 < reserved <= most:
        raise Failure(
            f"model-server reserves {reserved / MIB:.0f}M and may use {most / MIB:.0f}M"
            if reserved > 0
            else "model-server reserves no memory",
            expected=f"more than 0, at most {most / MIB:.0f}M",
            actual=f"{reserved / MIB:.0f}M",
            at=model.at("services", "model-server", "deploy", "resources", "reservations"),
            reproduce="docker compose up -d model-server; docker inspect --format '{{.HostConfig.MemoryReservation}}' "
            "$(docker compose ps -q model-server)",
        )


# --- too much memory ------------------------------------------------------------------------------

TRY_IT = f'curl -X POST "http://localhost:8002/work?mib={TOO_BIG}"; docker compose ps -a'


@check(
    points=2,
    section="When memory runs out",
    hint="The process that takes the memory has to be the container's main one: if only a child of it is killed, "
    "the container stays up, broken.",
)
def test_a_big_job_dies_alone(stack: Stack, too_big: Job) -> None:
    """A job that takes too much memory dies alone"""
    if too_big.answered and not stack.client.info().get("SwapLimit", True):
        raise NotRun("this machine's kernel cannot keep a container from using swap in place of memory")
    if too_big.exit_code != 137:
        raise Failure(
            f"A job that takes {TOO_BIG} MiB "
            + ("was done in batch" if too_big.answered else "was killed, and the container of batch did not end"),
            expected="batch ends with exit code 137: killed",
            actual="it went on" if too_big.exit_code is None else f"exit code {too_big.exit_code}",
            at=stack.model.at("services", "batch", "command"),
            reproduce=TRY_IT,
        )
    if too_big.disturbed:
        raise Failure(
            f"When batch was killed, {' and '.join(too_big.disturbed)} did not go on",
            expected="nobody but batch is killed",
            at=stack.model.at("services", too_big.disturbed[0]),
            reproduce=TRY_IT,
        )


@check(
    points=1,
    section="When memory runs out",
    hint="What a service does after a crash is its `restart:` policy.",
)
def test_batch_comes_back(stack: Stack, too_big: Job) -> None:
    """batch comes back after that job"""
    if too_big.exit_code is None:
        raise Blocked("batch did not end")
    status = ""

    def decided() -> bool:
        nonlocal status
        status = _life(stack, "batch")[0]
        return status in ("exited", "dead") or stack.events.wait("batch", "start", 0, too_big.died_at) is not None

    if not wait_until(decided, stack.budget, stretched(20)) or status in ("exited", "dead"):
        raise Failure(
            "batch was killed, and stayed down",
            expected="it is started again",
            actual=status,
            at=stack.model.at("services", "batch", "restart"),
            reproduce=TRY_IT,
        )


# --- without a GPU --------------------------------------------------------------------------------


@check(
    points=2,
    section="The GPU in a file of its own",
    hint="What only some machines have belongs into the file that only they use.",
)
def test_base_asks_for_no_gpu(stack: Stack) -> None:
    """compose.yml asks for no GPU"""
    for name in TABLE:
        if _requests(stack, name):
            raise Failure(
                f"compose.yml asks the engine to give {name} a GPU, so it starts only where there is one",
                expected="no device in compose.yml",
                at=stack.model.at("services", name, "deploy", "resources", "reservations", "devices"),
                reproduce="docker compose up -d",
            )
    for name in TABLE:
        if stack.inspect(name) is None:
            raise Blocked(stack.not_well[name])


@check(
    points=2,
    section="The GPU in a file of its own",
    hint="Its log says why it ends: docker compose logs model-server",
)
def test_model_server_uses_the_cpu(stack: Stack) -> None:
    """Without a GPU, model-server starts and uses the CPU"""
    if _requests(stack, "model-server"):
        raise Blocked("compose.yml asks for a GPU")
    device = _device(stack)
    if device != "cpu":
        raise Failure(
            "compose.yml alone was started, and model-server "
            + (f"says that it uses {device!r}" if device else f"does not answer: {_state(stack)}"),
            expected='GET /device answers "device": "cpu"',
            actual=device or "no answer",
            at=stack.model.at("services", "model-server", "environment"),
            reproduce="docker compose up -d; docker compose logs model-server; curl http://localhost:8001/device",
        )


def _device(stack: Stack) -> str:
    """What model-server says of itself; empty if it says nothing."""
    device = ""

    def decided() -> bool:
        nonlocal device
        url = stack.url("model-server", PORT, "/device")
        answer = get(url) if url else None
        body = answer.json() if answer else None
        device = str(body.get("device", "")) if isinstance(body, dict) else ""
        state = (stack.inspect("model-server") or {}).get("State") or {}
        # One that ends again and again never says anything.
        return bool(device) or state.get("Status") != "running"

    wait_until(decided, stack.budget, stretched(10), interval=0.1)
    return device


def _state(stack: Stack) -> str:
    state = (stack.inspect("model-server") or {}).get("State") or {}
    return f"{state.get('Status', 'never made')}, exit code {state.get('ExitCode', 'none')}"


# --- with the overlay -----------------------------------------------------------------------------


@check(
    points=2,
    section="Asking for a GPU",
    hint="`driver`, `count` or `device_ids`, and `capabilities` with gpu in it, under "
    "`deploy.resources.reservations.devices`.",
)
def test_overlay_asks_for_a_gpu(overlays: Mapping[str, Overlay], start: Callable[..., Stack], request: Any) -> None:
    """With compose.gpu.yml, the engine is asked for a GPU"""
    overlay = overlays["gpu"]
    if overlay.model is None:
        raise Failure(
            f"The two files together cannot be used: {overlay.problem}",
            at="compose.gpu.yml",
            reproduce=f"{OVERLAY} config --quiet",
        )
    stack: Stack = request.getfixturevalue("made")
    at = overlay.model.at("services", "model-server", "deploy", "resources", "reservations", "devices")
    reproduce = f"{OVERLAY} create; docker inspect --format '{{{{json .HostConfig.DeviceRequests}}}}' "
    reproduce += f"$({OVERLAY} ps -aq model-server)"
    requests = _requests(stack, "model-server")
    if not requests:
        ignored = bool(overlay.model.services["model-server"].config.get("gpus"))
        raise Failure(
            "The engine was not asked for any device for model-server"
            + (": this Compose reads `gpus:` and passes nothing on" if ignored else ""),
            expected="one request for an NVIDIA GPU",
            actual="none",
            at=at,
            reproduce=reproduce,
            hint="`gpus:` needs Compose 2.30; the long form under `deploy:` works everywhere." if ignored else "",
        )
    if not any(_can_compute(entry) for entry in requests):
        raise Failure(
            "The engine was asked for a device, but not for a GPU that can compute",
            expected="driver nvidia, at least one device, capability gpu",
            actual=_shown(requests[0]),
            at=at,
            reproduce=reproduce,
        )


def _can_compute(request: Mapping[str, Any]) -> bool:
    capabilities = {name for group in request.get("Capabilities") or [] for name in group}
    parts = capabilities & DRIVER_PARTS
    return (
        request.get("Driver") in ("", None, "nvidia")
        and bool(request.get("Count") or request.get("DeviceIDs"))
        and ("compute" in parts if parts else bool(capabilities & {"gpu", "nvidia"}))
    )


def _shown(request: Mapping[str, Any]) -> str:
    capabilities = sorted({name for group in request.get("Capabilities") or [] for name in group})
    devices = request.get("DeviceIDs") or request.get("Count")
    return (
        f"driver {request.get('Driver') or 'any'}, devices {devices}, capabilities {', '.join(capabilities) or 'none'}"
    )


@check(
    points=1,
    section="Asking for a GPU",
    hint="A GPU is not shared out like memory: who does not compute on it should not see it.",
)
def test_only_model_server_gets_the_gpu(made: Stack) -> None:
    """With compose.gpu.yml, only model-server gets a GPU"""
    for name in TABLE:
        if name != "model-server" and _requests(made, name):
            raise Failure(
                f"{name} gets a GPU, too",
                expected="a GPU for model-server only",
                at=made.model.at("services", name, "deploy", "resources", "reservations", "devices"),
                reproduce=f"{OVERLAY} config {name}",
            )
    if not _requests(made, "model-server"):
        raise Blocked("compose.gpu.yml asks for no GPU")


@check(
    points=1,
    section="The GPU in a file of its own",
    hint="Compose merges the files: what the overlay does not say stays as it was.",
)
def test_overlay_keeps_the_limits(model: Model, made: Stack) -> None:
    """With compose.gpu.yml, model-server keeps its limits"""
    most, base = TABLE["model-server"], _own(model.services["model-server"])
    got = _ordered((made.inspect("model-server") or {}).get("HostConfig") or {})
    for kind in ("memory", "cpus", "pids"):
        if getattr(base, kind) > getattr(most, kind):
            raise Blocked("compose.yml does not limit model-server as the table says")
        if getattr(got, kind) > getattr(most, kind):
            raise Failure(
                f"Together with compose.gpu.yml, model-server's limit of {kind} is above the table's",
                expected=f"at most {getattr(most, kind):g}",
                actual=f"{getattr(_own(made.model.services['model-server']), kind):g}",
                at=made.model.at("services", "model-server", "deploy", "resources", "limits", kind),
                reproduce=f"{OVERLAY} config model-server",
            )


@check(
    points=2,
    section="The GPU in a file of its own",
    hint="A container that has a GPU does not use it by itself: the program has to be told.",
)
def test_model_server_uses_the_gpu(made: Stack) -> None:
    """With compose.gpu.yml, model-server uses the GPU"""
    variables = ((made.inspect("model-server") or {}).get("Config") or {}).get("Env") or []
    given = dict(variable.partition("=")[::2] for variable in variables).get("GPU_ENABLED", "")
    at = made.model.at("services", "model-server", "environment", "GPU_ENABLED")
    reproduce = f"{OVERLAY} up -d; curl http://localhost:8001/device"
    if given.lower() != "true":
        raise Failure(
            "model-server is not told to use the GPU",
            expected="GPU_ENABLED is true",
            actual=f"GPU_ENABLED is {given!r}" if given else "GPU_ENABLED is not set",
            at=at,
            reproduce=f"{OVERLAY} config model-server",
        )
    facts = read_facts()
    if facts.gpu is None:
        raise NotRun(f"no GPU to try it on: {facts.reason('gpu')}")
    if not any(_can_compute(entry) for entry in _requests(made, "model-server")):
        raise Blocked("compose.gpu.yml asks for no GPU that can compute")
    problem = made.bring_up()
    device = "" if problem else _device(made)
    if device != "cuda":
        raise Failure(
            f"This machine has a GPU ({facts.gpu}), and model-server does not use it",
            expected='GET /device answers "device": "cuda"',
            actual=problem or device or _state(made),
            at=at,
            reproduce=reproduce,
        )
