"""What every form of the report says in the same words."""

from __future__ import annotations

from grader.results import CheckResult, PostMortem, Report, Verdict

MARKS = {
    Verdict.PASSED: "✓",
    Verdict.FAILED: "✗",
    Verdict.BLOCKED: "‖",
    Verdict.NOT_RUN: "-",
    Verdict.ERROR: "!",
}


def points(number: float) -> str:
    """Without a decimal point where there are only zeros behind it."""
    return f"{number:g}"


def sentence(text: str) -> str:
    """A message as it is said in a list: with an end."""
    return text if not text or text.endswith((".", "!", "?")) else text + "."


def advice(check: CheckResult) -> list[tuple[str, str]]:
    """All that a check says to whoever has to mend something: label and text, in the order of use; no empty ones."""
    rows = [
        ("", sentence(check.message)),
        ("expected", check.expected),
        ("seen", check.actual),
        ("where", check.at),
        ("hint", check.hint),
        ("lesson", check.section),
        ("try", check.reproduce),
    ]
    return [(label, text) for label, text in rows if text]


def condition(service: PostMortem) -> str:
    """How a service that is not well was found."""
    facts = [service.state]
    if service.exit_code is not None:
        facts.append(f"exit code {service.exit_code}")
    if service.out_of_memory:
        facts.append("it ran out of memory")
    if service.health:
        facts.append(f"health: {service.health}")
    return ", ".join(facts)


def counts(report: Report) -> list[str]:
    """How many checks ended how: "9 passed", "2 failed"."""
    return [f"{report.count(verdict)} {verdict.value}" for verdict in Verdict if report.count(verdict)]


def times(report: Report) -> str:
    """How long it took, and what of it each stage did."""
    seconds = report.seconds
    parts = [f"{name} {seconds[name]:.1f} s" for name in ("read", "start", "checks", "teardown") if seconds.get(name)]
    return f"{seconds.get('total', 0):.1f} s in all ({', '.join(parts)})"
