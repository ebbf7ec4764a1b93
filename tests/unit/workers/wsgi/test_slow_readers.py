"""A slow reader of a WSGI stream: its time is not the application's, and others do not wait for it for long."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gwctl.ipc.scoreboard import BUSY_SINCE, EXTENDED_REQUEST, EXTENDED_UNTIL
from gwctl.workers.exchange import client_wait
from gwctl.workers.exchange.client_wait import ClientWait
from gwctl.workers.exchange.states import BODY, BUSY
from gwctl.workers.http1 import file_sender
from gwctl.workers.http1.file_sender import FileTail
from gwctl.workers.wsgi import body_stream
from tests.support.compiled import pure_only
from tests.support.engine import Client, Engine
from tests.support.http2 import Http2Client
from tests.support.tls import Files, client_context
from tests.support.wait import until
from tests.unit.workers.balancing.test_handoff import give_one

BLOCK = bytes(range(256)) * 256
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
WSGI = ("sync", "threads")


class Streams:
    """/stream?N yields N blocks of 64 KiB (0: for ever), anything else answers at once."""

    def __init__(self) -> None:
        self.blocks = 0
        self.over = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] != "/stream":
            return [b"hello"]
        return self._blocks(int(environ["QUERY_STRING"]))

    def _blocks(self, count: int) -> Iterator[bytes]:
        try:
            while not count or self.blocks < count:
                self.blocks += 1
                yield BLOCK
        finally:
            self.over.set()


def ask(engine: Engine, path: str, files: Files | None = None) -> Client:
    """A client that asks and does not read; little fits into its kernel."""
    client = engine.connect(receive_buffer=4096)
    if files is not None:
        client.sock = client_context().wrap_socket(client.sock, server_hostname="shop.example")
    client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    return client


def waits(engine: Engine, streams: Streams) -> None:
    """Wait until the call waits for its client."""
    until(lambda: streams.blocks, "the stream to begin")
    seen = [0, time.monotonic()]

    def stands() -> bool:
        if streams.blocks != seen[0]:
            seen[:] = [streams.blocks, time.monotonic()]
        return time.monotonic() - seen[1] > 0.15

    until(stands, "the stream to stand")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("worker_class", WSGI)
def test_others_are_served_while_a_stream_is_read_slowly_and_it_is_whole(
    worker_class: str, tls: bool, shop: Files
) -> None:
    streams = Streams()
    secure: dict[str, Any] = {"tls": shop.server()} if tls else {}
    with Engine(streams, worker_class, threads=1, **secure) as engine:
        files = shop if tls else None
        slow = ask(engine, "/stream?600", files)
        waits(engine, streams)
        assert streams.blocks < 600
        other = ask(engine, "/", files)
        assert other.response().body == b"hello"
        assert streams.blocks == 600, "the rest was kept on disk"
        body = slow.response().body
        assert len(body) == 600 * len(BLOCK)
        assert hashlib.sha256(body).digest() == hashlib.sha256(BLOCK * 600).digest()
        slow.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.response().body == b"hello"
        until(
            lambda: (
                engine.server.runner.spool_budget.left
                == engine.server.context.limits.response_spool_bytes_max
            ),
            "the spool to be given back",
        )
        assert "aborted" not in engine.log
        slow.sock.close()
        other.sock.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("worker_class", WSGI)
def test_slow_readers_do_not_wait_for_one_another(worker_class: str, tls: bool, shop: Files) -> None:
    """What is left of one response is sent also while the call for another waits for its client."""
    streams = Streams()
    secure: dict[str, Any] = {"tls": shop.server()} if tls else {}
    with Engine(streams, worker_class, threads=1, **secure) as engine:
        files = shop if tls else None
        first = ask(engine, "/stream?300", files)
        waits(engine, streams)
        second = ask(engine, "/stream?600", files)
        until(lambda: streams.blocks >= 300, "the first to go to disk")
        waits(engine, streams)
        assert len(first.response().body) == 300 * len(BLOCK), "while nobody reads the second"
        assert len(second.response().body) == 300 * len(BLOCK)
        first.sock.close()
        second.sock.close()


def test_whoever_waits_in_the_exchange_waits_as_well() -> None:
    """Nobody takes it there: the siblings, if there are any, are at a call, too."""
    streams = Streams()
    with Engine(streams, "sync", siblings=True) as engine, engine.connect() as client:
        assert client.get().body == b"hello"
        engine.call(engine.server.handover.stop)
        until(lambda: engine.call(lambda: give_one(engine, client)), "the connection to be given")
        slow = ask(engine, "/stream?300")
        until(lambda: streams.blocks == 300, "the rest to go to disk")
        engine.call(engine.server.handover.start)
        assert client.get().body == b"hello"
        assert len(slow.response().body) == 300 * len(BLOCK)
        slow.sock.close()


def fast(engine: Engine) -> None:
    """Have requests served as they are read: what is left of other clients waits for the loop's next turn."""
    engine.server.runner._average_s = 0.0  # type: ignore[union-attr]
    engine.call(engine.server.runner.on_flush)


DUE = {
    "pipelined": GET * 2,
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n",
    "records": POST + b"Content-Length: 200\r\n\r\n" + b"a" * 200,
}


RECORD_BYTES = 23
"""Of a byte in TLS 1.3 (RFC 8446 section 5.2)."""


def unread(engine: Engine, client: Client) -> int:
    """How much of it the engine has not read; in the loop's thread."""
    found = [each for each in engine.server.open_connections() if each.peer == client.sock.getsockname()]
    try:
        return len(found[0].sock.recv(1 << 20, socket.MSG_PEEK))
    except BlockingIOError:
        return 0


@pytest.mark.parametrize("what", DUE)
def test_who_is_due_in_the_next_turn_does_not_wait_for_a_slow_reader(what: str, shop: Files) -> None:
    """What was read of them is no longer in a socket."""
    streams = Streams()
    secure: dict[str, Any] = {"tls": shop.server()} if what == "records" else {}
    with Engine(streams, "sync", **secure) as engine:
        files = shop if what == "records" else None
        slow, other = ask(engine, "/", files), ask(engine, "/", files)
        assert slow.response().body == other.response().body == b"hello"
        fast(engine)

        def both_at_once() -> None:
            """All of it is there when the loop looks next."""
            step = 1 if what == "records" else len(DUE[what])
            other.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(DUE[what]), step):
                other.send(DUE[what][at : at + step])
            until(lambda: unread(engine, other) >= len(DUE[what]) * (1 if step > 1 else RECORD_BYTES), "it")
            slow.send(b"GET /stream?120 HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: unread(engine, slow), "the stream to be asked for")

        engine.call(both_at_once)
        for _ in range(2 if what == "pipelined" else 1):
            assert other.response().body == b"hello", "while nobody reads the stream"
        assert len(slow.response().body) == 120 * len(BLOCK)
        slow.sock.close()
        other.sock.close()


def test_a_request_among_others_of_http2_does_not_wait_for_a_slow_reader() -> None:
    """Its connection is busy with an upload, and what comes on it is still in its socket."""
    streams = Streams()
    with Engine(streams, "sync", http=("h2", "h1")) as engine, Http2Client(engine) as other:
        upload = other.post("/", body=b"some")
        until(lambda: other.connection.state == BUSY, "the upload to be there")
        slow = ask(engine, "/stream?120")
        until(lambda: streams.blocks, "the call to hold the loop")
        assert other.open("/").whole().body == b"hello", "while nobody reads the stream"
        upload.finish()
        assert upload.whole().body == b"hello"
        assert len(slow.response().body) == 120 * len(BLOCK)
        slow.sock.close()


@pure_only
def test_a_download_that_goes_on_in_the_next_turn_counts_as_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_sender, "_TURN_BYTES_MAX", 512)
    monkeypatch.setattr(file_sender, "_BLOCK_BYTES", 512)  # once it is taken, the socket has room for more
    path = tmp_path / "file"
    path.write_bytes(b"x" * 8_000_000)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "8000000")])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    with Engine(application, "sync") as engine, engine.connect(4096) as reader, engine.connect() as other:
        until(lambda: len(engine.server.open_connections()) == 2, "both to be there")

        (own,) = [each for each in engine.server.open_connections() if each.peer == other.sock.getsockname()]
        (readers,) = {*engine.server.open_connections()} - {own}

        def asked() -> bool | None:
            """Ask for ``other`` in a turn in which the socket of ``reader`` is not full; None: it is."""
            if not isinstance(readers.request, FileTail) or readers.transport.get_write_buffer_size():
                return None
            return engine.server.runner.others_wait(own)  # type: ignore[union-attr]

        answers: list[bool] = []

        def ask() -> None:
            """In each turn, until there is such a one."""
            answer = asked()
            if answer is None:
                engine.loop.call_soon(ask)
            else:
                answers.append(answer)

        engine.call(ask)
        reader.send(GET)
        until(lambda: isinstance(readers.request, FileTail), "the call to leave the rest to the loop")
        assert len(reader.response().body) == 8_000_000
        assert answers == [True]


def test_a_connection_that_was_given_away_before_it_stood_does_not_wait() -> None:
    """It was accepted in the turn in which the slow reader asked; a sibling answers."""
    streams = Streams()
    with (
        Engine(streams, "sync", siblings=True, limits={"response_spool_bytes_max": 1}) as engine,
        Engine(Streams(), "sync", beside=engine) as sibling,
    ):
        sibling.call(sibling.server.park)
        slow = ask(engine, "/")
        assert slow.response().body == b"hello"
        fast(engine)
        others: list[Client] = []

        def both_at_once() -> None:
            others.append(ask(engine, "/"))
            slow.send(b"GET /stream?0 HTTP/1.1\r\nHost: x\r\n\r\n")

        engine.call(both_at_once)
        until(lambda: streams.blocks, "the stream to begin")
        assert [each.transport for each in engine.server.open_connections()].count(None) == 1
        sibling.call(sibling.server.serve)
        assert others[0].response().body == b"hello"
        waits(engine, streams)
        before = streams.blocks
        slow.read_exactly(2_000_000)
        until(lambda: streams.blocks > before, "the stream to go on")
        assert "raised" not in engine.log
        slow.sock.close()
        others[0].sock.close()


@pytest.mark.parametrize("worker_class", WSGI)
def test_an_upload_does_not_wait_for_a_slow_reader(worker_class: str) -> None:
    streams = Streams()
    with Engine(streams, worker_class, threads=1) as engine, engine.connect() as sender:
        sender.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n1234")
        until(
            lambda: any(each.state == BODY for each in engine.server.open_connections()),
            "the upload to begin",
        )
        slow = ask(engine, "/stream?300")
        waits(engine, streams)
        sender.send(b"5678")
        assert sender.response().body == b"hello", "while nobody reads the stream"
        assert len(slow.response().body) == 300 * len(BLOCK)
        slow.sock.close()


@pure_only
@pytest.mark.parametrize("worker_class", WSGI)
def test_spools_have_a_part_of_the_descriptors(worker_class: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it, a slow reader has to wait for its turn, or is cut for those who do."""
    monkeypatch.setattr(client_wait, "OTHERS_WAIT_S", 0.3)
    streams = Streams()
    with Engine(streams, worker_class, threads=1) as engine:
        engine.server.runner.spool_budget.files_left = 1
        first = ask(engine, "/stream?300")
        waits(engine, streams)
        second = ask(engine, "/stream?600")
        until(lambda: streams.blocks >= 300, "the first to go to disk")
        waits(engine, streams)
        with ask(engine, "/") as other:
            assert other.response().body == b"hello"
        engine.wait_for_log("others have waited for this worker for")
        assert len(first.response().body) == 300 * len(BLOCK)
        first.sock.close()
        second.sock.close()
        until(lambda: engine.server.runner.spool_budget.files_left == 1, "the file to be given back")


@pytest.mark.parametrize("worker_class", WSGI)
def test_nothing_goes_to_disk_while_nobody_waits(worker_class: str) -> None:
    streams = Streams()
    with Engine(streams, worker_class, threads=1) as engine, ask(engine, "/stream?600") as slow:
        waits(engine, streams)
        assert len(slow.response().body) == 600 * len(BLOCK)
        assert engine.server.runner.spool_budget.left == engine.server.context.limits.response_spool_bytes_max


@pure_only
@pytest.mark.parametrize("spool", [0, 1 << 20])
@pytest.mark.parametrize("worker_class", WSGI)
def test_a_stream_without_an_end_is_cut_when_others_have_waited(
    worker_class: str, spool: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is cut and the iterable closed; the worker, or the thread, serves on."""
    monkeypatch.setattr(client_wait, "OTHERS_WAIT_S", 0.3)
    streams = Streams()
    with Engine(streams, worker_class, threads=1, limits={"response_spool_bytes_max": spool}) as engine:
        slow = ask(engine, "/stream?0")
        waits(engine, streams)
        with ask(engine, "/") as other:
            assert other.response().body == b"hello"
        assert streams.over.is_set()
        engine.wait_for_log("others have waited for this worker for 0.3 s")
        with pytest.raises((ConnectionResetError, AssertionError)):
            slow.response()
        slow.sock.close()
        until(lambda: engine.server.runner.spool_budget.left == spool, "the spool to be given back")


@pytest.mark.parametrize("worker_class", WSGI)
def test_a_client_slower_than_the_least_rate_is_cut(worker_class: str) -> None:
    """It takes a little now and then, so that it is never silent for long."""
    streams = Streams()
    settings: dict[str, Any] = {
        "limits": {"response_rate_min_bytes_per_s": 10_000_000},
        "timeouts": {"rate_grace_s": 0.5},
    }
    with Engine(streams, worker_class, threads=1, **settings) as engine:
        slow = ask(engine, "/stream?0")
        while not streams.over.is_set():
            with contextlib.suppress(ConnectionResetError):  # it is cut before the stream is closed
                slow.sock.recv(2048)
            streams.over.wait(0.02)
        engine.wait_for_log("(limits.response_rate_min_bytes_per_s 10000000)")
        slow.sock.close()
        with ask(engine, "/") as other:
            assert other.response().body == b"hello"


@pytest.mark.parametrize("worker_class", WSGI)
def test_a_client_that_takes_nothing_is_cut(worker_class: str) -> None:
    streams = Streams()
    with Engine(streams, worker_class, threads=1, timeouts={"response_timeout_s": 0.4}) as engine:
        slow = ask(engine, "/stream?0")
        assert streams.over.wait(20)
        engine.wait_for_log("the client took no byte for 0.4 s; connection aborted")
        slow.sock.close()


def test_sync_tells_the_master_that_it_waits_for_a_client() -> None:
    """What the master reads as the request's end moves with the wait, and counts nothing else."""
    streams = Streams()
    with Engine(streams, "sync", timeouts={"request_timeout_s": 1.0}) as engine:
        slow = ask(engine, "/stream?0")
        waits(engine, streams)
        floats = engine.record.floats
        until(lambda: time.monotonic() > floats[BUSY_SINCE] + 1.5, "the limit to be over")
        assert floats[EXTENDED_REQUEST] == floats[BUSY_SINCE]
        assert floats[EXTENDED_UNTIL] > time.monotonic() + 1
        slow.sock.close()
        assert streams.over.wait(20)


def test_more_time_that_the_application_asked_for_stays() -> None:
    streams = Streams()
    asked: list[float] = []

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        environ["gwctl.extend_timeout"](100)
        asked.append(time.monotonic() + 100)
        return streams(environ, start_response)

    with Engine(application, "sync", timeouts={"request_timeout_s": 1.0}) as engine:
        slow = ask(engine, "/stream?0")
        waits(engine, streams)
        assert engine.record.floats[EXTENDED_UNTIL] > asked[0]
        slow.sock.close()
        assert streams.over.wait(20)


def test_threads_do_not_give_up_a_request_that_waits_for_its_client() -> None:
    streams = Streams()
    with Engine(streams, "threads", timeouts={"request_timeout_s": 1.0}) as engine:
        slow = ask(engine, "/stream?150")
        waits(engine, streams)
        (running,) = engine.call(engine.server.runner.under_way)
        until(lambda: time.monotonic() > running.start + 1.5, "the limit to be over")
        assert len(slow.response().body) == 150 * len(BLOCK)
        assert "request timeout" not in engine.log
        slow.sock.close()


@pytest.mark.parametrize("worker_class", WSGI)
def test_a_body_that_comes_slowly_is_not_the_applications_time(worker_class: str) -> None:
    read = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        body = environ["wsgi.input"].read()
        read.set()
        start_response("200 OK", [])
        return [body]

    with (
        Engine(
            application, worker_class, body_buffering=False, timeouts={"request_timeout_s": 0.5}
        ) as engine,
        engine.connect() as slow,
    ):
        slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        start = time.monotonic()
        if worker_class == "sync":
            floats = engine.record.floats
            until(lambda: floats[EXTENDED_UNTIL] > time.monotonic() + 1, "the master to be told")
        else:
            until(lambda: time.monotonic() > start + 1.2, "the limit to be over")
        slow.send(b"cd")
        assert slow.response().body == b"abcd"
        assert read.is_set()


@pytest.mark.parametrize("worker_class", WSGI)
def test_waiting_for_a_body_is_not_held_against_who_takes_the_response(worker_class: str) -> None:
    """The body takes longer than a client may take no byte of the response."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        size = len(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return (bytes(65536) for _ in range(size * 100))

    settings: dict[str, Any] = {
        "body_buffering": False,
        "timeouts": {"response_timeout_s": 3.0, "request_timeout_s": 0.0},
    }
    with Engine(application, worker_class, **settings) as engine:
        client = engine.connect(receive_buffer=4096)
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
        start = time.monotonic()
        until(lambda: time.monotonic() > start + 3.5, "the body to be late")
        client.send(b"bc")
        head = client.head()
        assert head[0] == 200
        start = time.monotonic()
        until(lambda: time.monotonic() > start + 0.3, "the response to be taken slowly")
        assert sum(map(len, client.chunks())) == 300 * 65536
        client.sock.close()


@pure_only
@pytest.mark.parametrize("worker_class", WSGI)
def test_a_slow_upload_holds_nobody_up_for_long(worker_class: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With body_buffering = false: while others wait, its grace is short."""
    monkeypatch.setattr(body_stream, "OTHERS_WAIT_S", 0.4)
    monkeypatch.setattr(client_wait, "OTHERS_WAIT_S", 0.4)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body or b"hello"]

    with (
        Engine(application, worker_class, body_buffering=False, threads=1) as engine,
        engine.connect() as slow,
        engine.connect() as other,
    ):
        slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\na")
        until(lambda: engine.server.active_requests, "it to hold the worker")
        other.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert other.response().body == b"hello"
        assert slow.response().status == 408


def test_the_clock_of_a_wait_stands_still_in_between() -> None:
    with Engine(Streams(), "threads") as engine, engine.connect() as client:
        client.get()
        (connection,) = engine.call(engine.server.open_connections)
        wait = ClientWait(engine.server, connection)
        wait.begin(100)
        begun = wait.since
        assert wait.waited(begun + 3) == pytest.approx(3)
        wait.end(50)
        waited = wait.waited_s
        assert wait.waited(begun + 100) == waited
