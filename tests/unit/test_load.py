"""The load generator, against a small server in this process."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator

import pytest

from grader.load import Load


class Server(http.server.ThreadingHTTPServer):
    """Answers every POST with its own body; ``/reset`` closes the connection, ``/hang`` says nothing."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen = 0
        self.over = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # the tests cut connections off on purpose


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.seen += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/reset":
            self.connection.close()
            return
        if self.path == "/hang":
            self.server.over.wait(30)
            return
        self.send_response(503 if self.path == "/ill" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def url(server: Server, path: str = "/") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_burst_sends_so_many_and_keeps_every_answer(server: Server) -> None:
    load = Load(url(server), json=lambda number: {"served_by": "ab"[number % 2]})
    assert len(load.burst(20)) == 20
    assert load.failures == []
    assert load.counts("served_by") == {"a": 10, "b": 10}
    assert all(sent.began <= sent.ended for sent in load.results)


def test_a_block_sends_until_it_ends(server: Server) -> None:
    with Load(url(server), json=lambda number: number) as load:
        while len(load.results) < 10:
            time.sleep(0.01)
    seen = server.seen
    assert len(load.results) == seen
    assert load.failures == []


def test_ends_by_itself(server: Server) -> None:
    with Load(url(server), json=lambda number: number, at_most=3) as load:
        while len(load.results) < 3:
            time.sleep(0.01)
        time.sleep(0.1)
    assert server.seen == len(load.results) == 3
    assert len(Load(url(server), json=lambda number: number, seconds=0.1, pause=0.01).burst(100_000)) < 100_000


@pytest.mark.parametrize(("path", "status"), [("/reset", None), ("/ill", 503)])
def test_a_failure_is_counted_once_and_not_tried_again(server: Server, path: str, status: int | None) -> None:
    load = Load(url(server, path), json=lambda number: number)
    load.burst(8)
    assert [sent.status for sent in load.failures] == [status] * 8
    assert server.seen == 8
    assert load.counts("served_by") == {}


def test_nobody_listens(server: Server) -> None:
    [sent] = Load("http://127.0.0.1:1/", json=lambda number: number).burst(1)
    assert sent.status is None
    assert "refused" in str(sent)


def test_waits_no_longer_than_its_timeout(server: Server) -> None:
    began = time.monotonic()
    load = Load(url(server, "/hang"), json=lambda number: number, timeout=0.2)
    load.burst(4)
    assert len(load.failures) == 4
    assert time.monotonic() - began < 10


def test_counts_from_a_moment_on(server: Server) -> None:
    load = Load(url(server), json=lambda number: {"n": number})
    load.burst(4)
    assert sum(load.counts("n", after=load.results[-1].ended).values()) == 0


def test_an_answer_is_json_or_nothing(server: Server) -> None:
    assert [sent.json for sent in Load(url(server), json=lambda number: [number]).burst(1)] == [[1]]
