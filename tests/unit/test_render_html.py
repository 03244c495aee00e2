from __future__ import annotations

import re

import pytest

from grader.render import render
from grader.render.html import render as render_html
from grader.results import CheckResult, PostMortem, Refusal, Report, Verdict, read

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def report(**fields: object) -> Report:
    checks = [
        CheckResult(name=f"test_{v.name.lower()}", title=f"Title {v.value}", verdict=v, points=2, seconds=1, hint="Try")
        for v in Verdict
    ]
    given = {"exercise": "04-x", "title": "Title", "submission": "alice", "started_at": "2026-01-01T00:00:00+00:00"}
    return Report(**given | {"checks": checks} | fields)


def text(html: str) -> str:
    """What is left to read."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def test_page_is_one_file_without_scripts() -> None:
    page = render(report(), "html", to_terminal=False)
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"<script|<link|\bsrc=|@import|url\(|https?:", page)


def test_part_of_a_notebook_has_no_document_around_it() -> None:
    part = render_html(report(), page=False)
    assert not re.search(r"<(html|head|body|!DOCTYPE)", part)
    assert part.count("<section") == 1


def test_says_the_score_and_each_verdict() -> None:
    shown = text(render_html(report()))
    assert "2 of 8 points" in shown
    for verdict in Verdict:
        assert f"Title {verdict.value} ({verdict.value}, {2 if verdict is Verdict.PASSED else 0} of 2)" in shown


def test_hints_are_behind_a_fold_and_only_where_something_is_to_do() -> None:
    folds = re.findall(r"<details>.*?</details>", render_html(report()), re.DOTALL)
    assert [text(fold) for fold in folds] == ["Hint Try"] * (len(Verdict) - 1)


@pytest.mark.parametrize("field", ["title", "message", "expected", "actual", "at", "hint", "section", "reproduce"])
def test_whatever_a_check_quotes_is_text(field: str) -> None:
    given = {"name": "test_x", "title": "T", "verdict": Verdict.FAILED, "points": 1, "seconds": 0} | {field: EVIL}
    page = render_html(report(checks=[CheckResult(**given)]))
    assert "&lt;script&gt;" in page
    assert not re.search(r"<script|<img", page)


def test_whatever_a_service_or_a_refusal_quotes_is_text() -> None:
    page = render_html(
        report(
            refused=[Refusal(at=EVIL, what=EVIL, why=EVIL, instead=EVIL)],
            services=[PostMortem(service=EVIL, state="exited", exit_code=1, probe_output=EVIL, log=[EVIL])],
            start_problem=EVIL,
            notes=[EVIL],
        )
    )
    assert not re.search(r"<script|<img", page)


def test_a_dead_service_is_described() -> None:
    dead = PostMortem(service="api", state="exited", exit_code=137, out_of_memory=True, log=["line one", "line two"])
    shown = text(render_html(report(services=[dead])))
    assert "api: exited, exit code 137, it ran out of memory line one line two" in shown


def test_a_report_is_read_back_from_its_json() -> None:
    written = report()
    assert read(render(written, "json", to_terminal=False)) == written


@pytest.mark.parametrize("wrong", ["[]", "{}", "no json", '{"points": 3}'])
def test_what_is_no_report_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(wrong)
