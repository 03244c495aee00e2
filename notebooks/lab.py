"""What the lessons share: a small Compose project of their own, a terminal in the notebook, and pictures.

    from lab import Lab
    lab = Lab("lesson-04")

From then on a cell that starts with ``%%compose`` is the project's compose.yml, one that starts with ``%%terminal`` is
typed into a terminal in the project's folder, and ``%terminal`` does the same with a single command.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import dropwhile, zip_longest
from pathlib import Path
from typing import ClassVar

from docker.errors import APIError, ImageNotFound
from IPython.core.getipython import get_ipython
from IPython.core.magic import no_var_expand

# The kernel's folder is notebooks/, and the grader lies beside it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grader.compose import docker_command, environment
from grader.engine.connection import connect
from grader.errors import GraderError
from grader.events import PROJECT_LABEL, SERVICE_LABEL, Event, EventLog

MAKE_SETUP = "In a terminal, in the workbook's folder:\n    make setup"
PS = r'docker compose ps -a --format "table {{.Service}}\t{{.Status}}"'

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
CONTINUED_NOWHERE = re.compile(r"(?<!\\)\n")  # the end of a line that does not end in a backslash
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRESS = re.compile(r" ?((?:Container|Network|Volume) \S+) +\S")


class LabError(GraderError):
    """Something a student has to know; a notebook shows its words and no stack trace."""

    def _render_traceback_(self) -> list[str]:
        return [self.what, *self.fix.splitlines()]


class Lab:
    """One lesson's Compose project, in a temporary folder. What an earlier run of it left behind is removed first.

    Args:
        project: the project's name; LESSON_PROJECT in the environment takes precedence, so that tests can run
            beside a student's open lesson.

    Raises:
        LabError: no engine answers.
    """

    _open: ClassVar[Lab | None] = None

    def __init__(self, project: str) -> None:
        if Lab._open:
            Lab._open.close()
        self.project = os.environ.get("LESSON_PROJECT", project)
        try:
            docker_command()
            self._client = connect()
        except GraderError as error:
            raise LabError(error.what, f"Start Docker, or get what is missing. {MAKE_SETUP}") from None
        self.clean()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{project}-"))
        self._environment = environment() | {"COMPOSE_PROJECT_NAME": self.project}
        self._log = EventLog(self._client, self.project)
        self._seen = 0
        if shell := get_ipython():
            shell.magics_manager.register_function(self.compose, "cell", "compose")
            shell.magics_manager.register_function(self.terminal, "line_cell", "terminal")
        Lab._open = self
        atexit.register(self.close)  # when the kernel is shut down in the middle of a lesson
        print(f"Ready. The Compose project of this lesson is called {self.project}.")

    @no_var_expand
    def compose(self, line: str, cell: str) -> None:
        """``%%compose``: remove what the lesson is running, and make the cell its compose.yml.

        Raises:
            LabError: Compose does not understand the cell, or an image is not on this machine.
        """
        self._require_open()
        self.clean()
        self._seen = len(self._log.all())
        (self._folder / "compose.yml").write_text(cell, "utf-8")
        asked = self._ask("config", "--images")
        if asked.returncode:
            raise LabError(f"Compose does not understand this cell:\n{asked.stderr.strip()}", "Mend it, run it again.")
        for image in sorted(set(asked.stdout.split())):
            self._require(image)
        print("This is the project's compose.yml now.")

    def _require_open(self) -> None:
        if Lab._open is not self:
            raise LabError("This lesson has been closed, and its folder is gone.", "Begin again with its first cell.")

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", *arguments],
            cwd=self._folder, env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def _require(self, image: str) -> None:
        try:
            self._client.images.get(image)
        except ImageNotFound:
            raise LabError(
                f"The image {image} is not on this machine.",
                f"Get the workbook's images. {MAKE_SETUP}",
            ) from None

    @no_var_expand
    def terminal(self, line: str, cell: str | None = None) -> None:
        """``%terminal`` and ``%%terminal``: run each line in the project's folder, and show it with what it prints."""
        self._require_open()
        for command in CONTINUED_NOWHERE.split(line if cell is None else cell):
            if command.strip():
                print(f"{BOLD}$ {command.strip()}{PLAIN}")
                status = self._run(command)
                if status:
                    print(f"[exit status {status}]")

    def _run(self, command: str) -> int:
        with subprocess.Popen(
            command, shell=True, cwd=self._folder, env=self._environment, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            try:
                for printed in as_on_screen(process.stdout):
                    print(printed)
            except KeyboardInterrupt:  # the notebook's stop button
                process.terminate()
                raise
            return process.wait()

    def ps(self) -> None:
        """`docker compose ps` without the columns that make its table too wide for a notebook."""
        self.terminal(PS)

    def state(self, service: str) -> str:
        """``healthy``, ``unhealthy`` or ``starting``; without a probe ``running``; or ``exited``, ``absent``, …"""
        with contextlib.suppress(APIError):  # it was removed between the two questions
            for container in self._client.containers.list(
                all=True,
                ignore_removed=True,
                filters={"label": [f"{PROJECT_LABEL}={self.project}", f"{SERVICE_LABEL}={service}"]},
            ):
                state = container.attrs["State"]
                if state["Status"] == "running" and "Health" in state:
                    return str(state["Health"]["Status"])
                return str(state["Status"])
        return "absent"

    def wait(self, service: str, state: str, seconds: float = 90) -> None:
        """Wait until ``Lab.state`` of the service is ``state``, and say how long it took.

        Raises:
            LabError: it is not after so many seconds.
        """
        began = time.monotonic()
        wait_until(
            lambda: self.state(service) == state,
            seconds,
            lambda: f"After {seconds:g} s {service} is {self.state(service)} and not {state}.",
        )
        print(f"{service} is {state} (waited {time.monotonic() - began:.1f} s)")

    def events(self) -> list[Event]:
        """What has happened since the last ``%%compose``, as the engine tells it; oldest first."""
        # The last words of what was removed before may come late; a run begins with a start.
        return list(dropwhile(lambda event: event.action != "start", self._log.all()[self._seen :]))

    def address(self, service: str, port: int) -> str:
        """``127.0.0.1:PORT`` where this machine reaches the service's port.

        Raises:
            LabError: the service does not run, or does not publish the port.
        """
        asked = self._ask("port", service, str(port))
        if asked.returncode:
            raise LabError(f"Port {port} of {service} cannot be reached: {asked.stderr.strip()}", "Is it running?")
        return asked.stdout.strip()

    def clean(self) -> None:
        """Remove the project's containers, networks and volumes."""
        mine = {"label": f"{PROJECT_LABEL}={self.project}"}
        for container in self._client.containers.list(all=True, filters=mine, ignore_removed=True):
            with contextlib.suppress(APIError):
                container.remove(force=True, v=True)
        for thing in [*self._client.networks.list(filters=mine), *self._client.volumes.list(filters=mine)]:
            with contextlib.suppress(APIError):
                thing.remove()

    def close(self) -> None:
        """Remove everything that the lesson has made."""
        if Lab._open is not self:
            return
        Lab._open = None
        self.clean()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        print(f"Removed everything of {self.project}.")


def wait_until(condition: Callable[[], bool], seconds: float, complaint: Callable[[], str]) -> None:
    """Wait until ``condition`` is true.

    Raises:
        LabError: it is not after so many seconds; it says what ``complaint`` returns then.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise LabError(complaint(), "Run the cells of this section again, from its %%compose on.")
        time.sleep(0.1)


def as_on_screen(lines: Iterable[str]) -> Iterator[str]:
    """What is left to read on a terminal: of each container, network and volume only the last state, and no colours."""
    states: dict[str, str] = {}
    for line in lines:
        line = CONTROL.sub("", line).rstrip()
        if progress := PROGRESS.match(line):
            states.pop(progress[1], None)  # so that the one that changed last stands last
            states[progress[1]] = line
        else:
            yield from states.values()
            states.clear()
            yield line
    yield from states.values()


# --- the picture of a start ---------------------------------------------------------------------

# Okabe and Ito's colours: they stay apart for colour-blind eyes. Each bar is also labelled in words.
COLOURS = {"starting": "#f0c566", "healthy": "#009e73", "unhealthy": "#d55e00", "running": "#9ccbe8"}
WIDTH, LEFT, RIGHT, ROW, BAR = 760, 130, 90, 30, 18


@dataclass(frozen=True)
class Picture:
    """A picture that a notebook shows: as SVG, and in words where there are no pictures."""

    svg: str
    words: str

    def _repr_html_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.words


def timeline(runs: Mapping[str, Sequence[Event]]) -> Picture:
    """Runs of a project below each other, on the same scale: who ran when, and was healthy from when on.

    Time 0 of each run is its first event. A bar that reaches the right edge has not ended.

    Args:
        runs: a title -> the events of that run, as ``Lab.events`` returns them.
    """
    length = max((e.at - events[0].at for events in runs.values() for e in events), default=0.0)
    seconds = max(length * 1.15, 1.0)
    scale = (WIDTH - LEFT - RIGHT) / seconds
    drawn: list[str] = []
    words: list[str] = []
    y = 8
    for title, events in runs.items():
        y += 22
        drawn.append(f'<text x="12" y="{y}" font-weight="600">{escape(title)}</text>')
        y += 10
        for service in sorted({e.service for e in events}):
            bars = _bars([e for e in events if e.service == service], events[0].at, seconds)
            drawn.append(f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(service)}</text>')
            drawn += _drawn(bars, y, scale)
            words += [f"{title}: {service} is {bar.words()}" for bar in bars]
            y += ROW
        y += 6
    step = next((s for s in (0.5, 1, 2, 5, 10, 20, 60) if seconds / s <= 9), 600)
    grid = [
        f'<line x1="{x:.1f}" y1="40" x2="{x:.1f}" y2="{y}" stroke="#e3e3e3"/>'
        f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle" fill="#555">{tick * step:g} s</text>'
        for tick in range(int(seconds / step) + 1)
        for x in [LEFT + tick * step * scale]
    ]
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {y + 26}" width="{WIDTH}" style="max-width:100%;height:auto" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="13" fill="#222">'
        f"<title>{escape('; '.join(words))}</title>"
        # A ground of its own: the picture is as readable in JupyterLab's dark theme.
        f'<rect width="{WIDTH}" height="{y + 26}" rx="6" fill="#fff"/>{"".join(grid)}{"".join(drawn)}</svg>'
    )
    return Picture(svg, "\n".join(words))


@dataclass(frozen=True)
class _Bar:
    """A stretch of time that a service spent in one state; ``ending`` stands behind it, such as "exit 1"."""

    state: str
    start: float
    end: float
    ending: str = ""

    def words(self) -> str:
        return f"{self.state} from {self.start:.1f} s to {self.end:.1f} s {self.ending}".rstrip()


def _drawn(bars: Sequence[_Bar], y: int, scale: float) -> Iterator[str]:
    """The bars of one row as SVG, with as many words as there is room for."""
    for bar, following in zip_longest(bars, bars[1:]):
        x, width = LEFT + bar.start * scale, max((bar.end - bar.start) * scale, 4)
        yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{COLOURS[bar.state]}"/>'
        if width > 9 * len(bar.state):
            ink = "#fff" if bar.state in ("healthy", "unhealthy") else "#222"
            yield f'<text x="{x + 6:.1f}" y="{y + 13}" font-size="12" fill="{ink}">{bar.state}</text>'
        if bar.ending and (following is None or (following.start - bar.end) * scale > 50):
            yield f'<text x="{x + width + 5:.1f}" y="{y + 13}" font-size="12">{escape(bar.ending)}</text>'


def _bars(events: Sequence[Event], zero: float, seconds: float) -> list[_Bar]:
    """The events of one service as bars; ``zero`` is when the run began, ``seconds`` how long the picture is."""
    probed = any(e.action in ("healthy", "unhealthy") for e in events)
    bars: list[_Bar] = []
    state, since = "", 0.0
    for event in events:
        at = event.at - zero
        if state and event.action in ("die", "healthy", "unhealthy"):
            ending = f"exit {event.exit_code}" if event.action == "die" else ""
            bars.append(_Bar(state, since, at, ending))
        match event.action:
            case "start":
                state, since = ("starting" if probed else "running"), at
            case "healthy" | "unhealthy":
                state, since = event.action, at
            case "die":
                state = ""
    if state:
        bars.append(_Bar(state, since, seconds))
    return bars
