"""What a watch session knows and shows, and what a save changes of a stack that runs; no engine, no processes."""

from __future__ import annotations

import copy
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from grader.results import CheckResult, Refusal, Report, Verdict
from grader.watch import messages, screen
from grader.watch.board import Board
from grader.watch.difference import State, to_make_anew
from grader.watch.inputs import saves_of
from grader.watch.messages import Checked, Done, Job, Problem, Reported, Stage, Work

STATED = {"test_a": ("a answers", 2.0), "test_b": ("b waits for a", 1.0), "test_c": ("c is limited", 3.0)}


def result(name: str, verdict: Verdict = Verdict.PASSED, **said: str) -> CheckResult:
    title, points = STATED[name]
    return CheckResult(name=name, title=title, verdict=verdict, points=points, seconds=0.1, **said)


def report(*checks: CheckResult, refused: tuple[Refusal, ...] = ()) -> Report:
    return Report(
        exercise="04-health-checks",
        title="Health checks",
        submission="here",
        started_at="2026-01-01T00:00:00+00:00",
        checks=list(checks),
        refused=list(refused),
    )


@pytest.fixture
def board() -> Board:
    """After a first grading: a passed, b failed, c was blocked."""
    board = Board.of("exercise-04", "Health checks", STATED)
    board.saved()
    for name, verdict in (("test_a", Verdict.PASSED), ("test_b", Verdict.FAILED), ("test_c", Verdict.BLOCKED)):
        board.take(Checked(round=1, result=result(name, verdict, message="it did not wait", hint="a long form")))
    board.take(Done(round=1, work=Work.GRADE))
    return board


def shown(board: Board, width: int = 90) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(screen.draw(board))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# --- the board ----------------------------------------------------------------------------------


def test_before_the_first_verdict_every_check_is_there_and_none_has_one() -> None:
    board = Board.of("exercise-04", "Health checks", STATED)
    assert [(row.name, row.verdict) for row in board.rows] == [(name, None) for name in STATED]
    assert board.points == (0, 6)
    assert board.changes == []


def test_a_save_makes_every_verdict_old(board: Board) -> None:
    board.saved()
    assert not any(row.current for row in board.rows)
    assert [row.verdict for row in board.rows] == [Verdict.PASSED, Verdict.FAILED, Verdict.BLOCKED]
    assert board.changes == []


def test_what_a_save_changed_is_known(board: Board) -> None:
    board.saved()
    board.take(Checked(round=2, result=result("test_a"), running=False))
    board.take(Checked(round=2, result=result("test_b"), running=True))
    assert [(row.name, row.before, row.verdict) for row in board.changes] == [
        ("test_b", Verdict.FAILED, Verdict.PASSED)
    ]


def test_the_grading_from_scratch_has_the_last_word(board: Board) -> None:
    board.saved()
    board.take(Checked(round=2, result=result("test_b"), running=True))
    assert board.rows[1].running
    board.take(Reported(round=2, report=report(result("test_b", Verdict.FAILED, message="no")), final=True))
    assert board.rows[1].verdict is Verdict.FAILED
    assert not board.rows[1].running
    assert board.changes == []


def test_what_is_said_of_an_earlier_save_means_nothing(board: Board) -> None:
    board.saved()
    for message in (
        Checked(round=1, result=result("test_b")),
        Problem(round=1, what="old"),
        Stage(round=1, text="old"),
        Reported(round=1, report=report(result("test_b")), final=True),
    ):
        board.take(message)
    assert board.rows[1].verdict is Verdict.FAILED
    assert board.problem is None
    assert board.stage != "old"
    assert board.report is None


def test_hints_unfold_one_at_a_time_and_stay_while_the_check_says_the_same(board: Board) -> None:
    assert "a long form" not in shown(board)
    for _ in range(5):
        board.unfold(most=2)
    assert board.unfolded == {"test_b": 2}
    assert "a long form" in shown(board)
    board.saved()
    board.take(Checked(round=2, result=result("test_b", Verdict.FAILED, message="it did not wait")))
    assert board.unfolded == {"test_b": 2}
    board.take(Checked(round=2, result=result("test_b", Verdict.FAILED, message="it was never started")))
    assert board.unfolded == {}


def test_what_is_tried_first_is_what_did_not_pass(board: Board) -> None:
    assert board.not_passed == ("test_b", "test_c")


# --- the screen ---------------------------------------------------------------------------------


def test_the_first_thing_below_the_title_is_what_changed(board: Board) -> None:
    board.saved()
    board.take(Checked(round=2, result=result("test_b"), running=True))
    lines = [line.strip() for line in shown(board).splitlines() if line.strip()]
    assert lines[3:5] == ["Your last save changed:", "✓~ b waits for a  (was: failed)"]
    assert any(line.startswith("~ seen on the running stack") for line in lines)


def test_the_screen_says_what_failed_and_which_keys_there_are(board: Board) -> None:
    text = shown(board)
    assert "exercise-04: Health checks   2 of 6 points" in text
    assert "it did not wait" in text
    assert "h: a hint (0 of 1 shown)" in text
    assert "q quit" in text
    assert "Waiting for you to save a file." in text


def test_problems_and_refusals_are_shown_with_what_to_do(board: Board) -> None:
    board.saved()
    board.take(Problem(round=2, what="compose.yml:3 is no YAML.", fix="Look at the line."))
    assert "Look at the line." in shown(board)
    board.saved()
    refusal = Refusal(at="compose.yml:4", what="services.a.privileged", why="It is root.", instead="Leave it out.")
    board.take(Reported(round=3, report=report(refused=(refusal,)), final=False))
    text = shown(board)
    assert "services.a.privileged must not run here" in text
    assert "Leave it out." in text
    assert "Look at the line." not in text


@given(st.text(max_size=200), st.integers(20, 200))
def test_whatever_a_check_says_can_be_drawn(message: str, width: int) -> None:
    board = Board.of("exercise-04", "Health checks", STATED)
    board.saved()
    board.take(Checked(round=1, result=result("test_b", Verdict.FAILED, message=message)))
    assert "\x1b" not in shown(board, width)


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        Stage(round=3, text="starting"),
        Checked(round=3, result=result("test_a"), running=True),
        Reported(round=3, report=report(result("test_a")), final=True),
        Problem(round=3, what="no", fix="yes"),
        Done(round=3, work=Work.LOOK),
    ],
)
def test_a_message_survives_the_way(message: messages.Message) -> None:
    line = message.model_dump_json()
    assert "\n" not in line
    assert messages.read(line) == message


def test_a_job_survives_the_way() -> None:
    job = Job(work=Work.LOOK, round=2, first=("test_a",))
    assert Job.model_validate_json(job.model_dump_json()) == job


# --- what a save changes of a running stack -------------------------------------------------------


def config(folder: Path) -> dict[str, Any]:
    (folder / "init.sql").write_text("CREATE TABLE t ();")
    (folder / "password").write_text("secret")
    (folder / "api").mkdir()
    (folder / "api" / "main.py").write_text("print()")
    return {
        "services": {
            "api": {
                "build": {"context": str(folder / "api")},
                "environment": {"A": "1"},
                "depends_on": {"db": {"condition": "service_healthy"}},
                "secrets": [{"source": "password"}],
            },
            "db": {
                "image": "postgres",
                "volumes": [
                    {"type": "volume", "source": "data", "target": "/data"},
                    {"type": "bind", "source": str(folder / "init.sql"), "target": "/init.sql"},
                ],
            },
            "backup": {"image": "busybox", "volumes": [{"type": "volume", "source": "data", "target": "/data"}]},
            "cache": {"image": "redis"},
        },
        "volumes": {"data": {}},
        "networks": {"default": {}},
        "secrets": {"password": {"file": str(folder / "password")}},
    }


def environment_of_api(config: dict[str, Any], folder: Path) -> None:
    config["services"]["api"]["environment"]["A"] = "2"


def source_of_api(config: dict[str, Any], folder: Path) -> None:
    (folder / "api" / "main.py").write_text("print(1)")


def password(config: dict[str, Any], folder: Path) -> None:
    (folder / "password").write_text("another")


def init_script(config: dict[str, Any], folder: Path) -> None:
    (folder / "init.sql").write_text("CREATE TABLE u ();")


def image_of_cache(config: dict[str, Any], folder: Path) -> None:
    config["services"]["cache"]["image"] = "valkey"


def nothing(config: dict[str, Any], folder: Path) -> None:
    pass


def order(config: dict[str, Any], folder: Path) -> None:
    config["services"]["api"]["depends_on"]["db"]["condition"] = "service_started"


def network(config: dict[str, Any], folder: Path) -> None:
    config["networks"]["back"] = {"internal": True}


def new_service(config: dict[str, Any], folder: Path) -> None:
    config["services"]["another"] = {"image": "redis"}


@pytest.mark.parametrize(
    ("edit", "anew"),
    [
        (environment_of_api, {"api"}),
        (source_of_api, {"api"}),
        (password, {"api"}),
        (init_script, {"db", "backup"}),  # they share the volume, and the script runs on an empty one only
        (image_of_cache, {"cache"}),
        (nothing, set()),
        (order, None),
        (network, None),
        (new_service, None),
    ],
)
def test_only_what_a_save_can_affect_is_made_anew(
    tmp_path: Path, edit: Callable[[dict[str, Any], Path], None], anew: set[str] | None
) -> None:
    before = config(tmp_path)
    first = State.of(before)
    after = copy.deepcopy(before)
    edit(after, tmp_path)
    assert to_make_anew(first, State.of(after)) == anew


# --- saves --------------------------------------------------------------------------------------


def test_a_save_is_told_and_what_editors_leave_beside_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text("a")
    told = threading.Semaphore(0)
    with saves_of(tmp_path, told.release):
        # The watch begins in its own time: save until it has noticed one.
        for number in range(200):
            (tmp_path / "compose.yml").write_text(str(number))
            if told.acquire(timeout=0.1):
                break
        else:
            pytest.fail("no save was noticed")
        while told.acquire(timeout=1):
            pass
        (tmp_path / "compose.yml.swp").write_text("an editor's")
        (tmp_path / "__pycache__").mkdir()
        (tmp_path / "__pycache__" / "a.pyc").write_text("Python's")
        assert not told.acquire(timeout=1)
        (tmp_path / "compose.yml").write_text("the end")
        assert told.acquire(timeout=30)
