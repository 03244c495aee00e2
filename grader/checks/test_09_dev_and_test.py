"""Exercise 09: a base, and what is merged over it: one stack to develop with, one that runs the tests.

Three stacks at once: the base alone, ``dev`` and ``test``. The tests run in the background meanwhile.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grader.budget import stretched
from grader.compose import Finished
from grader.events import PROJECT_LABEL
from grader.model import Model
from grader.plugin import Blocked, Failure, check, healthy, running
from grader.probes import get, wait_until
from grader.rehearsal import Rehearsal, rehearse
from grader.stack import Stack
from grader.text import last_lines
from grader.vetting import Overlay
from grader.watching import Triggers, sync_triggers, watching

API_PORT, WEB_PORT, DEBUGGER = 8000, 8080, 5678
BASE = ("compose.yml",)
DEV = ("compose.yml", "compose.dev.yml")
TEST = ("compose.yml", "compose.test.yml")
IN_DEV = "docker compose -f compose.yml -f compose.dev.yml"
IN_TEST = "docker compose -f compose.yml -f compose.test.yml"

GREETING = "seen by the grader"
PAGE = "<p>seen by the grader</p>\n"
BUG = "\n\ndef everything() -> list[int]:\n    return [4711]\n"
SHOWN = 10.0  # seconds in which an edit has to show, on an idle machine; it takes about two
EDIT_AGAIN = 1.5  # seconds after which an edit that nobody has noticed is made once more; twice as many each time
EDITS = 4
CACHES = frozenset({"__pycache__", ".pytest_cache"})

Start = Callable[..., Stack]
Overlays = Mapping[str, Overlay]


# --- the tests, in the background ----------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One ``up --exit-code-from tests``.

    Attributes:
        status: what it ended with; None if it did not end.
        started: whether the service ``tests`` was started at all.
        output: its last lines.
    """

    status: int | None
    started: bool
    output: str


@dataclass(frozen=True)
class Tested:
    """What was seen of the test stack.

    Attributes:
        passing: the tests of the program as it is.
        left: what the first run has left behind after ``down -v``.
        failing: the tests of a program with a bug.
    """

    passing: Run
    left: list[str]
    failing: Run


@dataclass(frozen=True)
class Testing:
    """Both experiments with the test stack, while they run."""

    tested: Future[Tested]
    rehearsed: Future[dict[str, Rehearsal]]


@pytest.fixture(scope="module")
def testing(start: Start, overlays: Overlays, files: Path) -> Iterator[Testing]:
    """The tests, once with the program as it is and once with a bug in it; and what they wait for."""

    def tested() -> Tested:
        stack = start("test", up=False)
        before = _files(files)
        passing = _run_tests(stack)
        left = [*_take_away(stack), *sorted(_files(files) - before)]
        with _edited(files / "app" / "labels.py", lambda text: text + BUG):
            failing = _run_tests(stack)
        _take_away(stack)
        return Tested(passing, left, failing)

    def rehearsed() -> dict[str, Rehearsal]:
        stack = start("test", up=False)
        return rehearse(
            stack.client, stack.model, stack.owner, ("tests",), failing=("redis", "api"), one_shots=frozenset({"tests"})
        )

    with ThreadPoolExecutor(2) as pool:
        yield Testing(pool.submit(tested), pool.submit(rehearsed))


@pytest.fixture(scope="module")
def tested(testing: Testing) -> Tested:
    """What the test stack has done, once it has ended."""
    return testing.tested.result()


@pytest.fixture(scope="module")
def too_early(testing: Testing) -> list[str]:
    """The services for which the tests do not wait until they are healthy."""
    return [name for name, seen in testing.rehearsed.result().items() if "tests" in seen.started]


def _run_tests(stack: Stack) -> Run:
    before = len(stack.events.find("tests", "start"))
    done = stack.compose("up", "--build", "--timeout", "5", "--exit-code-from", "tests", timeout=60)
    started = stack.events.wait("tests", "start", timeout=0) is not None
    lines = last_lines(done.stdout, count=200) + last_lines(done.stderr, count=20)
    said = [line for line in lines if line.startswith("tests-1")][-3:] or lines[-2:]
    return Run(done.status, started and len(stack.events.find("tests", "start")) > before, " ".join(said))


def _take_away(stack: Stack) -> list[str]:
    """``down -v``, and what is there all the same."""
    stack.take_down(volumes=True)
    mine = {"label": f"{PROJECT_LABEL}={stack.owner.project}-{stack.name}"}
    found = [f"the container {c['Names'][0]}" for c in stack.client.api.containers(all=True, filters=mine)]
    found += [f"the network {n['Name']}" for n in stack.client.api.networks(filters=mine)]
    return found + [f"the volume {v['Name']}" for v in stack.client.api.volumes(filters=mine)["Volumes"] or []]


def _files(folder: Path) -> set[str]:
    """Every file below ``folder`` but what Python and pytest keep for themselves."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not CACHES & set(path.parts)
    }


# --- the stack to develop with -------------------------------------------------------------------


@dataclass(frozen=True)
class Developed:
    """What was seen of the development stack.

    Attributes:
        problem: why there is nothing to see; empty if there is.
        edited: whether an edit of the source showed in the api's answer.
        listens: the addresses on which something listens on the debugger's port.
    """

    problem: str = ""
    edited: bool = False
    listens: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def developed(start: Start, overlays: Overlays, files: Path, testing: Testing) -> Developed:
    """The source is edited while the development stack runs."""
    if overlays["dev"].model is None:
        return Developed(overlays["dev"].problem)
    stack = start("dev")
    if "api" not in stack.running:
        return Developed(stack.not_well["api"])

    def answers() -> bool:
        answer = get(stack.url("api", API_PORT) or "")
        return answer is not None and answer.status == 200

    # The tests that run in the background edit the source as well: api may be reading it again at this moment.
    if not wait_until(answers, stack.budget, stretched(SHOWN)):
        return Developed(stack.not_well["api"] or f"api does not answer on its port {API_PORT}")
    listens = tuple(_listeners(stack, DEBUGGER))

    def shows() -> bool:
        answer = get(stack.url("api", API_PORT) or "")
        return answer is not None and GREETING.encode() in answer.body

    with _edited(files / "app" / "greeting.py", lambda text: f'"""Edited."""\n\nGREETING = "{GREETING}"\n'):
        return Developed("", wait_until(shows, stack.budget, stretched(SHOWN)), listens)


@pytest.fixture(scope="module")
def triggers(overlays: Overlays, files: Path) -> Triggers:
    """What the learner lets `watch` copy."""
    model = overlays["dev"].model
    return sync_triggers(model, files) if model else {}


@pytest.fixture(scope="module")
def unsynced(start: Start, files: Path, triggers: Triggers, developed: Developed) -> str:
    """What an edited page looks like in the running web while `docker compose watch` runs; empty if it arrives."""
    stack = start("dev")
    page = files / "web" / "site" / "index.html"

    def arrives() -> bool:
        answer = get(stack.url("web", WEB_PORT) or "")
        return answer is not None and PAGE.encode() in answer.body

    with watching(stack, triggers) as watch, _edited(page, lambda text: text):
        for attempt in range(EDITS):
            # Until `watch` is ready it notices nothing; each edit differs from the one before. And each restarts
            # the service where that is what the file asks for, so they come at longer and longer intervals.
            page.write_text(PAGE * (attempt + 1), "utf-8")
            patience = stretched(EDIT_AGAIN * 2**attempt)
            if wait_until(lambda: bool(watch.ended) or arrives(), stack.budget, patience):
                break
        if arrives():
            return ""
        return f"docker compose watch ended: {watch.ended}" if watch.ended else "web went on showing the old page"


@contextmanager
def _edited(path: Path, edit: Callable[[str], str]) -> Iterator[None]:
    before = path.read_text("utf-8")
    path.write_text(edit(before), "utf-8")
    try:
        yield
    finally:
        path.write_text(before, "utf-8")


def _listeners(stack: Stack, port: int) -> Iterator[str]:
    """The addresses of the api's container on which somebody listens on ``port``."""
    table = stack.execute("api", ["sh", "-c", "cat /proc/net/tcp /proc/net/tcp6 2> /dev/null"]).output
    for line in table.splitlines():
        words = line.split()
        if len(words) > 3 and words[3] == "0A" and words[1].endswith(f":{port:04X}"):
            # The kernel writes each group of four bytes the wrong way round.
            raw = bytes.fromhex(words[1].partition(":")[0])
            yield str(ipaddress.ip_address(b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))))


def _published(model: Model, port: int) -> list[tuple[str, Mapping[str, Any]]]:
    """Each service and entry that publishes this port of a container."""
    return [
        (name, entry)
        for name, service in model.services.items()
        for entry in service.config.get("ports") or []
        if entry["target"] == port
    ]


# --- the base ------------------------------------------------------------------------------------


@check(
    points=1,
    section="One base, and files over it",
    hint="The base has to work without any other file: `build.target` names the stage with the source in it.",
)
def test_base_alone_answers(stack: Stack, testing: Testing) -> None:
    """compose.yml alone starts an api that answers"""
    url = stack.url("api", API_PORT)
    answer = get(url, timeout=stretched(5)) if url and not stack.not_well["api"] else None
    if answer is None or answer.status != 200:
        raise Failure(
            "With compose.yml alone there is no api that answers"
            + (f": {stack.not_well['api']}" if stack.not_well["api"] else ""),
            expected="GET / answers 200",
            actual=f"it answered {answer.status}" if answer else "nothing answered",
            at=stack.model.at("services", "api"),
            reproduce="docker compose up --build -d; docker compose ps -a; curl http://localhost:8000/",
        )


@check(
    points=2,
    needs=running("api"),
    section="One base, and files over it",
    hint="What only developers need goes into compose.dev.yml, and comes back with it.",
)
def test_base_brings_no_development(stack: Stack, files: Path, testing: Testing) -> None:
    """compose.yml alone has no source mount, debugger or reload"""
    for name in ("api", "web"):
        for mount in (stack.inspect(name) or {}).get("Mounts", []):
            source = Path(mount.get("Source", ""))
            if mount["Type"] == "bind" and (source == files or files in source.parents):
                raise Failure(
                    f"compose.yml alone mounts ./{source.relative_to(files).as_posix()} into {name}",
                    expected="what runs is in the image",
                    at=stack.model.at("services", name, "volumes"),
                    reproduce=f"docker compose config {name}",
                )
    if published := _published(stack.model, DEBUGGER):
        raise Failure(
            f"compose.yml alone publishes the debugger's port {DEBUGGER}",
            expected="only compose.dev.yml does",
            at=stack.model.at("services", published[0][0], "ports"),
            reproduce=f"docker compose config | grep -B 3 {DEBUGGER}",
        )
    if list(_listeners(stack, DEBUGGER)):
        raise Failure(
            f"With compose.yml alone a debugger listens on port {DEBUGGER} of api's container",
            expected="no debugger",
            at=stack.model.at("services", "api", "command"),
            reproduce="docker compose exec api cat /proc/1/cmdline | tr '\\0' ' '",
        )
    commands = stack.execute("api", ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).output
    if "--reload" in commands:
        raise Failure(
            "With compose.yml alone the api looks for edits of its source all the time",
            expected="no --reload",
            at=stack.model.at("services", "api", "command"),
            reproduce="docker compose exec api cat /proc/1/cmdline | tr '\\0' ' '",
        )


@check(
    points=1,
    needs=healthy("redis"),
    section="Profiles keep tools out",
    hint="A service with a profile is started only when the profile or the service is named.",
)
def test_tool_waits_to_be_asked(stack: Stack, testing: Testing) -> None:
    """monitor starts when it is asked for, and only then"""
    where = stack.model.at("services", "monitor")
    if stack.containers("monitor"):
        raise Failure(
            "monitor was started although nobody had asked for it",
            expected="docker compose up starts api, redis and web",
            at=where,
            reproduce="docker compose up -d; docker compose ps -a",
        )
    done = stack.compose("up", "--detach", "--no-recreate", "monitor")
    why = stack.await_well("monitor", timeout=10) if done.status == 0 else " ".join(last_lines(done.stderr, 2))
    if why or not stack.containers("monitor"):
        raise Failure(
            f"monitor was asked for, and does not run: {why}",
            expected="it runs",
            at=where,
            reproduce="docker compose up -d monitor; docker compose ps -a monitor",
        )


# --- development ---------------------------------------------------------------------------------


@check(
    points=2,
    section="An edit that shows at once: mount and reload",
    hint="The container has to see the files of this folder where the program looks for them, and the program has to "
    "read them again.",
)
def test_edit_shows_at_once(overlays: Overlays, developed: Developed) -> None:
    """An edit of app/ shows in the development stack without a rebuild"""
    model = overlays["dev"].model
    if developed.problem:
        raise Failure(
            f"The development stack has no api that answers: {developed.problem}",
            expected="GET / answers 200",
            at=model.at("services", "api") if model else "compose.dev.yml",
            reproduce=f"{IN_DEV} up --build -d; {IN_DEV} ps -a; {IN_DEV} logs api",
        )
    if not developed.edited:
        raise Failure(
            "app/greeting.py was edited while the development stack ran, and the api went on saying the old greeting",
            expected="the new greeting within a few seconds",
            at=model.at("services", "api") if model else "compose.dev.yml",
            reproduce=f"{IN_DEV} up --build -d; # edit app/greeting.py\ncurl http://localhost:8000/",
        )


@check(
    points=1,
    section="A debugger, for your machine only",
    hint="127.0.0.1 inside a container is that container: from outside nobody gets there.",
)
def test_debugger_listens(overlays: Overlays, developed: Developed) -> None:
    """In development a debugger listens on port 5678"""
    if developed.problem:
        raise Blocked(f"the development stack has no api that answers: {developed.problem}")
    reached = [address for address in developed.listens if not ipaddress.ip_address(address).is_loopback]
    if not reached:
        model = overlays["dev"].model
        assert model is not None
        raise Failure(
            f"Nothing that could be reached from outside listens on port {DEBUGGER} of api's container",
            expected=f"0.0.0.0:{DEBUGGER}",
            actual=", ".join(f"{address}:{DEBUGGER}" for address in developed.listens) or "nothing",
            at=model.at("services", "api", "command"),
            reproduce=f"{IN_DEV} up --build -d; {IN_DEV} logs api; {IN_DEV} exec api cat /proc/net/tcp",
        )


@check(
    points=1,
    section="A debugger, for your machine only",
    hint="A port without an address is published on every address of the machine.",
)
def test_debugger_is_for_this_machine_only(overlays: Overlays) -> None:
    """In development port 5678 is published on 127.0.0.1 only"""
    model = overlays["dev"].model
    if model is None:
        raise Blocked(overlays["dev"].problem)
    published = _published(model, DEBUGGER)
    addresses = [str(entry.get("host_ip") or "0.0.0.0") for _, entry in published]
    if not published or not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise Failure(
            f"Port {DEBUGGER} is published on every address of the machine, and a debugger runs whatever it is told"
            if published
            else f"Port {DEBUGGER} is not published, so that no editor gets to the debugger",
            expected=f"127.0.0.1:{DEBUGGER}",
            actual=", ".join(addresses) or "nothing",
            at=model.at("services", published[0][0] if published else "api", "ports"),
            reproduce=f"{IN_DEV} config | grep -B 2 -A 3 'target: {DEBUGGER}'",
        )


@check(
    points=2,
    section="watch: copies instead of mounts",
    hint="A trigger says what is watched (`path`), where that goes in the container (`target`) and what is done.",
)
def test_watch_syncs(start: Start, overlays: Overlays, triggers: Triggers, request: pytest.FixtureRequest) -> None:
    """docker compose watch copies an edit of web/site into web"""
    model = overlays["dev"].model
    if model is None:
        raise Blocked(overlays["dev"].problem)
    where = model.at("services", "web", "develop", "watch")
    if "web" not in triggers:
        raise Failure(
            "web has nothing under develop: watch: that copies files of this folder into the container",
            expected="action: sync, with a path and a target",
            at=where,
            reproduce=f"{IN_DEV} config web",
        )
    if why := start("dev").not_well["web"]:
        raise Blocked(why)
    if why := request.getfixturevalue("unsynced"):
        raise Failure(
            f"web/site/index.html was edited while docker compose watch ran, and {why}",
            expected="the new page within a few seconds",
            actual=", ".join(f"{t['path'].rpartition('/')[2]} -> {t.get('target', '')}" for t in triggers["web"]),
            at=where,
            reproduce=f"{IN_DEV} up --build --watch      # edit web/site/index.html; curl http://localhost:8080/",
        )


# --- tests ---------------------------------------------------------------------------------------

RUN_TESTS = f"{IN_TEST} up --build --exit-code-from tests; echo $?"


def _readable(overlay: Overlay) -> Model:
    if overlay.model is None:
        raise Blocked(overlay.problem)
    return overlay.model


@check(
    points=2,
    section="A test stack that says whether it passed",
    hint="The image's own command runs the tests; they ask http://api:8000.",
)
def test_passing_tests_end_with_zero(overlays: Overlays, start: Start, request: pytest.FixtureRequest) -> None:
    """The test stack ends with 0 when the tests pass"""
    if overlays["test"].model is None:
        raise Failure(
            f"Compose cannot read the test stack: {overlays['test'].problem}",
            at="compose.test.yml",
            reproduce=f"{IN_TEST} config",
        )
    run: Run = request.getfixturevalue("tested").passing
    if run.status != 0:
        if early := request.getfixturevalue("too_early"):
            raise Blocked(f"the tests do not wait until {' and '.join(early)} can answer")
        raise Failure(
            "The tests should pass, and the test stack did not end with 0: " + run.output,
            expected="exit status 0",
            actual=f"exit status {run.status}" if run.status is not None else "it did not end",
            at=overlays["test"].model.at("services", "tests"),
            reproduce=RUN_TESTS,
        )


@check(
    points=2,
    section="A test stack that says whether it passed",
    hint="The status of a command line is that of its last command; of `a || b`, that of b.",
)
def test_failing_test_is_told(overlays: Overlays, start: Start, request: pytest.FixtureRequest) -> None:
    """The test stack does not end with 0 when a test fails"""
    model = _readable(overlays["test"])
    seen: Tested = request.getfixturevalue("tested")
    if seen.passing.status != 0:
        raise Blocked("the test stack did not even end with 0 when the tests should pass")
    if not seen.failing.started or seen.failing.status in (0, None):
        raise Failure(
            "The grader put a bug into its copy of app/labels.py, and the test stack did not tell",
            expected="an exit status other than 0",
            actual="exit status 0" if seen.failing.status == 0 else "it did not end",
            at=model.at("services", "tests", "command"),
            reproduce=f"{RUN_TESTS}      # after you have broken app/labels.py",
        )


@check(
    points=1,
    section="A test stack that says whether it passed",
    hint="`depends_on` has a long form with a condition.",
)
def test_tests_wait(overlays: Overlays, start: Start, request: pytest.FixtureRequest) -> None:
    """The tests start only after api and redis are healthy"""
    model = _readable(overlays["test"])
    early: list[str] = request.getfixturevalue("too_early")
    if early:
        raise Failure(
            f"The tests were started although {' and '.join(early)} never became healthy",
            expected="they wait for what they ask",
            at=model.at("services", "tests", "depends_on"),
            reproduce=f"{IN_TEST} config tests",
        )


@check(
    points=2,
    section="Tests beside your work",
    hint="Containers, networks and volumes are named after the project; a file can name it: `name:`.",
)
def test_test_stack_is_a_project_of_its_own(overlays: Overlays, resolve: Callable[..., Finished]) -> None:
    """A test run touches no container or volume you develop with"""
    _readable(overlays["test"])
    names = {}
    for files in (BASE, DEV, TEST):
        done = resolve(files=files)
        names[files] = json.loads(done.stdout)["name"] if done.status == 0 else ""
    if names[TEST] in (names[BASE], names[DEV]):
        raise Failure(
            "The test stack has the same project name as the stack you develop with: `up` replaces its containers, "
            "and `down -v` removes them and their volumes",
            expected="a project name of its own",
            actual=f"name: {names[TEST]}",
            at="compose.test.yml",
            reproduce=f"{IN_TEST} config | grep ^name; docker compose config | grep ^name",
        )


@check(
    points=1,
    section="Tests beside your work",
    hint="An empty list is joined with the base's and changes nothing; a tag before the value does.",
)
def test_test_stack_publishes_nothing(overlays: Overlays) -> None:
    """The test stack publishes no port"""
    model = _readable(overlays["test"])
    for name, service in model.services.items():
        if service.config.get("ports") and not service.config.get("profiles"):
            port = service.config["ports"][0]
            raise Failure(
                f"The test stack publishes a port of {name}, which is taken while you develop",
                expected="no port: the tests reach api inside the network",
                actual=f"{port.get('host_ip') or '0.0.0.0'}:{port.get('published', '')} -> {port['target']}",
                at=model.at("services", name, "ports"),
                reproduce=f"{IN_TEST} config {name}",
            )


@check(
    points=1,
    section="Tests beside your work",
    hint="What a test run writes is worth nothing afterwards: a tmpfs, or a volume that `down -v` takes away.",
)
def test_nothing_is_left(overlays: Overlays, start: Start, request: pytest.FixtureRequest) -> None:
    """After down -v nothing of a test run is left"""
    model = _readable(overlays["test"])
    seen: Tested = request.getfixturevalue("tested")
    if not seen.passing.started:
        raise Blocked("the tests were never started")
    if seen.left:
        raise Failure(
            f"A test run has left {', '.join(seen.left[:3])} behind" + (", and more" if len(seen.left) > 3 else ""),
            expected="nothing, so that the next run begins like this one",
            at=model.at("services", "redis", "volumes"),
            reproduce=f"{IN_TEST} up --build --exit-code-from tests; {IN_TEST} down -v; git status --short .",
        )
