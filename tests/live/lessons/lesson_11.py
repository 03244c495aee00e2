"""What lesson 11 says about its outputs."""

from __future__ import annotations

import re

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    # Five after --scale model-server=5; two, and with the next `up` the file's three again.
    _, five, three = re.split(r"compose ps .*\n", shown.text("replicas-up"))
    assert len(re.findall(r"model-server-\d Up", five)) == 5
    assert len(re.findall(r"model-server-\d Up", three)) == 3
    answers = re.findall(r"^\d[\d.]+ \d[\d.]+ \d[\d.]+$", shown.text("replicas-names"), re.MULTILINE)
    assert len(answers) == 2
    assert set(answers[0].split()) == set(answers[1].split())
    assert len(set(answers[0].split())) == 3
    assert shown.text("replicas-names").split()[-1] in answers[0].split()

    shown.has("forbids-up", r"port is already allocated|address already in use", r"container name must be unique")
    shown.has("forbids-up", r"model-server-\d Up", r"model-server-\d Created")

    shown.has("parts-wrong-up", r'"upstream" directive is not allowed here in /etc/nginx/nginx\.conf:1')
    before, after = shown.text("once-static").split("Scaled to five")
    assert "test is successful" in before
    assert all(share(before, replica) > 5 for replica in (1, 2, 3))
    assert sorted(share(after, replica) > 0 for replica in (1, 2, 3, 4, 5)) == [False, False, True, True, True]
    assert all(share(shown.text("once-dynamic"), replica) > 0 for replica in (1, 2, 3, 4, 5))

    for replicas in (1, 2, 3):
        assert shown.number("throughput-measure", rf"^{replicas} replicas: ([\d.]+) answers a second") > 0

    killed, scaled = shown.text("next-load").split("--scale model-server=1")
    assert re.search(r"^through default: .*'status 502': \d", killed, re.MULTILINE), killed
    for experiment in (killed, scaled):
        assert re.search(r"^through patient: .*\d}$", experiment, re.MULTILINE), experiment
        assert not re.search(r"^through patient: .*status", experiment, re.MULTILINE), experiment

    shown.has("orderly-stop", r"^model-server Exited \(0\)", r"^behind-a-shell Exited \(137\)")
    shown.has("exercise-grade", r"of \d+ points")


def share(picture: str, replica: int) -> float:
    """How many requests the replica had, as the picture says in words."""
    found = re.search(rf"^replica {replica}: ([\d.]+) requests", picture, re.MULTILINE)
    assert found, picture
    return float(found[1])
