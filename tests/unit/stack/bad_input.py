"""Bodies that are not 64 numbers from 0 to 16; the api and the model server refuse every one of them with 422."""

from __future__ import annotations

import json


def _with(value: object) -> bytes:
    """63 good pixels and this one."""
    return json.dumps({"pixels": [0] * 63 + [value]}).encode()


BAD_BODIES: dict[str, bytes] = {
    "63 numbers": json.dumps({"pixels": [1] * 63}).encode(),
    "65 numbers": json.dumps({"pixels": [1] * 65}).encode(),
    "no numbers": b'{"pixels": []}',
    "below 0": _with(-0.001),
    "above 16": _with(16.001),
    "NaN": _with(float("nan")),
    "Infinity": _with(float("inf")),
    "beyond every float": b'{"pixels": [' + b"0," * 63 + b"1e999]}",
    "a number of 5000 digits": b'{"pixels": [' + b"0," * 63 + b"9" * 5000 + b"]}",
    "a string": _with("3"),
    "true": _with(True),
    "null": _with(None),
    "a list": _with([1]),
    "rows of 8": json.dumps({"pixels": [[0] * 8] * 8}).encode(),
    "pixels is a string": b'{"pixels": "0000"}',
    "pixels is an object": b'{"pixels": {"0": 1}}',
    "no pixels": b"{}",
    "another key too": json.dumps({"pixels": [0] * 64, "digit": 7}).encode(),
    "a bare list": json.dumps([0] * 64).encode(),
    "nothing": b"",
    "no JSON": b"pixels=1,2,3",
    "half a body": b'{"pixels": [1, 2',
    "no text": b"\xff\xfe\x00",
    "nested too deep": b"[" * 100_000,
}
