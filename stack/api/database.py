"""PostgreSQL: writes rows of the prediction log, and says whether the database can be reached."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

import psycopg2
from prediction_log import Row
from psycopg2.extensions import connection

# A row that is sent twice, because the connection broke before PostgreSQL could say that it was written, counts once.
# All rows are one parameter: otherwise each value of each row would be written as SQL by itself.
INSERT = """
    INSERT INTO predictions
        (id, requested_at, input_hash, digit, probabilities, model_version, cached, latency_ms, served_by)
    SELECT id, requested_at, input_hash, digit, probabilities, model_version, cached, latency_ms, served_by
    FROM json_populate_recordset(NULL::predictions, %s) ON CONFLICT (id) DO NOTHING
"""


def connector(url: str, password: str | None) -> Callable[[], connection]:
    """A function that opens a connection. Without a password given, the one in the URL is used."""
    given = {"password": password} if password else {}

    def connect() -> connection:
        # Keepalives: a server that vanished without a word is noticed in seconds, not in hours.
        return psycopg2.connect(
            url, connect_timeout=2, keepalives_idle=2, keepalives_interval=1, keepalives_count=3, **given
        )

    return connect


class Writer:
    """Writes batches of rows over one connection, opened anew after an error. For one thread."""

    def __init__(self, connect: Callable[[], connection]) -> None:
        self._connect = connect
        self._connection: connection | None = None

    def __call__(self, rows: Sequence[Row]) -> None:
        """Raises psycopg2.Error; the rows may then be written or not, and can be given again."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection, self._connection.cursor() as cursor:
                cursor.execute(INSERT, [json.dumps([vars(row) for row in rows], default=datetime.isoformat)])
        except Exception:
            if self._connection is not None:
                with contextlib.suppress(psycopg2.Error):
                    self._connection.close()
            self._connection = None
            raise


class Pulse:
    """Can the table be read, now? psycopg2 blocks while it waits, so a thread asks, never more than one at a time."""

    def __init__(self, connect: Callable[[], connection], timeout_s: float = 1.0) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._connection: connection | None = None
        self._asking: asyncio.Future[bool] | None = None

    async def ok(self) -> bool:
        if self._asking is None or self._asking.done():
            self._asking = self._ask_in_thread()
        try:
            return await asyncio.wait_for(asyncio.shield(self._asking), self._timeout_s)
        except TimeoutError:
            return False

    def _ask_in_thread(self) -> asyncio.Future[bool]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()

        def work() -> None:
            reached = self._ask()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(answer.set_result, reached)

        threading.Thread(target=work, name="postgres-pulse", daemon=True).start()
        return answer

    def _ask(self) -> bool:
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM predictions LIMIT 1")
            return True
        except psycopg2.Error:
            if self._connection is not None:
                with contextlib.suppress(psycopg2.Error):
                    self._connection.close()
            self._connection = None
            return False
