"""What GitHub Classroom's reporter makes of a result (classroom-resources/autograding-grading-reporter)."""

from __future__ import annotations

import base64
import json
from typing import Any

MAX_ARG_STRLEN = 131_072  # bytes of NAME=value, with the NUL at its end
_TYPES = {
    "name": str, "status": str, "score": (int, float), "message": str, "test_code": str, "filename": str,
    "line_no": int, "duration": (int, float),
}  # fmt: skip


def read(text: str) -> dict[str, Any]:
    """The result, if every field is there and of its type, and it fits into the environment."""
    assert text.count("\n") == 1, "the output of a step is one line"
    assert len(f"GRADER_RESULTS={text}") <= MAX_ARG_STRLEN
    result: dict[str, Any] = json.loads(base64.b64decode(text.strip(), validate=True).decode("utf-8"))
    assert set(result) == {"version", "status", "max_score", "tests"}
    assert result["status"] in ("pass", "fail", "error")
    assert result["tests"], "it divides by their number"
    for test in result["tests"]:
        assert set(test) == set(_TYPES)
        for name, kind in _TYPES.items():
            assert isinstance(test[name], kind), name
        assert test["status"] in ("pass", "fail", "error")
    return result


def reported(result: dict[str, Any]) -> tuple[float, float] | None:
    """Points and maximum as Classroom gets them (src/notify-classroom.js); None if it gets none."""
    if not result["max_score"]:
        return None
    return sum(test["score"] for test in result["tests"]), result["max_score"]


def shown_by_sum(result: dict[str, Any]) -> float:
    """Points in the table of the log (src/helpers/test-helpers.js)."""
    return float(sum(test["score"] for test in result["tests"]))


def shown_by_count(result: dict[str, Any]) -> float:
    """Points in the table of the log, in the build that releases carried for long (dist/main.js)."""
    passed = sum(test["status"] == "pass" for test in result["tests"])
    return float(passed / len(result["tests"]) * result["max_score"])


def log(result: dict[str, Any]) -> list[str]:
    """The lines that the reporter writes about the tests (src/console-results.js), without their colours."""
    lines = []
    for test in result["tests"]:
        where = f" - line {test['line_no']}" if test["line_no"] != 0 else ""
        if test["status"] == "error":
            lines.append(f"Error: {test['message']}")
        else:
            lines.append(f"{'✅' if test['status'] == 'pass' else '❌'} {test['name']}{where}")
        if test["test_code"]:
            lines.append(f"Test code:\n{test['test_code']}")
    return "\n".join(lines).split("\n")


def is_command(line: str) -> bool:
    """Whether the runner takes a line of a log for a command (actions/runner, ActionCommand.cs)."""
    return line.lstrip().startswith("::") or "##[" in line
