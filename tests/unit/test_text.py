from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grader.text import last_lines, printable


def test_escape_sequences_go_and_text_stays() -> None:
    assert printable("\x1b[31mred\x1b[0m \x1b]0;title\x07done\x9b2J") == "red done2J"


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_nothing_that_steers_a_terminal_remains(text: str) -> None:
    clean = printable(text)
    assert not [c for c in clean if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]


def test_the_last_lines_that_say_something() -> None:
    assert last_lines("a\n\nb\n  \nc\n", count=2) == ["b", "c"]
    assert last_lines("x" * 500, width=10) == ["x" * 10]


def test_a_flood_is_cut() -> None:
    assert len(printable("x" * 10**6, limit=100)) < 110
