"""A look at the whole machine: what is right, what is not, and the fix for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table
from rich.text import Text

from grader.engine import images
from grader.engine.facts import EngineFacts, nvidia_gpu, read_facts
from grader.errors import MachineError
from grader.setup.advice import FULL_DISK, SCARCE_DISK, USUAL_DISK, Machine, commands, gigabytes, losses, shortcomings

State = Literal["ok", "warning", "problem"]

LITTLE_MEMORY = 4 << 30  # bytes; the stack's limits add up to about half of it
COLOURS: Mapping[State, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        name: what was looked at.
        state: a "warning" costs time or some checks; with a "problem" nothing can be graded.
        value: what was found.
        fix: what to do; "" when all is right.
    """

    name: str
    state: State
    value: str
    fix: str = ""


def examine() -> list[Finding]:
    """Look at engine, Compose, buildx, images, GPU, memory and disk. Changes nothing, never raises."""
    facts = read_facts()
    tools = _tools(facts, Machine.read())
    if facts.engine is None:
        return [*tools, Finding("Images, GPU, memory, disk", "warning", "not known until the engine answers")]
    return [*tools, _disk(facts), *_images(), _gpu(facts), _memory(facts)]


def can_grade(findings: Sequence[Finding]) -> bool:
    """Nothing that was found makes grading impossible."""
    return all(finding.state != "problem" for finding in findings)


def table(findings: Sequence[Finding]) -> Table:
    """The findings as rich prints them; a fix stands below what it is for."""
    shown = Table("", "", "found", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for finding in findings:
        value = Text(finding.value, overflow="fold")
        if finding.fix:
            value.append(f"\n{finding.fix}", style="cyan")
        shown.add_row(Text(finding.state, style=COLOURS[finding.state]), finding.name, value)
    return shown


def _tools(facts: EngineFacts, machine: Machine) -> list[Finding]:
    wrong, lost = shortcomings(facts, machine), losses(facts)
    rows = {
        "engine": ("Engine", f"{facts.product} {facts.engine} (API {facts.api}), {facts.system}"),
        "compose": ("Compose", facts.compose),
        "buildx": ("buildx", facts.buildx),
    }
    found = []
    for topic, (name, value) in rows.items():
        if topic in wrong:
            found.append(Finding(name, "problem", wrong[topic].what, wrong[topic].fix))
        elif value is not None:
            found.append(Finding(name, "warning" if topic in lost else "ok", value, lost.get(topic, "")))
    others = {"product": "Engine", "storage": "Storage", "mtu": "Network"}
    return found + [Finding(name, "warning", lost[topic]) for topic, name in others.items() if topic in lost]


def _disk(facts: EngineFacts) -> Finding:
    if facts.disk_free is None:
        return Finding("Disk", "ok", f"not known: {facts.reason('disk_free')}")
    value = f"{gigabytes(facts.disk_free)} free in {facts.data_root}"
    if facts.disk_free < SCARCE_DISK:
        return Finding("Disk", "problem", value, FULL_DISK)
    if facts.disk_free < USUAL_DISK:
        return Finding("Disk", "warning", f"{value}; about {gigabytes(USUAL_DISK)} are used in all", FULL_DISK)
    return Finding("Disk", "ok", value)


def _images() -> list[Finding]:
    try:
        return [_image(status) for status in images.status()]
    except MachineError as error:
        return [Finding("Images", "problem", error.what, error.fix)]


def _image(status: images.ImageStatus) -> Finding:
    tag, get_it = status.image.tag, commands("python -m grader images")
    if status.state is images.State.MISSING:
        if status.image.inputs:
            return Finding(tag, "problem", f"missing ({status.image.purpose})", get_it)
        without = f"missing ({status.image.purpose}): only a registry has it; what needs it is not run"
        return Finding(tag, "warning", without, commands(f"docker pull {tag}"))
    value = f"{status.state}, {(status.size or 0) / 1e6:.0f} MB"
    if status.outdated:
        return Finding(tag, "warning", f"{value}; what it is built from has changed since", get_it)
    return Finding(tag, "ok", value)


def _gpu(facts: EngineFacts) -> Finding:
    if facts.gpu is None and facts.is_local and nvidia_gpu():
        toolkit = commands(
            "sudo apt-get install nvidia-container-toolkit      # from NVIDIA's package archive",
            "sudo nvidia-ctk runtime configure --runtime=docker",
            "sudo systemctl restart docker",
            before="To let containers use it:",
        )
        return Finding("GPU", "warning", f"{nvidia_gpu()}, but {facts.reason('gpu')}", toolkit)
    return Finding("GPU", "ok", facts.gpu or f"none ({facts.reason('gpu')}); checks that need one are not run")


def _memory(facts: EngineFacts) -> Finding:
    if facts.memory is None:
        return Finding("Memory", "warning", f"not known: {facts.reason('memory')}")
    value = f"{gigabytes(facts.memory)}, {facts.cpus} processors"
    if facts.memory < LITTLE_MEMORY:
        more = "Docker Desktop: Settings, Resources, Memory: 4 GiB or more."
        return Finding("Memory", "warning", f"{value}: services may be ended for lack of it", more)
    return Finding("Memory", "ok", value)
