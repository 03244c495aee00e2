"""What lesson 12 says about its outputs."""

from __future__ import annotations

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    # All four run; root may change the image's programs, user 1000 may not.
    shown.has("rights-user", *[rf"^{service} +Up" for service in ("shipped", "user", "added", "hardened")])
    shown.has("rights-user", r"(?s)exec shipped touch \S+\n\$", r"(?s)exec user touch [^\n]*\n[^\n]*Permission denied")
    shown.has("rights-user", r"^uid=0\(root\)", "^uid=1000")
    shown.has("rights-user", r"^root ")  # in the list of processes, which the machine makes

    # In the order of the services: shipped, user, added, hardened.
    none, some = r"0{16}", r"(?!0{16})[0-9a-f]{16}"
    wanted = [(some, some), (none, some), (none, "0{13}400"), (none, none)]
    shown.has("rights-kernel", r"(?s)" + ".*".join(rf"CapEff:\s+{e}\n[^\n]*CapBnd:\s+{b}\n" for e, b in wanted))
    shown.has("rights-kernel", r"Operation not permitted", r"ip_unprivileged_port_start\n0$", r"^200$")
    shown.has(
        "rights-kernel",
        r"exec user set-uid-id\nuid=1000\S* .*euid=0\(root\)",
        r"exec hardened set-uid-id\nuid=1000((?!euid).)*$",
    )
    shown.has("rights-kernel", r"NoNewPrivs:\s+1")

    shown.has("files-up", r"^read-only +Exited", *[rf"^{name} +Up" for name in ("writable", "with-tmpfs", "mount-too")])
    shown.has("files-up", r"^read-only-1.*Read-only file system", r"^[AC] /run", r"^[AC] /var/cache/nginx")
    shown.has("files-up", r"(?s)with-tmpfs touch .*Read-only file system")
    shown.has("files-mounts", r"Welcome\nNot by you", r"(?s)And again.*Read-only file system")

    shown.has("password-up", r"^DB_PASSWORD=only-for-this-lesson", r"^DB_PASSWORD_FILE=/run/secrets/db_password\n")
    shown.has("password-up", r"^/run/secrets/db_password, rw: false", r"DB_PASSWORD_FILE'\nonly-for-this-lesson")
    shown.has("password-up", r"password authentication failed", r"-tc .SELECT 1.'\n +1\n", "^Swarm is ")

    picture = "logs-up"
    shown.has(picture, r"^line 5000 ", r"/\S+-json\.log")
    shown.lacks(picture, r"^line 1 ")
    assert shown.number(picture, r"^without-size: ([\d.]+) kB") > 300
    assert 5 < shown.number(picture, r"^with-size: ([\d.]+) kB") < 31
    shown.has(picture, r'"max-file":"3"', r'"max-size":"10k"')

    run = "Two that do not know when to stop"
    shown.has("limits-up", r"^forks-1.*(unavailable|can't start)")
    shown.has("limits-up", rf"^{run}: leak is running .* exit 137", rf"^{run}: forks is running .* exit 1$")
    assert shown.text("limits-up").count(f"{run}: leak is running") >= 2

    run = "Five ways to end"
    shown.has("crash-up", r"^handler-1 +\| All is written\.")
    for service, code in {"killed": 137, "deaf": 137, "with-init": 143, "handler": 0}.items():
        shown.has("crash-up", rf"^{service} +Exited \({code}\)", rf"^{run}: {service} is running .* exit {code}$")
    assert shown.text("crash-up").count(f"{run}: crashes is running") >= 2
    assert shown.text("crash-up").count(f"{run}: killed is running") == 1
    passed_on, deaf = (shown.span("crash-up", run, service, "running")[1] for service in ("with-init", "deaf"))
    assert deaf - passed_on > 1  # three seconds of grace, less what a busy machine needs to notice the other's end

    # With a registry there is a digest, without one an error, or nothing at all.
    shown.has("images-digests", r"^redis$", r"(?m)resolve-image-digests.*\n.*(redis:7-alpine|sha256|rror|\[exit)")
    shown.has("images-digests", r"^sha256:[0-9a-f]{64} \[")

    shown.has("checklist-up", r"^user 1000:1000, 5 s", r'"ReadonlyRootfs":true', r'"CapDrop":\["ALL"\]', '"Init":true')
    shown.has("checklist-up", r'"SecurityOpt":\["no-new-privileges:true"\]', r'"Memory":104857600', r'"PidsLimit":50')
    shown.has("checklist-up", r"unless-stopped", r'"max-size":"10m"', r"Uid:\s+1000", r"CapEff:\s+0{16}")
    shown.has("checklist-up", r"CapBnd:\s+0{16}", r"NoNewPrivs:\s+1", r"/refused.*Read-only file system")
    shown.lacks("checklist-up", r"/allowed'?: ")
    shown.has("exercise-grade", r"of \d+ points")
