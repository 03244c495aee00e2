"""What lesson 06 says about its outputs."""

from __future__ import annotations

import re

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    places = ("own", "tmpfs", "anonymous", "named", "bind")
    for event, stays in {
        "at first": "",
        "restart": "own anonymous named bind",
        "stop, start": "own anonymous named bind",
        "new container": "anonymous named bind",
        "down, up": "named bind",
        "down -v, up": "bind",
    }.items():
        row = "".join(rf" *{'stays' if place in stays.split() else '-'}" for place in places)
        shown.has("survives-table", rf"^{re.escape(event)}{row} *$")
    shown.has("survives-table", r"(?s)docker volume rm .*\n[0-9a-f]{64}\n")
    shown.has("survives-inspect", r"(?i)no such volume|volume named not found", r'"Driver": "local"', r'"Mountpoint":')
    shown.has("survives-inspect", r"(?s)undefined volume.*\[exit status [1-9]\d*\]\n\Z")

    changes = r"(?s)threshold = 2\nthreshold = 2\n.*threshold = 3\nthreshold = 2\n.*Read-only file system"
    shown.has("bind-change", changes + r".*\[exit status [1-9].*cat /settings\.ini\nthreshold = 3\n\Z")
    shown.has("bind-missing-up", r"(?s)up long\n.*bind source path does not exist.*\[exit status [1-9].*up short")
    shown.has("bind-missing-up", r"can't open file '/app/serve\.py'", r"^d.* scr$", r"wc -l\n *0$")

    shown.has("owner-write", r"^d\S+ +\d+ appuser .*/prepared$", r"^d\S+ +\d+ root .*/data$")
    shown.has(
        "owner-write",
        r"touch /prepared/one\n\$",
        r"(?s)touch /data/one\n.*Permission denied\n\[exit status 1\]\n",
        r"(?s)Permission denied.*chown -R.*Operation not permitted\n\[exit status 1\]\n",
        r"touch /data/one\n\Z",
    )
    shown.has(
        "owner-mend", r"/prepared /data$", r"(?s)Permission denied\n\[exit status 1\]\n.*touch /data/one\n\$ docker"
    )
    shown.has("owner-mend", r"^d\S+ +\d+ appuser .*/data$")

    shown.has("tmpfs-fill", r"(?s)(tmpfs +16M .*){2}tmpfs +(?!16M )", r"No space left on device")
    megabytes = {name: shown.number("tmpfs-fill", rf"-{name}-1 +([\d.]+)[KM]iB") for name in ("short", "long")}
    shown.has("tmpfs-fill", r"-short-1 +[\d.]+MiB", r"ls -l /tmp\ntotal 0\n\Z")
    assert megabytes["short"] > 16

    shown.has("anonymous-run", r'by the image: \{"/data":', r"ls /app/logs\ntoday\n", r"(?s)-V app\n.*ls /app/logs\n\$")
    shown.has("anonymous-run", r"(?s)cat left\n([0-9a-f]{64}\n){2}")

    shown.has("backup-volume", r"^\./label$", r"cat /data/label\nit is a seven\n\Z")
    shown.has("backup-rows", r"^plain\.sql\nrows\.sql$", r"^10\|0\|9\n\Z")
    shown.has("backup-again", r"already exists", r"duplicate key", r"^exit status 0$", r"^\[exit status 3\]$")
    shown.has("backup-again", r"^0 1 2 3 4 5 6 7 8 9\n\Z")
    shown.has("exercise-grade", r"of \d+ points")
