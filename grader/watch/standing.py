"""The stack that is kept running between two saves, so that a mended check can be seen to pass in seconds."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from grader import folders
from grader.budget import Budget
from grader.catalog import Exercise
from grader.engine import sweep
from grader.engine.ready import engine_for
from grader.live import LiveStacks
from grader.plugin import Material
from grader.request import Request
from grader.stack import Stack
from grader.submission import Submission, private_copy
from grader.vetting import vetted
from grader.watch.difference import State, to_make_anew


class StandingStack:
    """One submission's main stack, brought up to date with ``follow`` and removed at the end.

    Args:
        source: the folder that is being worked in.
    """

    def __init__(self, exercise: Exercise, source: Path) -> None:
        self._exercise, self._source = exercise, source
        self._owner = sweep.Owner.new()
        self._folder = self._owner.folder / "files"
        self._written: set[Path] = set()
        self._live: LiveStacks | None = None
        self._stack: Stack | None = None
        self._state: State | None = None

    def __enter__(self) -> Self:
        self._owner.folder.mkdir(mode=0o700)
        self._folder.mkdir(mode=0o755)
        self._client = engine_for(self._exercise, "")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with closing(self._client):
            if self._live:
                self._live.__exit__(kind, error, trace)
            sweep.discard(self._owner.folder, self._client)

    @property
    def stands(self) -> bool:
        """Whether there is a stack that can follow a save."""
        return self._stack is not None

    def follow(self, budget: Budget, *, quickly: bool) -> tuple[Stack, Material] | None:
        """Bring the stack up to date with the files; it still has to settle.

        Args:
            quickly: do nothing if the whole stack would have to be made anew.

        Returns:
            the stack and what it was made of; None if there is none, because the files must not run or for ``quickly``.

        Raises:
            SubmissionError: the files cannot be read.
        """
        copy = self._bring_files()
        model, refused = vetted(copy, self._owner.project, self._exercise)
        if model is None or refused:
            return None
        material = Material(copy.folder, model, {})
        if self._live is None or self._stack is None:
            if quickly:
                return None
            request = Request(self._exercise, self._source)
            self._live = LiveStacks(request, self._client, model, {}, copy, self._owner, budget)
            self._stack = self._live.start()
            self._state = State.of(self._stack.config)
            return self._stack, material

        assert self._state is not None
        config = self._live.config_of(model)
        state = State.of(config)
        anew = to_make_anew(self._state, state)
        if anew is None and quickly:
            return None
        self._state = state
        return self._live.renew(model, config, anew, budget), material

    def _bring_files(self) -> Submission:
        """Lay the files of this moment into the folder that the running containers mount from.

        A file is written where it stands: a container that mounts it keeps the one that it was started with.
        """
        with private_copy(self._source, self._exercise, self._owner.folder / "new") as copy:
            brought = {path.relative_to(copy.folder) for path in copy.folder.rglob("*") if path.is_file()}
            for gone in self._written - brought:
                (self._folder / gone).unlink(missing_ok=True)
            for path in brought:
                target = self._folder / path
                self._clear_the_way_to(target)
                if not target.is_file() or target.read_bytes() != (copy.folder / path).read_bytes():
                    shutil.copyfile(copy.folder / path, target)
                shutil.copymode(copy.folder / path, target)
            self._written = brought
            files = tuple(self._folder / file.relative_to(copy.folder) for file in copy.compose_files)
            return replace(copy, folder=self._folder, compose_files=files)

    def _clear_the_way_to(self, target: Path) -> None:
        """Remove what containers may have put where a file has to be, links out of the folder above all."""
        for place in reversed([target, *target.parents]):
            if not place.is_relative_to(self._folder) or place == self._folder:
                continue
            if place.is_symlink() or (place != target and place.is_file()):
                place.unlink()
        if target.is_dir():
            folders.remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
