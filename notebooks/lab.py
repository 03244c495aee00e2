"""What the lessons share: a small Compose project of their own, a terminal in the notebook, and pictures.

    from lab import Lab
    lab = Lab("lesson-04")

From then on a cell that starts with ``%%compose`` is the project's compose.yml, one that starts with ``%%terminal`` is
typed into a terminal in the project's folder, and ``%terminal`` does the same with a single command.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from html import escape
from itertools import dropwhile
from pathlib import Path
from typing import Any, ClassVar

import httpx
from docker.errors import APIError, ImageNotFound
from docker.models.containers import Container
from IPython.core.getipython import get_ipython
from IPython.core.magic import no_var_expand
from IPython.display import HTML, Javascript, display

# The kernel begins in notebooks/; the grader lies beside it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grader.compose import docker_command, environment
from grader.engine.connection import connect
from grader.errors import GraderError
from grader.events import PROJECT_LABEL, SERVICE_LABEL, Event, EventLog
from notebooks.pictures import Diagram, Picture, bars, curve, latencies, series, timeline, topology

__all__ = ["Diagram", "Lab", "LabError", "Picture", "bars", "curve", "grade", "latencies", "quiz", "series", "timeline"]

NOTEBOOKS = Path(__file__).resolve().parent
ROOT = NOTEBOOKS.parent

MAKE_SETUP = "In a terminal, in the workbook's folder:\n    make setup"
NUMBER_LABEL = "com.docker.compose.container-number"
PS = r'docker compose ps -a --format "table {{.Service}}\t{{.Status}}"'

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
CONTINUED_NOWHERE = re.compile(r"(?<!\\)\n")  # the end of a line that does not end in a backslash
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRESS = re.compile(r" ?((?:Container|Image|Network|Volume) \S+) +\S")


class LabError(GraderError):
    """Something a student has to know; a notebook shows its words and no stack trace."""

    def _render_traceback_(self) -> list[str]:
        return [self.what, *self.fix.splitlines()]


class Lab:
    """One lesson's Compose project and its folder. What an earlier run of it left behind is removed first.

    Args:
        project: the project's name, and its folder's in notebooks/work; LESSON_PROJECT and LESSONS_FOLDER in the
            environment take precedence, so that tests can run beside a student's open lesson.

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
        self._remove_images()
        self.folder = Path(os.environ.get("LESSONS_FOLDER", NOTEBOOKS / "work"), self.project)
        self._empty_folder()
        os.chdir(self.folder)
        self._environment = environment() | {
            "COMPOSE_PROJECT_NAME": self.project,
            "HOME": str(Path.home()),  # where `docker compose watch` keeps its lock
            "WORKBOOK": str(ROOT),
            "FREE_PORT": str(free_port()),
        }
        self._log = EventLog(self._client, self.project)
        self._seen = 0
        if shell := get_ipython():
            shell.magics_manager.register_function(self.compose, "cell", "compose")
            shell.magics_manager.register_function(self.terminal, "line_cell", "terminal")
        Lab._open = self
        atexit.register(self.close)  # when the kernel is shut down in the middle of a lesson
        print(f"Ready. This lesson's Compose project is called {self.project}, its folder is {self._shown_folder()}.")

    def _empty_folder(self) -> None:
        # A container that ran as root may have left files here that only root can remove.
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise LabError(
                f"What an earlier run left in {self.folder} cannot be removed: {error}.",
                f"Remove it, then run this cell again:\n    sudo rm -rf {self.folder}",
            ) from None
        self.folder.mkdir(parents=True)

    def _shown_folder(self) -> Path:
        return self.folder.relative_to(ROOT) if self.folder.is_relative_to(ROOT) else self.folder

    @no_var_expand
    def compose(self, line: str, cell: str) -> None:
        """``%%compose``: remove what the lesson is running, and make the cell its compose.yml.

        Raises:
            LabError: Compose does not understand the cell, or an image is not on this machine.
        """
        self._require_open()
        self.clean()
        self._seen = len(self._log.all())
        (self.folder / "compose.yml").write_text(cell, "utf-8")
        services = self.model().get("services") or {}
        for image in sorted({service["image"] for service in services.values() if "build" not in service}):
            self._require(image)
        print("This is the project's compose.yml now.")

    def model(self, *arguments: str) -> dict[str, Any]:
        """What ``docker compose ARGUMENTS config`` makes of the project's files, with every profile on.

        Raises:
            LabError: Compose does not understand them.
        """
        asked = self._ask(*arguments, "--profile", "*", "config", "--format", "json")
        if asked.returncode:
            raise LabError(f"Compose does not understand this file:\n{asked.stderr.strip()}", "Mend it, run it again.")
        model: dict[str, Any] = json.loads(asked.stdout)
        return model

    def topology(self, *arguments: str) -> Diagram:
        """The project as a diagram: services, who waits for whom, networks, volumes.

        Args:
            arguments: of ``docker compose``, such as "-f", "compose.yml", "-f", "compose.dev.yml".
        """
        return topology(self.model(*arguments), f"The stack of {self.project}")

    def _require_open(self) -> None:
        if Lab._open is not self:
            raise LabError("This lesson has been closed, and its folder is gone.", "Begin again with its first cell.")

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", *arguments],
            cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False,
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
            command, shell=True, cwd=self.folder, env=self._environment, text=True, errors="replace",
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

    @contextlib.contextmanager
    def beside(self, command: str) -> Iterator[None]:
        """Let ``command`` run as long as the block under ``with``, end it as Ctrl-C would, show what it printed."""
        self._require_open()
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            process = subprocess.Popen(
                command, shell=True, cwd=self.folder, env=self._environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                yield
            finally:
                end(process)
                output.seek(0)
                print(f"{BOLD}$ {command}{PLAIN}   (ran beside the above)")
                for printed in as_on_screen(output):
                    print(printed)

    def containers(self, service: str) -> list[Container]:
        """The service's containers, also those that have ended; by number."""
        mine = {"label": [f"{PROJECT_LABEL}={self.project}", f"{SERVICE_LABEL}={service}"]}
        found = self._client.containers.list(all=True, ignore_removed=True, filters=mine)
        return sorted(found, key=lambda container: int(container.labels.get(NUMBER_LABEL, 0)))

    def memory(self, service: str, seconds: float) -> Picture:
        """Draw the memory of the service's container against its limit, until it ends or the seconds are over.

        Raises:
            LabError: it does not run.
        """
        running = [container for container in self.containers(service) if container.status == "running"]
        if not running:
            raise LabError(f"{service} does not run.", "Start it first: docker compose up -d")
        (container, *_), points, limit, end_at = running, [], 0.0, time.monotonic() + seconds
        while time.monotonic() < end_at:
            used: dict[str, float] = {}
            with contextlib.suppress(APIError):
                used = self._client.api.stats(container.id, stream=False, one_shot=True)["memory_stats"]
            if "usage" not in used:
                container.wait(timeout=30)  # it has ended, or is about to
                break
            points.append((time.monotonic(), used["usage"] / 2**20))
            limit = used["limit"] / 2**20
            time.sleep(0.1)
        container.reload()
        ended = container.attrs["State"]
        how = f", exit code {ended['ExitCode']}" + (", OOM-killed" if ended["OOMKilled"] else "")
        title = f"Memory of {service}" + (how if ended["Status"] == "exited" else "")
        return series({service: points}, title, "MiB", ("limit", limit))

    def query_range(self, prometheus: str, query: str, seconds: float = 60, unit: str = "") -> Picture:
        """Draw what a PromQL query answers for each second of the time just past.

        Args:
            prometheus: its address, as ``Lab.address`` returns it.

        Raises:
            LabError: Prometheus does not answer, or does not understand the query.
        """
        now = time.time()
        asked = {"query": query, "start": now - seconds, "end": now, "step": max(1.0, seconds / 240)}
        try:
            answer = httpx.get(f"http://{prometheus}/api/v1/query_range", params=asked, timeout=30).json()
        except (httpx.HTTPError, ValueError) as error:
            raise LabError(f"Prometheus at {prometheus} does not answer: {error}.", "Is it running?") from None
        if answer["status"] != "success":
            raise LabError(f"Prometheus does not understand the query: {answer['error']}", "Mend it, run it again.")
        lines = {
            named(found["metric"]): [(float(at), float(value)) for at, value in found["values"]]
            for found in answer["data"]["result"]
        }
        return series(lines, query, unit)

    def ps(self) -> None:
        """`docker compose ps` without the columns that make its table too wide for a notebook."""
        self.terminal(PS)

    def state(self, service: str) -> str:
        """``healthy``, ``unhealthy`` or ``starting``; without a probe ``running``; or ``exited``, ``absent``, …"""
        with contextlib.suppress(APIError):  # it was removed between the two questions
            for container in self.containers(service):
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

    def _remove_images(self) -> None:
        """Also those without a name, which each build leaves of the one before."""
        for image in self._client.images.list(filters={"label": f"{PROJECT_LABEL}={self.project}"}):
            with contextlib.suppress(APIError):
                self._client.images.remove(image.id, force=True)

    def close(self) -> None:
        """Remove everything that the lesson has made."""
        if Lab._open is not self:
            return
        Lab._open = None
        self.clean()
        self._remove_images()
        self._log.close()
        os.chdir(NOTEBOOKS)
        print(f"Removed the containers, networks and volumes of {self.project}. Its files are still there to read.")


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


def end(process: subprocess.Popen[Any], patience: float = 20) -> None:
    """End a process and all that it started: as Ctrl-C would, and harder after ``patience`` seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        os.killpg(process.pid, signal.SIGKILL)  # what does not listen to Ctrl-C, such as a job in the background
    process.wait()


def free_port() -> int:
    """A port that nobody has on 127.0.0.1 at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def named(labels: dict[str, str]) -> str:
    """A line's name: its labels, or the metric's own name where it has no others."""
    own = {name: value for name, value in labels.items() if name not in ("__name__", "job")}
    return ", ".join(f"{name}={value}" for name, value in own.items()) or labels.get("__name__", "value")


# --- questions and grades -----------------------------------------------------------------------

# jupyterquiz looks for a MathJax with these two, and fetches one where there is none. No question here has a formula,
# and a machine without a network shall show no error.
NO_FORMULAS = "window.MathJax ??= {}; MathJax.version ??= '3'; MathJax.typeset ??= () => {};"
QUIZ_COLOURS = {"--jq-multiple-choice-bg": "#17486b", "--jq-many-choice-bg": "#17486b", "--jq-numeric-bg": "#17486b"}


def quiz(lesson: str) -> None:
    """Ask the questions of notebooks/quizzes/LESSON.json; each answer says why it is right or wrong."""
    from jupyterquiz import display_quiz

    display(Javascript(NO_FORMULAS))
    display_quiz(
        str(NOTEBOOKS / "quizzes" / f"{lesson}.json"), max_width=760, shuffle_answers=False, colors=QUIZ_COLOURS
    )


def grade(exercise: str) -> None:
    """Grade your work, as ``python -m grader EXERCISE`` does in a terminal, and show the report here.

    Args:
        exercise: "exercise-04", "04" or "04-health-checks".

    Raises:
        LabError: there is no such exercise, or this machine cannot grade.
    """
    from grader import results
    from grader.render import html

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "report.json")
        process = subprocess.Popen(
            [sys.executable, "-m", "grader", exercise, "--format", "json", "--output", str(output)],
            cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        shown = display(HTML(progress("reading your files", [])), display_id=True)
        lines: list[str] = []
        assert process.stderr is not None
        try:
            for line in process.stderr:
                lines.append(line.rstrip())
                shown.update(HTML(progress(lines[-1], lines)))
            process.wait()
        except KeyboardInterrupt:  # the notebook's stop button; the grader removes what it has started
            end(process, patience=60)
            raise
        if not output.exists():
            raise LabError("\n".join(lines) or "The grader ended without a word.", "")
        shown.update(HTML(html.render(results.read(output.read_text("utf-8")), page=False)))


def progress(now: str, lines: Iterable[str]) -> str:
    """A grading on its way, as HTML: how many checks are done, and what is being done."""
    done, total = 0, 0
    for line in lines:
        if count := re.search(r"\[(\d+)/(\d+)\]", line):
            done, total = int(count[1]), int(count[2])
    bar = f'<progress max="{total}" value="{done}"></progress>' if total else "<progress></progress>"
    return f'<div role="status">Grading … {bar} {escape(now.strip())}</div>'
