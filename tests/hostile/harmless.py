"""Submissions that look suspicious and do no harm: all of them have to be accepted, some are graded for full marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Harmless:
    """A submission that must be accepted.

    Attributes:
        name: what it has that looks suspicious.
        files: path -> content.
        live: whether it is worth starting: it gets full marks.
    """

    name: str
    files: Mapping[str, str] = field(default_factory=dict)
    live: bool = False

    def make(self, folder: Path) -> Path:
        """The submission, in ``folder``."""
        source = folder / "submission"
        for name, content in self.files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
        return source


GOOD = """\
services:
  web:
    image: python:3.11-slim
    command: [python, -m, http.server, "8000", --directory, /srv]
"""
# Those that are graded have to be ready when the checks ask.
PROBE = """\
    healthcheck:
      test: [CMD, python, -c, "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/answer.txt', timeout=3)"]
"""
ANSWER = "./answer.txt:/srv/answer.txt:ro"
OTHER = "{image: 'python:3.11-slim', command: [sleep, '60'], init: true}"
DOCKERFILE = "FROM python:3.11-slim\nCOPY answer.txt /srv/\n"


def _file(name: str, text: str, live: bool = False, **files: Any) -> Harmless:
    return Harmless(name, {"compose.yml": text, "answer.txt": "forty-two\n", **files.get("files", {})}, live)


def _web(name: str, lines: str, more: str = "", live: bool = False, **files: Any) -> Harmless:
    """Lines of ``web`` (without their indentation) and what stands behind them."""
    inside = "".join(f"    {line}\n" for line in f"init: true\n{lines}".splitlines())
    volumes = "" if lines.startswith("volumes:") else f"    volumes: ['{ANSWER}']\n"
    return _file(name, GOOD + (PROBE if live else "") + volumes + inside + more, live, **files)


def _build(name: str, lines: str, **files: str) -> Harmless:
    inside = "".join(f"      {line}\n" for line in lines.splitlines())
    others = {"Dockerfile": DOCKERFILE} | {key.replace("__", "/"): text for key, text in files.items()}
    return _file(name, f"services:\n  web:\n    build:\n{inside}", files=others)


NAMES = [
    _web("services-with-scary-names", "", f"  privileged: {OTHER}\n  include: {OTHER}\n  host: {OTHER}\n"),
    _web("a-service-called-extends-that-env-file-depends-on", "",
         f"  extends: {OTHER}\n  env_file: {{image: 'python:3.11-slim', depends_on: [extends]}}\n"),
    _web("variables-of-dockers-with-values",
         "environment: {DOCKER_HOST: 'tcp://127.0.0.1:1', PRIVILEGED: 'true', HOME: /root, PATH: '/usr/bin:/bin'}"),
    _web("variables-in-a-list", "environment: ['pid=host', EMPTY=, 'network_mode=host', DOLLAR=$$HOME]"),
    _web("a-variable-called-include", "environment: {include: /etc/passwd, env_file: ../x, privileged: 'true'}"),
    _web("comments-that-mention-the-socket", "# volumes: ['/var/run/docker.sock:/x']\n# privileged: true", live=True),
    _web("a-command-with-paths-of-the-machine",
         "entrypoint: [sh, -c, 'cat /etc/passwd /proc/1/status; ls /var/run/docker.sock; exec \"$$@\"', sh]",
         live=True),
    _web("a-command-with-dollars", "labels: {cmd: 'echo $$(id) $${HOME} `id`'}"),
    _web("labels-of-ones-own", "labels: {privileged: 'true', org.example.docker: com.docker.compose, pid: host}"),
    _web("labels-in-a-list", "labels: ['traefik.note=none', 'com.dockerish=1']"),
    _web("quoted-keys", "'environment': {\"A\": '1'}\n\"working_dir\": /srv\n'tty': false"),
    _web("denied-things-that-are-off", "privileged: false\noom_kill_disable: false\ndevices: []\nsysctls: {}\ndns: []"),
    _web("names-in-other-scripts", "environment: {ÜBUNG: 'fünf 五 🐳'}\nlabels: {größe: 'привет'}",
         f"  dienst-2_b.c: {OTHER}\nx-ü: [ä, 'ö']\n"),
    _web("scary-words-under-x", "x-privileged: true\nx-note: {env_file: /etc/passwd, pid: host}",
         "x-include: [/etc/passwd]\nx-evil: {volumes: ['/:/host'], privileged: true}\n"),
    _web("a-service-called-x", "", f"  x-privileged: {OTHER}\n"),
    _web("a-path-with-proc-in-it", "working_dir: /srv/proc/self"),
    _web("a-name-of-its-own", "hostname: host\ndomainname: example.test", "name: somebodys\n"),
    _file("a-version-line", "version: '3.8'\n" + GOOD + f"    volumes: ['{ANSWER}']\n"),
    _file("a-byte-order-mark", "\ufeff" + GOOD + PROBE + f"    volumes: ['{ANSWER}']\n", live=True),
    _file("lines-as-on-windows", (GOOD + PROBE + f"    volumes: ['{ANSWER}']\n").replace("\n", "\r\n"), live=True),
    _file("nothing-but-braces",
          '{"services": {"web": {"image": "python:3.11-slim", "command": ["python", "-m", "http.server", "8000", '
          f'"--directory", "/srv"], "volumes": ["{ANSWER}"]}}}}}}'),
    _file("a-document-with-its-marks", f"---\n{GOOD}    volumes: ['{ANSWER}']\n...\n"),
    _file("a-long-and-honest-file",
          GOOD + f"    volumes: ['{ANSWER}']\n    environment:\n"
          + "".join(f"      VARIABLE_{n}: 'a value of some length, number {n}'  # a comment\n" for n in range(900))),
    _file("nineteen-services", GOOD + "".join(f"  s{n}: {OTHER}\n" for n in range(19))),
]  # fmt: skip

PATHS = [
    _web("a-folder-whose-name-begins-with-dots", f"volumes: ['{ANSWER}', './..data/file:/x:ro', './...:/y:ro']",
         files={"..data/file": "x", ".../x": ""}),
    _web("a-detour-that-stays-inside", "volumes: ['./a/../answer.txt:/srv/answer.txt:ro', './a/../b:/b']",
         live=True),
    _web("long-binds", "volumes:\n  - {type: bind, source: answer.txt, target: /srv/answer.txt, read_only: true}\n"
         "  - {type: bind, source: ./data, target: /etc, bind: {create_host_path: true}, consistency: cached}"),
    _web("binds-onto-scary-places", f"volumes: ['{ANSWER}', './answer.txt:/etc/passwd:ro', './d:/var/run/d.sock']"),
    _web("env-files-in-every-form", "env_file:\n  - ./a.env\n  - conf/b.env\n  - {path: c.env, required: false}\n"
         "  - path: ./conf/../a.env", files={"a.env": "A=1\n", "conf/b.env": "HOME=/x\nB='$$'\n"}),
    _web("one-env-file", "env_file: a.env", files={"a.env": "DOCKER_HOST=tcp://127.0.0.1:1\n"}),
    _web("its-env-file-as-an-env-file", "env_file: .env", files={".env": "A=1\n"}),
    _web("what-it-extends-inside", "extends: {file: ./base/b.yml, service: base}",
         files={"base/b.yml": "services:\n  base:\n    init: true\n    env_file: ../c.env\n", "c.env": "A=1\n"}),
    _web("a-chain-that-it-extends", "extends: {file: a.yml, service: a}", files={
        "a.yml": "services: {a: {extends: {file: d/b.yml, service: b}}}\n",
        "d/b.yml": "services: {b: {extends: c}, c: {environment: {C: '1'}}}\n"}),
    _web("what-it-extends-in-its-own-file", "extends: base", f"  base: {OTHER}\n"),
    _web("an-override-file", "", live=True,
         files={"compose.override.yml": "services:\n  web:\n    environment: {A: '1'}\n    user: root\n"}),
    _web("resets-and-overrides", "ports: ['8000:8000']\nenvironment: {A: '1'}", files={
        "compose.override.yml":
        "services:\n  web:\n    ports: !override ['9000:8000']\n    environment: !reset null\n"}),
    _web("secrets-and-configs-inside", "secrets: [a, {source: b, target: /run/b, mode: 0400}]\nconfigs: [c, d]",
         "secrets: {a: {file: ./a}, b: {file: s/../s/b}}\nconfigs: {c: {file: ./a}, d: {content: '$$x /etc/shadow'}}\n",
         files={"a": "x", "s/b": "y"}),
    _web("defaults-and-required-variables", "labels: {a: '${A:-x}', b: '${B:?missing}', c: '${C-}', d: '${A:+y}'}",
         files={".env": "A=1\nB=two words\n# DOCKER_HOST=x\nD=${A}${B}\n"}),
    _web("an-env-that-names-dockers-variables", "labels: {a: '${DOCKER_HOST}'}",
         files={".env": "DOCKER_HOST=tcp://127.0.0.1:1\nCOMPOSE_PROJECT_NAME=mine\nCOMPOSE_PROFILES=a\n"}),
    Harmless("another-name-for-its-file",
             {"docker-compose.yaml": GOOD + f"    volumes: ['{ANSWER}']\n", "docker-compose.override.yaml":
              "services: {web: {init: true}}\n"}),
]  # fmt: skip

ATTRIBUTES = [
    _web("being-root", "user: root\nread_only: false\nstdin_open: true\ntty: true", live=True),
    _web("restarting-always", "restart: always"),
    _web("restarting-a-few-times", "restart: on-failure:3"),
    _web("ports-in-every-syntax",
         "ports: ['8000', '8001:8001', '127.0.0.1:8002:8002', '0.0.0.0:8003:8003/tcp', '[::1]:8005:8005', "
         "'53:53/udp',\n  '9000-9009:9000-9009', {target: 8000, published: '8080', host_ip: 0.0.0.0, mode: host}]"),
    _web("a-health-check-with-a-pipe",
         "healthcheck: {test: 'python -c \"print(42)\" | grep -q 42 && ! test -e /var/run/docker.sock', interval: 1s}"),
    _web("no-health-check", "healthcheck: {disable: true}"),
    _web("a-health-check-of-the-shell", "healthcheck: {test: [CMD-SHELL, 'cat /etc/passwd > /dev/null || exit 1'], "
         "interval: 1m30s, timeout: 10s, retries: 3, start_period: 1h}"),
    # open: rewrite.seconds answers a sign with a ValueError
    _web("durations-below-zero", "healthcheck: {test: 'true', timeout: -5s}\nstop_grace_period: -1s"),
    _web("durations-of-microseconds", "healthcheck: {test: 'true', timeout: 500us}\nstop_grace_period: 1us"),
    _web("no-network", "", f"  batch: {{image: 'python:3.11-slim', network_mode: none}}\n  n: {OTHER}\n"),
    _web("another-services-network", "", "  side: {image: 'python:3.11-slim', network_mode: 'service:web'}\n"),
    _web("a-harmless-capability", "cap_drop: [ALL]\ncap_add: [NET_BIND_SERVICE, cap_chown]\n"
         "security_opt: ['no-new-privileges:true']", live=True),
    _web("a-relabelled-volume", "volumes: ['data:/data:z']", "volumes: {data: }\n"),
    _web("more-files", "ulimits: {nofile: {soft: 1024, hard: 65536}, nproc: 100, core: 0}"),
    _web("log-rotation", "logging: {driver: json-file, options: {max-size: 10m, max-file: '3', tag: privileged}}"),
    _web("a-local-log", "logging: {driver: local}"),
    _web("temporary-file-systems", "tmpfs: [/tmp, '/run:size=64m,mode=1777,exec']\nshm_size: 64m"),
    _web("a-temporary-mount", f"volumes: ['{ANSWER}', {{type: tmpfs, target: /x, tmpfs: {{size: 1000000}}}}]"),
    _web("volumes-of-its-own", f"volumes: ['{ANSWER}', 'data:/data', 'host:/host:ro', /anonymous]",
         "volumes: {data: , host: {driver: local, labels: {a: b}}}\n"),
    _web("networks-of-its-own", "networks: {front: {aliases: [host, docker]}, back: }",
         "networks: {front: {driver: bridge}, back: {internal: true}}\n"),
    _web("profiles", "", "  debug: {image: 'python:3.11-slim', profiles: [debug, privileged]}\n"),
    _web("links", "links: ['db:database']", f"  db: {OTHER}\n"),
    _web("a-stop-signal", "stop_signal: SIGKILL\nstop_grace_period: 1m"),
    _web("dependencies-in-long-form", "depends_on: {db: {condition: service_started, restart: true, required: false}}",
         f"  db: {OTHER}\n"),
    _web("limits-and-reservations",
         "deploy: {replicas: 1, resources: {limits: {cpus: '0.5', memory: 256M, pids: 50}, reservations: {memory: 9M}},"
         "\n  restart_policy: {condition: any}, update_config: {order: start-first}, placement: {constraints: [a]}}"),
    _web("old-limits", "mem_limit: 1g\ncpus: 0.5\npids_limit: 100\ncpu_shares: 512\nmemswap_limit: 1g"),
    _web("live-reload", "develop: {watch: [{path: ./src, action: sync, target: /src}]}", files={"src/x": ""}),
    _file("the-images-name-in-full", GOOD.replace("image: python", "image: docker.io/library/python")),
]  # fmt: skip

MERGES = [
    _file("anchors-and-merges",
          "x-a: &a {init: true}\nx-b: &b\n  <<: *a\n  environment: &e {PRIVILEGED: 'no'}\n" + GOOD
          + "    <<: [*a, *b]\n  other:\n    image: python:3.11-slim\n    environment: {<<: *e, B: '2'}\n"),
    _file("many-anchors",
          "x-e: &e {A: '1', B: '2', C: '3'}\n" + GOOD + "".join(
              f"  s{n}: {{image: 'python:3.11-slim', environment: *e, labels: *e, profiles: [p]}}\n"
              for n in range(19))),
    _file("a-hundred-and-fifty-aliases", "x-v: &v x\nx-l: [" + ", ".join(["*v"] * 150) + "]\n" + GOOD),
    _file("a-service-that-is-merged-into-another", GOOD.replace("web:", "web: &web") + "  two: {<<: *web, scale: 2}\n"),
    _web("tags-that-say-what-is-there-anyway", "environment: {A: !!str 1, B: !!int '2'}\nlabels: !!map {a: b}"),
    _web("blocks-of-text", "labels:\n  a: |\n    include: [/etc/passwd]\n    env_file: /etc/passwd\n  b: >-\n"
         "    privileged: true\n    pid: host"),
]  # fmt: skip

BUILDS = [
    _build("a-build", "context: ."),
    _build("a-build-by-a-file-elsewhere", "context: .\ndockerfile: docker/../docker/Web.Dockerfile",
           **{"docker/Web.Dockerfile": DOCKERFILE}),
    _build("a-build-from-a-folder", "context: ./web", **{"web/Dockerfile": DOCKERFILE, "web/answer.txt": "forty-two"}),
    _build("a-build-written-in-the-file",
           "context: .\ndockerfile_inline: |\n  FROM python:3.11-slim\n  RUN echo $$HOME # --network=host"),
    _build("build-arguments", "context: .\nargs: {A: '1', B: '', C: '--network=host'}\nlabels: {a: b}\nno_cache: true"),
    _build("a-build-in-stages", "context: .\ntarget: run",
           Dockerfile="ARG BASE=python:3.11-slim\nFROM ${BASE} AS build\nRUN --mount=type=cache,target=/c,id=x true\n"
           "FROM build AS run\nCOPY --from=build --chown=1:1 /srv /srv\nCOPY --from=0 /srv /x\nUSER 1\n"),
    _build("a-context-more", "context: .\nadditional_contexts: {more: ./more}",
           Dockerfile="FROM python:3.11-slim\nCOPY --from=more x /x\n", more__x="x"),
    _build("a-dockerfile-with-scary-words", "context: .",
           Dockerfile="# syntax is explained elsewhere\nFROM python:3.11-slim\n"
           "# RUN --security=insecure true\nRUN echo --network=host && cat /etc/passwd\nENV DOCKER_HOST=tcp://127.0.0.1:1\n"
           "RUN <<EOF\nADD http://127.0.0.1/x /\nEOF\nADD answer.txt /srv/\nVOLUME /data\nSTOPSIGNAL SIGKILL\n"),
    _build("a-build-with-a-limit-and-a-tag", "context: .\nplatforms: [linux/amd64]\npull: false\nshm_size: 64m"),
]  # fmt: skip

HARMLESS = [*NAMES, *PATHS, *ATTRIBUTES, *MERGES, *BUILDS]
