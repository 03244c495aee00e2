"""Verdicts, on an exercise whose checks need no engine."""

from __future__ import annotations

import os
import re
import textwrap
import time
from pathlib import Path

import pytest

from grader import catalog, grading
from grader.budget import Budget
from grader.engine import sweep
from grader.errors import InternalError, UsageError
from grader.plugin import GradingPlugin, Material
from grader.results import CheckResult, Report, Verdict
from grader.stack import Stack


class Silent:
    def stage(self, what: str) -> None:
        pass

    def finished(self, result: CheckResult, done: int, total: int) -> None:
        pass


def exercise(tmp_path: Path, checks: str, time_budget: float = 60) -> catalog.Exercise:
    # A name of its own for each test: pytest keeps the modules that it has imported.
    folder = tmp_path / re.sub(r"\W|_", "-", f"90-{tmp_path.name}")
    folder.mkdir()
    (folder / "compose.yml").write_text("services: {a: {image: x}}\n")
    (folder / "exercise.toml").write_text(
        f'title = "T"\nobjectives = ["o"]\nminutes = 1\nstudent_files = ["compose.yml"]\n'
        f'services = ["a"]\nlesson = "n.ipynb"\n'
        f'time_budget = {time_budget}\nimages = ["x"]\n'
    )
    header = "import time, os, signal\nfrom grader.plugin import *\n"
    (tmp_path / f"test_{folder.name.replace('-', '_')}.py").write_text(header + textwrap.dedent(checks))
    return catalog.load(folder, checks=tmp_path)


def grade(chosen: catalog.Exercise, **options: object) -> Report:
    request = grading.Request(chosen, chosen.folder, static=True, **options)  # type: ignore[arg-type]
    return grading.grade(request, Silent()).report


def test_each_way_a_check_can_end(tmp_path: Path) -> None:
    report = grade(
        exercise(
            tmp_path,
            '''
            @check(points=1, hint="general", section="Here")
            def test_fails(model):
                """It fails"""
                raise Failure("seen", expected="e", actual="a", at="compose.yml:1", reproduce="ls")
            @check(points=1)
            def test_passes(model):
                """It passes"""
            @check(points=1)
            def test_blocked(model):
                """It is blocked"""
                raise Blocked("first mend the other")
            @check(points=1)
            def test_not_run(model):
                """It is not run"""
                raise NotRun("no GPU here")
            @check(points=1)
            def test_error(model):
                """The author slipped"""
                {}["missing"]
            @check(points=1)
            def test_assertion(model):
                """An assertion is no Failure"""
                assert model is None
            ''',
        )
    )
    verdicts = {check.name: check.verdict for check in report.checks}
    assert list(verdicts) == [
        "test_fails",
        "test_passes",
        "test_blocked",
        "test_not_run",
        "test_error",
        "test_assertion",
    ]
    assert list(verdicts.values()) == [
        Verdict.FAILED, Verdict.PASSED, Verdict.BLOCKED, Verdict.NOT_RUN, Verdict.ERROR, Verdict.ERROR,
    ]  # fmt: skip
    failed = report.checks[0]
    assert (failed.message, failed.hint, failed.section, failed.at) == (
        "seen",
        "general",
        "n.ipynb: Here",
        "compose.yml:1",
    )
    assert "KeyError" in report.checks[4].message
    assert report.maximum == 5
    assert report.exit_status == 4


def test_what_was_seen_can_give_a_better_hint(tmp_path: Path) -> None:
    report = grade(
        exercise(
            tmp_path, '@check(points=1, hint="general")\ndef test_a(model):\n    raise Failure("x", hint="special")\n'
        )
    )
    assert report.checks[0].hint == "special"


def test_only_the_wanted_check_runs(tmp_path: Path) -> None:
    two = "@check(points=1)\ndef test_a(model): pass\n@check(points=1)\ndef test_b(model): pass\n"
    chosen = exercise(tmp_path, two)
    assert [check.name for check in grade(chosen, only=("test_b",)).checks] == ["test_b"]
    with pytest.raises(UsageError, match="test_c") as error:
        grade(chosen, only=("test_c",))
    assert "test_a" in error.value.fix


def test_what_somebody_is_at_work_on_comes_first(tmp_path: Path) -> None:
    """Before cheaper checks, too: these need no engine, the one that comes first says that it needs one."""
    three = """
        @check(points=1)
        def test_a(): pass
        @check(points=1)
        def test_b(): pass
        @check(points=1)
        def test_c(start): pass
    """
    chosen = exercise(tmp_path, three)
    order: list[str] = []

    class Listener(Silent):
        def finished(self, result: CheckResult, done: int, total: int) -> None:
            order.append(result.name)

    def nothing(*args: object, **options: object) -> Stack:
        raise AssertionError

    plugin = GradingPlugin(
        chosen, Material(chosen.folder, None, {}), nothing, nothing, Budget(60), Listener(), first=("test_c",)
    )
    grading.run_checks(plugin, chosen, ())
    assert order == ["test_c", "test_a", "test_b"]


def test_finished_checks_keep_their_verdicts_when_time_is_over(tmp_path: Path) -> None:
    began = time.monotonic()
    report = grade(
        exercise(
            tmp_path,
            """
            @check(points=1)
            def test_a(model): pass
            @check(points=1)
            def test_b(model):
                try:
                    time.sleep(60)
                except Exception:
                    pass
            @check(points=1)
            def test_c(model): pass
            """,
            time_budget=0.5,
        )
    )
    assert [check.verdict for check in report.checks] == [Verdict.PASSED, Verdict.BLOCKED, Verdict.BLOCKED]
    assert report.out_of_time
    assert time.monotonic() - began < 30


def test_time_that_is_over_before_the_first_check_blocks_every_check(tmp_path: Path) -> None:
    slow = "time.sleep(0.5)\n@check(points=1)\ndef test_a(model): pass\n@check(points=1)\ndef test_b(model): pass\n"
    report = grade(exercise(tmp_path, slow, time_budget=0.1))
    assert [check.verdict for check in report.checks] == [Verdict.BLOCKED, Verdict.BLOCKED]
    assert report.out_of_time


def test_ctrl_c_is_not_a_verdict(tmp_path: Path) -> None:
    chosen = exercise(
        tmp_path, "@check(points=1)\ndef test_a(model): os.kill(os.getpid(), signal.SIGINT); time.sleep(30)\n"
    )
    with pytest.raises(KeyboardInterrupt):
        grade(chosen)


def test_a_polite_kill_is_like_ctrl_c(tmp_path: Path) -> None:
    chosen = exercise(
        tmp_path, "@check(points=1)\ndef test_a(model): os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)\n"
    )
    with pytest.raises(KeyboardInterrupt):
        grade(chosen)


@pytest.mark.parametrize("broken", ["def test_a(model: pass", "import nothing_of_that_name"])
def test_checks_that_cannot_be_imported_are_the_graders_fault(tmp_path: Path, broken: str) -> None:
    with pytest.raises(InternalError, match="90-"):
        grade(exercise(tmp_path, broken))


def test_a_check_with_an_unknown_fixture_is_the_graders_fault(tmp_path: Path) -> None:
    assert grade(exercise(tmp_path, "@check(points=1)\ndef test_a(nix): pass\n")).exit_status == 4


def test_what_must_not_run_blocks_every_check(tmp_path: Path) -> None:
    chosen = exercise(tmp_path, "@check(points=1)\ndef test_a(stack): pass\n")
    (chosen.folder / "compose.yml").write_text("services: {a: {image: x, privileged: true}}\n")
    request = grading.Request(chosen, chosen.folder)
    report = grading.grade(request, Silent()).report
    assert [refusal.at for refusal in report.refused] == ["compose.yml:1"]
    assert [check.verdict for check in report.checks] == [Verdict.BLOCKED]
    assert report.exit_status == 1


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    grade(exercise(tmp_path, "@check(points=1)\ndef test_a(model): pass\n"))
    owners = [sweep.Owner.of_folder(folder) for folder in sweep.state_folder().iterdir()]
    assert [owner for owner in owners if owner and owner.pid == os.getpid()] == []
