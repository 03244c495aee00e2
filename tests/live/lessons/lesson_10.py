"""What lesson 10 says about its outputs."""

from __future__ import annotations

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    # The limits as the container's cgroup has them, of version 1 or 2, and as the engine was told.
    shown.has("limits-read", r"^134217728$", r"^25000\s+100000$", r"^30$")
    shown.has("limits-read", r"free-1 0 0 \S*", r"limited-1 134217728 250000000 30$")
    shown.has("limits-read", r"short-1 134217728 250000000 30$", r"^\d+ CPUs$")
    # How much slower, and how often it waited, depends on what else the machine is doing.
    shown.has("limits-cpu", r"^nr_throttled \d+", r"^free: [\d.]+ million", r"^limited: [\d.]+ million")
    shown.has("limits-pids", r"sleep 600", r"Cannot fork", r"/ 128MiB")
    assert shown.number("limits-pids", r"short-1 .* (\d+)$") <= 30

    shown.has("reservations-up", r"reserved: memory 67108864, CPUs 0$", r"memory reservation limit")
    shown.has("reservations-up", r"(?s)memory reservation limit.*\[exit status \d+\]\n.*^reserved Up")

    shown.has("oom-up", r"^limit: 64 MiB", r"^hog: .* MiB after")
    shown.has("oom-read", r"^true 137$", r"^restarts: 1$", r"^behind-a-shell +Up", r"^neighbour +Up")
    shown.has("oom-read", r"^hog +Exited \(137\)", r"^tries-twice +Exited \(137\)", r"behind-a-shell-1 +\| Killed")
    shown.lacks("oom-read", r"^(hog|tries-twice)-1 +\|")

    shown.has("gpu-ask-create", r'"Driver":"nvidia","Count":1,"DeviceIDs":null,"Capabilities":\[\["gpu"\]\]')
    # `gpus:` is handed on, or read and dropped, or not known at all, as Compose's version has it.
    shown.has("gpu-ask-create", r'(?s)gpus\.yml create.*(^null$|^\[\]$|"Count":-1)|gpus.* not allowed')
    shown.has("gpu-wrong-files", r'key "resources" already defined', r"attributes are exclusive")
    shown.has("gpu-wrong-files", r"capabilities is required|missing propert.*capabilities")

    shown.has("gpu-file-up", r'^model-server: uses .*"device": "cpu"', r"driver: nvidia", r'memory: "268435456"')
    # Without a GPU the engine says why; with one, or with devices of its own kind, it starts.
    shown.has(
        "gpu-file-up",
        r"(?s)compose\.gpu\.yml up -d\n[^$]*((could not select device driver|CDI).*model-server: Created\n|Started)",
    )
    shown.has("gpu-file-up", r"(?s)\$ docker compose up -d\n[^$]*Started\n\Z")

    shown.has("server-up", r"^one-by-one: 300 passes", r"loaded on cpu", r"GPU_ENABLED is true, but PyTorch sees no")
    assert shown.number("server-up", r"^in-batches: ([\d.]+) passes") < 300
    shown.has("exercise-grade", r"of \d+ points")
