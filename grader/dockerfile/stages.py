"""The stages of a Dockerfile and the variables in each: dockerfile2llb/convert.go.

Nothing is judged here. An instruction that BuildKit refuses may leave anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from grader.dockerfile.instructions import Instruction
from grader.dockerfile.variables import Scope, expanded

# They differ from machine to machine, so an image must not depend on them.
OF_THE_MACHINE = {f"{side}{what}" for side in ("TARGET", "BUILD") for what in ("PLATFORM", "OS", "ARCH", "VARIANT")}
OF_THE_MACHINE |= {"TARGETOSVERSION", "BUILDOSVERSION", "TARGETSTAGE"}
_NAME = "[A-Za-z_][A-Za-z0-9_]*"


@dataclass
class _Stage:
    """A stage.

    Attributes:
        name: in small letters; empty if it has none.
        foreign: its image may bring variables of somebody's own.
        triggers: an ONBUILD sets variables in what is built from it.
    """

    name: str
    scope: Scope
    foreign: bool
    triggers: bool = False


class Stages:
    """The stages up to one place of the file.

    Attributes:
        outside: the variables before the first FROM, which every FROM sees.
    """

    def __init__(self, args: Mapping[str, str]) -> None:
        """``args``: the build arguments, which come before the defaults."""
        self.outside = Scope(doubtful=set(OF_THE_MACHINE))
        self._args = args
        self._stages: list[_Stage] = []

    def __len__(self) -> int:
        return len(self._stages)

    @property
    def scope(self) -> Scope:
        """The variables of the stage that this place is in."""
        return self._stages[-1].scope if self._stages else Scope(open=True)

    def is_stage(self, name: str) -> bool:
        return self._named(name) is not None

    def is_earlier(self, name: str) -> bool:
        """Whether a stage before the one that this place is in has the name, in any case."""
        return any(stage.name == name.lower() for stage in self._stages[:-1] if stage.name)

    def begin(self, name: str, base: str, *, foreign: bool) -> None:
        """FROM: a stage begins with what the stage ``base`` has, or with what an image brings.

        Args:
            name: in small letters; empty if it has none.
            foreign: ``base`` is built from another file.
        """
        name = name if re.fullmatch("[a-z][a-z0-9_.-]*", name) else ""
        parent = self._named(base)
        if parent is None:
            self._stages.append(_Stage(name, Scope(open=True), foreign))
            return
        scope = parent.scope.copy()
        if parent.triggers:
            scope.forget()
        self._stages.append(_Stage(name, scope, parent.foreign or parent.triggers))

    def _named(self, name: str) -> _Stage | None:
        return next((stage for stage in reversed(self._stages) if name and stage.name == name), None)

    def trigger(self) -> None:
        """ONBUILD ARG and ONBUILD ENV: they set variables in what is built from this stage."""
        if self._stages:
            self._stages[-1].triggers = True

    def declare(self, name: str, default: str | None, instruction: Instruction) -> str | None:
        """ARG; returns the value, or None if there is none or it is not known."""
        if not self._stages:
            return self._declare_outside(name, default, instruction)
        if re.fullmatch(_NAME, name):
            return self._declare_inside(name, default, instruction)
        self.scope.forget()
        return None

    def _declare_outside(self, name: str, default: str | None, instruction: Instruction) -> str | None:
        scope = self.outside
        value = self._args.get(name)
        if value is None and default is not None:
            value = _value(default, instruction, scope)
        if value is not None:
            scope.set(name, value)
        elif default is not None or name in scope.values:  # Older versions make the second ARG empty.
            scope.doubt(name)
        else:
            scope.blank.add(name)
        return value

    def _declare_inside(self, name: str, default: str | None, instruction: Instruction) -> str | None:
        scope = self.scope
        value = self._args.get(name)
        if value is None:
            value = self.outside.values.get(name) if default is None else _value(default, instruction, scope)
        # In older versions a variable of the image, or of an ENV, comes before an ARG.
        if value is None or self._stages[-1].foreign or scope.values.get(name, value) != value:
            scope.doubt(name)
            return None
        if name in scope.doubtful:
            return None
        scope.set(name, value)
        return value

    def assign(self, instruction: Instruction) -> None:
        """ENV: all values are looked up before the first one is set."""
        if not self._stages:
            return
        scope, before = self.scope, self.scope.copy()
        for name, written in instruction.pairs:
            if not re.fullmatch(_NAME, name):
                scope.forget()
            elif (value := _value(written, instruction, before)) is None:
                scope.doubt(name)
            else:
                scope.set(name, value)


def _value(word: str, instruction: Instruction, scope: Scope) -> str | None:
    return expanded(word, scope, instruction.escape, instruction.line)
