"""Jobs on a cluster in this process, whose workers do what each test says."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from distributed import Client, LocalCluster, get_worker

from grader.batch import run, work
from grader.batch.job import Job, Outcome, Parcel, Result
from grader.batch.run import Ended, Run
from grader.errors import MachineError
from grader.results import CheckResult, Report, Verdict

PASSED = CheckResult(name="test_a", title="It works", verdict=Verdict.PASSED, points=1, seconds=0)
BROKEN = PASSED.model_copy(update={"verdict": Verdict.ERROR, "message": "the grader's own fault: KeyError: 'x'"})


def report(*checks: CheckResult) -> Report:
    return Report(exercise="04-x", title="X", submission="s", started_at="", checks=list(checks))


def graded(*checks: CheckResult) -> Result:
    return Result(outcome=Outcome.REPORT, report=report(*checks))


class Listening:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended: list[Ended] = []
        self.most = 0

    def running(self, where: Mapping[str, Sequence[str]]) -> None:
        self.most = max(self.most, sum(map(len, where.values())))
        if self.most == 2:
            Workers.shown.set()

    def finished(self, ended: Ended) -> None:
        self.ended.append(ended)

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, resources={"stacks": 1}, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


class Workers:
    """What the workers of this process do. Dask sends functions by their name, so it is no closure of a test's."""

    answer: Callable[[str, int, str], Result]
    tries: ClassVar[Counter[str]] = Counter()
    asked: ClassVar[list[str]] = []
    shown: ClassVar[threading.Event] = threading.Event()


def grade(packed: bytes) -> Result:
    """In place of ``work.grade``."""
    key, address = packed.decode(), get_worker().address
    Workers.tries[key] += 1
    Workers.asked.append(address)
    return Workers.answer(key, Workers.tries[key], address).model_copy(update={"address": address})


GradeAll = Callable[[Sequence[str], Callable[[str, int, str], Result]], tuple[list[Ended], Listening]]


@pytest.fixture
def grade_all(client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GradeAll:
    def go(students: Sequence[str], answer: Callable[[str, int, str], Result]) -> tuple[list[Ended], Listening]:
        """Grade ``students``; ``answer`` is what a worker does: a student, which try it is, the worker's address."""
        monkeypatch.setattr(work, "grade", grade)
        monkeypatch.setattr(Workers, "answer", staticmethod(answer), raising=False)
        Workers.tries.clear()
        Workers.asked.clear()
        parcels = []
        for student in students:
            packed = tmp_path / student
            packed.write_text(student)
            parcels.append(Parcel(Job(student, student, (), "04-x"), packed))
        ended: list[Ended] = []
        listening = Listening()
        Run(client, parcels, ended.append, listening).go()
        return ended, listening

    return go


def test_something_comes_of_every_submission(grade_all: GradeAll) -> None:
    students = [f"s{number}" for number in range(30)]
    ended, listening = grade_all(students, lambda key, n, worker: graded(PASSED))
    assert sorted(each.job.key for each in ended) == sorted(students)
    assert {each.tries for each in ended} == {1}
    assert listening.ended == ended


def test_as_many_are_sent_as_there_is_room_for(grade_all: GradeAll) -> None:
    Workers.shown.clear()

    def answer(key: str, number: int, worker: str) -> Result:
        assert Workers.shown.wait(60), "it was never shown that both workers have something to do"
        return graded(PASSED)

    _, listening = grade_all([f"s{number}" for number in range(10)], answer)
    assert listening.most == 2


def test_a_fault_of_the_graders_is_tried_once_more(grade_all: GradeAll) -> None:
    ended, listening = grade_all(["a", "b"], lambda key, n, worker: graded(BROKEN if n == 1 and key == "a" else PASSED))
    assert {each.job.key: each.tries for each in ended} == {"a": 2, "b": 1}
    assert all(
        each.result == graded(PASSED).model_copy(update={"address": each.result.address})
        for each in ended
        if each.result
    )
    assert any("a: the grader was at fault (test_a: " in line and "KeyError: 'x'" in line for line in listening.lines)


def test_of_two_faults_the_one_with_a_report_is_kept(grade_all: GradeAll) -> None:
    fault = Result(outcome=Outcome.FAULT, message="it broke")
    [ended], _ = grade_all(["a"], lambda key, n, worker: graded(BROKEN, PASSED) if n == 1 else fault)
    assert ended.tries == 2
    assert ended.result
    assert ended.result.report == report(BROKEN, PASSED)
    [ended], _ = grade_all(["a"], lambda key, n, worker: fault)
    assert ended.result
    assert (ended.result.outcome, ended.result.message, ended.tries) == (Outcome.FAULT, "it broke", 2)


def test_an_exception_on_a_worker_is_the_graders_fault(grade_all: GradeAll) -> None:
    def answer(key: str, number: int, worker: str) -> Result:
        raise KeyError("nothing of a student's")

    [ended], _ = grade_all(["a"], answer)
    assert ended.result
    assert ended.result.outcome is Outcome.FAULT
    assert "nothing of a student's" in ended.result.message


def test_a_worker_whose_machine_cannot_grade_gets_no_more(client: Client, grade_all: GradeAll) -> None:
    bad, *_ = sorted(client.scheduler_info(n_workers=-1)["workers"])

    def answer(key: str, number: int, worker: str) -> Result:
        time.sleep(0.02)
        return Result(outcome=Outcome.MACHINE, message="No Docker engine answers.") if worker == bad else graded(PASSED)

    ended, listening = grade_all([f"s{number}" for number in range(8)], answer)
    assert len(ended) == 8
    assert all(each.result and each.result.report and each.tries == 1 for each in ended)
    assert Workers.asked.count(bad) == 1
    assert any("No Docker engine answers." in line for line in listening.lines)


def test_no_worker_that_can_grade_ends_the_batch_with_the_reason(
    grade_all: GradeAll,
) -> None:
    with pytest.raises(MachineError, match=r"No worker can grade\. No Docker engine answers\.") as caught:
        grade_all(
            ["a", "b", "c"], lambda key, n, worker: Result(outcome=Outcome.MACHINE, message="No Docker engine answers.")
        )
    assert "same command again" in caught.value.fix


def test_a_cluster_without_workers_is_waited_for_and_then_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "NO_WORKERS", 1.0)
    (tmp_path / "a").write_text("a")
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,  # says nothing of stacks
        Client(cluster) as client,
        pytest.raises(MachineError, match="no worker with the resource 'stacks'"),
    ):
        Run(client, [Parcel(Job("a", "a", (), "04-x"), tmp_path / "a")], lambda ended: None, Listening()).go()
