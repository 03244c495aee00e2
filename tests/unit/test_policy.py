from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grader import catalog, policy, vetting
from grader.catalog import Exercise
from grader.rules import Scope
from grader.submission import Submission, private_copy
from grader.violation import UNKNOWN, Violation

EXERCISE = catalog.find("04")


def refused(tmp_path: Path, text: str, exercise: Exercise = EXERCISE, **files: str) -> list[Violation]:
    folder = tmp_path / "sub"
    folder.mkdir(exist_ok=True)
    for name, content in {"Dockerfile": "FROM python:3.11-slim\n", **files}.items():
        (folder / name).write_text(content)
    (folder / "compose.yml").write_text(text)
    submission = Submission(folder, folder, (folder / "compose.yml",))
    return vetting.vetted(submission, "grading-test", exercise, required=())[1]


def service(*lines: str) -> str:
    return "services:\n  s:\n    image: redis:7-alpine\n" + "".join(f"    {line}\n" for line in lines)


@pytest.mark.parametrize("folder", [EXERCISE.folder, catalog.SOLUTIONS / EXERCISE.key], ids=["starter", "solution"])
def test_the_course_itself_is_allowed(tmp_path: Path, folder: Path) -> None:
    with private_copy(folder, EXERCISE, tmp_path / "copy") as copy:
        assert vetting.vetted(copy, "grading-test", EXERCISE)[1] == []


@pytest.mark.parametrize(
    "line",
    [
        "privileged: true",
        "pid: host",
        "ipc: host",
        "uts: host",
        "userns_mode: host",
        "cgroup: host",
        "network_mode: host",
        "network_mode: container:other",
        "cap_add: [SYS_ADMIN]",
        "cap_add: [ALL]",
        "security_opt: ['apparmor=unconfined']",
        "devices: ['/dev/kmsg:/dev/kmsg']",
        "device_cgroup_rules: ['a *:* rwm']",
        "volumes: ['/:/host']",
        "volumes: ['../..:/up']",
        "volumes: ['/var/run/docker.sock:/var/run/docker.sock']",
        "volumes: [{type: bind, source: ., target: /x, bind: {propagation: rshared}}]",
        "volumes_from: ['container:other']",
        "external_links: [other]",
        "extra_hosts: ['host:host-gateway']",
        "dns: 8.8.8.8",
        "container_name: fixed",
        "runtime: other",
        "cgroup_parent: /",
        "sysctls: {net.ipv4.ip_forward: 1}",
        "logging: {driver: syslog}",
        "scale: 1000",
        "environment: [HOME]",
        "build: /etc",
        "develop: {watch: [{action: sync, path: /etc, target: /x}]}",
        "develop: {watch: [{action: sync, path: ../.., target: /x}]}",
        "build: https://example.test/x.git",
        "build: {context: ., tags: ['python:3.11-slim']}",
        "build: {context: ., network: host}",
        "build: {context: ., ssh: [default]}",
        "oom_kill_disable: true",
        "cpuset: '0'",
        "deploy: {replicas: 1000}",
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
    ],
)
def test_what_could_harm_the_machine_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    found = refused(tmp_path, service("init: true", line))
    assert [violation.at for violation in found] == ["compose.yml:5"]
    assert all((found[0].what, found[0].why, found[0].instead))


@pytest.mark.parametrize(
    "text",
    [
        "volumes: {vol: {external: true}}",
        "volumes: {vol: {name: somebody-elses}}",
        "volumes: {vol: {driver_opts: {type: none, o: bind, device: /}}}",
        "networks: {n: {external: true}}",
        "networks: {n: {name: bridge}}",
        "networks: {n: {driver: host}}",
        "networks: {n: {ipam: {config: [{subnet: 10.0.0.0/8}]}}}",
        "secrets: {k: {file: /etc/shadow}}",
        "secrets: {k: {environment: HOME}}",
        "configs: {c: {file: ../../x}}",
    ],
)
def test_what_reaches_outside_the_project_is_refused(tmp_path: Path, text: str) -> None:
    uses = {
        "volumes": "volumes: ['vol:/v']",
        "networks": "networks: [n]",
        "secrets": "secrets: [k]",
        "configs": "configs: [c]",
    }
    found = refused(tmp_path, service(uses[text.split(":")[0]]) + text + "\n")
    assert {violation.at for violation in found} == {"compose.yml:5"}


@pytest.mark.parametrize(
    "line",
    [
        "command: ['sh', '-c', 'cat /etc/passwd']",
        "volumes: ['./data:/data:ro', 'vol:/v', '/anonymous']",
        "tmpfs: /tmp",
        "cap_drop: [ALL]",
        "cap_add: [NET_BIND_SERVICE]",
        "security_opt: ['no-new-privileges:true']",
        "read_only: true",
        "privileged: false",
        "user: '1000:1000'",
        "logging: {driver: json-file, options: {max-size: 10m}}",
        "network_mode: none",
        "build: {context: ., target: x, args: {A: '1'}}",
        "healthcheck: {test: 'curl docker.sock', interval: 5s}",
        "deploy: {replicas: 3, resources: {limits: {cpus: '1', memory: 1G}}}",
        "environment: {PRIVILEGED: 'true', pid: host}",
        "labels: {privileged: 'true'}",
        "restart: always",
        "stop_grace_period: 1m",
    ],
)
def test_what_only_looks_suspicious_is_accepted(tmp_path: Path, line: str) -> None:
    assert refused(tmp_path, service(line) + "volumes: {vol: }\n") == []


def test_a_link_that_leads_out_is_followed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "data").symlink_to("/etc")
    assert refused(tmp_path, service("volumes: ['./data:/data']"))


# --- every attribute there is ---------------------------------------------------------------------

ATTRIBUTES = [
    line
    for line in (Path(__file__).parent / "compose_attributes.txt").read_text().splitlines()
    if not line.startswith("#")
]


def nested(path: list[str]) -> Any:
    """`services.*.ports[].target` as the mapping that has just that."""
    if not path:
        return "1"
    name, *rest = path
    if name.endswith("[]"):
        return {name[:-2]: [nested(rest)]}
    return {("name" if name == "*" else name): nested(rest)}


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_attribute_of_the_specification_has_been_decided_on(attribute: str) -> None:
    if attribute.startswith(("include", "models", "services.*.env_file", "services.*.extends")):
        return  # decided on in grader.raw, before Compose reads them
    mapping = nested(attribute.split("."))
    if "volumes[]" in attribute:
        kind = attribute.split(".")[3] if attribute.split(".")[3] in policy.MOUNTS else "volume"
        mapping["services"]["name"]["volumes"][0]["type"] = kind
        if ".image" in attribute or ".cluster" in attribute:
            return
    scope = Scope(Path("/nonexistent"), frozenset(), frozenset())
    assert [path for path, (why, _) in policy.FILE(mapping, scope) if why == UNKNOWN] == []


@pytest.mark.parametrize(
    "text",
    [
        service("new_attribute: 1"),
        service("networks: {n: {new: 1}}") + "networks: {n: }\n",
        service("healthcheck: {test: x, new: 1}"),
        service("deploy: {resources: {limits: {new: 1}}}"),
    ],
)
def test_what_the_specification_does_not_know_is_denied(tmp_path: Path, text: str) -> None:
    """By Compose itself as long as its schema is strict; the rules do not depend on that."""
    from grader.errors import SubmissionError

    with pytest.raises(SubmissionError, match="new"):
        refused(tmp_path, text)


def test_unknown_keys_are_denied_at_every_depth() -> None:
    scope = Scope(Path("/nonexistent"), frozenset(), frozenset())
    for path in (["services", "s", "new"], ["services", "s", "deploy", "resources", "limits", "new"], ["new"]):
        [(found, (why, _))] = policy.FILE(nested(path), scope)
        assert (list(found), why) == (path, UNKNOWN)


# --- what several places say together ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("mounts", "refused_"),
    [
        ("['.:/app', './data:/data']", True),
        ("['.:/app:ro', './data:/data']", False),
        ("['./data:/a', './data:/b']", False),
        ("['./data:/a', './data/x:/b:ro']", True),
        ("['./data:/a', './database:/b']", False),
    ],
)
def test_what_others_mount_may_not_lie_where_a_container_can_swap_it(
    tmp_path: Path, mounts: str, refused_: bool
) -> None:
    found = refused(tmp_path, service(f"volumes: {mounts}"))
    assert [violation.what for violation in found] == (["services.s.volumes"] if refused_ else [])


def test_a_secrets_file_and_a_build_context_may_not_be_swapped_either(tmp_path: Path) -> None:
    secret = service("volumes: ['./conf:/c']", "secrets: [k]") + "secrets: {k: {file: ./conf/key}}\n"
    assert [v.what for v in refused(tmp_path, secret)] == ["services.s.volumes"]
    build = service("volumes: ['.:/app']") + "  b:\n    build: ./b\n"
    (tmp_path / "sub/b").mkdir(parents=True, exist_ok=True)
    (tmp_path / "sub/b/Dockerfile").write_text("FROM python:3.11-slim\n")
    assert [v.what for v in refused(tmp_path, build)] == ["services.s.volumes"]


def test_all_containers_together_are_counted(tmp_path: Path) -> None:
    text = "services:\n" + "".join(f"  s{n}: {{image: redis:7-alpine, scale: 10}}\n" for n in range(3))
    assert [violation.what for violation in refused(tmp_path, text)] == ["services"]


# --- images and builds --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "allowed"),
    [
        ("redis:7-alpine", True),
        ("docker.io/library/redis:7-alpine", True),
        ("docker.io/redis:7-alpine", True),
        ("python:3.11-slim", True),
        ("redis", False),
        ("redis:latest", False),
        ("example.test/redis:7-alpine", False),
        ("library/redis:8", False),
    ],
)
def test_only_images_that_are_there_are_run(tmp_path: Path, image: str, allowed: bool) -> None:
    found = refused(tmp_path, f"services:\n  s:\n    image: {image}\n")
    assert [v.at for v in found] == ([] if allowed else ["compose.yml:3"])


def build(tmp_path: Path, dockerfile: str, *lines: str) -> list[Violation]:
    return refused(tmp_path, "services:\n  s:\n    build:\n      context: .\n" + "".join(lines), Dockerfile=dockerfile)


def test_the_dockerfile_is_looked_at_with_its_own_lines(tmp_path: Path) -> None:
    [violation] = build(tmp_path, "FROM python:3.11-slim\nRUN --network=host true\n")
    assert violation.at == "Dockerfile:2"


def test_a_dockerfile_in_the_compose_file_is_looked_at_too(tmp_path: Path) -> None:
    inline = "      dockerfile_inline: |\n        FROM evil/image:1\n"
    [violation] = build(tmp_path, "FROM python:3.11-slim\n", inline)
    assert violation.at == "compose.yml:5"


def test_build_arguments_count_in_the_dockerfile(tmp_path: Path) -> None:
    text = "ARG BASE=python:3.11-slim\nFROM ${BASE}\n"
    assert build(tmp_path, text) == []
    assert build(tmp_path, text, "      args: {BASE: 'evil/image:1'}\n")


@pytest.mark.parametrize("path", ["../Dockerfile", "/etc/passwd", "missing"])
def test_a_dockerfile_outside_or_missing_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:3.11-slim\n")
    assert build(tmp_path, "FROM python:3.11-slim\n", f"      dockerfile: {path}\n")


# --- what an exercise grants ----------------------------------------------------------------------------

GPU = "deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]}}}"


def test_only_an_exercise_that_grants_it_reserves_a_gpu(tmp_path: Path) -> None:
    import dataclasses

    gpu = dataclasses.replace(EXERCISE, grants=("gpu",))
    assert refused(tmp_path, service(GPU)) != []
    assert refused(tmp_path, service(GPU), gpu) == []
    assert refused(tmp_path, service(GPU.replace("nvidia", "cdi")), gpu) != []
    assert refused(tmp_path, service(GPU.replace("count: 1", "count: 1, options: {a: b}")), gpu) != []


@pytest.mark.parametrize(
    ("image", "allowed"),
    [
        ("redis", True),
        ("redis:latest", True),
        ("docker.io/library/redis:8@sha256:" + 64 * "0", True),
        ("example.test/redis:7-alpine", False),
        ("evil/redis", False),
    ],
)
def test_an_exercise_about_tags_takes_any_tag_of_an_image_that_is_there(
    tmp_path: Path, image: str, allowed: bool
) -> None:
    import dataclasses

    tags = dataclasses.replace(EXERCISE, grants=("own-tags",))
    assert (refused(tmp_path, f"services:\n  s:\n    image: {image}\n", tags) == []) == allowed
