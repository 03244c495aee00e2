"""``RUN --mount=…``, and caches of one's own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from grader.dockerfile.instructions import Flag, Instruction, read
from grader.dockerfile.problem import Refused

TARGETS = frozenset({"target", "dst", "destination"})


@dataclass(frozen=True)
class Mount:
    """One mount: fields as instructions/commands_runmount.go reads them, a line of CSV without quotes."""

    flag: Flag
    value: str

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Names, in small letters, and values."""
        pairs = [written.partition("=") for written in self.value.split(",")]
        return [(key.lower(), value) for key, _, value in pairs]

    def values(self, *keys: str) -> list[str]:
        """The values of all fields with one of these names."""
        return [value for key, value in self.fields if key in keys]

    @property
    def is_cache(self) -> bool:
        return any(value.lower() == "cache" for value in self.values("type"))

    def private(self, prefix: str) -> tuple[int, str]:
        """What makes the id one of ``prefix``: where in the file something is to be put in, and what."""
        at, end = self.flag.at, self.flag.at[-1] + 1
        start = self._id_start
        if start is None:
            target = next(reversed(self.values(*TARGETS)), "")
            return end, f",id={prefix}-{re.sub('[^A-Za-z0-9/._-]', '-', target)}"
        return at[start] if start < len(at) else end, f"{prefix}-"

    @property
    def _id_start(self) -> int | None:
        """Where in ``value`` that of the last ``id=`` begins."""
        start, found = 0, None
        for written in self.value.split(","):
            key, equals, _ = written.partition("=")
            if equals and key.lower() == "id":
                found = start + len("id=")
            start += len(written) + 1
        return found


def mounts(instruction: Instruction) -> list[Mount]:
    """The mounts of an instruction.

    Raises:
        Refused: one of them ends within a character, as BuildKit takes some of its bytes for white space.
    """
    if instruction.name != "run":
        return []
    found = [Mount(flag, flag.value) for flag in instruction.flags if flag.name == "mount" and flag.value]
    for mount in found:
        if not _is_text(mount.value):
            what = f"RUN {mount.flag.text}"
            raise Refused(mount.flag.line, what, "It ends in the middle of a letter.", "Put the value in quotes.")
    return found


def _is_text(value: str) -> bool:
    try:
        value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return False
    return True


def with_private_caches(text: str, prefix: str) -> str:
    """The Dockerfile with an id of its own for each cache mount, and else as it was, to the byte.

    BuildKit shares a cache mount among all builds of the machine that give it the same id, and the id is the target
    unless there is one (docs.docker.com/reference/dockerfile/#run---mounttypecache).

    Args:
        prefix: letters, digits, ``-`` and ``_``: whose caches they are.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return text
    additions: list[tuple[int, str]] = []
    try:
        for instruction in read(data):
            additions += [m.private(prefix) for m in mounts(instruction.wrapped or instruction) if m.is_cache]
    except Refused:
        pass  # The rest is never built.
    for place, addition in sorted(additions, reverse=True):
        data = data[:place] + addition.encode() + data[place:]
    return data.decode()
