"""Exercise 03: where a value comes from, which one wins, and a password that stands in no environment.

Most checks need no engine: they have Compose resolve the files in environments of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from grader import raw
from grader.budget import stretched
from grader.catalog import COMPOSE_FILES
from grader.compose import Finished
from grader.model import Model
from grader.plugin import Blocked, Failure, check, healthy, running
from grader.probes import get, wait_until
from grader.stack import Stack
from grader.submission import OVERRIDE_FILES, Submission
from grader.text import printable

APP_PORT = 8000
FROM_OUTSIDE = ("MODEL_NAME", "LOG_LEVEL", "APP_PORT")
NO_DOTENV = ("--env-file", "/dev/null")
CONFIG = ("config", "--format", "json")
# Values that nobody writes into a file: where they arrive, they came from the check.
OF_THE_SHELL = {"MODEL_NAME": "model-of-the-shell", "LOG_LEVEL": "level-of-the-shell", "APP_PORT": "18473"}
OF_SITE = "4711"
OF_LOCAL = "4712"
MISSING = re.compile(r"required variable (?P<name>\w+) is missing a value:?(?P<message>.*)", re.DOTALL)
# `$$` stands for a dollar sign; `$NAME`, `${NAME}` and `${NAME:-...}` for a variable, another one in its default too.
VARIABLE = re.compile(r"\$(?:\$|\{?(?P<name>[A-Za-z_]\w*))")
ANSWER_FORMAT = "This is a $digit."

Resolve = Callable[..., Finished]


# --- what Compose makes of the files -------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """The service ``app`` in a resolved file.

    Attributes:
        problem: why Compose would not resolve it; empty if it did.
        values: its variables.
        port: the port of the machine behind which it is; empty if none is named.
    """

    problem: str
    values: Mapping[str, str]
    port: str = ""


def _look(resolve: Resolve, environment: Mapping[str, str], arguments: tuple[str, ...] = CONFIG) -> Seen:
    done = resolve(environment=environment, arguments=arguments)
    if done.status != 0:
        lines = [line for line in done.stderr.splitlines() if "level=warning" not in line]
        return Seen(printable(" ".join(lines)).strip() or "it gives no reason", {})
    app: dict[str, Any] = json.loads(done.stdout)["services"]["app"]
    values = {name: str(value).replace("$$", "$") for name, value in (app.get("environment") or {}).items()}
    ports = [str(p.get("published", "")) for p in app.get("ports") or [] if p["target"] == APP_PORT]
    return Seen("", values, ports[0] if ports else "")


@contextmanager
def _content(path: Path, text: str | None) -> Iterator[None]:
    """The file holds ``text``, or is not there, until the block ends."""
    before = path.read_bytes() if path.is_file() else None
    path.parent.mkdir(exist_ok=True)
    try:
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text, "utf-8")
        yield
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)


@dataclass(frozen=True)
class EnvFiles:
    """What reaches the app while the files under config/ say something else.

    Attributes:
        plain: with config/site.env as it is, and no config/local.env.
        site: with another config/site.env.
        local: with a config/local.env.
    """

    plain: Seen
    site: Seen
    local: Seen


@pytest.fixture(scope="module")
def env_files(files: Path, resolve: Resolve) -> EnvFiles:
    """The same compose file three times, each time with other env files beside it."""
    site, local = files / "config" / "site.env", files / "config" / "local.env"
    with _content(local, None):
        plain = _look(resolve, {})
        with _content(site, f"BATCH_SIZE={OF_SITE}\n"):
            changed = _look(resolve, {})
    with _content(local, f"BATCH_SIZE={OF_LOCAL}\nWORKERS={OF_LOCAL}\n"):
        return EnvFiles(plain, changed, _look(resolve, {}))


@pytest.fixture(scope="module")
def password(files: Path) -> str:
    """What stands in the secret's file."""
    return (files / "secrets" / "db_password.txt").read_text("utf-8").strip()


@pytest.fixture(scope="module")
def printed(resolve: Resolve) -> str:
    """What `docker compose config` prints."""
    done: Finished = resolve(arguments=("config",))
    return done.stdout


# --- what the live app says ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(stack: Stack) -> dict[str, Any]:
    """The app's answer to GET /config, once the database is as ready as it will ever be."""
    if why := stack.not_well["app"]:
        raise Blocked(why)
    if "postgres" in stack.running:
        # Over TCP: a health check may have been fooled by the server that runs the init scripts.
        ready = ["pg_isready", "-h", "127.0.0.1"]
        wait_until(lambda: stack.execute("postgres", ready).status == 0, stack.budget, stretched(20))
    answers: list[dict[str, Any]] = []

    def answered() -> bool:
        url = stack.url("app", APP_PORT, "/config")
        answer = get(url, timeout=stretched(5)) if url else None
        if answer is not None and answer.status == 200:
            answers.append(json.loads(answer.body))
        return bool(answers)

    if not wait_until(answered, stack.budget, stretched(20)):
        raise Blocked(f"app did not answer GET /config on its port {APP_PORT}")
    return answers[-1]


# --- from outside: the shell and .env ------------------------------------------------------------

WITHOUT = "docker compose --env-file /dev/null config"


@check(
    points=2,
    section="Required values",
    hint="Of the ways to write ${NAME}, one stops Compose with a message where NAME is missing or empty.",
)
def test_model_name_is_required(model: Model, resolve: Resolve) -> None:
    """Without MODEL_NAME nothing starts, and a message says why"""
    others = {name: value for name, value in OF_THE_SHELL.items() if name != "MODEL_NAME"}
    where = model.at("services", "app", "environment", "MODEL_NAME")
    cases: dict[str, tuple[Mapping[str, str], str]] = {
        "not set at all": (others, WITHOUT),
        "set, but empty": (others | {"MODEL_NAME": ""}, f"MODEL_NAME= {WITHOUT}"),
    }
    for case, (environment, command) in cases.items():
        seen = _look(resolve, environment, (*NO_DOTENV, *CONFIG))
        if not seen.problem:
            raise Failure(
                f"MODEL_NAME was {case}, and Compose went on without a word",
                expected="an error that says what is missing",
                actual=f"MODEL_NAME={seen.values.get('MODEL_NAME', '')!r} in the app",
                at=where,
                reproduce=command,
            )
        found = MISSING.search(seen.problem)
        if found is None or found["name"] != "MODEL_NAME":
            raise Failure(
                f"MODEL_NAME was {case}, and Compose complained of something else",
                expected="required variable MODEL_NAME is missing a value: your words",
                actual=seen.problem,
                at=where,
                reproduce=command,
            )
        if not found["message"].strip():
            raise Failure(
                "Compose stops where MODEL_NAME is missing, but without a word of yours on what to do",
                expected="required variable MODEL_NAME is missing a value: your words",
                actual=seen.problem,
                at=where,
                reproduce=command,
            )


@check(
    points=2,
    section="Defaults",
    hint="`${NAME:-value}` stands for the value where NAME is not set, and also where it is empty.",
)
def test_defaults_apply(model: Model, resolve: Resolve) -> None:
    """LOG_LEVEL and APP_PORT have defaults, also when set but empty"""
    name = {"MODEL_NAME": "any"}
    cases: dict[str, tuple[Mapping[str, str], str]] = {
        "not set": (name, f"MODEL_NAME=any {WITHOUT}"),
        "empty": (name | {"LOG_LEVEL": "", "APP_PORT": ""}, f"MODEL_NAME=any LOG_LEVEL= APP_PORT= {WITHOUT}"),
    }
    for case, (environment, command) in cases.items():
        seen = _look(resolve, environment, (*NO_DOTENV, *CONFIG))
        if seen.problem:
            raise Failure(
                f"LOG_LEVEL and APP_PORT were {case}, and Compose gave up: {seen.problem}",
                expected="LOG_LEVEL is info, and the port is 8000",
                at=model.at("services", "app", "environment"),
                reproduce=command,
            )
        for what, is_, wanted, path in (
            ("LOG_LEVEL in the app", seen.values.get("LOG_LEVEL", ""), "info", ("environment", "LOG_LEVEL")),
            ("the app's port on this machine", seen.port, str(APP_PORT), ("ports",)),
        ):
            if is_ != wanted:
                raise Failure(
                    f"LOG_LEVEL and APP_PORT were {case}, and {what} was not {wanted}",
                    expected=wanted,
                    actual=repr(is_) if is_ else "empty",
                    at=model.at("services", "app", *path),
                    reproduce=command,
                )


@check(
    points=1,
    section="Who wins",
    hint="Only what compose.yml asks for with ${NAME} can be changed from the shell.",
)
def test_shell_wins_over_dotenv(model: Model, resolve: Resolve) -> None:
    """A variable of the shell wins over .env"""
    seen = _look(resolve, OF_THE_SHELL)
    command = " ".join([*(f"{name}={value}" for name, value in OF_THE_SHELL.items()), "docker compose config app"])
    if seen.problem:
        raise Blocked(f"Compose cannot read the files with variables from the shell: {seen.problem}")
    for name, path in (("MODEL_NAME", ("environment",)), ("LOG_LEVEL", ("environment",)), ("APP_PORT", ("ports",))):
        is_ = seen.port if name == "APP_PORT" else seen.values.get(name, "")
        if is_ != OF_THE_SHELL[name]:
            raise Failure(
                f"{name} was set in the shell, and the app got another value",
                expected=OF_THE_SHELL[name],
                actual=is_ or "nothing",
                at=model.at("services", "app", *path, *([name] if path == ("environment",) else [])),
                reproduce=command,
            )


# --- for the container: env_file and environment -------------------------------------------------

ASK_APP = "docker compose up -d; curl http://localhost:8000/config"


@check(
    points=2,
    section="env_file: many values at once",
    hint="`env_file:` takes a list; where two files set the same variable, the later one counts.",
)
def test_later_env_file_wins(stack: Stack, files: Path, env_files: EnvFiles, live: dict[str, Any]) -> None:
    """config/site.env wins over config/common.env"""
    where = stack.model.at("services", "app", "env_file")
    # A student's own config/local.env may say something else.
    settings = env_files.plain.values if (files / "config" / "local.env").is_file() else live["settings"]
    for name, wanted, file in (("TIMEOUT_SECONDS", "30", "config/common.env"), ("BATCH_SIZE", "32", "config/site.env")):
        if settings.get(name) != wanted:
            raise Failure(
                f"The app did not get {name} from {file}",
                expected=wanted,
                actual=settings.get(name) or "nothing",
                at=where,
                reproduce=ASK_APP,
            )
    if env_files.site.values.get("BATCH_SIZE") != OF_SITE:
        raise Failure(
            "The grader wrote another BATCH_SIZE into its copy of config/site.env, and the app would not get it",
            expected=OF_SITE,
            actual=env_files.site.values.get("BATCH_SIZE", "nothing"),
            at=where,
            reproduce="docker compose config app      # after you have changed config/site.env",
        )


@check(
    points=1,
    section="env_file: many values at once",
    hint="An entry of `env_file:` has a long form with `path:` and `required:`.",
)
def test_local_env_is_optional(model: Model, env_files: EnvFiles) -> None:
    """config/local.env need not exist, and wins where it does"""
    where = model.at("services", "app", "env_file")
    if env_files.plain.problem:
        raise Failure(
            f"Without config/local.env Compose gives up: {env_files.plain.problem}",
            expected="it starts all the same",
            at=where,
            reproduce="docker compose config",
        )
    if env_files.local.values.get("BATCH_SIZE") != OF_LOCAL:
        raise Failure(
            "config/local.env set another BATCH_SIZE, and the app would not get it",
            expected=OF_LOCAL,
            actual=env_files.local.values.get("BATCH_SIZE") or env_files.local.problem or "nothing",
            at=where,
            reproduce=f"echo BATCH_SIZE={OF_LOCAL} > config/local.env; docker compose config app",
        )


@check(
    points=1,
    needs=running("app"),
    section="Who wins",
    hint="What stands under `environment:` wins over every env_file.",
)
def test_environment_wins_over_env_files(stack: Stack, env_files: EnvFiles, live: dict[str, Any]) -> None:
    """WORKERS is 4, whatever the env files say"""
    where = stack.model.at("services", "app", "environment", "WORKERS")
    if live["settings"].get("WORKERS") != "4":
        raise Failure(
            "The app runs with another number of WORKERS",
            expected="4",
            actual=live["settings"].get("WORKERS") or "nothing",
            at=where,
            reproduce=ASK_APP,
        )
    if env_files.local.values.get("WORKERS") != "4":
        raise Failure(
            "config/local.env set another number of WORKERS, and it won",
            expected="4",
            actual=env_files.local.values.get("WORKERS") or env_files.local.problem or "nothing",
            at=where,
            reproduce=f"echo WORKERS={OF_LOCAL} > config/local.env; docker compose config app",
        )


@check(
    points=1,
    needs=running("app"),
    section="A dollar sign that is meant",
    hint="Compose reads $digit as a variable, which nobody has set. Write the dollar sign so that it is none.",
)
def test_dollar_sign_arrives(stack: Stack, live: dict[str, Any]) -> None:
    """ANSWER_FORMAT reaches the app with its dollar sign"""
    is_ = live["settings"].get("ANSWER_FORMAT")
    if is_ != ANSWER_FORMAT:
        raise Failure(
            "The app got another ANSWER_FORMAT",
            expected=ANSWER_FORMAT,
            actual=is_ or "nothing",
            at=stack.model.at("services", "app", "environment", "ANSWER_FORMAT"),
            reproduce=ASK_APP,
        )


# --- the password --------------------------------------------------------------------------------


@check(
    points=2,
    section="A secret is a file",
    hint="Name the secret's file under `secrets:`, and give the services that path instead of the password.",
)
def test_config_prints_no_password(model: Model, password: str, printed: str) -> None:
    """docker compose config does not print the password"""
    if password in printed:
        [line] = [line for line in printed.splitlines() if password in line][:1]
        raise Failure(
            "docker compose config prints the password, and so it is in logs, tickets and screenshots",
            expected="the password stands in secrets/db_password.txt only",
            actual=line.strip(),
            at=_where_is(model, password),
            reproduce="docker compose config | grep -f secrets/db_password.txt",
        )


@check(
    points=2,
    needs=running("app"),
    section="Where a password must not be",
    hint="A program that needs the password reads the file itself; whoever exports it hands it to every child.",
)
def test_password_is_in_no_environment(stack: Stack, password: str, printed: str) -> None:
    """No container and no image has the password in its environment"""
    if password in printed:
        raise Blocked("the password still stands in what docker compose config prints")
    for name in stack.model.services:
        for place, words in _told(stack, name).items():
            if password in words:
                raise Failure(
                    f"The password stands in {place} of {name}",
                    expected="only the path of the secret's file",
                    at=stack.model.at("services", name, "environment"),
                    reproduce=f"docker inspect --format '{{{{json .Config}}}}' $(docker compose ps -q {name})",
                )
    # An image may do what it likes with a *_FILE variable, as that of postgres does; the app is ours.
    environments = stack.execute("app", ["sh", "-c", "cat /proc/[0-9]*/environ 2> /dev/null"])
    if password in environments.output:
        raise Failure(
            "The program in app finds the password in its environment, although Compose did not put it there",
            expected="the program reads the secret's file",
            at=stack.model.at("services", "app", "command"),
            reproduce="docker compose exec app cat /proc/1/environ | tr '\\0' '\\n'",
        )


@check(
    points=2,
    needs=running("app"),
    section="A secret is a file",
    hint="A service sees a secret only if it asks for it; it is a file under /run/secrets.",
)
def test_app_reaches_database(stack: Stack, live: dict[str, Any]) -> None:
    """The app logs in to the database"""
    if live["database"] != "connected":
        postgres = stack.not_well["postgres"]
        raise Failure(
            "The app cannot log in to the database" + (f": {postgres}" if postgres else ""),
            expected='"database": "connected"',
            actual=str(live["database"]),
            at=stack.model.at("services", "postgres" if postgres else "app", "secrets"),
            reproduce=f"{ASK_APP}; docker compose logs postgres",
        )


@check(
    points=1,
    needs=healthy("postgres"),
    section="A secret is a file",
    hint="The image reads the file that POSTGRES_PASSWORD_FILE names; nothing has to be switched off for that.",
)
def test_only_the_right_password_opens(stack: Stack, live: dict[str, Any], password: str) -> None:
    """Only the password of the secret's file opens the database"""
    values = stack.model.services["app"].config.get("environment") or {}
    user, database = values.get("DB_USER", "postgres"), values.get("DB_NAME", "postgres")
    # Not over 127.0.0.1: inside its own container this image asks nobody for a password.
    line = 'PGPASSWORD="$1" psql -w -h "$(hostname)" -U "$2" -d "$3" -c "SELECT 1"'
    where = stack.model.at("services", "postgres", "environment")

    def opens(word: str) -> bool:
        return stack.execute("postgres", ["sh", "-c", line, "sh", word, user, database]).status == 0

    def reproduce(word: str) -> str:
        return (
            f"docker compose exec -e PGPASSWORD={word} postgres sh -c "
            f"'psql -h $(hostname) -U {user} -d {database} -c \"SELECT 1\"'"
        )

    if opens("not-the-password"):
        raise Failure(
            "The database let somebody in with a wrong password",
            expected="password authentication failed",
            at=where,
            reproduce=reproduce("wrong"),
        )
    if not opens(password):
        raise Failure(
            "The database does not open for the password in secrets/db_password.txt",
            expected="its user's password is the one in that file",
            at=where,
            reproduce=reproduce('"$(cat secrets/db_password.txt)"'),
        )


# --- for whoever is new --------------------------------------------------------------------------


@check(
    points=1,
    section=".env.example: what can be told",
    hint="One line for each ${NAME} of compose.yml, the optional ones too.",
)
def test_example_names_every_variable(files: Path, password: str) -> None:
    """.env.example names every variable and no secret"""
    path = files / ".env.example"
    text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    named = set(re.findall(r"^[ \t]*(?:#[ \t]*)?(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*(?:[=:]|$)", text, re.MULTILINE))
    # The word in ANSWER_FORMAT is none that anybody should set; another check is about its dollar sign.
    wanted = {*FROM_OUTSIDE, *_variables(files)} - set(VARIABLE.findall(ANSWER_FORMAT))
    if missing := sorted(wanted - named):
        raise Failure(
            f".env.example does not name {', '.join(missing)}",
            expected="a line NAME=value for each variable that comes from outside",
            at=".env.example",
            reproduce="grep -n '[$]{' compose.yml; cat .env.example",
        )
    if password in text:
        raise Failure(
            ".env.example holds the password, and it is a file that everybody gets",
            expected="names and harmless values",
            at=".env.example",
            reproduce="grep -n -f secrets/db_password.txt .env.example",
        )


def _variables(folder: Path) -> set[str]:
    """Every variable that the compose files take from outside; comments are none, as YAML has dropped them."""
    paths = tuple(folder / name for name in (*COMPOSE_FILES, *OVERRIDE_FILES) if (folder / name).is_file())
    documents = raw.read(Submission(folder, folder, paths))
    return {
        found["name"]
        for document in documents.values()
        for value in _values(document)
        for found in VARIABLE.finditer(value)
        if found["name"]
    }


def _values(node: yaml.Node) -> Iterator[str]:
    """Every text in a document but the keys, in which Compose fills nothing in."""
    if isinstance(node, yaml.ScalarNode):
        yield node.value
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _values(entry)
    elif isinstance(node, yaml.MappingNode):
        for _, entry in node.value:
            yield from _values(entry)


# --- looking -------------------------------------------------------------------------------------


def _told(stack: Stack, name: str) -> dict[str, str]:
    """All that the engine tells everybody who may ask about a service's container and its image."""
    state = stack.inspect(name)
    if state is None:
        return {}
    words = state["Config"]
    history = stack.client.api.history(state["Image"])
    return {
        "the environment": "\n".join(words.get("Env") or []),
        "the command": " ".join([*(words.get("Entrypoint") or []), *(words.get("Cmd") or [])]),
        "the image's history": "\n".join(str(layer.get("CreatedBy") or "") for layer in history),
    }


def _where_is(model: Model, password: str) -> str:
    """The place of the first value that holds the password."""

    def walk(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if isinstance(value, Mapping):
            for key, entry in value.items():
                yield from walk(entry, (*path, str(key)))
        elif isinstance(value, list):
            for entry in value:
                yield from walk(entry, path)
        elif password in str(value):
            yield path

    return model.at(*next(walk(model.config, ()), ("services",)))
