"""What lesson 02 says about its outputs."""

from __future__ import annotations

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    shown.has("build-up", r"3/3\] COPY main\.py", r"naming to \S*-api", r"\| model 1 says")
    # up runs the old image; up --build the new one.
    shown.has(
        "build-again-up",
        r"(?s)compose up\n.*model 1 says.*up --build.*model 2 says.*--rmi local",
    )
    shown.lacks("build-again-up", r"(?s)\| model 2 says.*up --build")

    shown.has(
        "args-up", r"^in the build: +\[\] \[2024-01-15\] \[1\.4\.0\]", r"^in the container: \[\] \[\] \[1\.4\.0\]"
    )
    shown.has(
        "args-traps-run", "^API_KEY=secret123$", r'PYTHON_VERSION: "?3\.1"?$', "BUILD_DATE: .*2024-01-15.00:00:00"
    )
    shown.has("args-traps-run", r'mapping key "build" already defined')

    # A change of the source leaves the installed packages in the cache, if they come first; else it does not.
    first, last = shown.text("cache-edit").split("build packages-first")
    install = r"RUN pip install .*\n#\d+ CACHED"
    builds = Shown({"source-first": first, "packages-first": last})
    builds.has("source-first", r"COPY \. /srv", "RUN pip install")
    builds.lacks("source-first", r"^#(\d+) .*(COPY|RUN) .*\n#\1 CACHED")
    builds.has("packages-first", install, r"COPY requirements\.txt.*\n#\d+ CACHED", r"COPY \. /srv")
    builds.lacks("packages-first", r"COPY \. /srv\n#\d+ CACHED")

    shown.has("stages-run", "^1 passed", "^ready to count", "No module named pytest", "uid=1000", "Permission denied")
    shown.has("context-up", r"^data$", r"^main\.py$")
    shown.lacks("context-up", r"^\.env$")
    shown.has("context-layers", "^In a layer: API_KEY=secret123")
    shown.has("context-ignored", r"(?s)build --quiet.*main\.py")
    shown.lacks("context-ignored", r"(?s)build --quiet.*^(data|\.env)$")

    shown.has("size-up", r"^0B +RUN .*rm /model", r"^2\d(\.\d+)?MB +RUN .*chown", r"^2\d(\.\d+)?MB +RUN .*head")
    shown.has(
        "size-up", r"(?s)compose push\n.*refused.*\[exit status \d+\].*compose pull\n.*refused.*\[exit status \d+\]"
    )
    shown.lacks("size-up", r"(?s)ignore-buildable\n.*exit status")
    shown.has("exercise-grade", r"of \d+ points")
