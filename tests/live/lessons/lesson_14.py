"""What lesson 14 says about its outputs."""

from __future__ import annotations

import re

from tests.live.lessons.shown import Shown

SERVICES = ("api", "model-server", "redis", "postgres", "nginx", "prometheus")


def claims(shown: Shown) -> None:
    shown.has("request-file", "^x-service: &service", "no-new-privileges", "^  api:", "127.0.0.1:.*API_PORT")
    shown.lacks("request-file", "^  model-server:")
    shown.has("request-topology", r"^service grafana", r"^network backend \(internal\): .*postgres")
    run = "The complete stack"
    started = shown.span("request-up", run, "api", "starting")[0]
    for needed in ("redis", "postgres", "nginx", "model-server"):
        assert started >= shown.span("request-up", run, needed, "healthy")[0]
    assert started >= shown.span("request-up", run, "model-init", "running")[1]
    shown.lacks("request-up", "grafana is")
    shown.has("request-ask", r"cached: False", r"cached: True", r'^\{"status":"ok"')

    published = re.findall(r"^(\S+) .*127\.0\.0\.1:\d+->", shown.text("networks-look"), re.MULTILINE)
    assert set(published) == {"api", "prometheus"}
    shown.has("networks-look", r"Network is unreachable")
    shown.has("networks-look", r"^DATABASE_PASSWORD_FILE=/run/secrets/", r"POSTGRES_PASSWORD_FILE=/run/secrets/")
    shown.lacks("networks-look", r"PASSWORD=", r"postgresql://\w+:\w")

    for service in SERVICES:
        shown.has("rights-look", rf"^{service}: Uid: [1-9]\d* .*CapEff: 0+ NoNewPrivs: 1$")
    shown.has("rights-look", r"Read-only file system\n\[exit status 1\]", r"^here$")
    shown.has("rights-use", r"api-1 .* / 256MiB", r"uvicorn")

    # On a very busy machine the api gives up some of the 200 after five seconds.
    assert shown.number("load-burst", r"status: Counter\(.*\b200: (\d+)") >= 50
    assert len(re.findall(r"'[0-9a-f]{12}': \d+", shown.text("load-burst"))) == 2
    shown.has("load-crash", r"redis is healthy", r"postgres is healthy", r"answers, by status: \{200: [1-9]\d+")
    shown.has("load-crash", r"^model-server +Exited \(137\)", r"^model-server +Up", r"^redis +Up", r"^postgres +Up")
    shown.has("numbers-ask", r"^status=200: ", r"^result=unavailable: ", r"^result=miss: ")
    shown.has("replicas-scale", r"resolver 127\.0\.0\.11 valid=", r"proxy_next_upstream .*non_idempotent")
    assert len(re.findall(r"^[0-9a-f]{12}: \d+ requests$", shown.text("replicas-scale"), re.MULTILINE)) == 3
    shown.has("replicas-scale", r"at first, 3 +after")

    shown.has("survive-stop", r"^\{200\}$", r"^api +Exited \(0\)", r"^postgres +Exited \(0\)")
    shown.has("survive-down", r"_postgres-data$", r"^ +50$")
    shown.has("exercise-grade", r"of \d+ points")
