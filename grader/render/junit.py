"""Reports as JUnit XML, which CI servers read.

There is no standard, so this keeps to what readers have in common (jenkinsci/xunit-plugin, junit-10.xsd), with one
addition: ``file`` and ``line`` of a test case, which GitLab and others show and Jenkins passes over.
    - GitLab knows a test case by ``classname`` and ``name`` and keeps one of those that have both the same
      (gitlab-org/gitlab, no. 237920): they differ here, in the whole document.
    - XML 1.0 has no way to write most control characters, not even as a reference: they are replaced.

passed          nothing
failed          <failure type="failed">
blocked         <failure type="blocked">: it counts in the maximum and brings no points
error           <error>: the grader's own fault
not run         <skipped>: it does not count
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from grader.render import plain
from grader.render.words import points
from grader.results import CheckResult, Report, Verdict

_ELEMENTS = {
    Verdict.FAILED: "failure",
    Verdict.BLOCKED: "failure",
    Verdict.ERROR: "error",
    Verdict.NOT_RUN: "skipped",
}
# All but XML 1.0's Char (www.w3.org/TR/xml, production 2), and those of them that the standard advises against.
_NOT_XML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


@dataclass(frozen=True)
class Suite:
    """What one ``testsuite`` is made of.

    Attributes:
        classname: of its test cases; another one for each suite of a document.
        properties: name -> value of whatever else is known.
    """

    name: str
    classname: str
    report: Report
    properties: tuple[tuple[str, str], ...] = ()


def render(report: Report) -> str:
    """One report as a document of one suite."""
    return document([Suite(f"{report.exercise}: {report.title}", report.exercise, report)])


def document(suites: Iterable[Suite]) -> str:
    """Several reports as one document."""
    root = Element("testsuites")
    for suite in suites:
        root.append(_suite(suite))
    indent(root)
    # As characters, which whoever writes them to a disk encodes as is said here.
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(suite: Suite) -> Element:
    report = suite.report
    element = Element(
        "testsuite",
        {
            "name": _safe(suite.name),
            "tests": str(len(report.checks)),
            "failures": str(report.count(Verdict.FAILED) + report.count(Verdict.BLOCKED)),
            "errors": str(report.count(Verdict.ERROR)),
            "skipped": str(report.count(Verdict.NOT_RUN)),
            "time": f"{report.seconds.get('total', 0.0):.3f}",
        },
    )
    if began := _TIME.match(report.started_at):
        element.set("timestamp", began[0])
    facts = [("points", points(report.points)), ("maximum", points(report.maximum)), *suite.properties]
    properties = SubElement(element, "properties")
    for name, value in facts:
        SubElement(properties, "property", {"name": _safe(name), "value": _safe(value)})
    for name, check in zip(_names(report.checks), report.checks, strict=True):
        element.append(_case(suite.classname, name, check))
    if said := plain.of_report(report):
        SubElement(element, "system-out").text = _safe(said)
    return element


def _names(checks: list[CheckResult]) -> list[str]:
    """A name for each check: its title, with its name where two have the same title, and a number if need be."""
    titles = Counter(_safe(check.title) for check in checks)
    taken: set[str] = set()
    names = []
    for check in checks:
        name = _safe(check.title)
        if titles[name] > 1 or not name:
            name = f"{name} ({_safe(check.name)})"
        number, unique = 1, name
        while unique in taken:
            number += 1
            unique = f"{name} {number}"
        taken.add(unique)
        names.append(unique)
    return names


def _case(classname: str, name: str, check: CheckResult) -> Element:
    case = Element("testcase", {"classname": _safe(classname), "name": name, "time": f"{check.seconds:.3f}"})
    file, line = plain.place_of(check)
    if file:
        case.set("file", _safe(file))
    if line:
        case.set("line", str(line))
    if kind := _ELEMENTS.get(check.verdict):
        body = SubElement(case, kind, {"type": check.verdict.value, "message": _safe(check.message)})
        body.text = _safe(plain.of_check(check))
    return case


def _safe(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
