"""What is refused in a Dockerfile: everything that fetches, that reaches outside of the build, or that is not known."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from grader.dockerfile import builder
from grader.dockerfile.images import Images
from grader.dockerfile.instructions import Flag, Instruction, read
from grader.dockerfile.lines import BOM, SPACE
from grader.dockerfile.mounts import TARGETS, Mount, mounts
from grader.dockerfile.problem import UNCLEAR, UNKNOWN, Problem, Refused
from grader.dockerfile.stages import Stages
from grader.dockerfile.variables import Scope, expanded
from grader.paths import is_in_proc
from grader.violation import ACTED_ON, RESERVED_LABELS, ROOT

MAX_BYTES = 64 * 2**10
MAX_INSTRUCTIONS = 1000

# Every instruction, and every flag that it may have and that does no harm.
FLAGS: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        (
            "arg", "cmd", "entrypoint", "env", "expose", "label", "maintainer", "onbuild", "shell", "stopsignal",
            "user", "volume", "workdir",
        ),
        frozenset(),
    ),
    "add": frozenset({"chown", "chmod", "link", "exclude", "unpack"}),
    "copy": frozenset({"chown", "chmod", "link", "exclude", "parents", "from"}),
    "from": frozenset({"platform"}),
    "healthcheck": frozenset({"interval", "timeout", "start-period", "start-interval", "retries"}),
    "run": frozenset({"mount", "network", "security"}),
}  # fmt: skip
SWITCHES = frozenset({"link", "parents", "unpack"})
MOUNT_TYPES = frozenset({"bind", "cache", "tmpfs"})
MOUNT_KEYS = TARGETS | {
    "type", "from", "source", "src", "readonly", "ro", "readwrite", "rw", "id", "sharing", "mode", "uid", "gid", "size",
}  # fmt: skip

NO_NETWORK = "The build has no network when it is graded."
# ADD and FROM fetch with the network of the machine, whatever the build's is.
NO_DOWNLOADS = "Nothing is downloaded while grading."
TOO_LONG = "It is too long to be checked."


def problems(
    text: str, images: Collection[str], args: Mapping[str, str] | None = None, contexts: Collection[str] = ()
) -> list[Problem]:
    """Everything in a Dockerfile that must not be built; empty if it may be.

    Args:
        text: the Dockerfile; what could not be decoded is in it as U+FFFD or as a surrogate.
        images: the images that may be built from.
        args: the build arguments of the compose file, which come before the defaults.
        contexts: the names of the additional build contexts.
    """
    if unreadable := _unreadable(text):
        return [unreadable]
    args = args or {}
    found = [*builder.arguments(args), *builder.frontends(text)]
    if found and text.removeprefix(BOM).lstrip(SPACE).startswith(("//", "{")):
        return found  # To Docker's own frontend, these are not instructions.
    vet = _Vet(Images(images, contexts), Stages(args))
    try:
        for count, instruction in enumerate(read(text.encode()), 1):
            if count > MAX_INSTRUCTIONS:
                instead = f"Use at most {MAX_INSTRUCTIONS} instructions."
                raise Refused(instruction.line, "Dockerfile", TOO_LONG, instead)
            vet.see(instruction)
    except Refused as refused:
        vet.found.append(refused.problem)
    return found + vet.found


def _unreadable(text: str) -> Problem | None:
    if "\ufffd" in text or "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return Problem(1, "Dockerfile", "It is not text in UTF-8.", "Save the file as UTF-8.")
    if len(text.encode()) > MAX_BYTES:
        return Problem(1, "Dockerfile", TOO_LONG, f"Stay below {MAX_BYTES // 2**10} KiB.")
    return None


class _Vet:
    """Looks at one instruction after the other and keeps the problems in ``found``."""

    def __init__(self, images: Images, stages: Stages) -> None:
        self.found: list[Problem] = []
        self._images = images
        self._stages = stages

    def see(self, instruction: Instruction) -> None:
        try:
            self._see(instruction)
        except Refused as refused:
            self.found.append(refused.problem)

    def _see(self, instruction: Instruction) -> None:
        if instruction.name not in FLAGS:
            what = instruction.name.upper() or "an empty instruction"
            self._refuse(instruction.line, what, UNKNOWN, "Use Docker's instructions, such as FROM, RUN and COPY.")
            return
        self._flags(instruction)
        match instruction.name:
            case "from":
                self._from(instruction)
            case "arg":
                self._arg(instruction)
            case "env":
                self._stages.assign(instruction)
            case "onbuild":
                self._onbuild(instruction)
            case _:
                self._act(instruction, self._stages.scope, later=False)

    def _act(self, instruction: Instruction, scope: Scope, *, later: bool) -> None:
        """What fetches, copies, runs or marks.

        Args:
            scope: the variables that it sees.
            later: it is a trigger, and what it names is looked up in another file.
        """
        match instruction.name:
            case "add":
                self._add(instruction, scope)
            case "copy":
                self._copy(instruction, later)
            case "label":
                self._label(instruction, scope)
            case "workdir":
                self._workdir(instruction, scope)
            case "run":
                for mount in mounts(instruction):
                    self._mount(mount, later)

    def _refuse(self, line: int, what: str, why: str, instead: str) -> None:
        self.found.append(Problem(line, what, why, instead))

    # --- flags

    def _flags(self, instruction: Instruction) -> None:
        for flag in instruction.flags:
            self._flag(instruction.name, flag)

    def _flag(self, name: str, flag: Flag) -> None:
        what = f"{name.upper()} {flag.text}"
        remove = f"Remove --{flag.name}."
        if flag.name in ("keep-git-dir", "checksum") and name == "add":
            self._refuse(flag.line, what, NO_DOWNLOADS, remove)
        elif flag.name == "device" and name == "run":
            self._refuse(flag.line, what, "It hands a device of the machine to the build.", remove)
        elif flag.name not in FLAGS[name]:
            self._refuse(flag.line, what, UNKNOWN, remove)
        elif flag.value is None and flag.name not in SWITCHES:
            self._refuse(flag.line, what, "It needs a value.", f"Write --{flag.name}=… without a space.")
        elif flag.name == "network" and flag.value != "none":
            self._refuse(flag.line, what, NO_NETWORK, remove)
        elif flag.name == "security" and flag.value != "sandbox":
            self._refuse(flag.line, what, "It gives the build all rights on the machine.", remove)

    # --- images, stages and variables

    def _from(self, instruction: Instruction) -> None:
        words = instruction.arguments
        name = words[2].lower() if len(words) == 3 and words[1].lower() == "as" else ""
        base = expanded(words[0], self._stages.outside, instruction.escape, instruction.line)
        if not base:
            why = "The grader cannot tell which image that is."
            self._refuse(instruction.line, f"FROM {words[0]}", why, f"Name the image. {self._images.choice}")
            base = ""
        elif not self._stages.is_stage(base) and base not in self._images:
            self._refuse(instruction.line, f"FROM {base}", "Nothing is pulled while grading.", self._images.choice)
        self._stages.begin(name, base, foreign=self._images.is_context(base))

    def _origin(self, line: int, what: str, origin: str, *, numbers: bool, later: bool) -> None:
        """``--from=``, of COPY and of a mount; ``numbers``: it may be that of a stage."""
        is_number = numbers and re.fullmatch(r"\+?[0-9]{1,4}", origin, re.ASCII)
        if is_number and (later or int(origin) < len(self._stages) - 1):
            return
        if not later and self._stages.is_earlier(origin):
            return
        if not origin or (origin in self._images and not (later and self._images.is_context(origin))):
            return
        why = "It is neither an earlier stage nor an image that may be used; nothing is pulled while grading."
        self._refuse(line, what, why, f"Name an earlier stage. {self._images.choice}")

    def _arg(self, instruction: Instruction) -> None:
        outside = not self._stages
        for name, default in instruction.declarations:
            value = self._stages.declare(name, default, instruction)
            if outside and name == "SOURCE_DATE_EPOCH" and default is not None:
                self.found += builder.epoch(instruction.line, value or "?")

    def _onbuild(self, instruction: Instruction) -> None:
        """A trigger runs in the build of another file: its variables and stages are not those of this one."""
        wrapped = instruction.wrapped
        name = wrapped.name if wrapped else instruction.rest.text
        if wrapped is None or name not in FLAGS or name in ("from", "maintainer", "onbuild"):
            self._refuse(instruction.line, f"ONBUILD {name.upper()}", UNKNOWN, "Remove it.")
            return
        if instruction.escape != "\\":
            # The trigger is read a second time, without the directive.
            self._refuse(instruction.line, "ONBUILD with # escape=", UNCLEAR, "Remove # escape=.")
        if name in ("arg", "env"):
            self._stages.trigger()
        self._flags(wrapped)
        self._act(wrapped, Scope(open=True), later=True)

    # --- what fetches, copies, runs or marks

    def _add(self, instruction: Instruction, scope: Scope) -> None:
        for word in instruction.arguments[:-1]:
            source = expanded(word, scope, instruction.escape, instruction.line)
            if source is None:
                why = "The grader cannot tell what that is, and it could be a download."
                self._refuse(instruction.line, f"ADD {word}", why, "Use COPY, which takes only files of the folder.")
            elif _is_remote(source):
                instead = "Put the file into the exercise's folder and use COPY."
                self._refuse(instruction.line, f"ADD {source}", NO_DOWNLOADS, instead)

    def _copy(self, instruction: Instruction, later: bool) -> None:
        for flag in instruction.flags:
            if flag.name == "from" and flag.value:
                self._origin(flag.line, f"COPY {flag.text}", flag.value, numbers=True, later=later)

    def _label(self, instruction: Instruction, scope: Scope) -> None:
        """The names of labels may have variables too: LabelCommand of instructions/commands.go."""
        for word, _ in instruction.pairs:
            name = expanded(word, scope, instruction.escape, instruction.line)
            if name is None:
                why = "The grader cannot tell which label that is, and other programs act on some."
                self._refuse(instruction.line, f"LABEL {word}", why, "Write its name without variables.")
            elif name.lower().startswith(RESERVED_LABELS):
                self._refuse(instruction.line, f"LABEL {name}", ACTED_ON, f"Remove {name}.")

    def _workdir(self, instruction: Instruction, scope: Scope) -> None:
        word = instruction.rest.text.strip()
        folder = expanded(word, scope, instruction.escape, instruction.line)
        if folder is None or is_in_proc(folder):
            self._refuse(instruction.line, f"WORKDIR {word}", ROOT, "Use a folder of the image, such as /app.")

    def _mount(self, mount: Mount, later: bool) -> None:
        line, what = mount.flag.line, f"RUN {mount.flag.text}"
        if kinds := [kind for kind in mount.values("type") if kind.lower() not in MOUNT_TYPES]:
            self._kind(line, what, kinds[0].lower())
            return
        keys = [key for key, _ in mount.fields]
        unknown = sorted(set(keys) - MOUNT_KEYS)
        twice = [key for key in ("type", "from", "id") if keys.count(key) > 1]
        if re.search('["\x00-\x1f]', mount.value) or unknown or twice:
            which = ", ".join(unknown or twice) or "the quotes"
            self._refuse(line, what, UNKNOWN, f"Remove {which}.")
        for origin in mount.values("from"):
            # Unlike COPY's, it takes no number; that would be an image: detectRunMount of convert_runmount.go.
            self._origin(line, what, origin, numbers=False, later=later)

    def _kind(self, line: int, what: str, kind: str) -> None:
        if kind in ("ssh", "secret"):
            self._refuse(line, what, "It reads keys of the machine that grades.", "Remove --mount.")
        else:
            self._refuse(line, what, UNKNOWN, "Use type=bind, type=cache or type=tmpfs.")


def _is_remote(source: str) -> bool:
    """Whether ADD would fetch it: isHTTPSource of convert_copy.go, ParseGitRef of dfgitutil, and whatever looks so."""
    return (
        "://" in source
        or source.startswith("github.com/")
        or re.match("[^/]*@[^/]*:", source) is not None
        or ".git#" in source
    )
