"""A Docker engine with Compose v2 and buildx: used as it is where there is one, installed and started where not.

Standard library only, so that it also runs before anything is installed:

    sudo python3 -B -m grader.setup.engine         install what is missing, start the engine
    sudo python3 -B -m grader.setup.engine stop    stop the engine, if it was this program that started it
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from grader.engine.facts import EngineFacts, read_facts, release
from grader.errors import GraderError, MachineError
from grader.setup import apt
from grader.setup.advice import OLDEST_COMPOSE, Machine, commands, losses, missing_engine, shortcomings
from grader.setup.dockerd import limit_packets_of_service, start_engine, starts_services, stop_engine

Say = Callable[[str], None]


def _print(line: str) -> None:
    print(line, flush=True)  # before the step, also where the output is a file


def ensure_engine(say: Say = _print) -> EngineFacts:
    """See to it that an engine answers and that Compose v2 and buildx are there.

    Args:
        say: is given one line before each step that changes the machine, and one for each thing that is lost.

    Raises:
        MachineError: there is none and this user or system cannot be given one; the fix has the commands to type.
    """
    facts, machine = read_facts(), Machine.read()
    if facts.engine is None:
        error = missing_engine(facts, machine)
        if error:
            raise error
        if machine.dockerd is None:
            if starts_services(machine):  # it starts the engine as soon as the package is there
                limit_packets_of_service(say, version="25")
            _install(say, engine=True)
        start_engine(say, just_installed=machine.dockerd is None)
        facts = read_facts()
    if machine.system == "Linux" and apt.usable() and (facts.compose is None or facts.buildx is None):
        _install(say, engine=False)
        facts = read_facts()
    for error in shortcomings(facts, machine).values():
        raise error
    for loss in losses(facts).values():
        say(f"Note: {loss}")
    return facts


@dataclass(frozen=True)
class Packages:
    """One distribution's names."""

    compose: str
    buildx: str
    engine: tuple[str, ...]


DEBIAN = Packages("docker-compose", "docker-buildx", ("docker.io", "docker-cli", "containerd"))
UBUNTU = Packages("docker-compose-v2", "docker-buildx", ("docker.io", "containerd"))
# Docker's own archive, where a machine's owner has configured it.
DOCKER = Packages("docker-compose-plugin", "docker-buildx-plugin", ("docker-ce", "docker-ce-cli", "containerd.io"))


def _install(say: Say, engine: bool) -> None:
    what = "Docker Engine, Compose v2 and buildx" if engine else "Docker's Compose v2 and buildx plugins"
    say(f"Installing {what} from this machine's package archives (about half a minute) ...")
    apt.update()
    packages = _packages_on_offer(engine) or _packages_of_next_release(say, engine)
    if packages is None:
        raise MachineError(
            f"This machine's package archives do not offer {what}, or could not be reached.",
            commands(
                "sudo apt-get update          # has to end without an error",
                "apt-cache policy docker.io docker-compose docker-compose-v2 docker-buildx",
                before="See whether the network and the archives answer, then run the set-up again:",
            ),
        )
    say(f"  installing {' '.join(packages)} ...")
    # The engine refuses to start without iptables, which minimal systems leave out.
    apt.install([*packages, "iptables", "ca-certificates"] if engine else packages)


def _packages_on_offer(engine: bool) -> list[str] | None:
    for packages in (DOCKER, UBUNTU, DEBIAN):
        names = [*(packages.engine if engine else ()), packages.compose, packages.buildx]
        versions = apt.candidates(names)
        # Debian 12's docker-compose is version 1, a program of its own and no plugin.
        if set(names) <= versions.keys() and release(versions[packages.compose]) >= OLDEST_COMPOSE:
            return names
    return None


def _packages_of_next_release(say: Say, engine: bool) -> list[str] | None:
    further = apt.next_release_sources(apt.archive_targets())
    if further is None:
        return None
    successor, sources = further
    say(
        f"  this Debian has no Compose v2; taking Docker, and only Docker, from its next release, {successor}:\n"
        f"  writing {apt.SOURCES} and {apt.PREFERENCES} ..."
    )
    names = [*(DEBIAN.engine if engine else ()), DEBIAN.compose, DEBIAN.buildx]
    apt.PREFERENCES.write_text(apt.preferences(successor, names))
    apt.SOURCES.write_text(sources)
    apt.update(only=apt.SOURCES)
    return _packages_on_offer(engine)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status: 0, or 3 when this machine cannot grade, 2 for wrong usage."""
    actions: dict[tuple[str, ...], Callable[[Say], object]] = {(): ensure_engine, ("stop",): stop_engine}
    action = actions.get(tuple(arguments))
    if action is None:
        print("usage: python3 -m grader.setup.engine [stop]", file=sys.stderr)
        return 2
    try:
        action(_print)
    except GraderError as error:
        print(f"{error.what}\n{error.fix}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
