"""What lesson 13 says about its outputs."""

from __future__ import annotations

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    for service, code in {"module": 1, "program": 127, "no-program": 126, "killed": 137, "no-work": 0}.items():
        shown.has("start-up", rf"-{service}-1 has exit code {code}$")
    shown.has("start-up", r'"pyhton": executable file not found', r"permission denied", r"No module named '?htp")
    shown.has("start-up", r"^module +Exited \(1\)", r"^program +Created", r"^no-program +Created")
    shown.has("start-up", r"(?s)No such image.*\[exit status 125\]")

    shown.has("restart-up", r"(?s)restart module\n.*module is exited.*No module named '?htp.*module is running")
    shown.lacks("restart-up", r"(?s)module is running.*No module")

    unknown = r"\n\[exit status 2\]\n"
    shown.has("names-up", r'"ping": executable file not found', r"hosts cache\n[\d.]+ +cache")
    shown.has("names-up", rf"hosts redis{unknown}", rf"hosts model-server{unknown}", "ConnectionRefusedError")
    shown.has("names-up", r"\S+_back$", r"\S+_front$")
    shown.has("names-up", r"(?s)inspect \S+_front.*-cache-1.*inspect \S+_back [^\n]*\n\S+-model-server-1\n*\Z")

    shown.has("ports-up", r"(already allocated|already in use)", r"^admin +Created", r"^site +Up")
    shown.has("ports-up", r"site-1 has 127\.0\.0\.1:\d+->8000", r"port admin 8000\n127\.0\.0\.1:\d+")
    taken = shown.number("ports-up", r"port site 8000\n127\.0\.0\.1:(\d+)")
    assert taken != shown.number("ports-up", r"port admin 8000\n127\.0\.0\.1:(\d+)")

    shown.has("volumes-up", r"Permission denied", r"uid=1000", r"^drwx\S* .* root root ", r"_model-data lies in /")
    shown.has("volumes-up", r"invalid user", r"Operation not permitted")
    shown.has("volumes-up", r"exec -u root api chown [^\n]*\n\$ [^\n]*touch[^\n]*\n\$")  # neither says a word
    shown.has("volumes-up", r" 1000 +1000 .* model\.pt")

    shown.has("probe-up", *[f"^{service} is unhealthy" for service in ("first", "second", "third")])
    shown.has("probe-up", r"PONG.*: executable file not found", r"Connection refused", r"exceeded timeout", r"^PONG$")

    shown.has("waits-up", r"dependency failed to start.*model-server.*unhealthy", r"^page +Created", r"^api +Created")
    shown.has("waits-up", r"^model-server .*\(unhealthy\)", r"^HTTP Error 404", r"GET /alive HTTP/1\.1\" 404")
    shown.has("waits-up", r"(?s)up -d --wait\n.*^model-server .*\(healthy\)", r"(?s)--wait\n.*^page +Up")
    shown.has("waits-up", "page waits until api is healthy", "api waits until model-server is healthy")

    mends = r"\[exit status \d+\]\n\$ sed"
    shown.has("file-mend", rf"(?s)line \d+.*?{mends}.*already defined.*?{mends}.*prots.*?{mends}")
    shown.has("file-mend", r"variable is not set", r'"LOG_LEVEL": "debug"', r"DRY-RUN", r"ps -a\nNAME [^\n]*\n\Z")

    shown.has("running-ask", r"python -u -m http\.server", r"while True: pass", r"-busy-1 +[\d.]+%", r"^status 200")
    shown.has("running-pause", r"^web +Up .*\(Paused\)", r"(?s)no answer: ReadTimeout.*unpause.*status 200")
    shown.has("running-pause", r'"action":"pause"', r'"action":"unpause"')
    shown.has("exercise-grade", r"of \d+ points")
