"""The report as Gradescope's ``results.json``.

The format is that of Gradescope's autograder specification (gradescope/autograder_samples, docs/specs.md):
    - A ``score`` on top overrides the sum of the tests' scores. It is always given here, so the two cannot disagree.
    - ``status`` is "passed" or "failed"; Gradescope has no word for the other verdicts, so the output says them.
    - ``output`` on top is HTML unless ``output_format`` says otherwise. All is "text" here: it quotes submissions.
    - A test that is "hidden" is never shown to students. While one is, they are not shown their total either.

passed          its points
failed          none
blocked         none, "failed": something else has to be mended first
error           none, "failed": the output says that it is the grader's fault
not run         no score, no maximum, no status: it counts neither for nor against
"""

from __future__ import annotations

import json

from grader.render import plain
from grader.render.words import counts, points
from grader.results import CheckResult, Report, Verdict


def render(
    report: Report, *, hidden: frozenset[str] = frozenset(), score: float | None = None, remark: str = ""
) -> str:
    """The content of ``results.json``.

    Args:
        hidden: names of the checks that students must not see.
        score: points that the student gets; None for what the checks bring.
        remark: why the score is another than what the checks bring.
    """
    summary = f"{points(report.points)} of {points(report.maximum)} points ({', '.join(counts(report))})"
    if not report.maximum:
        summary = "Nothing of this could be graded here."
    document = {
        "score": round(report.points if score is None else score, 6),
        "execution_time": round(report.seconds.get("total", 0.0), 3),
        "output": "\n\n".join(part for part in (summary, remark, plain.of_report(report)) if part),
        "output_format": "text",
        "visibility": "visible",
        # What the grader prints while it works is for instructors.
        "stdout_visibility": "hidden",
        "tests": [
            _test(str(number), check, "hidden" if check.name in hidden else "visible")
            for number, check in enumerate(report.checks, start=1)
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _test(number: str, check: CheckResult, visibility: str) -> dict[str, object]:
    counted: dict[str, object] = {}
    if check.verdict is not Verdict.NOT_RUN:
        counted = {
            "score": check.earned,
            "max_score": check.points,
            "status": "passed" if check.verdict is Verdict.PASSED else "failed",
        }
    said = plain.of_check(check)
    if check.verdict not in (Verdict.PASSED, Verdict.FAILED):
        said = f"{check.verdict.value}: {said}" if said else check.verdict.value
    return counted | {
        "name": check.title,
        "name_format": "text",
        "number": number,
        "output": said,
        "output_format": "text",
        "visibility": visibility,
    }
