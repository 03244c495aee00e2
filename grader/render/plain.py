"""What a report says, as plain lines, for forms that have one field for all of it."""

from __future__ import annotations

from grader.render.words import advice, condition
from grader.results import CheckResult, PostMortem, Refusal, Report


def of_check(check: CheckResult) -> str:
    """All that helps with one check; empty if it has passed and says nothing."""
    return "\n".join(f"{label}: {text}" if label else text for label, text in advice(check))


def of_report(report: Report) -> str:
    """What concerns the submission as a whole: refusals, services that died, notes; empty if there is nothing."""
    parts = [_refusal(refusal) for refusal in report.refused]
    if report.start_problem:
        parts.append(f"The stack did not come up whole: {report.start_problem}")
    parts += [_service(service) for service in report.services]
    parts += report.notes
    if report.out_of_time:
        parts.append("The time budget ended before the last check.")
    return "\n".join(parts)


def place_of(check: CheckResult) -> tuple[str, int]:
    """The file and the line of ``check.at``; an empty name and 0 where it says none."""
    file, _, line = check.at.rpartition(":")
    # str.isdigit alone takes ² for a digit, which int does not.
    return (file, int(line)) if file and line.isascii() and line.isdigit() and len(line) < 10 else (check.at, 0)


def _refusal(refusal: Refusal) -> str:
    return f"{refusal.at}: {refusal.what} must not run here\nwhy: {refusal.why}\ninstead: {refusal.instead}"


def _service(service: PostMortem) -> str:
    lines = [f"{service.service}: {condition(service)}"]
    if service.probe_output:
        lines.append(f"health check said: {service.probe_output}")
    return "\n".join([*lines, *(f"| {line}" for line in service.log)])
