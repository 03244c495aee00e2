"""What people rely on in the images, whoever made them: these tests hold for the originals of a registry too.

And getting images: pulled from a registry (a small one, served here), built, and neither.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import docker
import httpx
import psycopg2
import pytest
import redis
from docker.models.containers import Container

from grader.engine import images, inventory
from grader.engine.connection import connect
from grader.engine.pull import why_not_offered
from grader.errors import MachineError

pytestmark = pytest.mark.live

PYTHON, BASE = "python:3.11-slim", "compose-course/base:1"
POSTGRES, REDIS = "postgres:15-alpine", "redis:7-alpine"
NGINX, PROMETHEUS = "nginx:1.28-alpine", "prom/prometheus:v3.5.0"
ROOT = Path(__file__).resolve().parents[2]
WITHIN = 60.0  # seconds in which anything comes about, on a busy machine too

T = TypeVar("T")
NOT_YET = (httpx.HTTPError, psycopg2.OperationalError, redis.RedisError)


def until(what: Callable[[], T], within: float = WITHIN) -> T:
    """Asks again until the answer is true; returns it."""
    deadline = time.monotonic() + within
    while True:
        try:
            answer = what()
            if answer:
                return answer
        except NOT_YET:
            if time.monotonic() > deadline:
                raise
        else:
            assert time.monotonic() < deadline, f"after {within:.0f} s the answer still is {answer!r}"
        time.sleep(0.1)


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[docker.DockerClient]:
    images.ensure()
    client = connect()
    yield client
    client.close()


class Machine:
    """Starts containers, and knows which to remove."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._containers: list[Container] = []
        self._volumes: list[str] = []
        self._tags: list[str] = []

    def start(self, image: str, command: Any = None, *, port: int | None = None, **options: Any) -> Container:
        """A container in the background; `port` is published on a free port of 127.0.0.1."""
        if port:
            options["ports"] = {f"{port}/tcp": ("127.0.0.1", None)}
        container = self._client.containers.create(image, command, **options)
        self._containers.append(container)
        container.start()
        return container

    def run(self, image: str, command: Any = None, **options: Any) -> str:
        """What a command in a new container prints; the test fails if the command does."""
        status, log = self.end_of(self.start(image, command, **options))
        assert status == 0, log
        return log.strip()

    def end_of(self, container: Container) -> tuple[int, str]:
        status: int = container.wait(timeout=WITHIN)["StatusCode"]
        return status, container.logs().decode()

    def port(self, container: Container, port: int) -> int:
        container.reload()
        return int(container.ports[f"{port}/tcp"][0]["HostPort"])

    def volume(self) -> str:
        name = f"compose-course-test-{uuid.uuid4().hex[:8]}"
        self._client.volumes.create(name)
        self._volumes.append(name)
        return name

    def build(self, folder: Path) -> str:
        """The tag of what a folder's Dockerfile makes, built as graded builds are: with no network."""
        tag = f"compose-course-test/{uuid.uuid4().hex[:8]}:1"
        done = subprocess.run(
            ["docker", "build", "--progress=plain", "--network=none", f"--tag={tag}", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self._tags.append(tag)
        return tag

    def clean(self) -> None:
        for container in self._containers:
            container.remove(v=True, force=True)
        for name in self._volumes:
            self._client.volumes.get(name).remove()
        for tag in self._tags:
            self._client.images.remove(tag)


@pytest.fixture
def machine(engine: docker.DockerClient) -> Iterator[Machine]:
    made = Machine(engine)
    yield made
    made.clean()


def settings(engine: docker.DockerClient, image: str) -> dict[str, Any]:
    config: dict[str, Any] = engine.images.get(image).attrs["Config"]
    return config


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_what_was_built_here_is_labelled(engine: docker.DockerClient) -> None:
    found = {status.image.tag: status for status in images.status()}
    for tag in (PYTHON, POSTGRES, REDIS, NGINX, PROMETHEUS):
        assert found[tag].ready
        label = settings(engine, tag)["Labels"] or {}
        is_equivalent = found[tag].state is images.State.EQUIVALENT
        assert (label.get("org.compose-course.equivalent") == "true") == is_equivalent
    assert found[BASE].state is images.State.BUILT
    # Images inherit labels: the base, and a learner's image on it, are not to pass for equivalents.
    assert settings(engine, BASE)["Labels"]["org.compose-course.equivalent"] == "false"


class TestPython:
    def test_is_3_11_in_usr_local(self, machine: Machine) -> None:
        script = "for name in python python3 pip; do command -v $name; done; python --version"
        where = machine.run(PYTHON, ["sh", "-c", script]).split("\n")
        assert where[:3] == ["/usr/local/bin/python", "/usr/local/bin/python3", "/usr/local/bin/pip"]
        assert where[3].startswith("Python 3.11.")
        code = "import sys, sysconfig; print(sys.prefix, sysconfig.get_path('purelib'), sysconfig.get_path('scripts'))"
        assert machine.run(PYTHON, ["python", "-c", code]).split() == [
            "/usr/local",
            "/usr/local/lib/python3.11/site-packages",
            "/usr/local/bin",
        ]

    def test_starts_python_by_itself(self, engine: docker.DockerClient) -> None:
        assert settings(engine, PYTHON)["Cmd"] == ["python3"]
        assert not settings(engine, PYTHON)["Entrypoint"]

    @pytest.mark.parametrize("command", ["curl", "wget", "ping"])
    def test_has_no_tools_of_a_larger_image(self, machine: Machine, command: str) -> None:
        assert machine.run(PYTHON, ["sh", "-c", f"command -v {command} || echo none"]) == "none"

    def test_has_the_standard_library(self, machine: Machine) -> None:
        code = "import ssl, sqlite3, lzma, bz2, ctypes, venv, zoneinfo; ssl.create_default_context(); print('all')"
        assert machine.run(PYTHON, ["python", "-c", code]) == "all"

    def test_virtual_environments_are_separate(self, machine: Machine) -> None:
        script = "python -m venv /tmp/v && /tmp/v/bin/python -c 'import torch' 2>&1; /tmp/v/bin/pip --version"
        log = machine.run(BASE, ["sh", "-c", script])
        assert "No module named 'torch'" in log
        assert "from /tmp/v/lib/python3.11/site-packages/pip" in log

    def test_a_virtual_environment_can_see_what_is_installed(self, machine: Machine) -> None:
        make = "python -m venv --without-pip --system-site-packages /tmp/v"
        use = "/tmp/v/bin/python -c 'import numpy; print(numpy.__name__)'"
        assert machine.run(BASE, ["sh", "-c", f"{make} && {use}"]) == "numpy"


class TestBase:
    REQUIREMENTS = "fastapi==0.165.0\nuvicorn\nhttpx\nredis\npsycopg2-binary\nprometheus-client\ntorch\n"

    def test_installs_requirements_with_the_network_off(self, machine: Machine, tmp_path: Path) -> None:
        dockerfile = f"FROM {BASE}\nWORKDIR /app\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n"
        tag = machine.build(write(tmp_path, {"Dockerfile": dockerfile, "requirements.txt": self.REQUIREMENTS}))
        code = "import fastapi, uvicorn, httpx, redis, psycopg2, prometheus_client, torch; print(fastapi.__version__)"
        assert machine.run(tag, ["python", "-c", code]) == "0.165.0"

    def test_takes_the_steps_that_are_in_many_dockerfiles(self, machine: Machine, tmp_path: Path) -> None:
        dockerfile = f"""
            FROM {BASE}
            RUN pip install --no-cache-dir --upgrade pip setuptools wheel
            RUN pip install --user httpx "uvicorn[standard]"
            RUN python -m pip install --no-cache-dir pytest requests
            ENV PATH=/root/.local/bin:$PATH
            RUN uvicorn --version && pytest --version
        """
        machine.build(write(tmp_path, {"Dockerfile": dockerfile}))

    def test_builds_in_stages_with_a_virtual_environment(self, machine: Machine, tmp_path: Path) -> None:
        dockerfile = f"""
            FROM {BASE} AS builder
            RUN python -m venv /opt/venv
            ENV PATH=/opt/venv/bin:$PATH
            RUN pip install fastapi numpy
            FROM {PYTHON}
            COPY --from=builder /opt/venv /opt/venv
            ENV PATH=/opt/venv/bin:$PATH
            RUN useradd --create-home app
            USER app
            CMD ["python", "-c", "import fastapi, numpy, sys; print(sys.prefix)"]
        """
        assert machine.run(machine.build(write(tmp_path, {"Dockerfile": dockerfile}))) == "/opt/venv"

    def test_builds_in_stages_that_share_site_packages(self, machine: Machine, tmp_path: Path) -> None:
        dockerfile = f"""
            FROM {BASE} AS builder
            RUN pip install uvicorn
            FROM {PYTHON}
            COPY --from=builder /usr/local/lib/python3.11/site-packages /usr/local/lib/python3.11/site-packages
            COPY --from=builder /usr/local/bin /usr/local/bin
            CMD ["uvicorn", "--version"]
        """
        assert "uvicorn" in machine.run(machine.build(write(tmp_path, {"Dockerfile": dockerfile})))

    def test_has_the_large_packages_compiled_and_lacks_the_small(self, machine: Machine) -> None:
        code = (
            "import importlib.util, pathlib, torch, sklearn;"
            "print(pathlib.Path(torch.__file__).with_name('__pycache__').is_dir(),"
            " importlib.util.find_spec('fastapi'), torch.version.cuda)"
        )
        compiled, fastapi, cuda = machine.run(BASE, ["python", "-c", code], read_only=True).split()
        assert (compiled, fastapi) == ("True", "None")
        assert cuda == "None"

    def test_says_what_the_wheelhouse_lacks(self, machine: Machine) -> None:
        status, log = machine.end_of(machine.start(BASE, ["pip", "install", "fastapi==0.1"]))
        assert status == 1
        assert "No matching distribution found for fastapi==0.1" in log


class TestPostgres:
    SECRET = {"POSTGRES_PASSWORD": "open sesame"}  # noqa: RUF012

    def start(self, machine: Machine, command: Any = None, **options: Any) -> Container:
        return machine.start(POSTGRES, command, port=5432, **options)

    def ask(self, machine: Machine, server: Container, question: str, **login: str) -> Any:
        def once() -> list[Any]:
            server.reload()
            assert server.status == "running", server.logs().decode()
            known = {"user": "postgres", "password": "open sesame", "dbname": "postgres", **login}
            connection = psycopg2.connect(host="127.0.0.1", port=machine.port(server, 5432), **known)
            connection.autocommit = True
            try:
                with connection.cursor() as cursor:
                    cursor.execute(question)
                    return [cursor.fetchone()]
            finally:
                connection.close()

        (row,) = until(once)
        return row[0]

    def init_folder(self, tmp_path: Path, scripts: dict[str, str | bytes]) -> dict[str, dict[str, str]]:
        folder = tmp_path / "initdb"
        folder.mkdir()
        for name, text in scripts.items():
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
            (folder / name).chmod(0o755 if name.endswith("run.sh") else 0o644)
        folder.chmod(0o755)
        return {str(folder): {"bind": "/docker-entrypoint-initdb.d", "mode": "ro"}}

    def test_makes_user_and_database_as_told(self, machine: Machine) -> None:
        told = {"POSTGRES_USER": "ml", "POSTGRES_PASSWORD": "pa'ss \"w$rd", "POSTGRES_DB": "predictions-1"}
        server = self.start(machine, environment=told)
        login = {"user": "ml", "password": "pa'ss \"w$rd", "dbname": "predictions-1"}
        assert self.ask(machine, server, "SELECT current_user", **login) == "ml"
        assert self.ask(machine, server, "SHOW server_encoding", **login) == "UTF8"
        assert self.ask(machine, server, "SHOW server_version", **login).startswith("15.")
        assert self.ask(machine, server, "SHOW password_encryption", **login) == "scram-sha-256"
        port = machine.port(server, 5432)
        with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
            psycopg2.connect(host="127.0.0.1", port=port, user="ml", password="wrong", dbname="predictions-1")

    def test_names_the_database_after_the_user(self, machine: Machine) -> None:
        server = self.start(machine, environment={**self.SECRET, "POSTGRES_USER": "ml"})
        assert self.ask(machine, server, "SELECT current_database()", user="ml", dbname="ml") == "ml"

    def test_reads_secrets_from_files(self, machine: Machine, tmp_path: Path) -> None:
        write(tmp_path, {"user": "ml\n", "password": "from a file\n", "db": "predictions\n"})
        tmp_path.chmod(0o755)
        server = self.start(
            machine,
            volumes={str(tmp_path): {"bind": "/run/secrets", "mode": "ro"}},
            environment={
                "POSTGRES_USER_FILE": "/run/secrets/user",
                "POSTGRES_PASSWORD_FILE": "/run/secrets/password",
                "POSTGRES_DB_FILE": "/run/secrets/db",
            },
        )
        login = {"user": "ml", "password": "from a file", "dbname": "predictions"}
        assert self.ask(machine, server, "SELECT current_database()", **login) == "predictions"

    def test_refuses_both_a_secret_and_its_file(self, machine: Machine) -> None:
        both = {**self.SECRET, "POSTGRES_PASSWORD_FILE": "/run/secrets/password"}
        status, log = machine.end_of(self.start(machine, environment=both))
        assert status == 1
        assert "POSTGRES_PASSWORD_FILE" in log

    def test_refuses_to_start_without_a_password(self, machine: Machine) -> None:
        status, log = machine.end_of(self.start(machine))
        assert status == 1
        assert "POSTGRES_PASSWORD" in log

    def test_lets_everyone_in_when_told_to(self, machine: Machine) -> None:
        server = self.start(machine, environment={"POSTGRES_HOST_AUTH_METHOD": "trust"})
        assert self.ask(machine, server, "SELECT 1", password="whatever") == 1
        assert "WARNING" in server.logs().decode()

    def test_runs_the_init_scripts_in_order_and_out_of_reach(self, machine: Machine, tmp_path: Path) -> None:
        insert = "INSERT INTO ran (name) VALUES ('{}');"
        psql = 'psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB"'
        scripts = {
            "01.sql": "CREATE TABLE ran (n serial, name text); " + insert.format("sql"),
            "02.sql.gz": gzip.compress(insert.format("gz").encode()),
            # What an executable sets stays with it; what a sourced one sets is there for the next.
            "03-run.sh": f'#!/bin/sh\nset -e\nexport SET_BY=03\n{psql} -c "{insert.format("run")}"\n',
            "04-source.sh": f'{psql} -c "{insert.format("source ${SET_BY:-nobody}")}"; export SET_BY=04\n',
            "05-source.sh": f'docker_process_sql <<< "{insert.format("by $SET_BY")}"\n',
            "06-run.sh": (
                "#!/bin/sh\nset -e\nif pg_isready -q -h 127.0.0.1; then on=network; else on=socket; fi\n"
                f'{psql} -c "{insert.format("listens on $on")}"\n'
            ),
            "07.txt": "not SQL at all",
        }
        server = self.start(machine, environment=self.SECRET, volumes=self.init_folder(tmp_path, scripts))
        ran = self.ask(machine, server, "SELECT string_agg(name, ', ' ORDER BY n) FROM ran")
        assert ran == "sql, gz, run, source nobody, by 04, listens on socket"
        log = server.logs().decode()
        assert "PostgreSQL init process complete; ready for start up." in log
        assert log.index("init process complete") < log.index("listening on IPv4 address")

    def test_ends_when_an_init_script_fails(self, machine: Machine, tmp_path: Path) -> None:
        scripts = self.init_folder(tmp_path, {"01.sql": "SELEKT 1;", "02.sql": "SELECT 2;"})
        status, log = machine.end_of(self.start(machine, environment=self.SECRET, volumes=scripts))
        assert status != 0
        assert 'syntax error at or near "SELEKT"' in log
        assert "init process complete" not in log

    def test_keeps_what_is_there(self, machine: Machine, tmp_path: Path) -> None:
        data = {machine.volume(): {"bind": "/var/lib/postgresql/data", "mode": "rw"}}
        first = self.start(machine, environment=self.SECRET, volumes=data)
        self.ask(machine, first, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42); SELECT 1")
        first.remove(force=True, v=False)
        machine._containers.remove(first)
        scripts = self.init_folder(tmp_path, {"01.sql": "DROP TABLE kept;"})
        other = {"POSTGRES_PASSWORD": "another one", "POSTGRES_DB": "other"}
        second = self.start(machine, environment=other, volumes={**data, **scripts})
        assert self.ask(machine, second, "SELECT n FROM kept") == 42
        assert "Skipping initialization" in second.logs().decode()

    @pytest.mark.parametrize("user", ["postgres", "70:70", "12345:12345"])
    def test_runs_as_an_ordinary_user_from_the_start(self, machine: Machine, user: str) -> None:
        data = {machine.volume(): {"bind": "/var/lib/postgresql/data", "mode": "rw"}}
        inside = {**self.SECRET, "PGDATA": "/var/lib/postgresql/data/inside"}
        server = self.start(machine, user=user, environment=inside, volumes=data, cap_drop=["ALL"])
        assert self.ask(machine, server, "SELECT 1") == 1
        assert self.ask(machine, server, "SHOW data_directory") == "/var/lib/postgresql/data/inside"

    def test_leaves_root_behind(self, machine: Machine) -> None:
        server = self.start(machine, environment=self.SECRET)
        assert self.ask(machine, server, "SELECT 1") == 1
        owner = server.exec_run(["stat", "-c", "%U %u", "/proc/1", "/var/lib/postgresql/data"]).output.decode()
        assert owner.split() == ["postgres", "70"] * 2

    @pytest.mark.parametrize("command", [["postgres", "-c", "max_connections=7"], ["-c", "max_connections=7"]])
    def test_takes_settings_on_the_command_line(self, machine: Machine, command: list[str]) -> None:
        server = self.start(machine, command, environment=self.SECRET)
        assert self.ask(machine, server, "SHOW max_connections") == "7"

    def test_hands_arguments_to_initdb(self, machine: Machine) -> None:
        told = {**self.SECRET, "POSTGRES_INITDB_ARGS": "--data-checksums --locale='C'"}
        server = self.start(machine, environment=told)
        assert self.ask(machine, server, "SHOW data_checksums") == "on"

    def test_stops_at_once_and_in_order(self, machine: Machine) -> None:
        server = self.start(machine, environment=self.SECRET)
        assert self.ask(machine, server, "SELECT 1") == 1
        server.stop(timeout=30)
        assert machine.end_of(server)[0] == 0
        assert "database system is shut down" in server.logs(tail=3).decode()

    def test_has_its_tools(self, machine: Machine) -> None:
        script = "for tool in psql pg_dump pg_restore pg_isready createdb pg_basebackup; do $tool --version; done"
        assert machine.run(POSTGRES, ["sh", "-c", script]).count("(PostgreSQL) 15.") == 6

    def test_declares_volume_port_and_signal(self, engine: docker.DockerClient) -> None:
        config = settings(engine, POSTGRES)
        assert "/var/lib/postgresql/data" in config["Volumes"]
        assert "5432/tcp" in config["ExposedPorts"]
        assert config["StopSignal"] == "SIGINT"
        assert config["Cmd"] == ["postgres"]


class TestRedis:
    def client(self, machine: Machine, server: Container, **login: Any) -> redis.Redis:
        return redis.Redis(port=machine.port(server, 6379), decode_responses=True, **login)

    def test_answers_to_the_outside(self, machine: Machine) -> None:
        server = machine.start(REDIS, port=6379)
        with self.client(machine, server) as client:
            assert until(client.ping)
            assert client.info("server")["redis_version"].startswith("7.")
        owner = server.exec_run(["stat", "-c", "%U %u", "/proc/1", "/data"]).output.decode()
        assert owner.split() == ["redis", "999"] * 2

    @pytest.mark.parametrize("command", [["redis-server", "--appendonly", "yes"], ["--appendonly", "yes"]])
    def test_keeps_data_across_containers(self, machine: Machine, command: list[str]) -> None:
        data = {machine.volume(): {"bind": "/data", "mode": "rw"}}
        first = machine.start(REDIS, command, port=6379, volumes=data)
        with self.client(machine, first) as client:
            until(client.ping)
            client.set("kept", "42")
        first.stop(timeout=30)
        assert machine.end_of(first)[0] == 0
        second = machine.start(REDIS, command, port=6379, volumes=data)
        with self.client(machine, second) as client:
            assert until(lambda: client.get("kept")) == "42"

    @pytest.mark.parametrize("command", [["redis-server", "/etc/my.conf"], ["/etc/my.conf", "--maxmemory", "9mb"]])
    def test_reads_a_configuration(self, machine: Machine, tmp_path: Path, command: list[str]) -> None:
        write(tmp_path, {"my.conf": "requirepass secret\nmaxmemory-policy allkeys-lru\n"})
        volumes = {str(tmp_path / "my.conf"): {"bind": "/etc/my.conf", "mode": "ro"}}
        server = machine.start(REDIS, command, port=6379, volumes=volumes)
        with self.client(machine, server, password="secret") as client:
            assert until(client.ping)
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        with self.client(machine, server) as client, pytest.raises(redis.AuthenticationError):
            client.ping()

    @pytest.mark.parametrize("how", ["argument", "file"])
    def test_leaves_protected_mode_on_when_told_to(self, machine: Machine, tmp_path: Path, how: str) -> None:
        write(tmp_path, {"my.conf": "protected-mode yes\n"})
        volumes = {str(tmp_path / "my.conf"): {"bind": "/etc/my.conf", "mode": "ro"}}
        command = ["--protected-mode", "yes"] if how == "argument" else ["/etc/my.conf"]
        server = machine.start(REDIS, command, port=6379, volumes=volumes)
        until(lambda: server.exec_run(["redis-cli", "ping"]).output == b"PONG\n")
        with self.client(machine, server) as client, pytest.raises(redis.RedisError, match="protected mode"):
            client.ping()

    def test_runs_as_an_ordinary_user_from_the_start(self, machine: Machine) -> None:
        server = machine.start(
            REDIS, port=6379, user="999:1000", read_only=True, cap_drop=["ALL"], tmpfs={"/data": "uid=999"}
        )
        with self.client(machine, server) as client:
            assert until(client.ping)

    def test_runs_other_commands_as_they_are(self, machine: Machine) -> None:
        assert machine.run(REDIS, ["redis-server", "--version"]).startswith("Redis server v=7.")
        assert machine.run(REDIS, ["redis-cli", "--version"]).startswith("redis-cli 7.")
        assert machine.run(REDIS, ["sh", "-c", "id -u; pwd"]).split() == ["0", "/data"]

    def test_declares_volume_and_port(self, engine: docker.DockerClient) -> None:
        config = settings(engine, REDIS)
        assert "/data" in config["Volumes"]
        assert "6379/tcp" in config["ExposedPorts"]
        assert config["Cmd"] == ["redis-server"]


class TestNginx:
    def get(self, machine: Machine, server: Container, path: str = "/") -> httpx.Response:
        def once() -> httpx.Response:
            server.reload()
            assert server.status == "running", server.logs().decode()
            return httpx.get(f"http://127.0.0.1:{machine.port(server, 80)}{path}")

        return until(once)

    def test_shows_its_page_and_logs_to_the_console(self, machine: Machine) -> None:
        server = machine.start(NGINX, port=80)
        assert "Welcome to nginx!" in self.get(machine, server).text
        assert self.get(machine, server, "/nothing").status_code == 404
        out = server.logs(stderr=False).decode()
        assert '"GET / HTTP/1.1" 200' in out
        assert "/nothing" in server.logs(stdout=False).decode()
        workers = server.exec_run(["sh", "-c", "stat -c '%U %u' /proc/[0-9]*"]).output.decode()
        assert "nginx 101" in workers

    def test_finishes_in_order(self, machine: Machine, engine: docker.DockerClient) -> None:
        assert settings(engine, NGINX)["StopSignal"] == "SIGQUIT"
        server = machine.start(NGINX, port=80)
        self.get(machine, server)
        server.stop(timeout=30)
        assert machine.end_of(server)[0] == 0

    def test_reads_conf_d(self, machine: Machine, tmp_path: Path) -> None:
        write(tmp_path, {"my.conf": "server { listen 80; location / { return 200 'mine $uri'; } }"})
        volumes = {str(tmp_path): {"bind": "/etc/nginx/conf.d", "mode": "ro"}}
        server = machine.start(NGINX, port=80, volumes=volumes)
        assert self.get(machine, server, "/a").text == "mine /a"

    def test_serves_a_mounted_folder(self, machine: Machine, tmp_path: Path) -> None:
        write(tmp_path, {"index.html": "my page"}).chmod(0o755)
        volumes = {str(tmp_path): {"bind": "/usr/share/nginx/html", "mode": "ro"}}
        assert self.get(machine, machine.start(NGINX, port=80, volumes=volumes)).text == "my page"

    def test_fills_templates_in(self, machine: Machine, tmp_path: Path) -> None:
        template = "server { listen 80; location / { return 200 '${GREETING}, $uri, $host'; } }"
        templates = {
            "default.conf.template": template + "resolver ${NGINX_LOCAL_RESOLVERS};",
            "sub/other.conf.template": "# ${GREETING}",
        }
        write(tmp_path, templates)
        volumes = {str(tmp_path): {"bind": "/etc/nginx/templates", "mode": "ro"}}
        told = {"GREETING": "good day", "NGINX_ENTRYPOINT_LOCAL_RESOLVERS": "yes"}
        server = machine.start(NGINX, port=80, volumes=volumes, environment=told, dns=["192.0.2.53"])
        assert self.get(machine, server, "/a").text == "good day, /a, 127.0.0.1"
        assert server.exec_run(["cat", "/etc/nginx/conf.d/sub/other.conf"]).output == b"# good day"
        made = server.exec_run(["cat", "/etc/nginx/conf.d/default.conf"]).output.decode()
        assert made.endswith("resolver 192.0.2.53;")

    def test_runs_the_scripts_before_it_starts(self, machine: Machine, tmp_path: Path) -> None:
        scripts = {
            "15-sourced.envsh": "export GREETING=sourced\n",
            "30-run.sh": '#!/bin/sh\necho "$GREETING" > /usr/share/nginx/html/index.html\n',
            "31-not-executable.sh": "exit 1\n",
            "32-other.txt": "exit 1\n",
        }
        write(tmp_path, scripts)
        volumes = {}
        for name in scripts:
            (tmp_path / name).chmod(0o755 if name[:2] in {"15", "30"} else 0o644)
            volumes[str(tmp_path / name)] = {"bind": f"/docker-entrypoint.d/{name}", "mode": "ro"}
        assert self.get(machine, machine.start(NGINX, port=80, volumes=volumes)).text == "sourced\n"

    def test_a_script_that_fails_keeps_it_from_starting(self, machine: Machine, tmp_path: Path) -> None:
        write(tmp_path, {"30-fails.sh": "#!/bin/sh\nexit 3\n"})
        (tmp_path / "30-fails.sh").chmod(0o755)
        volumes = {str(tmp_path / "30-fails.sh"): {"bind": "/docker-entrypoint.d/30-fails.sh", "mode": "ro"}}
        assert machine.end_of(machine.start(NGINX, volumes=volumes))[0] == 3

    def test_refuses_a_file_without_events(self, machine: Machine, tmp_path: Path) -> None:
        write(tmp_path, {"nginx.conf": "server { listen 80; }"})
        volumes = {str(tmp_path / "nginx.conf"): {"bind": "/etc/nginx/nginx.conf", "mode": "ro"}}
        status, log = machine.end_of(machine.start(NGINX, volumes=volumes))
        assert status == 1
        assert '"server" directive is not allowed here' in log

    def test_needs_no_writable_root(self, machine: Machine) -> None:
        tmpfs = {"/var/cache/nginx": "", "/run": "", "/tmp": ""}
        server = machine.start(NGINX, port=80, read_only=True, tmpfs=tmpfs)
        assert self.get(machine, server).status_code == 200

    @pytest.mark.parametrize("probe", ["wget -q -O - http://127.0.0.1/", "curl -fsS http://127.0.0.1/"])
    def test_can_probe_itself(self, machine: Machine, probe: str) -> None:
        server = machine.start(NGINX, port=80)
        self.get(machine, server)
        status, page = server.exec_run(probe)
        assert status == 0
        assert b"Welcome to nginx!" in page


class TestPrometheus:
    def get(self, machine: Machine, server: Container, path: str) -> httpx.Response:
        def once() -> httpx.Response | None:
            server.reload()
            assert server.status == "running", server.logs().decode()
            answer = httpx.get(f"http://127.0.0.1:{machine.port(server, 9090)}{path}")
            return answer if answer.status_code == 200 else None

        answer = until(once)
        assert answer is not None
        return answer

    def test_runs_as_nobody_with_its_own_configuration(self, machine: Machine) -> None:
        server = machine.start(PROMETHEUS, port=9090)
        self.get(machine, server, "/-/ready")
        assert "job_name: prometheus" in self.get(machine, server, "/api/v1/status/config").json()["data"]["yaml"]
        script = "stat -c '%U %u' /proc/1; stat -c '%U %u' /prometheus; pwd"
        assert server.exec_run(["sh", "-c", script]).output.decode().split() == ["nobody", "65534"] * 2 + [
            "/prometheus"
        ]
        server.stop(timeout=30)
        assert machine.end_of(server)[0] == 0

    def test_reads_a_mounted_configuration(self, machine: Machine, tmp_path: Path) -> None:
        job = "{job_name: mine, scrape_interval: 1s, static_configs: [{targets: ['localhost:9090']}]}"
        write(tmp_path, {"prometheus.yml": f"scrape_configs: [{job}]"})
        volumes = {
            str(tmp_path / "prometheus.yml"): {"bind": "/etc/prometheus/prometheus.yml", "mode": "ro"},
            machine.volume(): {"bind": "/prometheus", "mode": "rw"},
        }
        command = [
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            "--web.enable-lifecycle",
        ]
        server = machine.start(PROMETHEUS, command, port=9090, volumes=volumes, read_only=True)
        query = '/api/v1/query?query=up{job="mine"}'
        (series,) = until(lambda: self.get(machine, server, query).json()["data"]["result"])
        assert series["value"][1] == "1"

    def test_has_promtool_and_wget(self, machine: Machine, tmp_path: Path) -> None:
        server = machine.start(PROMETHEUS, port=9090)
        self.get(machine, server, "/-/ready")
        assert server.exec_run("promtool check config /etc/prometheus/prometheus.yml")[0] == 0
        assert server.exec_run("wget -q --spider http://localhost:9090/-/healthy")[0] == 0

    def test_declares_volume_port_and_entry_point(self, engine: docker.DockerClient) -> None:
        config = settings(engine, PROMETHEUS)
        assert "/prometheus" in config["Volumes"]
        assert "9090/tcp" in config["ExposedPorts"]
        assert config["Entrypoint"] == ["/bin/prometheus"]
        assert "--config.file=/etc/prometheus/prometheus.yml" in config["Cmd"]


class Registry:
    """A registry on this machine with one small image, of one layer, under every name."""

    def __init__(self, *, broken: bool = False) -> None:
        self.layer = self._layer()
        self.broken = broken
        registry = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = registry.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if "/manifests/" in self.path:
                    self.send_header("Docker-Content-Digest", digest(body))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(images._architecture(), "amd64")
        config = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {"Labels": {"from": self.address}},
                "rootfs": {"type": "layers", "diff_ids": [digest(gzip.decompress(self.layer))]},
            }
        ).encode()
        kind = "application/vnd.docker.{}.v{}+json"
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": kind.format("distribution.manifest", 2),
                "config": {
                    "mediaType": kind.format("container.image", 1),
                    "size": len(config),
                    "digest": digest(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": len(self.layer),
                        "digest": digest(self.layer),
                    }
                ],
            }
        ).encode()
        if path == "/v2/":
            return 200, "application/json", b"{}"
        if "/manifests/" in path:
            return 200, kind.format("distribution.manifest", 2), manifest
        if path.endswith(digest(config)):
            return 200, "application/octet-stream", config
        if path.endswith(digest(self.layer)) and not self.broken:
            return 200, "application/octet-stream", self.layer
        return 404, "application/json", b'{"errors": [{"code": "BLOB_UNKNOWN", "message": "gone"}]}'

    def _layer(self) -> bytes:
        content = uuid.uuid4().bytes * 100_000
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            member = tarfile.TarInfo("weights.bin")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        return gzip.compress(archive.getvalue())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def registry() -> Iterator[Callable[..., Registry]]:
    opened: list[Registry] = []

    def open_one(**how: bool) -> Registry:
        opened.append(Registry(**how))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def table(engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts other images in the place of the workbook's, and removes what was made of them."""
    tags: list[str] = []

    def use(*rows: inventory.Image) -> None:
        stand_ins = tuple(inventory.Image(tag, "", inputs=()) for tag in (inventory.PYTHON, inventory.BASE))
        monkeypatch.setattr(inventory, "IMAGES", (*rows, *stand_ins))
        monkeypatch.setattr(inventory, "stack_images", list)
        tags.extend(row.tag for row in rows)

    yield use
    for tag in tags:
        if engine.images.list(tag):
            engine.images.remove(tag, force=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, {"Dockerfile": f"FROM {PYTHON}\nCOPY Dockerfile /made-from\n"})


def new_tag(host: str = "compose-course-test") -> str:
    return f"{host}/{uuid.uuid4().hex[:8]}:1"


class TestRegistry:
    def test_a_closed_port_is_noticed(self) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            reason = why_not_offered(f"127.0.0.1:{closed.getsockname()[1]}/some/image:1")
        assert reason is not None
        assert "connection refused" in reason

    def test_a_registry_that_never_answers_is_given_up(self) -> None:
        begun = time.monotonic()
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            reason = why_not_offered(f"127.0.0.1:{silent.getsockname()[1]}/some/image:1", answer_within=2)
        assert reason == "no answer within 2 s"
        assert time.monotonic() - begun < 20

    def test_what_it_offers_is_pulled(
        self,
        engine: docker.DockerClient,
        registry: Callable[..., Registry],
        table: Callable[..., None],
        folder: Path,
    ) -> None:
        host = registry().address
        rows = [inventory.Image(new_tag(host), "", in_registry=True, inputs=(folder,)) for _ in range(3)]
        table(*rows)
        said: list[str] = []
        found = images.ensure(said.append)
        assert [status.state for status in found[:3]] == [images.State.PULLED] * 3
        assert engine.images.get(rows[0].tag).labels == {"from": host}
        assert any(line.startswith(f"{rows[0].tag}: pulled in ") for line in said)

    def test_what_breaks_off_is_built_instead(
        self, registry: Callable[..., Registry], table: Callable[..., None], folder: Path
    ) -> None:
        row = inventory.Image(new_tag(registry(broken=True).address), "", in_registry=True, inputs=(folder,))
        table(row)
        said: list[str] = []
        assert images.ensure(said.append)[0].state is images.State.EQUIVALENT
        assert any("gone" in line or "unknown" in line for line in said), said


class TestEnsure:
    def test_does_nothing_when_nothing_is_missing(self) -> None:
        found = images.ensure(lambda line: None)
        said: list[str] = []
        assert images.ensure(said.append) == found
        assert said == []

    def test_builds_again_what_has_changed_and_what_stands_on_it(
        self, table: Callable[..., None], folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        lower = inventory.Image(new_tag(), "", inputs=(folder,))
        upper_folder = tmp_path_factory.mktemp("upper")
        write(upper_folder, {"Dockerfile": f"FROM {lower.tag}\nCOPY Dockerfile /upper\n"})
        upper = inventory.Image(new_tag(), "", inputs=(upper_folder,), parent=lower.tag)
        table(upper, lower)

        def ids() -> dict[str, str | None]:
            return {status.image.tag: status.id for status in images.ensure(lambda line: None)}

        first = ids()
        assert ids() == first
        (upper_folder / "Dockerfile").write_text(f"FROM {lower.tag}\nCOPY Dockerfile /upper-2\n")
        second = ids()
        assert second[upper.tag] != first[upper.tag]
        assert second[lower.tag] == first[lower.tag]
        (folder / "Dockerfile").write_text(f"FROM {PYTHON}\nCOPY Dockerfile /made-from-2\n")
        assert {status.image.tag: status.outdated for status in images.status()[:2]} == {
            lower.tag: True,
            upper.tag: False,  # not until its parent has another id
        }
        third = ids()
        assert third[lower.tag] != second[lower.tag]
        assert third[upper.tag] != second[upper.tag]

    def test_never_replaces_an_image_that_is_not_its_own(
        self,
        engine: docker.DockerClient,
        machine: Machine,
        table: Callable[..., None],
        folder: Path,
        tmp_path: Path,
    ) -> None:
        mine = write(tmp_path / "mine", {"Dockerfile": "FROM scratch\nLABEL mine=yes\n"})
        row = inventory.Image(machine.build(mine), "", in_registry=True, inputs=(folder,))
        table(row)
        before = engine.images.get(row.tag).id
        assert images.ensure(lambda line: None)[0].state is images.State.PULLED
        assert engine.images.get(row.tag).id == before
        machine._tags.clear()  # `table` removes it

    def test_says_why_a_build_failed(self, table: Callable[..., None], tmp_path: Path) -> None:
        write(tmp_path, {"Dockerfile": f"FROM {PYTHON}\nRUN echo about to fail && exit 7\n"})
        row = inventory.Image(new_tag(), "", inputs=(tmp_path,))
        table(row)
        with pytest.raises(MachineError) as error:
            images.ensure(lambda line: None)
        assert row.tag in error.value.what
        assert "about to fail" in error.value.what
        assert "exit code: 7" in error.value.what
        assert images.status()[0].state is images.State.MISSING

    def test_an_image_that_only_a_registry_has_may_stay_missing(self, table: Callable[..., None], folder: Path) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            table(inventory.Image(new_tag(f"127.0.0.1:{closed.getsockname()[1]}"), "", in_registry=True))
            said: list[str] = []
            # Asked for only on request: every grading would have to wait for a registry that is away.
            assert images.ensure(said.append)[0].state is images.State.MISSING
            assert said == []
            assert images.ensure(said.append, everything=True)[0].state is images.State.MISSING
            assert "connection refused" in said[0]

    def test_ends_with_ctrl_c(self, tmp_path: Path) -> None:
        write(tmp_path, {"Dockerfile": f"FROM {PYTHON}\nRUN sleep 600\n"})
        program = f"""
from pathlib import Path
from grader.engine import images, inventory
inventory.IMAGES = (inventory.Image("{new_tag()}", "", inputs=(Path("{tmp_path}"),)),
                 *(inventory.Image(tag, "") for tag in (inventory.PYTHON, inventory.BASE)))
inventory.stack_images = list
images.ensure(lambda line: print(line, flush=True))
"""
        run = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert run.stdout
        assert run.stdout.readline().endswith(": building\n")
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=WITHIN)
        assert run.returncode == -signal.SIGINT, err
        assert "stopped" in out

    def test_goes_on_when_another_run_has_finished(self, table: Callable[..., None], folder: Path) -> None:
        row = inventory.Image(new_tag(), "", inputs=(folder,))
        table(row)
        said: list[str] = []
        waits = threading.Event()

        def say(line: str) -> None:
            said.append(line)
            waits.set()

        def quiet(line: str) -> None:
            pass

        second = threading.Thread(target=images.ensure, args=(say,))
        with images._alone(quiet):
            second.start()
            assert waits.wait(WITHIN)
            assert "Another run" in said[0]
            assert images.status()[0].state is images.State.MISSING
        second.join(WITHIN)
        assert images.status()[0].state is images.State.BUILT
