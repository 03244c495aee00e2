"""Reading a YAML file that nobody has checked: bounded before Compose, which bounds nothing, sees it.

A file of 400 bytes can stand for gigabytes (aliases of aliases), nest until a parser's stack is full, or say
something else to one YAML library than to another (tags). An honest compose file does none of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from grader.errors import SubmissionError

MAX_BYTES = 256 * 2**10  # an honest compose file has a few KiB
MAX_ALIASES = 200
MAX_NODES = 20_000  # keys, values and list entries, each alias counted as what it stands for
MAX_DEPTH = 40
BOM = "\ufeff"

# Compose's own, and the ones that only repeat what the value is anyway. Any other tag could make Compose read a
# word that is not written there: `!!binary aW5jbHVkZQ==` is the key `include` to it.
TAGS = frozenset(
    {("!", "reset"), ("!", "override")}
    | {("!!", kind) for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")}
)


class _Loader(yaml.SafeLoader):
    """Composes nodes only, so Compose's own tags (``!reset``, ``!override``) are no obstacle."""


def read(path: Path, name: str) -> yaml.Node | None:
    """The file's one document as YAML nodes, which know their lines; None if it is empty.

    Args:
        name: what to call the file in messages.

    Raises:
        SubmissionError: it is no YAML, or no honest one.
    """
    text = _text(path, name)
    try:
        _check_tokens(text, name)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise SubmissionError(
            f"{name} is not valid YAML: {_problem(error, name)}",
            "Look at the line named and the one above it: indentation, a missing colon or quote.",
        ) from error
    except RecursionError as error:
        raise _too_deep(name) from error
    if node is not None:
        _check_size(node, name)
    return node


def items(node: yaml.Node) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """The entries of a mapping, those that come in through a merge key (``<<: *anchor``) included."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if key.value != "<<":
            yield key, value
            continue
        for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            yield from items(merged)


def under(node: yaml.Node, key: str) -> Iterator[yaml.Node]:
    """Every value that stands under ``key``: a merge may bring a second one, and which of them counts is Compose's."""
    return (value for name, value in items(node) if name.value == key)


def _text(path: Path, name: str) -> str:
    content = path.read_bytes()
    if len(content) > MAX_BYTES:
        raise SubmissionError(f"{name} is larger than {MAX_BYTES // 2**10} KiB.", "A compose file is a few KiB.")
    try:
        text = content.decode("utf-8").removeprefix(BOM)
    except UnicodeDecodeError as error:
        raise SubmissionError(f"{name} is not UTF-8 text: {error}", "Save it as UTF-8.") from error
    if BOM in text:
        # Two of them have Compose's reader skip the first character of each line, a # included.
        raise SubmissionError(f"{name} has a byte order mark in its middle.", "Remove it; save the file as UTF-8.")
    return text


def _check_tokens(text: str, name: str) -> None:
    aliases, depth, begun = 0, 0, False
    for token in yaml.scan(text):
        line = token.start_mark.line + 1
        match token:
            case yaml.AliasToken():
                aliases += 1
            case yaml.DocumentStartToken() if begun:
                raise SubmissionError(
                    f"{name}:{line} begins a second YAML document (---).", "Put everything into one document."
                )
            case yaml.TagToken() if tuple(token.value) not in TAGS:
                tag = "".join(part or "" for part in token.value)
                raise SubmissionError(f"{name}:{line} uses the YAML tag {tag!r}.", "Remove it; write the value itself.")
            case yaml.DirectiveToken():
                raise SubmissionError(f"{name}:{line} has a YAML directive (%…).", "Remove the line.")
            case (
                yaml.BlockMappingStartToken()
                | yaml.BlockSequenceStartToken()
                | yaml.FlowMappingStartToken()
                | yaml.FlowSequenceStartToken()
            ):
                depth += 1
            case yaml.BlockEndToken() | yaml.FlowMappingEndToken() | yaml.FlowSequenceEndToken():
                depth -= 1
        if aliases > MAX_ALIASES:
            raise SubmissionError(f"{name} uses more than {MAX_ALIASES} YAML aliases.", "Write fewer of them.")
        if depth > MAX_DEPTH:
            raise _too_deep(name)
        begun = begun or not isinstance(token, yaml.StreamStartToken)


def _check_size(root: yaml.Node, name: str) -> None:
    """Counts nodes with each alias as all that it stands for, without visiting anything twice."""
    sizes: dict[int, int] = {}
    unfinished: set[int] = set()

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in unfinished:
            raise SubmissionError(f"{name} has an alias that stands for itself.", "Remove the alias.")
        unfinished.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise SubmissionError(
                        f"{name}:{key.start_mark.line + 1} has a key that is not a word.", "Write a plain key: value."
                    )
            count = 1 + sum(size(key) + size(value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            count = 1 + sum(size(item) for item in node.value)
        else:
            count = 1
        unfinished.discard(id(node))
        sizes[id(node)] = count
        return count

    if size(root) > MAX_NODES:
        raise SubmissionError(
            f"{name} stands for more than {MAX_NODES} values once its aliases are filled in.",
            "Use fewer aliases of aliases.",
        )


def _too_deep(name: str) -> SubmissionError:
    return SubmissionError(f"{name} is nested too deeply.", "A compose file is about six levels deep.")


def _problem(error: yaml.YAMLError, name: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"{problem} ({name}:{mark.line + 1})" if mark else problem
