"""Exercise 06: where data lies, what it survives, and how rows come back from a backup.

Experiments are fixtures; the checks only judge what an experiment has seen. They happen to the one stack in a fixed
order: what a fresh stack does, then the life of its data (restart, new container, down and up), then the backup.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest

from grader.budget import stretched
from grader.compose import Finished
from grader.errors import InternalError
from grader.plugin import Blocked, Failure, check, running
from grader.probes import Answer, get, send, wait_until
from grader.stack import Stack
from grader.text import last_lines

PORT = 8000
SETTINGS = Path("config", "settings.json")
INSIDE = "/config/settings.json"
MEBI = 2**20
SCRATCH = 16 * MEBI
TOOLS = ("backup", "restore")

# Over TCP: the server that only prepares the database listens on its Unix socket alone.
IS_READY = ["pg_isready", "-h", "127.0.0.1"]
FILL = "dd if=/dev/zero of=/scratch/fill bs=1M count=17 2> /dev/null; wc -c < /scratch/fill; rm -f /scratch/fill"
# Their bytes differ between two gradings, so that nothing from an earlier one can be taken for them.
TOKEN = secrets.token_hex(4)


# --- experiments on the fresh stack -------------------------------------------------------------


@pytest.fixture(scope="module")
def started_by_itself(stack: Stack) -> list[str]:
    """The tools of which `up` has made a container."""
    return [name for name in TOOLS if stack.containers(name)]


@dataclass(frozen=True)
class Settings:
    """What the app tells of its settings.

    Attributes:
        first: before the file was changed on this machine; None if nothing answered.
        changed: whether the app told of the change.
    """

    first: Answer | None
    changed: bool


@pytest.fixture(scope="module")
def settings(stack: Stack, files: Path) -> Settings:
    """The settings file is changed on this machine, and put back."""
    url = stack.url("app", PORT, "/settings")
    if url is None:
        raise Blocked(f"port {PORT} of app is not reached")
    wait_until(lambda: get(url) is not None, stack.budget, stretched(5))
    first = get(url)
    path = files / SETTINGS
    before = path.read_bytes()
    after = before.replace(b"picture box", b"picture box " + TOKEN.encode())
    path.write_bytes(after)  # in place: a file that is mounted by itself stays the same file
    try:

        def is_told() -> bool:
            answer = get(url)
            return answer is not None and answer.body == after

        return Settings(first, wait_until(is_told, stack.budget, stretched(3)))
    finally:
        path.write_bytes(before)


@dataclass(frozen=True)
class Upload:
    """What came of an upload.

    Attributes:
        answer: of the app; None if there was none.
        owner: the number of the user to whom the file belongs; empty if there is no file.
    """

    answer: Answer | None
    owner: str


@pytest.fixture(scope="module")
def upload(stack: Stack, settings: Settings) -> Upload:
    """A picture is uploaded; the app listens by now."""
    url = stack.url("app", PORT, f"/uploads/{TOKEN}")
    assert url is not None
    answer = send("PUT", url, json={"pixels": TOKEN}, timeout=stretched(5))
    found = stack.execute("app", ["stat", "-c", "%u", f"/uploads/{TOKEN}"], user="0")
    return Upload(answer, found.output if found.status == 0 else "")


# --- the life of the data -----------------------------------------------------------------------


@dataclass
class Life:
    """What was there of what had been written, and when.

    Attributes:
        scratch_is_tmpfs: what the container's own list of mounts says.
        scratch_size: how many bytes /scratch took of 17 MiB.
        scratch_after_restart, cache_in_new_container, cache_after_down, uploads_after_down: whether the mark was there.
    """

    scratch_is_tmpfs: bool = False
    scratch_size: int = 0
    scratch_after_restart: bool = False
    cache_in_new_container: bool = False
    cache_after_down: bool = False
    uploads_after_down: bool = False


@pytest.fixture(scope="module")
def life(stack: Stack, upload: Upload, started_by_itself: list[str], kept_rows: KeptRows) -> Life:
    """Files are marked; then the app is restarted and gets a new container, and the stack goes down and up."""
    seen = Life()
    mark = f'for d in /uploads /cache /scratch; do mkdir -p "$d" && echo {TOKEN} > "$d/mark"; done'
    stack.execute("app", ["sh", "-c", mark], user="0")
    mounts = stack.execute("app", ["cat", "/proc/mounts"]).output
    seen.scratch_is_tmpfs = any(line.split()[1:3] == ["/scratch", "tmpfs"] for line in mounts.splitlines())
    if seen.scratch_is_tmpfs:
        filled = stack.execute("app", ["sh", "-c", FILL], timeout=20, user="0").output
        seen.scratch_size = int(filled) if filled.isdigit() else 0

    stack.compose("restart", "--timeout", "5", "app")
    seen.scratch_after_restart = _is_marked(stack, "/scratch")
    stack.compose("up", "--detach", "--no-build", "--no-deps", "--force-recreate", "--timeout", "5", "app")
    seen.cache_in_new_container = _is_marked(stack, "/cache")
    kept_rows.write()
    stack.take_down()
    stack.compose("up", "--detach", "--no-build", "app", "postgres")  # not the tools, whatever the file says of them
    seen.cache_after_down = _is_marked(stack, "/cache")
    seen.uploads_after_down = _is_marked(stack, "/uploads")
    return seen


def _is_marked(stack: Stack, folder: str) -> bool:
    return stack.execute("app", ["grep", "-qs", TOKEN, f"{folder}/mark"], user="0").status == 0


class KeptRows:
    """Two rows of the grader's own, and how many of them there are after `down` and `up`.

    postgres may be broken where the app is not, so its part never raises: the checks that need it say so.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.written = False

    def write(self) -> None:
        """Write them, if postgres takes them."""
        if "postgres" in self._stack.running and _database_answers(self._stack):
            self._stack.sql(f"INSERT INTO pictures (name, digit) VALUES ('{TOKEN}-7', 7), ('{TOKEN}-8', 8)")
            self.written = True

    def count(self) -> int:
        """How many there are now."""
        if not self.written:
            raise Blocked("postgres took no rows")
        if not _database_answers(self._stack):
            raise Blocked("postgres does not come back after down and up")
        return int(self._stack.sql(f"SELECT count(*) FROM pictures WHERE name LIKE '{TOKEN}-%'")[0][0])


@pytest.fixture(scope="module")
def kept_rows(stack: Stack) -> KeptRows:
    """The rows that go through the life of the data."""
    return KeptRows(stack)


@pytest.fixture(scope="module")
def rows_after_down(life: Life, kept_rows: KeptRows) -> int:
    """How many of the two rows there were after `down` and `up`."""
    return kept_rows.count()


def _database_answers(stack: Stack) -> bool:
    return wait_until(lambda: stack.execute("postgres", IS_READY).status == 0, stack.budget, stretched(30), 0.1)


# --- backup and restore -------------------------------------------------------------------------


@dataclass
class Backup:
    """A backup, and what became of the rows.

    Attributes:
        saved: every row, as it was when the backup was made.
        made, restored, again: how the tools ended.
        after_down_v: every row, after `down -v`, `up` and a restore.
        after_changes: every row, after they were changed and restored once more.
    """

    saved: list[list[str]]
    made: Finished
    restored: Finished | None = None
    after_down_v: list[list[str]] | None = None
    again: Finished | None = None
    after_changes: list[list[str]] | None = None


@pytest.fixture(scope="module")
def backup(stack: Stack, rows_after_down: int) -> Backup:
    """Rows are backed up, deleted together with the volumes, restored, changed, and restored again."""
    stack.sql(f"INSERT INTO pictures (name, digit) VALUES ('{TOKEN}-saved', 5), ('{TOKEN}-two\nlines, \"too\"', 6)")
    seen = Backup(_rows(stack), _run(stack, "backup"))
    if seen.made.status == 0:
        # With every profile: otherwise `down -v` leaves alone what only services with a profile mount.
        gone = stack.compose("--profile", "*", "down", "--timeout", "5", "--volumes")
        if gone.status != 0:
            raise InternalError(f"docker compose down -v failed: {gone.stderr}")
        stack.compose("up", "--detach", "--no-build", "postgres")
        if not _database_answers(stack):
            raise Blocked("postgres does not come back after down -v and up")
        # Rows in a folder of this machine survive even that, and a restore would have nothing to do.
        stack.sql(f"DELETE FROM pictures WHERE name LIKE '{TOKEN}-%'")
        seen.restored = _run(stack, "restore")
        seen.after_down_v = _rows(stack)
    if seen.after_down_v == seen.saved:
        stack.sql(
            f"UPDATE pictures SET digit = 0 WHERE name = '{TOKEN}-saved'; DELETE FROM pictures WHERE digit = 6; "
            "INSERT INTO pictures (name, digit) VALUES ('later', 4)"
        )
        seen.again = _run(stack, "restore")
        seen.after_changes = _rows(stack)
    return seen


def _run(stack: Stack, tool: str) -> Finished:
    return stack.compose("run", "--rm", "-T", tool, timeout=30)


def _rows(stack: Stack) -> list[list[str]]:
    """Every row of the table; none if the table is gone."""
    try:
        return stack.sql("SELECT * FROM pictures ORDER BY name")
    except Blocked:
        return []


def _said(done: Finished | None) -> str:
    """What a tool said last."""
    if done is None:
        return ""
    if done.status is None:
        return f"{done.command} did not end"
    lines = last_lines(done.stderr or done.stdout, count=1, width=200)
    return f"exit code {done.status}" + (f": {lines[-1]}" if lines else "")


# --- settings and uploads -----------------------------------------------------------------------


@check(
    points=1,
    needs=running("app"),
    section="Bind mounts: files from your folder",
    hint="The app reads /config/settings.json at each request; what was copied into the image stays as it was.",
)
def test_settings_reach_the_app(stack: Stack, settings: Settings, files: Path) -> None:
    """A changed settings file reaches the app"""
    where = stack.model.at("services", "app", "volumes")
    if settings.first is None or settings.first.body != (files / SETTINGS).read_bytes():
        shown = settings.first
        raise Failure(
            "GET /settings does not show config/settings.json",
            expected="the file",
            actual=f"status {shown.status}: {shown.body[:80].decode('utf-8', 'replace')}" if shown else "no answer",
            at=where,
            reproduce=f"curl -i http://localhost:{PORT}/settings",
        )
    if not settings.changed:
        raise Failure(
            "config/settings.json was changed, and the app still shows the old settings",
            expected="the new settings",
            actual="the old ones",
            at=where,
            reproduce=f"Change config/settings.json, then: curl http://localhost:{PORT}/settings",
        )


@check(
    points=2,
    needs=running("app"),
    section="Bind mounts: files from your folder",
    hint="One short word after the path makes a mount read-only.",
)
def test_settings_refuse_writes(stack: Stack, settings: Settings) -> None:
    """Not even root can change the settings"""
    if not settings.changed:
        raise Blocked("the app does not use config/settings.json of this folder")
    # Opens the file to add nothing to it.
    if stack.execute("app", ["sh", "-c", f": >> {INSIDE}"], user="0").status == 0:
        raise Failure(
            f"root in the container could open {INSIDE} for writing",
            expected="Read-only file system",
            actual="no error",
            at=stack.model.at("services", "app", "volumes"),
            reproduce=f"docker compose exec -u root app sh -c ': >> {INSIDE}'; echo $?",
        )


@check(
    points=3,
    needs=running("app"),
    section="Who may write to a volume",
    hint="A new named volume takes over the owner of the image's folder. An old one keeps its owner: `down -v` first.",
)
def test_app_stores_uploads(stack: Stack, upload: Upload) -> None:
    """The app, not root, stores uploads"""
    reproduce = f"curl -i -T app/server.py http://localhost:{PORT}/uploads/one"
    if upload.answer is None or upload.answer.status != 201:
        said = upload.answer.body.decode("utf-8", "replace").strip() if upload.answer else "no answer"
        raise Failure(
            f"An upload failed: {said}",
            expected="status 201",
            actual=f"status {upload.answer.status}" if upload.answer else "no answer",
            at=stack.model.at("services", "app", "volumes"),
            reproduce=reproduce,
        )
    if upload.owner == "0":
        raise Failure(
            "The upload was written by root",
            expected="a file of the user that the app runs as",
            actual="a file of user 0",
            at=stack.model.at("services", "app", "user"),
            reproduce=f"{reproduce}; docker compose exec app ls -ln /uploads",
        )


# --- scratch and cache --------------------------------------------------------------------------


@check(
    points=2,
    needs=running("app"),
    section="tmpfs: in memory",
    hint="`tmpfs:` is a key of the service; under `volumes:` it takes the long syntax.",
)
def test_scratch_is_in_memory(stack: Stack, life: Life) -> None:
    """/scratch is in memory, and empty after a restart"""
    if life.scratch_is_tmpfs and not life.scratch_after_restart:
        return
    raise Failure(
        "/scratch is no tmpfs" + (", and a file in it was still there after a restart" * life.scratch_after_restart),
        expected="a tmpfs, empty after `docker compose restart`",
        at=stack.model.at("services", "app", "tmpfs"),
        reproduce="docker compose exec app grep /scratch /proc/mounts",
    )


@check(
    points=1,
    needs=running("app"),
    section="tmpfs: in memory",
    hint="The size is an option of the tmpfs: `size=` in the short syntax, a number of bytes or `16m` in the long one.",
)
def test_scratch_is_limited(stack: Stack, life: Life) -> None:
    """/scratch takes 16 MiB and no more"""
    if not life.scratch_is_tmpfs:
        raise Blocked("/scratch is no tmpfs")
    if not SCRATCH - MEBI < life.scratch_size <= SCRATCH:
        raise Failure(
            "Of a file of 17 MiB, /scratch took " + ("all" if life.scratch_size > SCRATCH else "too little"),
            expected="16 MiB",
            actual=f"{life.scratch_size / MEBI:.1f} MiB",
            at=stack.model.at("services", "app", "tmpfs"),
            reproduce="docker compose exec app df -h /scratch",
        )


@check(
    points=1,
    needs=running("app"),
    section="Anonymous volumes",
    hint="Under `volumes:`, a path of the container alone is an anonymous volume.",
)
def test_cache_survives_a_new_container(stack: Stack, life: Life) -> None:
    """/cache survives a new container"""
    if not life.cache_in_new_container:
        raise Failure(
            "A file in /cache was gone when app got a new container",
            expected="the new container has the old one's /cache",
            at=stack.model.at("services", "app", "volumes"),
            reproduce="docker compose exec app touch /cache/a; docker compose up -d --force-recreate app; "
            "docker compose exec app ls /cache",
        )


@check(
    points=1,
    needs=running("app"),
    section="Anonymous volumes",
    hint="A volume with a name is found again after `down`; one without is not.",
)
def test_cache_is_new_after_down(stack: Stack, life: Life) -> None:
    """/cache is empty after down and up"""
    if not life.cache_in_new_container:
        raise Blocked("/cache does not even survive a new container")
    if life.cache_after_down:
        raise Failure(
            "A file in /cache was still there after `docker compose down` and `up`",
            expected="an empty /cache",
            at=stack.model.at("services", "app", "volumes"),
            reproduce="docker compose exec app touch /cache/a; docker compose down; docker compose up -d; "
            "docker compose exec app ls /cache",
        )


# --- what survives ------------------------------------------------------------------------------


@check(
    points=2,
    needs=running("postgres"),
    section="What survives what",
    hint="The rows lie in /var/lib/postgresql/data: that very folder has to be a volume with a name.",
)
def test_rows_survive_down(stack: Stack, rows_after_down: int) -> None:
    """Rows survive down and up"""
    if rows_after_down != 2:
        raise Failure(
            "Rows were gone after `docker compose down` and `up`",
            expected="2 rows",
            actual=f"{rows_after_down} rows",
            at=stack.model.at("services", "postgres", "volumes"),
            reproduce="docker compose exec postgres psql -U postgres -d pictures -c 'DELETE FROM pictures'; "
            "docker compose down; docker compose up -d --wait postgres; "
            "docker compose exec postgres psql -U postgres -d pictures -c 'TABLE pictures'      # the old rows again?",
        )


@check(
    points=2,
    needs=running("app"),
    section="What survives what",
    hint="A name in front of the path, declared under the file's own `volumes:`.",
)
def test_uploads_survive_down(stack: Stack, life: Life) -> None:
    """Uploads survive down and up"""
    if not life.uploads_after_down:
        raise Failure(
            "A file in /uploads was gone after `docker compose down` and `up`",
            expected="the file",
            at=stack.model.at("services", "app", "volumes"),
            reproduce="docker compose exec -u root app touch /uploads/a; docker compose down; docker compose up -d; "
            "docker compose exec app ls /uploads",
        )


# --- backup and restore -------------------------------------------------------------------------


@check(
    points=1,
    section="Backup and restore",
    hint="A service with `profiles:` waits until somebody asks for it.",
)
def test_tools_wait_until_asked(stack: Stack, started_by_itself: list[str]) -> None:
    """Backup and restore run only when asked"""
    if started_by_itself:
        name = started_by_itself[0]
        raise Failure(
            f"`docker compose up` has started {' and '.join(started_by_itself)}",
            expected="only app and postgres are started",
            at=stack.model.at("services", name),
            reproduce="docker compose up -d; docker compose ps -a",
        )


@check(
    points=3,
    needs=running("postgres"),
    section="Backup and restore",
    hint="The backup has to lie outside of the volumes, and a restore has to cope with the table and rows of init.sql.",
)
def test_restore_brings_rows_back(stack: Stack, backup: Backup) -> None:
    """Backup, down -v, restore: every row is back"""
    reproduce = "docker compose run --rm backup; docker compose --profile '*' down -v; docker compose up -d; "
    reproduce += "docker compose run --rm restore"
    if backup.made.status != 0:
        raise Failure(
            f"The backup failed, {_said(backup.made)}",
            expected="exit code 0",
            actual=_said(backup.made),
            at=stack.model.at("services", "backup"),
            reproduce="docker compose run --rm backup; echo $?",
        )
    if backup.after_down_v != backup.saved:
        rows = backup.after_down_v or []
        right = sum(row in backup.saved for row in rows)
        raise Failure(
            f"After `down -v` and a restore, {right} of the {len(backup.saved)} rows were as they had been saved",
            expected=f"{len(backup.saved)} rows, and no other",
            actual=f"{len(rows)} rows, {right} of them as saved; restore ended with {_said(backup.restored)}",
            at=stack.model.at("services", "restore"),
            reproduce=reproduce,
        )


@check(
    points=2,
    needs=running("postgres"),
    section="Backup and restore",
    hint="What the restore finds has to go first: `pg_dump` has options that write that into the backup.",
)
def test_restore_undoes_changes(stack: Stack, backup: Backup) -> None:
    """Restore undoes what was changed since the backup"""
    if backup.after_down_v != backup.saved:
        raise Blocked("a restore does not bring every row back")
    if backup.after_changes != backup.saved:
        raise Failure(
            "Rows were changed, added and deleted; after another restore the table was not as it had been saved",
            expected="the rows of the backup, and no other",
            actual=f"{sum(row in backup.saved for row in backup.after_changes or [])} of {len(backup.saved)} rows as "
            f"saved, {sum(row not in backup.saved for row in backup.after_changes or [])} others; "
            f"restore ended with {_said(backup.again)}",
            at=stack.model.at("services", "restore"),
            reproduce="docker compose exec postgres psql -U postgres -d pictures -c 'UPDATE pictures SET digit = 0'; "
            "docker compose run --rm restore; docker compose exec postgres psql -U postgres -d pictures "
            "-c 'TABLE pictures'",
        )
