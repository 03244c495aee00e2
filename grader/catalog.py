"""Which exercises exist: ``exercises/NN-slug/exercise.toml`` becomes a frozen ``Exercise``."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.errors import InternalError, UsageError

ROOT = Path(__file__).resolve().parent.parent
EXERCISES = ROOT / "exercises"
SOLUTIONS = ROOT / "solutions"
CHECKS = Path(__file__).resolve().parent / "checks"

# The order in which Compose itself looks for them: docs.docker.com/compose/intro/compose-application-model/
COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")

KEY = re.compile(r"(?P<number>\d{2})-[a-z0-9]+(-[a-z0-9]+)*")
# What lies in an exercise's folder for people and for the grader, and is no part of the project.
NOT_PROVIDED = frozenset({"exercise.toml", "README.md"})


@dataclass(frozen=True)
class StackFiles:
    """One more way to start an exercise's files, ``[stacks.NAME]``: an overlay, a test stack, a stack of its own.

    Attributes:
        files: the compose files, in the order of ``-f``, relative to the exercise's folder.
        services: the names that its services have to have.
        reach: as of the exercise; the exercise's own if not given.
        patience: as of the exercise; the exercise's own if not given.
    """

    files: tuple[str, ...]
    services: tuple[str, ...]
    reach: dict[str, int]
    patience: float


@dataclass(frozen=True)
class Exercise:
    """One exercise, as its ``exercise.toml`` describes it.

    Attributes:
        key: ``NN-slug``, the same word in exercises/, solutions/, notebooks/ and grader/checks/.
        title: what the exercise is called in lists and reports.
        objectives: what a student can do afterwards.
        minutes: how long it takes, about.
        student_files: the files a student edits, relative to the exercise's folder.
        services: the names that a submission's services have to have.
        reach: service -> container port that the checks talk to over HTTP; published on a
            free port of 127.0.0.1 whether the student's file publishes it or not.
        time_budget: seconds that one grading may take, images already there.
        patience: seconds after a service's start in which its health check has to pass.
        lesson: the notebook that teaches it, relative to the repository.
        images: what has to be on the machine before grading begins.
        grants: what its submissions may do beyond what ``grader.policy`` and ``grader.rewrite`` allow everybody:
            ``gpu``, reserve devices; ``own-privileges``, say themselves whether privileges can be gained;
            ``own-tags``, name any tag or digest of an image, in place of which the one that is here is started.
        stacks: the other ways to start its files, by name.
        folder: where the exercise lies.
        checks: the module with its checks.
    """

    key: str
    title: str
    objectives: tuple[str, ...]
    minutes: int
    student_files: tuple[str, ...]
    services: tuple[str, ...]
    reach: dict[str, int]
    time_budget: float
    patience: float
    lesson: str
    images: tuple[str, ...]
    grants: tuple[str, ...]
    stacks: dict[str, StackFiles]
    folder: Path
    checks: Path

    @property
    def name(self) -> str:
        """The name that a student types: ``exercise-04``."""
        return f"exercise-{self.key[:2]}"

    @property
    def has_main(self) -> bool:
        """Whether there is a file that Compose takes by itself; else there are only ``stacks``."""
        return any((self.folder / name).is_file() for name in COMPOSE_FILES)

    @property
    def provided_files(self) -> tuple[Path, ...]:
        """The files that every grading puts back as they were, relative to the folder."""
        files = (f.relative_to(self.folder) for f in sorted(self.folder.rglob("*")) if f.is_file())
        return tuple(
            f
            for f in files
            if f.as_posix() not in NOT_PROVIDED
            and f.as_posix() not in self.student_files
            and "__pycache__" not in f.parts
        )


def load(folder: Path, checks: Path = CHECKS) -> Exercise:
    """Read one exercise.

    Raises:
        InternalError: its ``exercise.toml`` is missing, is no TOML, or lacks or misspells a key.
    """
    path = folder / "exercise.toml"
    try:
        data = tomllib.loads(path.read_text("utf-8"))
        reach, patience = data.pop("reach", {}), float(data.pop("patience", 20))
        exercise = Exercise(
            key=folder.name,
            title=data.pop("title"),
            objectives=tuple(data.pop("objectives")),
            minutes=int(data.pop("minutes")),
            student_files=tuple(data.pop("student_files")),
            services=tuple(data.pop("services")),
            reach=reach,
            time_budget=float(data.pop("time_budget")),
            patience=patience,
            lesson=data.pop("lesson"),
            images=tuple(data.pop("images")),
            grants=tuple(data.pop("grants", ())),
            stacks={name: _stack(entry, reach, patience) for name, entry in data.pop("stacks", {}).items()},
            folder=folder,
            checks=checks / f"test_{folder.name.replace('-', '_')}.py",
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise InternalError(
            f"{path} cannot be used: {error!r}", "Restore the file: git checkout " + str(path)
        ) from error
    if data:
        raise InternalError(
            f"{path} has unknown keys: {', '.join(sorted(data))}", f"Compare it with {Exercise.__doc__}"
        )
    return exercise


def _stack(entry: dict[str, Any], reach: dict[str, int], patience: float) -> StackFiles:
    stack = StackFiles(
        files=tuple(entry.pop("files")),
        services=tuple(entry.pop("services", ())),
        reach=entry.pop("reach", reach),
        patience=float(entry.pop("patience", patience)),
    )
    if entry:
        raise ValueError(f"unknown keys in [stacks]: {', '.join(sorted(entry))}")
    return stack


def exercises(folder: Path = EXERCISES) -> list[Exercise]:
    """All exercises, in the order of their numbers."""
    return [load(path.parent) for path in sorted(folder.glob("*/exercise.toml")) if KEY.fullmatch(path.parent.name)]


def find(name: str, folder: Path = EXERCISES) -> Exercise:
    """The exercise that ``exercise-04``, ``04``, ``4`` or ``04-health-checks`` names.

    Raises:
        UsageError: there is none, with the list of those there are.
    """
    wanted = name.strip().rstrip("/").removeprefix("exercises/").removeprefix("exercise-")
    wanted = wanted.zfill(2) if wanted.isdigit() else wanted
    known = [p.parent.name for p in sorted(folder.glob("*/exercise.toml")) if KEY.fullmatch(p.parent.name)]
    for key in known:
        if wanted in (key, key[:2]):
            return load(folder / key)
    listing = "\n".join(f"    python -m grader exercise-{key[:2]}    # {key}" for key in known)
    raise UsageError(f"There is no exercise called {name!r}.", f"These exist:\n{listing}")
