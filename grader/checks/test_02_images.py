"""Exercise 02: an image with a target, a build argument, stages, a cache that is used, and nothing in it that leaks.

The service's own build is made again beside the stack: each of its stages, with another build argument, and in an
edited copy of the folder. What came out is looked at from inside, in containers of these images.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from grader import builds, recipe
from grader.budget import stretched
from grader.builds import Built
from grader.model import Model
from grader.plugin import Blocked, Failure, check, running
from grader.probes import execute, get, wait_until
from grader.stack import Stack
from grader.text import last_lines

API = "api"
PORT = 8000
VERSION = "APP_VERSION"
STAGES = ("development", "production")
SMALL_BASE = "python:3.11-slim"
# Bytes that the image may have above SMALL_BASE. The solution has 22 MB: a virtual environment with its pip.
ALLOWED = 30 * 10**6

DEPENDENCY = "prometheus_client"  # what requirements.txt installs
TOOLS = ("pytest", "debugpy")
# A file of each that must not get into an image; .git is made by the experiment.
PRIVATE = {".env": ".env", ".git": ".git/HEAD", "notebooks/": "exploration.ipynb", "data/": "flowers.csv"}
EDITED = "app/main.py"
ABOUT = "Ask /predict which iris it is."

# Copies whatever the learner's context and .dockerignore let through.
CARELESS = f"FROM {SMALL_BASE}\nCOPY . /context/\n"

# Walks through all files of a container: where which package was installed and when, and what is there of PRIVATE.
LOOK = f"""
import json, os
found = {{"packages": {{}}, "private": []}}
names = {list(PRIVATE.values())!r}
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = [f for f in folders if f not in ("proc", "sys", "dev", "wheelhouse")]
    package = os.path.basename(folder)
    if package in {(DEPENDENCY, *TOOLS)!r} and "__init__.py" in files:
        stamp = os.stat(folder + "/__init__.py").st_mtime_ns
        found["packages"].setdefault(package, {{}})[folder] = stamp
    for name in files:
        if name in names or package + "/" + name in names:
            if name != ".env" or "only-for-this-exercise" in open(folder + "/" + name, errors="replace").read(9999):
                found["private"].append(os.path.join(folder, name))
print(json.dumps(found))
"""
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"


# --- looking into images -------------------------------------------------------------------------


@dataclass(frozen=True)
class Content:
    """What lies in an image.

    Attributes:
        packages: of those that are looked for, the ones that are there -> the folder -> when it was installed.
        private: the paths of files that must not be there.
    """

    packages: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    private: tuple[str, ...] = ()

    @property
    def tools(self) -> list[str]:
        """The development tools that are there, each with its folder."""
        return [f"{name} in {next(iter(self.packages[name]))}" for name in TOOLS if name in self.packages]

    @property
    def kinds(self) -> list[str]:
        """Which of PRIVATE are there."""
        return [kind for kind, file in PRIVATE.items() if any(p.endswith("/" + file) for p in self.private)]


def _look(stack: Stack, container: str) -> Content:
    done = execute(stack.client, container, ["python3", "-c", LOOK], stretched(20), user="0")
    if done.status != 0:
        raise Blocked(f"there is no Python in the image to look into it with: {done.output}")
    seen = json.loads(done.output)
    return Content(seen["packages"], tuple(seen["private"]))


def _fetch(stack: Stack, container: str, path: str) -> str:
    """What the api in a container answers, once it does; empty if it does not run."""
    answers: list[str] = []

    def answered() -> bool:
        if not stack.client.api.inspect_container(container)["State"]["Running"]:
            return True
        url = f"http://127.0.0.1:{PORT}{path}"
        done = execute(stack.client, container, ["python3", "-c", FETCH, url], stretched(10))
        if done.status == 0:
            answers.append(done.output)
        return done.status == 0

    wait_until(answered, stack.budget, stretched(15), interval=0.1)
    return answers[0] if answers else ""


def _dockerfile(model: Model, files: Path) -> str:
    """Where the Dockerfile is."""
    try:
        found = recipe.of(model.services[API].config.get("build") or {}, files).path
    except recipe.NoRecipe:
        found = ""
    return found or model.at("services", API, "build")


# --- experiments ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stages(beside: Stack) -> dict[str, Built]:
    """Both stages, built while the stack is."""
    if "build" not in beside.config["services"][API]:
        raise Blocked("compose.yml does not build api")
    return _built(beside, {f"stage-{name}": {"target": name} for name in STAGES})


def _built(stack: Stack, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, Built]:
    """Several builds of api at the same time, by the last word of their names."""
    with ThreadPoolExecutor(len(wanted)) as pool:
        done = {name: pool.submit(builds.build, stack, API, name, **how) for name, how in wanted.items()}
    return {name.rpartition("-")[2]: future.result() for name, future in done.items()}


@dataclass
class Again:
    """What the service's own build makes, as it is and under other conditions.

    Attributes:
        version: the one that an image was built with in place of compose.yml's.
        said: the version that this image tells; empty if it does not answer.
        mark: what the source was edited to say.
        about: what the image of the edited source says; empty if it does not answer.
        complaint: its last words then.
        contents: of the image that the stack runs, then of those built after an edit. There are two of these only if
            the first had its packages installed anew: the cache may have been emptied by others meanwhile.
        let_through: what a Dockerfile gets that copies everything; None if it could not be built.
    """

    version: str
    mark: str
    said: str = ""
    about: str = ""
    complaint: str = ""
    contents: list[Content] = field(default_factory=list)
    let_through: Content | None = None


@pytest.fixture(scope="module")
def again(stack: Stack, stages: dict[str, Built]) -> Again:
    """The service is built again: with another version, and in an edited copy of the folder."""
    seen = Again(version=f"0.0.{uuid.uuid4().int % 10**6}", mark=f"edited-{uuid.uuid4().hex}")
    copy = _edited(stack, "copy", seen.mark)
    made = _built(
        stack,
        {
            "argument": {"args": {VERSION: seen.version}},
            "edited": {"folder": copy},
            "careless": {"folder": copy, "text": CARELESS},
        },
    )
    if not made["edited"].ok:
        raise Blocked(f"after a change of {EDITED} the image cannot be built any more: {made['edited'].problem}")
    look_into = {"first": stack.config["services"][API]["image"], "second": made["edited"].image}
    look_into |= {"careless": made["careless"].image} if made["careless"].ok else {}
    run = {name: made[name].image for name in ("argument", "edited") if made[name].ok}
    with (
        builds.containers(stack, API, "again", run, look_into, without=[VERSION]) as found,
        ThreadPoolExecutor() as pool,
    ):
        answers = {
            name: pool.submit(_fetch, stack, found[name], path)
            for name, path in (("argument", "/version"), ("edited", "/"))
            if name in found
        }
        contents = {name: pool.submit(_look, stack, found[name]) for name in look_into}
        seen.said = answers["argument"].result() if "argument" in answers else ""
        seen.about = answers["edited"].result()
        seen.complaint = "" if seen.about else _last_words(stack, found["edited"])
        seen.contents = [contents["first"].result(), contents["second"].result()]
        seen.let_through = contents["careless"].result() if "careless" in contents else None
    if not _from_cache(seen.contents):
        seen.contents += _once_more(stack)
    return seen


def _edited(stack: Stack, name: str, mark: str) -> Path:
    """A copy of the private copy whose source was changed, with a history, as a learner's own folder has one."""
    folder = builds.copied(stack, name)
    source = folder / EDITED
    source.write_text(source.read_text("utf-8").replace(ABOUT, mark), "utf-8")
    (folder / ".git").mkdir(exist_ok=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return folder


def _once_more(stack: Stack) -> list[Content]:
    """Another edit, whose build follows one that has just filled the cache."""
    made = builds.build(stack, API, "once-more", folder=_edited(stack, "once-more", uuid.uuid4().hex))
    if not made.ok:
        return []
    with builds.containers(stack, API, "third", {}, {"third": made.image}) as found:
        return [_look(stack, found["third"])]


def _from_cache(contents: list[Content]) -> bool:
    """Whether the packages of the last image are the ones that an earlier image has, not just equal ones."""
    *earlier, last = (set(content.packages.get(DEPENDENCY, {}).values()) for content in contents)
    return any(last & stamps for stamps in earlier)


def _last_words(stack: Stack, container: str) -> str:
    log = stack.client.api.logs(container, tail=20).decode("utf-8", "replace")
    return " ".join(last_lines(log, count=1)) or "it printed nothing"


# --- the service ---------------------------------------------------------------------------------


@check(
    points=2,
    section="From build to a running service",
    hint="Read the last lines of the build, or of the service's log.",
)
def test_api_answers(stack: Stack, files: Path) -> None:
    """api is built without network, and answers on port 8000"""
    url = stack.url(API, PORT, "/health")
    if url is not None and API in stack.running:
        answers: list[int] = []

        def healthy() -> bool:
            answer = get(url)
            answers.extend([answer.status] if answer else [])
            return answer is not None and answer.status == 200

        if wait_until(healthy, stack.budget, stretched(15)):
            return
        raise Failure(
            "api runs, but does not answer GET /health",
            expected="200",
            actual=str(answers[-1]) if answers else "nothing answered",
            at=_dockerfile(stack.model, files),
            reproduce="docker compose up -d --build && curl -i http://127.0.0.1:8002/health",
        )
    raise Failure(
        f"api does not run: {stack.start_problem or stack.not_well[API]}",
        at=_dockerfile(stack.model, files),
        reproduce="docker compose build api && docker compose up -d && docker compose logs api",
    )


@check(
    points=2,
    needs=running(API),
    section="Build arguments",
    hint="ARG takes the argument into its stage of the build; ENV takes it into the container.",
)
def test_version_is_the_argument(stack: Stack, again: Again, files: Path) -> None:
    """GET /version tells the build argument APP_VERSION"""
    build = stack.model.services[API].config["build"]
    wanted = str((build.get("args") or {}).get(VERSION, ""))
    where = stack.model.at("services", API, "build", "args")
    curl = "curl http://127.0.0.1:8002/version"
    if not wanted:
        raise Failure(f"compose.yml gives the build no argument {VERSION}", at=where, reproduce="docker compose config")
    answer = get(stack.url(API, PORT, "/version") or "")
    told = answer.json() if answer else None
    if told != {"version": wanted}:
        raise Failure(
            f"GET /version does not tell what compose.yml says in {VERSION}",
            expected=json.dumps({"version": wanted}),
            actual=json.dumps(told) if told else "no answer",
            at=where,
            reproduce=f"docker compose up -d --build && {curl}",
        )
    if not again.said:
        raise Blocked("the image does not answer by itself")
    if again.version not in again.said:
        raise Failure(
            f"The image was built with another {VERSION}, and GET /version did not change",
            expected=json.dumps({"version": again.version}),
            actual=again.said,
            at=_dockerfile(stack.model, files),
            reproduce=f"docker compose build --build-arg {VERSION}={again.version} && docker compose up -d && {curl}",
        )


# --- stages --------------------------------------------------------------------------------------


@check(points=1, section="Stages and targets", hint="A stage gets its name in its first line: FROM image AS name.")
def test_stages_build(beside: Stack, stages: dict[str, Built], files: Path) -> None:
    """The stages development and production can both be built"""
    for name, built in stages.items():
        if not built.ok:
            raise Failure(
                f"The stage {name} could not be built: {built.problem}",
                at=_dockerfile(beside.model, files),
                reproduce=f"docker build --target {name} .",
            )


@check(
    points=2,
    section="Stages and targets",
    hint="Install requirements-dev.txt in that stage, and copy tests/ to where app/ is.",
)
def test_development_has_tools(beside: Stack, stages: dict[str, Built], files: Path) -> None:
    """The stage development runs the tests and has a debugger"""
    if not stages["development"].ok:
        raise Blocked("the stage development cannot be built")
    commands = (
        ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        ["python", "-m", "debugpy", "--version"],
    )
    images = {"development": stages["development"].image}
    with builds.containers(beside, API, "tools", {}, images) as found:
        for command in commands:
            done = execute(beside.client, found["development"], command, stretched(30))
            if done.status != 0:
                typed = " ".join(command)
                raise Failure(
                    f"In the stage development, {typed} failed: " + " ".join(last_lines(done.output, count=2)),
                    expected="exit code 0",
                    actual=f"exit code {done.status}",
                    at=_dockerfile(beside.model, files),
                    reproduce=f"docker build --target development -t dev . && docker run --rm dev {typed}",
                )


@check(
    points=2,
    needs=running(API),
    section="Stages and targets",
    hint="compose.yml says with `target` which stage it wants; only that one and those it stands on are built.",
)
def test_running_image_has_no_tools(stack: Stack, again: Again) -> None:
    """The running image has no test tools and no debugger"""
    if found := again.contents[0].tools:
        raise Failure(
            "The image of the running api holds " + " and ".join(found),
            expected="neither pytest nor debugpy",
            at=stack.model.at("services", API, "build", "target"),
            reproduce="docker compose exec api find / -name debugpy -not -path '/proc/*'",
        )


@check(
    points=1,
    needs=running(API),
    section="Who is it running as",
    hint="USER in the Dockerfile; a number will do: USER 1000.",
)
def test_api_is_not_root(stack: Stack, files: Path) -> None:
    """The api does not run as root"""
    table = stack.client.api.top(stack.containers(API)[0], ps_args="-eo uid,pid")
    if any(row[0].strip() in ("0", "root") for row in table["Processes"]):
        raise Failure(
            "api runs as root",
            expected="another user",
            actual="user 0",
            at=_dockerfile(stack.model, files),
            reproduce="docker compose exec api id",
        )


# --- what is in it -------------------------------------------------------------------------------


@check(
    points=2,
    needs=running(API),
    section="The build context and .dockerignore",
    hint="COPY takes all that .dockerignore does not keep out: copy only what is needed, and keep the rest out.",
)
def test_image_holds_nothing_private(stack: Stack, again: Again) -> None:
    """The image holds no .env, .git, notebooks or data"""
    if kinds := again.contents[1].kinds:
        raise Failure(
            f"The image holds {', '.join(again.contents[1].private)}",
            expected="nothing of .env, .git, notebooks/ and data/",
            actual=f"it got {', '.join(kinds)}",
            at=".dockerignore",
            reproduce="docker compose run --rm api ls -a",
        )


@check(
    points=1,
    needs=running(API),
    section="The build context and .dockerignore",
    hint="One pattern a line, relative to the folder that is built from.",
)
def test_dockerignore_keeps_private_files_out(stack: Stack, again: Again) -> None:
    """Even COPY . . gets no .env, .git, notebooks or data"""
    if again.contents[1].kinds:
        raise Blocked("the image itself holds private files")
    if again.let_through is None:
        raise Blocked("nothing could be copied from the folder that is built from")
    if kinds := again.let_through.kinds:
        raise Failure(
            "This Dockerfile takes only what it needs. The next one may not, and would get " + ", ".join(kinds),
            expected=".dockerignore keeps .env, .git, notebooks/ and data/ out of every build",
            actual=f"it let {', '.join(kinds)} through",
            at=".dockerignore",
            reproduce="printf 'FROM python:3.11-slim\\nCOPY . /all\\n' | docker build -t all -f - . "
            "&& docker run --rm all ls -a /all",
        )


@check(
    points=1,
    needs=running(API),
    section="From build to a running service",
    hint="Whoever gets the image gets no folder of yours with it: COPY what it runs.",
)
def test_image_works_alone(stack: Stack, again: Again, files: Path) -> None:
    """A rebuilt image runs the changed source, without mounts"""
    if again.mark not in again.about:
        raise Failure(
            f"{EDITED} was changed and the image built again; a container of it, with nothing mounted, "
            + (f"still runs the old source: {again.about}" if again.about else f"does not answer: {again.complaint}"),
            expected="GET / answers with the changed text",
            at=_dockerfile(stack.model, files),
            reproduce="docker compose build && docker run --rm $(docker compose config --images)",
        )


@check(
    points=2,
    needs=running(API),
    section="Layers and their cache",
    hint="From the first line whose files have changed, all is done anew: copy requirements.txt before the source.",
)
def test_edit_installs_nothing(stack: Stack, again: Again, files: Path) -> None:
    """A changed source does not install the packages again"""
    if not all(content.packages.get(DEPENDENCY) for content in again.contents):
        raise Blocked(f"{DEPENDENCY} is not in the image")
    if not _from_cache(again.contents):
        raise Failure(
            f"{EDITED} was changed, and the next build installed all packages again",
            expected="the packages come from the cache",
            actual="they were installed anew",
            at=_dockerfile(stack.model, files),
            reproduce=f"docker compose build && echo '# changed' >> {EDITED} "
            "&& docker compose --progress plain build      # which steps are CACHED?",
        )


@check(
    points=2,
    needs=running(API),
    section="What makes an image large",
    hint="docker history shows what each line adds. Only what the last stage has, or copies, is in the image.",
)
def test_image_is_small(stack: Stack, again: Again, files: Path) -> None:
    """The image is at most 30 MB larger than python:3.11-slim"""
    if again.contents[0].tools:
        raise Blocked("the image still holds development tools")
    image = stack.client.api.inspect_image(stack.config["services"][API]["image"])
    above = image["Size"] - stack.client.api.inspect_image(SMALL_BASE)["Size"]
    if above > ALLOWED:
        raise Failure(
            f"The image is {above / 10**6:.0f} MB larger than {SMALL_BASE}",
            expected=f"at most {ALLOWED // 10**6} MB more",
            actual=f"{above / 10**6:.0f} MB more",
            at=_dockerfile(stack.model, files),
            reproduce="docker history $(docker compose config --images)",
        )
