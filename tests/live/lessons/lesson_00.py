"""What lesson 00 says about its outputs."""

from __future__ import annotations

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    shown.has("jupyter-look", r"^hello\.txt$", r"^This file was written by a cell\.$")
    shown.has("jupyter-look", r"(?s)cat goodbye\.txt\n[^\n]*No such file[^\n]*\n\[exit status 1\]\n\Z")
    shown.has("jupyter-slow", r"(?s)^1\n2\n3\n4\n5\n\Z")

    shown.has("machine-versions", r"^client \d+\.\d+.*, engine \d+\.\d+", r"^Docker Compose version v?[2-9]")
    shown.has("machine-doctor", r"^ok +Engine", r"^ok +Compose")
    shown.lacks("machine-doctor", "exit status")

    # The picture says what the text says: services, networks and volumes, and who waits for whom.
    shown.has("what-stack", r"^service api", r"^api waits until model-server is healthy", r"^network ", r"^volume ")

    shown.has("first-up", r"^web +Up [^()]*$", r"^cache +Up .*\(healthy\)")
    shown.has("first-up", r"^web waits until cache is healthy", r"^volume answers is /data in cache")
    shown.has("first-ask", r"^status 200$")
    picture, run = "first-ask", "A first stack"
    assert shown.span(picture, run, "web", "running")[0] >= shown.span(picture, run, "cache", "healthy")[0]

    shown.has("fails-run", r"typo\.yml: services\.web .*imge.*not allowed\n\[exit status")
    shown.has("fails-run", r"no such service: cash\n\[exit status 1\]")
    shown.has("fails-run", r'"curl": executable file not found')
    shown.has("fails-run", r"(?s)No module named 'numpy'\n\[exit status 1\]\n\Z")

    shown.has("exercise-grade", r"of \d+ points", "passed", "failed", "Hint", "See it yourself")
    shown.lacks("exercise-grade", r'<p class="score">0 of')
