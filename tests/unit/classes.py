"""A class with the real checks of exercise 04 and verdicts as they come: some easy, some hard."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from grader import catalog
from grader.batch.grades import Course, Grade, Status
from grader.batch.students import Student
from grader.grading import checks_of
from grader.results import CheckResult, PostMortem, Report, Verdict

EXERCISE = catalog.find("exercise-04")
HIDDEN = frozenset({"test_api_health_turns_503", "test_crashed_services_come_back"})
DEADLINE = datetime(2026, 11, 30, 22, 59, tzinfo=UTC)

_FIRST = (
    "Ada", "Zoë", "Ольга", "Анна", "محمد", "دانا", "José", "Ngũgĩ", "Søren", "Aaliyah", "Σοφία", "नेहा", "ชนิดา",
    "Ìyàndá", "Bartholomäus", "Li", "Mía", "Tom", "Priya", "Owen",
)  # fmt: skip
_LAST = (
    "Lovelace", "Ångström", "Каренина", "علي", "García Márquez", "wa Thiong'o", "Kierkegaard", "O'Brien",
    "Παπαδοπούλου", "शर्मा", "Ó Súilleabháin", "van der Berg", "Wolfeschlegelsteinhausen", "Kim", "Nguyễn",
    "Smith", "Çelik", "Nowak",
)  # fmt: skip
_WHOLE = ("李雷", "김민준", "佐藤 結衣", "韩梅梅", "이서연", "王小明")
_SERVICES = ("api", "model-server", "redis", "postgres")

TRACE = """RuntimeError('the engine answered nothing')
Traceback (most recent call last):
  File "/opt/course/grader/probes.py", line 118, in get
    return client.get(path)
RuntimeError: the engine answered nothing"""


def course(students: int, seed: int = 4) -> Course:
    """A class of so many; the same for the same ``seed``."""
    dice = random.Random(seed)
    checks = checks_of(EXERCISE)
    maximum = sum(worth for _, worth in checks.values())
    easy = {name: dice.uniform(0.25, 0.97) for name in checks}
    grades = [_grade(dice, number, easy, checks, maximum) for number in range(students)]
    grades.sort(key=lambda grade: grade.student.name.casefold())
    return Course(EXERCISE.key, EXERCISE.title, maximum, grades, dict(checks), HIDDEN)


def _student(dice: random.Random, number: int) -> Student:
    name = dice.choice(_WHOLE) if dice.random() < 0.15 else f"{dice.choice(_FIRST)} {dice.choice(_LAST)}"
    return Student(key=f"{name.casefold().replace(' ', '-')}-{number}", name=name, id=str(20260000 + number))


def _grade(
    dice: random.Random,
    number: int,
    easy: dict[str, float],
    checks: dict[str, tuple[str, float]],
    maximum: float,
) -> Grade:
    student = _student(dice, number)
    status = dice.choices(list(Status), weights=(930, 20, 12, 4, 30, 4))[0]
    if status in (Status.MISSING, Status.WAITING):
        return Grade(student, status, None, None, maximum, hidden=HIDDEN)
    source = f"submissions/{student.name}_{number}.zip"
    if status is Status.UNREADABLE:
        said = f"{source} is no archive that can be read: it ends too early.\nPack it again."
        return Grade(student, status, None, 0.0, maximum, hidden=HIDDEN, message=said, source=source)
    if status is Status.KILLED or (status is Status.FAULT and dice.random() < 0.5):
        said = TRACE if status is Status.FAULT else "Each of the 2 workers that graded it died meanwhile."
        return Grade(
            student, status, None, None, maximum, hidden=HIDDEN, message=said, source=source, worker="lab-3/1", tries=2
        )
    report = _report(dice, source, easy, checks, broken=status is Status.FAULT)
    handed_in = DEADLINE + timedelta(minutes=dice.triangular(-10_000, 3_000, -60))
    late = max(0, (handed_in - DEADLINE) // timedelta(days=1) + 1)
    deducted = round(min(0.5, 0.1 * late) * report.points, 2)
    return Grade(
        student, status, report, round(report.points - deducted, 2), maximum, deducted, HIDDEN, "", source, handed_in,
        "2026-12-01T08:00:00+00:00", f"lab-{dice.randrange(1, 5)}/{dice.randrange(3)}", 1 + (dice.random() < 0.02),
    )  # fmt: skip


def _report(
    dice: random.Random, source: str, easy: dict[str, float], checks: dict[str, tuple[str, float]], *, broken: bool
) -> Report:
    skill = dice.triangular(-0.45, 0.45, 0.15)
    results = [_check(dice, name, *about, chance=easy[name] + skill) for name, about in checks.items()]
    if broken:
        number = dice.randrange(len(results))
        name, title, worth = results[number].name, results[number].title, results[number].points
        results[number] = CheckResult(
            name=name, title=title, verdict=Verdict.ERROR, points=worth, seconds=0.2, message=TRACE
        )
    services = []
    if dice.random() < 0.3:
        name = dice.choice(_SERVICES)
        lines = [f"2026-12-01 08:00:0{second} {name}: FATAL: could not connect, try {second}" for second in range(8)]
        code = dice.choice((1, 137))
        services = [PostMortem(service=name, state="exited", exit_code=code, out_of_memory=code == 137, log=lines)]
    spent = dice.uniform(14, 45)
    return Report(
        exercise=EXERCISE.key,
        title=EXERCISE.title,
        submission=source,
        started_at="2026-12-01T08:00:00+00:00",
        checks=results,
        services=services,
        start_problem=f"{services[0].service} is not healthy" if services else "",
        seconds={"read": 0.4, "start": spent * 0.4, "checks": spent * 0.5, "teardown": spent * 0.1, "total": spent},
    )


def _check(dice: random.Random, name: str, title: str, worth: float, *, chance: float) -> CheckResult:
    if dice.random() < chance:
        return CheckResult(name=name, title=title, verdict=Verdict.PASSED, points=worth, seconds=_quick(dice))
    verdict = dice.choices((Verdict.FAILED, Verdict.BLOCKED, Verdict.NOT_RUN), weights=(90, 9, 1))[0]
    service = dice.choice(_SERVICES)
    said = {
        Verdict.FAILED: f"The health check of {service} passed although every process of {service} was frozen",
        Verdict.BLOCKED: f"{service} has no health check",
        Verdict.NOT_RUN: "The image is not to be had on this machine",
    }[verdict]
    if verdict is not Verdict.FAILED:
        return CheckResult(name=name, title=title, verdict=verdict, points=worth, seconds=0, message=said)
    return CheckResult(
        name=name,
        title=title,
        verdict=verdict,
        points=worth,
        seconds=_quick(dice),
        message=said,
        expected="a probe that fails, or waits for an answer until its timeout",
        actual=f"exit code 0 after {dice.uniform(0.1, 3):.1f} s",
        at=f"compose.yml:{dice.randrange(8, 90)}",
        hint="Ask the service itself something that only a working one answers.",
        section="A probe that notices",
        reproduce=f"docker compose exec {service} sh -c 'kill -STOP 1'\ndocker compose ps {service}",
    )


def _quick(dice: random.Random) -> float:
    """How long a check takes: what needs no engine, no time that can be measured."""
    return max(0.0, dice.uniform(-2, 4))
