"""JUnit XML as its readers want it: jenkinsci/xunit-plugin's junit-10.xsd, and what GitLab does with names.

``file`` and ``line`` of a test case are not in Jenkins's schema; GitLab and others read them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

_COUNT = r"\d+"
_SECONDS = r"\d+\.\d+"  # a part of SUREFIRE_TIME
_ATTRIBUTES = {
    "testsuites": ({}, {}),
    "testsuite": (
        {"name": "(?s:.)*", "tests": _COUNT, "failures": _COUNT, "errors": _COUNT},
        {"skipped": _COUNT, "time": _SECONDS, "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"},
    ),
    "properties": ({}, {}),
    "property": ({"name": ".+", "value": "(?s:.)*"}, {}),
    "testcase": (
        {"name": "(?s:.)+", "classname": "(?s:.)+"},
        {"time": _SECONDS, "file": "(?s:.)+", "line": r"[1-9]\d*"},
    ),
    "failure": ({}, {"type": ".+", "message": "(?s:.)*"}),
    "error": ({}, {"type": ".+", "message": "(?s:.)*"}),
    "skipped": ({}, {"type": ".+", "message": "(?s:.)*"}),
    "system-out": ({}, {}),
}  # fmt: skip
_CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase", "system-out"},
    "properties": {"property"},
    "testcase": {"failure", "error", "skipped"},
}


@dataclass(frozen=True)
class Case:
    """One test case; ``kind`` is empty if it has passed."""

    classname: str
    name: str
    kind: str = ""
    type: str = ""
    message: str = ""
    body: str = ""
    file: str = ""
    line: str = ""


@dataclass(frozen=True)
class Suite:
    """One test suite."""

    name: str
    cases: list[Case]
    properties: dict[str, str] = field(default_factory=dict)
    output: str = ""


def read(text: str) -> list[Suite]:
    """The suites, if every reader would take them all."""
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    _check(root)
    suites = [_suite(element) for element in root]
    keys = [(case.classname, case.name) for suite in suites for case in suite.cases]
    assert len(set(keys)) == len(keys), "GitLab keeps one of those that have the same name"
    return suites


def _check(element: ElementTree.Element) -> None:
    needed, allowed = _ATTRIBUTES[element.tag]
    assert set(needed) <= set(element.attrib) <= set(needed) | set(allowed), (element.tag, element.attrib)
    for name, value in element.attrib.items():
        assert re.fullmatch((needed | allowed)[name], value), (element.tag, name, value)
    for child in element:
        assert child.tag in _CHILDREN.get(element.tag, set()), (element.tag, child.tag)
        _check(child)


def _suite(element: ElementTree.Element) -> Suite:
    cases = [_case(case) for case in element.findall("testcase")]
    kinds = [case.kind for case in cases]
    assert element.attrib["tests"] == str(len(cases))
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert element.attrib[attribute] == str(kinds.count(kind))
    properties = {each.attrib["name"]: each.attrib["value"] for each in element.iter("property")}
    return Suite(element.attrib["name"], cases, properties, element.findtext("system-out", ""))


def _case(element: ElementTree.Element) -> Case:
    assert len(element) <= 1
    what = {name: element.attrib.get(name, "") for name in ("classname", "name", "file", "line")}
    for child in element:
        return Case(
            **what, kind=child.tag, type=child.attrib["type"], message=child.attrib["message"], body=child.text or ""
        )
    return Case(**what)
