"""Gradescope's results.json as its specification describes it (gradescope/autograder_samples, docs/specs.md).

Fields that the specification does not name are refused, though Gradescope may well pass over them.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema

_NUMBER = {"type": "number", "minimum": 0}
_TEXT = {"type": "string"}
_FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
_VISIBILITY = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "score": _NUMBER,
        "execution_time": _NUMBER,
        "output": _TEXT,
        "output_format": _FORMAT,
        "test_output_format": _FORMAT,
        "test_name_format": _FORMAT,
        "visibility": _VISIBILITY,
        "stdout_visibility": _VISIBILITY,
        "extra_data": {"type": "object"},
        "tests": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "score": _NUMBER,
                    "max_score": _NUMBER,
                    "status": {"enum": ["passed", "failed"]},
                    "name": _TEXT,
                    "name_format": _FORMAT,
                    "number": _TEXT,
                    "output": _TEXT,
                    "output_format": _FORMAT,
                    "tags": {"type": "array", "items": _TEXT},
                    "visibility": _VISIBILITY,
                    "extra_data": {"type": "object"},
                },
            },
        },
        "leaderboard": {"type": "array"},
    },
    # "optional, but required if not on each test case"
    "anyOf": [
        {"required": ["score"]},
        {"required": ["tests"], "properties": {"tests": {"items": {"required": ["score"]}}}},
    ],
}

_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def read(text: str) -> dict[str, Any]:
    """The document, if Gradescope would take it."""
    document: dict[str, Any] = json.loads(text, parse_constant=_refuse)
    _VALIDATOR.validate(document)
    return document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
