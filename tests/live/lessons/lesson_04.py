"""What lesson 04 says about its outputs."""

from __future__ import annotations

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    # With the defaults the first probe comes after 30 s; with start_interval after a second.
    shown.has("what-it-is-up", r"^no-probe +Up [^()]*$", r"^defaults .*\(health: starting\)")
    picture = "what-it-is-up"
    assert shown.span(picture, "Three redis servers", "defaults", "starting")[1] >= 29
    assert shown.span(picture, "Three redis servers", "start-interval", "starting")[1] < 20

    shown.has("inside-up", r"^curl .*\(unhealthy\)", r"^python .*\(healthy\)", r'"curl": executable file not found')
    shown.has(
        "notices-freeze",
        r"^probe-true .*\(healthy\)",
        r"^probe-port .*\(healthy\)",
        r"^probe-request .*\(unhealthy\)",
    )
    shown.has("redis-up", r"^fooled .*\(healthy\)", r"^notices .*\(unhealthy\)")
    shown.has("redis-up", r"(?s)redis-cli ping\nNOAUTH[^\[]*redis-cli -e ping\nNOAUTH.*\[exit status 1\]\n\Z")
    shown.has(
        "postgres-up",
        r"(?s)Healthy\n.*accepting connections\n\$.*127\.0\.0\.1:5432 - no response\n\[exit status 2\]\n.*touch",
        r"(?s)touch.*127\.0\.0\.1:5432 - accepting connections\n.*nowhere.*accepting connections\n\Z",
    )

    shown.has("depends-on-up", "ConnectionRefusedError")
    picture, run = "depends-on-up", "A list, and conditions"
    healthy = shown.span(picture, run, "database", "healthy")[0]
    assert shown.span(picture, run, "with-list", "running")[0] < healthy
    started = shown.span(picture, run, "with-conditions", "running")[0]
    assert started >= healthy
    assert started >= shown.span(picture, run, "weights", "running")[1]

    shown.has("depends-on-fails-up", "didn't complete successfully: exit 1")
    shown.has("depends-on-fails-up", r"^with-conditions +Created", r"^weights +Exited \(1\)")
    shown.has("depends-on-fails-up", r"(?s)--wait weights\n.*exited \(0\)\n\[exit status 1\]\n\$[^\[]*\Z")
    # The app, which nobody named, was restarted as well.
    shown.has("depends-on-fails-up", r"^docker compose restart database: with-conditions is running")

    shown.has("api-up", r"(?s)GET /health 200 .*degraded.*POST /predict 200.*GET /health 503.*POST /predict 503")
    shown.has("api-down", r"(?s)api is unhealthy.*restarted 0 times.*api is healthy")

    shown.has("restart-up", "killed-1: restarted 0 times", "no-policy-1: restarted 0 times")
    shown.has("restart-up", "on-failure-2-1: restarted 2 times", "unless-stopped-1: restarted [1-9]")
    shown.has("exercise-grade", r"of \d+ points")
