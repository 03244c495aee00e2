"""What a submission says, and what in it must not run: before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from grader import model as models
from grader import policy, raw
from grader.catalog import Exercise, StackFiles
from grader.errors import SubmissionError
from grader.model import Model
from grader.submission import Submission
from grader.violation import Violation


@dataclass(frozen=True)
class Overlay:
    """One more way to start the submission's files, as ``[stacks.NAME]`` of its exercise says.

    Attributes:
        model: None if Compose cannot read the files.
        problem: why not, for the student; empty if it can.
    """

    name: str
    files: StackFiles
    model: Model | None
    problem: str = ""


def vetted(
    copy: Submission, project: str, exercise: Exercise, required: Sequence[str] | None = None
) -> tuple[Model | None, list[Violation]]:
    """The model of a submission, and what in it must not run; no model where Compose must not even read it.

    Args:
        required: the services that it has to have; the exercise's by default.

    Raises:
        SubmissionError: it cannot be read.
    """
    documents = raw.read(copy)
    if found := raw.violations(documents, copy.folder):
        return None, found
    model = models.load(copy, documents, project, exercise.services if required is None else required)
    return model, policy.violations(model, copy.folder, exercise)


def overlays(copy: Submission, project: str, exercise: Exercise) -> tuple[dict[str, Overlay], list[Violation]]:
    """Each of the exercise's other stacks by its name, and what in them must not run.

    One that cannot be read is for the checks to judge: the main file may be well all the same.
    """
    read: dict[str, Overlay] = {}
    refused: list[Violation] = []
    for name, files in exercise.stacks.items():
        paths = tuple(copy.folder / file for file in files.files)
        try:
            model, found = vetted(
                replace(copy, compose_files=paths), f"{project}-{name}", exercise, required=files.services
            )
        except SubmissionError as error:
            read[name] = Overlay(name, files, None, error.what)
            continue
        refused += [violation for violation in found if violation not in refused]
        read[name] = Overlay(name, files, model)
    return read, refused
