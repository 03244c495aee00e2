from __future__ import annotations

from pathlib import Path

import pytest

from grader import catalog, model, policy
from grader.submission import Submission, private_copy

EXERCISE = catalog.find("04")


def refused(tmp_path: Path, text: str) -> list[policy.Violation]:
    folder = tmp_path / "sub"
    folder.mkdir(exist_ok=True)
    (folder / "compose.yml").write_text(text)
    submission = Submission(folder, folder, (folder / "compose.yml",))
    return policy.violations(model.load(submission, "grading-test"), folder)


def service(*lines: str) -> str:
    return "services:\n  s:\n    image: x\n" + "".join(f"    {line}\n" for line in lines)


@pytest.mark.parametrize("folder", [EXERCISE.folder, catalog.SOLUTIONS / EXERCISE.key], ids=["starter", "solution"])
def test_the_course_itself_is_allowed(tmp_path: Path, folder: Path) -> None:
    with private_copy(folder, EXERCISE, tmp_path / "copy") as copy:
        assert policy.violations(model.load(copy, "grading-test"), copy.folder) == []


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
