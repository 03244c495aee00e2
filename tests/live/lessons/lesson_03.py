"""What lesson 03 says about its outputs."""

from __future__ import annotations

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    # .env fills in ${NAME} and reaches no container by itself; YAML reads numbers where there are no quotes.
    shown.has("outside-up", "^DEBUG=false$", "^MODEL_NAME=resnet50$", "^API_KEY=secret123$", "^none of them$")
    shown.has("outside-up", r"^VERSION=3\.10$", r"^VERSION=3\.1$", "^PIN=34$")
    shown.lacks("outside-up", "^DB_PASSWORD", "^DEBUG=true")

    bare, empty, debug = shown.text("defaults-config").split("$ ")[1:]
    values = Shown({"unset": bare, "empty": empty, "debug": debug})
    values.has("unset", 'BARE: ""', " DASH: info", "COLON_DASH: info", "LOG_LEVEL.*not set")
    values.has("empty", 'BARE: ""', ' DASH: ""', "COLON_DASH: info")
    values.lacks("empty", "not set")
    values.has("debug", "BARE: debug", " DASH: debug", "COLON_DASH: debug")

    quiet, blank, run, config = shown.text("required-run").split("$ docker", 1)[1].split("\n$ ")
    answers = Shown({"quiet": quiet, "blank": blank, "run": run, "config": config})
    for stopped in ("quiet", "blank"):
        answers.has(stopped, r"MODEL_NAME.*say which model to serve", r"\[exit status \d+\]")
    answers.has("run", "^PRICE_1=5 ?$", r"^PRICE_2=5 \$credits$", "container serves resnet50", "credits.*not set")
    answers.has("config", r"PRICE_2: .*5 \$\$credits")

    shown.has("example-run", r"^LOG_LEVEL .*info", "^MODEL_NAME", "^credits", "MODEL_NAME: resnet50", "log: info")
    shown.has("example-run", r"(?s)/dev/null.*say which model to serve.*\[exit status \d+\]")

    first, local, missing = shown.text("env-file-run").split("run --rm app\n")[1:]
    files = Shown({"first": first, "local": local, "missing": missing})
    files.has("first", "^BATCH_SIZE=32$", "^WORKERS=4$", "^MODEL_NAME=from-common$", "^LOG_LEVEL=info$")
    files.has("local", "^BATCH_SIZE=1$")
    files.has("missing", r"site\.env not found", r"\[exit status \d+\]")

    winners = [
        ("from-common", "from-dotenv"),
        ("from-common", "from-shell"),
        ("from-common", "from-dotenv"),
        ("from-run", "from-run"),
        ("from-common", "info"),
    ]
    shown.has("wins-run", "(?s)" + ".*".join(f"^LOG_LEVEL={level}\nMODEL_NAME={model}$" for model, level in winners))

    shown.has("not-there-run", "API_KEY: secret123", r"\[.*API_KEY=secret123.*\]", "^API_KEY=secret123$")
    shown.has("not-there-run", "^a child process knows secret123$")

    shown.has("secret-up", "^connected, and the password is in no environment: True$")
    shown.has(
        "secret-up", r"grep -c paper-lantern\n0\n\[exit status 1\]", "^POSTGRES_PASSWORD_FILE=/run/secrets/db_password"
    )
    shown.has("secret-up", r"no password supplied\n\[exit status \d+\]")
    shown.lacks("secret-up", "POSTGRES_PASSWORD=")

    shown.has("more-run", r"^-rw-r--r-- .* from-file$", "from-shell$", r'^model = "resnet50"\nno key$')
    shown.has("more-run", "environment: API_KEY", 'content: .*model = "resnet50"')
    shown.has("more-run", r"API_KEY.*\n\[exit status \d+\]\n*\Z")
    shown.lacks("more-run", " 4242 ")
    shown.has("exercise-grade", r"of \d+ points")
