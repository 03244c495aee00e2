"""Writes rows of the prediction log into PostgreSQL.

    save([{"id": ..., "requested_at": ..., "pixels": [...], "digit": 3, "model_version": ..., "cached": False,
           "latency_ms": 4.2}])

It waits for PostgreSQL, and raises psycopg2.Error when PostgreSQL cannot take the rows; nothing is written then.
Any thread may call it. A row whose id is already in the table is left out, so the same rows can be given again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence

import psycopg2
from psycopg2.extras import execute_values, register_uuid

register_uuid()

INSERT = """
    INSERT INTO predictions (id, requested_at, pixels, digit, model_version, cached, latency_ms)
    VALUES %s ON CONFLICT (id) DO NOTHING
"""
VALUES = "(%(id)s, %(requested_at)s, %(pixels)s, %(digit)s, %(model_version)s, %(cached)s, %(latency_ms)s)"


def save(rows: Sequence[Mapping[str, object]]) -> None:
    """All of the rows are written, or none."""
    # A new connection each time: one that broke while PostgreSQL was away is never used again.
    connection = psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=2)
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        execute_values(cursor, INSERT, rows, template=VALUES)
