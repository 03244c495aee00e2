"""Exercise 01: from three `docker run` lines to a compose file.

Experiments are fixtures; the checks only judge what an experiment has seen. The rehearsal runs in a project of its own
while the stack is still coming up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from grader.budget import stretched
from grader.events import SERVICE_LABEL
from grader.helper import IMAGE
from grader.model import Model
from grader.plugin import Blocked, Failure, check, running
from grader.probes import Answer, Executed, get, wait_until
from grader.rehearsal import side_project
from grader.rewrite import LABEL
from grader.stack import Stack

PORT = "8080"
PAGE = Path("site", "index.html")
USER, PASSWORD, DATABASE = "postgres", "only-for-this-exercise", "shop"
ROWS = 3

# Over TCP: the server that only prepares the database listens on its Unix socket alone.
IS_READY = ["pg_isready", "-h", "127.0.0.1"]
CONNECT = "import socket; socket.create_connection(('db', 5432), 5).close()"


def _port_to_publish(model: Model) -> int | None:
    """The port of web's container that is published as 8080; None if there is none."""
    for entry in model.services["web"].config.get("ports") or []:
        if entry.get("published") == PORT and entry.get("protocol", "tcp") == "tcp":
            return int(entry["target"])
    return None


# --- experiments --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page_url(stack: Stack) -> str:
    """Where the port that is published as 8080 is reached."""
    target = _port_to_publish(stack.model)
    if target is None:
        raise Blocked(f"web does not publish port {PORT}")
    url = stack.url("web", target)
    if url is None:
        raise Blocked(f"port {target} of web is not published")
    return url


@pytest.fixture(scope="module")
def served(stack: Stack, page_url: str) -> Answer | None:
    """What web answers; None if nothing answers at that port."""
    wait_until(lambda: get(page_url) is not None, stack.budget, stretched(5))
    return get(page_url)


@pytest.fixture(scope="module")
def page(files: Path) -> Path:
    """The page, in the folder that was handed in."""
    return files / PAGE


@pytest.fixture(scope="module")
def database(stack: Stack) -> Executed:
    """What happens when somebody logs in to the database `shop` as the exercise says, and works with a table."""
    _await_database(stack)
    url = f"postgresql://{USER}:{PASSWORD}@db/{DATABASE}"
    work = "CREATE TABLE takes_sql (id integer); INSERT INTO takes_sql VALUES (1); DROP TABLE takes_sql"
    return stack.execute("db", ["psql", "--no-psqlrc", "-q", "-v", "ON_ERROR_STOP=1", url, "-c", work])


def _await_database(stack: Stack) -> None:
    if not wait_until(lambda: stack.execute("db", IS_READY).status == 0, stack.budget, stretched(30), 0.1):
        raise Blocked("db runs, but takes no connections")


@dataclass(frozen=True)
class Kept:
    """How many rows there still are."""

    after_down: int
    after_down_v: int


@pytest.fixture(scope="module")
def kept(stack: Stack, database: Executed) -> Kept:
    """Rows are written, then the stack goes down and up, and then again with its volumes removed."""
    stack.sql(f"CREATE TABLE kept AS SELECT generate_series(1, {ROWS}) AS id", "db")
    return Kept(_rows_after_down(stack), _rows_after_down(stack, volumes=True))


def _rows_after_down(stack: Stack, *, volumes: bool = False) -> int:
    # A web server that does not listen to the signal would make every `down` last until it is killed.
    stack.compose("kill", "web")
    stack.take_down(volumes=volumes)
    stack.compose("up", "--detach", "db")
    _await_database(stack)
    if not stack.sql("SELECT 1 FROM pg_class WHERE relname = 'kept'", "db"):
        return 0
    return int(stack.sql("SELECT count(*) FROM kept", "db")[0][0])


@pytest.fixture(scope="module")
def started_without_db(beside: Stack) -> bool:
    """Whether web is started although db cannot be: stand-ins are started as the learner's `depends_on` says.

    db waits for something that fails. It fails only after three others were started, one after another, so that a
    web that waits for nobody has long been started.
    """
    labels = {LABEL: str(beside.owner)}
    stand_in = {"image": IMAGE, "pull_policy": "never", "init": True, "network_mode": "none", "labels": labels}
    services = {name: stand_in | part for name, part in (_stand_ins(beside.model) | _LATE_FAILURE).items()}
    with side_project(beside.client, beside.owner, "without-db", {"services": services}) as project:
        project.up()
        states = {c["Labels"][SERVICE_LABEL]: c["State"] for c in project.containers(beside.client)}
    return bool(states.get("web", "created") != "created")


_SLEEP = {"command": ["sleep", "600"]}
_LATE_FAILURE: dict[str, dict[str, Any]] = {
    "grader-1": _SLEEP,
    "grader-2": _SLEEP | {"depends_on": {"grader-1": {"condition": "service_started"}}},
    "grader-3": _SLEEP | {"depends_on": {"grader-2": {"condition": "service_started"}}},
    "grader-fails": {"command": ["false"], "depends_on": {"grader-3": {"condition": "service_started"}}},
}


def _stand_ins(model: Model) -> dict[str, dict[str, Any]]:
    """The learner's services with nothing but their dependencies; db waits for the late failure, too."""
    has_to_end = {
        d.service for s in model.services.values() for d in s.depends_on.values() if "completed" in d.condition
    }
    services: dict[str, dict[str, Any]] = {}
    for name, service in model.services.items():
        depends_on = {
            other: {"condition": d.condition, "required": d.required} for other, d in service.depends_on.items()
        }
        services[name] = {"command": ["true"] if name in has_to_end else ["sleep", "600"], "depends_on": depends_on}
        if service.config.get("healthcheck"):
            services[name]["healthcheck"] = {"test": ["CMD", "true"], "interval": "0.2s"}
    services["db"]["depends_on"]["grader-fails"] = {"condition": "service_completed_successfully"}
    return services


# --- the file -----------------------------------------------------------------------------------


@check(
    points=1,
    section="One file, one command",
    hint="Compose says itself what it does not like, and what to do.",
)
def test_no_warning(model: Model) -> None:
    """Compose reads the file without a warning"""
    if model.warnings:
        raise Failure(
            f"Compose warns: {model.warnings[0]}",
            at=model.at("version") if "version" in model.warnings[0] else model.at("services"),
            reproduce="docker compose config --quiet",
        )


@check(
    points=1,
    section="Publishing a port",
    hint="Under `ports:` the port of your machine comes first, as with `docker run -p`.",
)
def test_web_publishes_8080(model: Model) -> None:
    """web is published on port 8080"""
    if _port_to_publish(model) is None:
        published = [str(entry.get("published", "any")) for entry in model.services["web"].config.get("ports") or []]
        raise Failure(
            f"Port {PORT} of your machine does not lead to web",
            expected=PORT,
            actual=" and ".join(published) or "no port is published",
            at=model.at("services", "web", "ports"),
            reproduce="docker compose ps web      # the PORTS column",
        )


@check(
    points=1,
    section="Services find each other by name",
    hint="Services of one project reach each other without `ports:`, which is for those outside.",
)
def test_db_is_not_published(model: Model) -> None:
    """db is not published"""
    if ports := model.services["db"].config.get("ports"):
        raise Failure(
            f"Port {ports[0].get('published', ports[0]['target'])} of your machine leads to the database",
            expected="no port is published",
            at=model.at("services", "db", "ports"),
            reproduce="docker compose ps db      # the PORTS column",
        )


# --- start-up order -----------------------------------------------------------------------------


@check(
    points=2,
    section="Start one after another",
    hint="A service that uses another says so with `depends_on`.",
)
def test_web_starts_after_db(beside: Stack, started_without_db: bool) -> None:
    """web starts only after db was started"""
    beside.settle()
    web, db = beside.events.find("web", "start"), beside.events.find("db", "start")
    if not web:
        raise Blocked("web was never started")
    where = beside.model.at("services", "web", "depends_on")
    reproduce = "docker compose down; docker compose up -d; docker compose events --since 1m --until 0s"
    if not db or web[0].at < db[0].at:
        when = f"web was started {db[0].at - web[0].at:.1f} s before db" if db else "web was started without db"
        raise Failure(when, expected="db is started first", at=where, reproduce=reproduce)
    if started_without_db:
        raise Failure(
            "db happened to be first this time; when db could not be started, web was started all the same",
            expected="db is started first, and web only then",
            at=where,
            reproduce=reproduce,
        )


# --- the page -----------------------------------------------------------------------------------


@check(
    points=2,
    needs=running("web"),
    section="Publishing a port",
    hint="The second port is the one that the server listens on; `--directory` says which folder it serves.",
)
def test_page_is_served(stack: Stack, served: Answer | None, page: Path) -> None:
    """The page is served on the published port"""
    where = stack.model.at("services", "web", "ports")
    if served is None:
        target = _port_to_publish(stack.model)
        raise Failure(
            f"Port {PORT} leads to port {target} of web, and nothing answers there",
            expected="the page",
            at=where,
            reproduce=f"curl -i http://localhost:{PORT}/; docker compose logs web",
        )
    if served.status != 200 or served.body != page.read_bytes():
        raise Failure(
            "web answers, but not with site/index.html",
            expected="status 200 and the page",
            actual=f"status {served.status}: {served.body[:80].decode('utf-8', 'replace')}",
            at=stack.model.at("services", "web", "command"),
            reproduce=f"curl -i http://localhost:{PORT}/",
        )


@check(
    points=1,
    needs=running("web"),
    section="Files from your folder",
    hint="What is mounted is the same file; what is copied into an image or a container is another one.",
)
def test_page_change_is_served(stack: Stack, served: Answer | None, page: Path, page_url: str) -> None:
    """A change of the page is served at once"""
    before = page.read_bytes()
    if served is None or served.body != before:
        raise Blocked("the page is not served yet")
    after = before.replace(b"Soon.", b"Now.")

    def is_served() -> bool:
        answer = get(page_url)
        return answer is not None and answer.body == after

    page.write_bytes(after)
    try:
        seen = wait_until(is_served, stack.budget, stretched(3))
    finally:
        page.write_bytes(before)
    if not seen:
        raise Failure(
            "site/index.html was changed, and web goes on serving the old page",
            expected="the new page",
            at=stack.model.at("services", "web", "volumes"),
            reproduce=f"Change a word in site/index.html, then: curl http://localhost:{PORT}/",
        )


@check(
    points=1,
    needs=running("web"),
    section="Files from your folder",
    hint="A mount takes an option that forbids writing.",
)
def test_web_cannot_change_the_page(stack: Stack, page: Path) -> None:
    """web cannot change the page"""
    mounted = _inside(stack, page)
    if not mounted:
        raise Blocked("site/index.html is not mounted into web")
    for path in mounted:
        # Opens the file to add nothing to it.
        if stack.execute("web", ["sh", "-c", ': >> "$1"', "sh", path], user="0").status == 0:
            raise Failure(
                f"In web, {path} can be written to; it is site/index.html of your folder",
                expected="Read-only file system",
                actual="no error",
                at=stack.model.at("services", "web", "volumes"),
                reproduce=f"docker compose exec -u root web sh -c ': >> {path}'; echo $?",
            )


def _inside(stack: Stack, page: Path) -> list[str]:
    """Where the page is found inside web, for each mount that it comes with."""
    web = stack.config["services"]["web"]
    binds = [(mount["source"], mount["target"]) for mount in web.get("volumes") or [] if mount["type"] == "bind"]
    for entry in web.get("configs") or []:
        source = stack.config["configs"][entry["source"]].get("file")
        binds += [(source, entry.get("target") or f"/{entry['source']}")] if source else []
    return [
        str(PurePosixPath(target, page.resolve().relative_to(Path(source).resolve())))
        for source, target in binds
        if page.resolve().is_relative_to(Path(source).resolve())
    ]


# --- the database -------------------------------------------------------------------------------


@check(
    points=2,
    needs=running("db"),
    section="Environment variables",
    hint="Each `-e NAME=value` is a line under `environment:`. A database is made on the first start only.",
)
def test_database_takes_sql(stack: Stack, database: Executed) -> None:
    """The database shop takes SQL"""
    if database.status != 0:
        raise Failure(
            f"Working in the database {DATABASE} as {USER}, with the password of the docker run line, failed",
            expected="CREATE TABLE and INSERT work",
            actual=database.output.splitlines()[0] if database.output else "no answer in time",
            at=stack.model.at("services", "db", "environment"),
            reproduce=f"docker compose exec db psql postgresql://{USER}:{PASSWORD}@db/{DATABASE} -c 'SELECT 1'",
        )


@check(
    points=1,
    needs=running("web", "db"),
    section="Services find each other by name",
    hint="Two services reach each other if they stand on one network; without `networks:` all stand on the same.",
)
def test_web_reaches_db(stack: Stack, database: Executed) -> None:
    """web reaches db by its name"""
    tried = stack.execute("web", ["python", "-c", CONNECT])
    if tried.status in (126, 127):
        raise Blocked("web's image has no Python to try it with")
    if tried.status != 0:
        raise Failure(
            "From inside web, db:5432 cannot be reached",
            expected="a connection",
            actual=tried.output.splitlines()[-1] if tried.output else "no answer in time",
            at=stack.model.at("services", "web", "networks"),
            reproduce=f'docker compose exec web python -c "{CONNECT}"',
        )


@check(
    points=2,
    needs=running("db"),
    section="What survives what",
    hint="The rows lie in /var/lib/postgresql/data: that very folder has to be a volume with a name.",
)
def test_rows_survive_down(stack: Stack, kept: Kept) -> None:
    """Rows survive down and up"""
    if kept.after_down != ROWS:
        raise Failure(
            f"{ROWS} rows were written; after `docker compose down` and `up` there were {kept.after_down}",
            expected=f"{ROWS} rows",
            actual=f"{kept.after_down} rows",
            at=stack.model.at("services", "db", "volumes"),
            reproduce='docker compose exec db psql -U postgres -c "CREATE TABLE t ()"; docker compose down; '
            'docker compose up -d; sleep 3; docker compose exec db psql -U postgres -c "\\d t"',
        )


@check(
    points=1,
    needs=running("db"),
    section="What survives what",
    hint="A volume belongs to the project, and goes with `down -v`; a folder of yours does not.",
)
def test_rows_are_gone_after_down_v(stack: Stack, kept: Kept) -> None:
    """Rows are gone after down -v"""
    if kept.after_down != ROWS:
        raise Blocked("the rows do not even survive a plain down")
    if kept.after_down_v:
        raise Failure(
            "After `docker compose down -v` and `up` the rows were still there: they lie outside of Compose's volumes",
            expected="no rows",
            actual=f"{kept.after_down_v} rows",
            at=stack.model.at("services", "db", "volumes"),
            reproduce="docker compose down -v; docker volume ls; ls",
        )
