"""The report as GitHub Classroom's autograding reporter takes it: JSON in base64, in one line.

What follows was read in its source (classroom-resources/autograding-grading-reporter, src/ and the built dist/main.js):
    - It decodes the environment's ``<RUNNER>_RESULTS`` and reads ``status`` (pass, fail, error), ``max_score`` and
      ``tests``; of a test ``name``, ``status``, ``score``, ``line_no``, ``test_code``, and ``message`` if it is an
      error. It never reads ``version``, ``filename`` and ``duration``, which its sister graders write.
    - A ``line_no`` other than 0 is printed behind the name, also an undefined one.
    - What it reports to Classroom is the sum of ``score`` over ``max_score``. What it shows on screen is, in the build
      that its releases carried for long, passed tests / tests * ``max_score`` (reported as its no. 10: "Inconsistency
      between reported grades and workflow output"), and the sum in its later source.

The two agree whichever it is, because each test here is worth the same: a check of three points is three tests, "1 of
3" to "3 of 3". Where that would be too many (odd points in a rubric), a check is one test and only the sum is right.

``name`` and ``test_code`` end up in the log of a workflow, where a line that begins with ``::`` is a command to the
runner (actions/runner, ActionCommand.cs): a submission must not be able to report points of its own. A value of the
environment has at most 128 KiB on Linux, so long texts are cut.

passed          pass
failed, blocked fail
error           error, and so is the whole: the grader's own fault
not run         left out, as from the maximum; so is a check that is worth nothing
"""

from __future__ import annotations

import base64
import json
import math

from grader.render import plain
from grader.results import CheckResult, Report, Verdict

VERSION = 1
LARGEST = 120_000  # characters; Linux has 131072 bytes for NAME=value (MAX_ARG_STRLEN)
MOST_TESTS = 150
_NAME = 80  # bytes
_STATUSES = {Verdict.PASSED: "pass", Verdict.FAILED: "fail", Verdict.BLOCKED: "fail", Verdict.ERROR: "error"}


def render(report: Report) -> str:
    """One line of base64."""
    for limit in (4000, 1000, 200, 0):
        text = json.dumps(_document(report, limit), ensure_ascii=False, separators=(",", ":"))
        encoded = base64.b64encode(text.encode()).decode()
        if len(encoded) <= LARGEST:
            break
    return encoded + "\n"


def _document(report: Report, limit: int) -> dict[str, object]:
    """The whole, no text of it longer than ``limit`` bytes."""
    checks = [check for check in report.checks if check.verdict is not Verdict.NOT_RUN and check.points]
    if not checks:
        return _nothing(report, limit)
    parts = _parts(checks)
    tests = [test for check, part in zip(checks, parts, strict=True) for test in _tests(check, part, limit)]
    if said := _harmless(plain.of_report(report), limit):
        tests[0]["test_code"] = f"{said}\n{tests[0]['test_code']}".strip()
    status = "error" if report.count(Verdict.ERROR) else "pass" if report.full_marks else "fail"
    return {"version": VERSION, "status": status, "max_score": round(report.maximum, 6), "tests": tests}


def _nothing(report: Report, limit: int) -> dict[str, object]:
    """No points to be had: an error, with which the reporter reports no points, rather than a zero."""
    said = _harmless(f"Nothing of this could be graded here.\n{plain.of_report(report)}".strip(), limit)
    test = {
        "name": "Nothing of this could be graded here", "status": "error", "score": 0, "message": said,
        "test_code": "", "filename": "", "line_no": 0, "duration": 0,
    }  # fmt: skip
    return {"version": VERSION, "status": "error", "max_score": 0, "tests": [test]}


def _parts(checks: list[CheckResult]) -> list[int]:
    """Into how many tests of equal worth each check is divided."""
    hundredths = [round(check.points * 100) for check in checks]
    exact = all(abs(check.points * 100 - whole) < 1e-6 for check, whole in zip(checks, hundredths, strict=True))
    if not exact or not all(hundredths):
        return [1] * len(checks)
    unit = math.gcd(*hundredths)
    parts = [whole // unit for whole in hundredths]
    return parts if sum(parts) <= MOST_TESTS else [1] * len(checks)


def _tests(check: CheckResult, parts: int, limit: int) -> list[dict[str, object]]:
    file, line = plain.place_of(check)
    title = _harmless(" ".join(check.title.split()), _NAME)
    said = _harmless(plain.of_check(check), limit)
    return [
        {
            "name": title if parts == 1 else f"{title} ({part} of {parts})",
            "status": _STATUSES[check.verdict],
            "score": round(check.earned / parts, 6),
            # Of an error nothing else is shown.
            "message": f"{title}: {said}" if part == 1 else title,
            "test_code": said if part == 1 and check.verdict is not Verdict.ERROR else "",
            "filename": _cut(file, _NAME),
            "line_no": line,
            "duration": check.seconds if part == 1 else 0,
        }
        for part in range(1, parts + 1)
    ]


def _harmless(text: str, limit: int) -> str:
    """``text`` without a line that the runner takes for a command, and no longer than ``limit`` bytes."""
    lines = [f"| {line}" if line.lstrip().startswith("::") else line for line in text.split("\n")]
    return _cut("\n".join(lines).replace("##[", "# #["), limit)


def _cut(text: str, size: int) -> str:
    whole = text.encode()
    return text if len(whole) <= size else whole[:size].decode(errors="ignore")
