from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader import yamlfile
from grader.errors import SubmissionError


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "compose.yml"
    path.write_text(text)
    return yamlfile.read(path, "compose.yml")


def bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\nservices: {a: {image: x}}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (bomb(levels=9, width=9), "stands for more than"),  # 72 aliases stand for 43 million values
        (bomb(levels=60, width=3), "stands for more than"),
        (bomb(levels=40, width=9), "more than 200 YAML aliases"),
        ("x-a: &a {b: 1}\nservices:\n" + "".join(f"  s{n}: {{<<: *a}}\n" for n in range(201)), "more than 200"),
        ("[" * 100 + "]" * 100, "nested too deeply"),
        ("a:\n" + "".join(" " * n + "- \n" for n in range(1, 99)), "nested too deeply"),
        ("a: &a [*a]", "stands for itself"),
        ("? [a, b]\n: c", "not a word"),
        ("a: 1\n---\nb: 2", "second YAML document"),
        ("a: 1\n--- \nb: 2\n---\nc: 3", "second YAML document"),
        ("!!binary aW5jbHVkZQ==: [/etc/x.yml]", "tag"),
        ("a: !!python/object/apply:os.system [true]", "tag"),
        ("a: !<tag:yaml.org,2002:binary> aW5j", "tag"),
        ("%TAG ! tag:yaml.org,2002:\n---\na: !binary aW5j", "directive"),
        ("a: b: c", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_what_no_honest_file_has_is_refused_at_once(tmp_path: Path, text: str, says: str) -> None:
    began = time.monotonic()
    with pytest.raises(SubmissionError, match=says):
        read(tmp_path, text)
    assert time.monotonic() - began < 5


def test_honest_anchors_merges_and_tags_are_read(tmp_path: Path) -> None:
    text = (
        "---\nx-base: &base {restart: always}\nservices:\n"
        + "".join(f"  s{n}:\n    <<: *base\n    image: !!str x\n    ports: !reset []\n" for n in range(50))
        + "networks: !override {n: }\n"
    )
    node = read(tmp_path, text)
    [services] = yamlfile.under(node, "services")  # type: ignore[arg-type]
    found = {
        name.value: {k.value: v.value for k, v in yamlfile.items(entry)} for name, entry in yamlfile.items(services)
    }
    assert len(found) == 50
    assert found["s7"]["restart"] == "always"


@given(st.text(alphabet="ab:*&!<>-[]{}?|%'\"\n \t#,\\~", max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    with contextlib.suppress(SubmissionError):
        read(folder, text)
