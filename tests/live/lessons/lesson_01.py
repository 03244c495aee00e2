"""What lesson 01 says about its outputs."""

from __future__ import annotations

import re

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    # The script works once; then its names are taken. All that it made is gone at the end.
    shown.has("by-hand-run", r"-hand-web +python:3\.11-slim +Up", r"-hand-db +postgres:15-alpine +Up")
    shown.has(
        "by-hand-run", r"network with name .*-hand already exists", r"(?s)is already in use by container.*exit status"
    )
    shown.has("by-hand-run", r"(?s)docker volume rm [^\n]*\n[^\n]*-hand-books\n\Z")

    shown.has("one-file-up", r"^db +postgres:15-alpine +Up", r"^web +python:3\.11-slim +Up")
    shown.has("one-file-up", r"(?s)up -d\n.*Started.*up -d\n[^$]*db-1 +Running[^$]*web-1 +(Running|Started)")
    shown.has("one-file-up", r"^web waits until db is started", r"^volume books is /var/lib/postgresql/data in db")

    # Who follows everything sees the database complain; who follows web sees only web.
    shown.has("watch-logs", r"^db-1 +\| .*ready to accept connections", r'web-1 +\| .*"GET /\?visitor=\d')
    of_web, of_all = shown.text("watch-logs").rsplit("(ran beside the above)")[1:]
    assert "visitor=" in of_web
    assert "db-1" not in of_web
    assert re.search(r"db-1 .*ERROR: .*books", of_all)
    assert re.search(r"web-1 .*visitor=", of_all)
    shown.has("watch-exec", r"^root\n/\n\[exit status 3\]", r"^ *Dune$", r"web-1 +Started", r"^web +Up")

    shown.has("wrong-config", r"condition: service_started", r"`version` is obsolete")
    shown.has("wrong-config", r"(?s)-f old\.yml config --quiet\n[^\n]*obsolete[^\n]*\n\$")
    shown.has("wrong-config", r"did not find expected '-' indicator\n\[exit status [1-9]")
    shown.has("wrong-config", r'line 10: mapping key "image" already defined at line 7\n\[exit status [1-9]')

    shown.has("ports-ask", r"^web-1 .*Serving HTTP on 0\.0\.0\.0 port 8000")
    shown.has("ports-ask", r"^only-itself-1 .*Serving HTTP on 127\.0\.0\.1 port 8000")
    shown.has("ports-ask", r"^web +127\.0\.0\.1:\d+->8000/tcp", r"^wrong-port +127\.0\.0\.1:\d+->80/tcp")
    shown.has("ports-ask", r"^cache +6379/tcp", r"^127\.0\.0\.1:\d+$")
    shown.has("ports-ask", r"(?s)^web answers: 200\nwrong-port gives no answer\nonly-itself gives no answer\n\Z")
    shown.has("names-ask", r"^\d+\.\d+\.\d+\.\d+$", r"^connected$", r"ConnectionRefusedError", r"(?s)^status 200\n\Z")

    shown.has("environment-up", r"^no-password-1 .*POSTGRES_PASSWORD", r"(?s)^postgres\nlibrary\n.*^archive\n")
    shown.has("environment-up", r"(?s)printenv POSTGRES_DB\narchive\n\$[^\n]*\npostgres\nlibrary\n\Z")
    shown.has("files-change", r"(?s)^The library opens on Monday\.\n.*^The library opens on Tuesday\.\n")
    shown.has("files-change", r"Read-only file system\n\[exit status")

    shown.has("survives-run", r"(?s)start db\n.*ls /tmp/note\n/tmp/note\n\$ docker compose down.*No such file")
    shown.has("survives-run", r"(?s)No such file.*public \| shelf.*_books\n\$ docker compose down -v\n")
    shown.has("survives-run", r"(?s)Volume \S+_books +Removed.*docker volume ls [^\n]*\n\Z")

    shown.has("order-up", r"^status 200$", r"^web-1 .*GET / ", r"^cache-1 ", r"_inside$")
    shown.has("order-up", r"^web +Exited", r"^cache +Exited")
    picture, run = "order-up", "docker compose up, then stop"
    web, cache = (shown.span(picture, run, service, "running") for service in ("web", "cache"))
    assert cache[0] <= web[0]
    assert cache[1] >= web[1]

    shown.has("exercise-grade", r"of \d+ points", "failed")
    shown.lacks("exercise-grade", r'<p class="score">0 of')
