"""What lesson 09 says about its outputs."""

from __future__ import annotations

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    merged = "base-config"
    shown.has(merged, r"^ +target: development$", r"^ +- --reload$", r"^ +context: .*/api$", r"LOG_LEVEL: debug")
    shown.has(merged, "REDIS_URL: redis://redis:6379", r"^ +target: 8000$", r"^ +target: 5678$")
    shown.has(merged, r"- type: bind\n +source: .*/cache\n +target: /app/cache$", r"^ +target: /app/src$")
    shown.lacks(merged, "type: volume", "LOG_LEVEL: info")

    # The overlay alone; the list that stays and the one that goes; the file that is read by itself.
    shown.has("traps-alone", r"\A\$ .*config --services\napi\n\$ .*up -d.*\n.*ockerfile")
    shown.has("traps-alone", r"^  api:\n +target: 8000\n  redis:\n\$")
    shown.has(
        "traps-alone", r"(?s)\$ docker compose config api .*LOG_LEVEL: debug\n.*\$ .*LOG_LEVEL: info\n +REDIS_URL"
    )
    shown.has("traps-more", r"^copy$", r"(?s)config --services\n[^$]*redis[^$]*conflicts.*\[exit status \d+\]\n\Z")

    shown.has("edit-up", *(rf"^{service} +.Tell me what you see" for service in ("copied", "mounted", "reloading")))
    shown.has("edit-ask", r"^copied +.Tell me", r"^mounted +.Tell me", r"^reloading +.I see a seven")
    shown.has("edit-ask", r'grep return main\.py\n +return "I see a seven\."')
    shown.has("debugger-up", r"Content-Length: \d+", '"type": "event"', r"^127\.0\.0\.1:\d+$")
    shown.has("debugger-up", r'(?s)grep -A 5 ports\n +ports:\n[^$]*target: 5678\n +published: "5678"')
    shown.lacks("debugger-up", "host_ip")

    shown.has("watch-up", r"(?s)^Which digit do you see\?\n.*^I see a seven\.\n\Z")
    shown.has("profiles-up", r'"set" "digit" "7"', r"(?s)\A(?:(?!up -d).)*^redis +Up(?:(?!up -d).)*^web +Up")
    shown.lacks("profiles-up", r"(?s)\A(?:(?!up -d).)*^monitor ")
    shown.has("profiles-up", r"(?s)\$ docker compose down(?:(?!profile).)*^monitor +(Exited|Up)")

    shown.has(
        "tests-up",
        r"(?s)--abort-on-container-exit [^\n]*\nexit status 0\n.*helper.* exited with code 0.*--exit-code-from",
        r"--exit-code-from .*\nexit status 1\n",
        r"^tests.* 1 failed, 1 passed",
        r"(?s)run --rm tests\n.*2 passed",
    )
    shown.lacks("tests-up", r"\[exit status")
    shown.has(
        "beside-up",
        r"exists digit\n0\n",
        r"(?s)name: (?!labels-test).*\$ .*compose\.test\.yml config.*^name: labels-test$",
    )
    shown.has("exercise-grade", r"of \d+ points")
