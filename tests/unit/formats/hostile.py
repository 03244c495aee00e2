"""Words as a submission, or a student who likes to try things, would choose them."""

from __future__ import annotations

from hypothesis import strategies as st

from grader.results import CheckResult, PostMortem, Refusal, Report, Verdict

_FAVOURITES = [
    "=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", " =1", "\r=1", "a;=1;b", "a,-b", 'say "hi"', "two\nlines",
    "\n::notice title=Autograding report::{}", "##[set-output]", "]]>", "<script>", "&amp;", "O'Lee", "back\\", 'b\\"',
    "\ufffe", "\x00", "\x1b[31m", "\u2028", "Points Possible", "Müller, 张伟", "עברית", "🎓", "",
]  # fmt: skip
words = st.sampled_from(_FAVOURITES) | st.text(max_size=30)
texts = st.lists(words, max_size=3).map("".join)
points = st.sampled_from([0, 0.5, 1, 1.5, 2, 3]) | st.floats(0, 100, allow_nan=False)

checks = st.builds(
    CheckResult,
    name=words,
    title=words,
    verdict=st.sampled_from(Verdict),
    points=points,
    seconds=st.floats(0, 1000),
    message=texts,
    expected=words,
    actual=words,
    at=words | st.sampled_from(["compose.yml:14", "compose.yml:x", ":3", "a:²", "compose.yml:0"]),
    hint=words,
    reproduce=words,
)
reports = st.builds(
    Report,
    exercise=st.just("04-x"),
    title=words,
    submission=words,
    started_at=st.sampled_from(["2026-11-28T07:42:14+00:00", "", "yesterday"]),
    checks=st.lists(checks, max_size=6),
    refused=st.lists(st.builds(Refusal, at=words, what=words, why=words, instead=words), max_size=1),
    start_problem=words,
    services=st.lists(
        st.builds(PostMortem, service=words, state=words, probe_output=words, log=st.lists(words, max_size=2)),
        max_size=1,
    ),
    out_of_time=st.booleans(),
    seconds=st.just({"total": 1.5}),
    notes=st.lists(words, max_size=1),
)
