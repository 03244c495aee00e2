"""The prediction log: bounded, in order, each row once, nothing lost on an orderly stop."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import LOG_DROPPED, LOG_WRITTEN
from prediction_log import PredictionLog, Row


def row(number: int = 0) -> Row:
    return Row(str(uuid.uuid4()), datetime.now(UTC), "hash", number % 10, [1.0], "v1", False, 1.5, "replica")


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


class Table:
    """PostgreSQL's part: a row with a known id is ignored, and it can be down, or break after it has written."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.batches: list[int] = []
        self.down = False
        self.breaks_after_writing = 0
        self.tries = 0

    def write(self, rows: Sequence[Row]) -> None:
        self.tries += 1
        if self.down:
            raise ConnectionError("down")
        self.batches.append(len(rows))
        for new in rows:
            self.rows.setdefault(new.id, new)
        if self.breaks_after_writing:
            self.breaks_after_writing -= 1
            raise ConnectionError("the connection broke before the commit was confirmed")


def log_to(table: Table, capacity: int = 100, batch_rows: int = 10) -> PredictionLog:
    log = PredictionLog(table.write, capacity, batch_rows, flush_after_s=0.01, retry_after_s=0.01)
    log.start()
    return log


def test_rows_are_written_in_order_and_in_batches() -> None:
    table = Table()
    log = log_to(table)
    rows = [row(number) for number in range(45)]
    for one in rows:
        log.append(one)
    log.close(10)
    assert list(table.rows.values()) == rows
    assert max(table.batches) <= 10
    assert len(table.batches) < 45


def test_a_single_row_does_not_wait_for_company() -> None:
    table = Table()
    log = log_to(table)
    log.append(row())
    eventually(lambda: len(table.rows) == 1)
    log.close(10)


def test_a_request_never_waits_for_the_table() -> None:
    going_on = threading.Event()
    written: list[Row] = []

    def stuck(rows: Sequence[Row]) -> None:
        assert going_on.wait(10)
        written.extend(rows)

    log = PredictionLog(stuck, capacity=1000, flush_after_s=0)
    log.start()
    for number in range(500):
        log.append(row(number))  # would hang here
    going_on.set()
    log.close(10)
    assert len(written) == 500


def test_rows_wait_while_the_table_is_down_and_are_written_once() -> None:
    table = Table()
    table.down = True
    log = log_to(table)
    rows = [row(number) for number in range(30)]
    for one in rows:
        log.append(one)
    eventually(lambda: table.tries >= 3)
    assert not table.rows
    table.down = False
    eventually(lambda: len(table.rows) == 30)
    assert list(table.rows.values()) == rows
    log.close(10)


def test_beyond_the_bound_new_rows_are_dropped_and_counted() -> None:
    table = Table()
    table.down = True
    dropped = LOG_DROPPED._value.get()
    log = log_to(table, capacity=20)
    rows = [row(number) for number in range(50)]
    for one in rows:
        log.append(one)
    assert LOG_DROPPED._value.get() - dropped == 30
    table.down = False
    log.close(10)
    assert list(table.rows.values()) == rows[:20], "those that waited longest stay"


def test_a_batch_that_was_written_without_the_api_knowing_counts_once() -> None:
    table = Table()
    table.breaks_after_writing = 1
    written = LOG_WRITTEN._value.get()
    log = log_to(table)
    rows = [row(number) for number in range(7)]
    for one in rows:
        log.append(one)
    log.close(10)
    assert list(table.rows.values()) == rows
    assert LOG_WRITTEN._value.get() - written == 7


def test_an_orderly_stop_waits_for_the_table_to_come_back() -> None:
    table = Table()
    table.down = True
    log = log_to(table)
    for number in range(25):
        log.append(row(number))
    closing = threading.Thread(target=log.close, args=(10,))
    closing.start()
    tries = table.tries
    eventually(lambda: table.tries > tries + 2)
    table.down = False
    closing.join(10)
    assert len(table.rows) == 25


def test_an_orderly_stop_ends_even_if_the_table_never_answers() -> None:
    forever = threading.Event()
    log = PredictionLog(lambda rows: assert_never_set(forever), capacity=10, flush_after_s=0)
    log.start()
    log.append(row())
    started = time.monotonic()
    log.close(0.2)
    assert time.monotonic() - started < 5
    forever.set()


def assert_never_set(event: threading.Event) -> None:
    event.wait(30)


@given(st.lists(st.sampled_from(["append", "down", "up", "break"]), max_size=60))
@settings(max_examples=30, deadline=None)
def test_whatever_happens_each_row_is_in_the_table_once(events: list[str]) -> None:
    table = Table()
    log = log_to(table, batch_rows=3)
    appended: list[Row] = []
    for number, event in enumerate(events):
        if event == "append":
            appended.append(row(number))
            log.append(appended[-1])
        elif event == "break":
            table.breaks_after_writing = 1
        else:
            table.down = event == "down"
    table.down = False
    log.close(10)
    assert list(table.rows.values()) == appended
