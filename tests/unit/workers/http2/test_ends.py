"""Ends of connections: a drain in two steps, silence, clients that leave, and what is told of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from gwctl.workers.exchange.states import BUSY
from gwctl.workers.http2 import wire
from tests.support.http2 import Http2Client
from tests.support.memory_wire import Head, Reset
from tests.support.wait import DEADLINE_S, until

Start = Callable[..., Http2Client]


class Held:
    """Applications that answer when they are let go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.here = threading.Semaphore(0)

    def wsgi(self, _environ: Any, start_response: Any) -> Any:
        self.here.release()
        self.gate.wait(60)
        start_response("200 OK", [])
        return [b"held"]

    async def asgi(self, _scope: Any, _receive: Any, send: Any) -> None:
        import asyncio

        self.here.release()
        await asyncio.get_running_loop().run_in_executor(None, self.gate.wait, 60)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"held"})


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_a_drain_takes_two_steps_and_serves_what_comes_between(start: Start) -> None:
    held = Held()
    client = start(held.wsgi, held.asgi, threads=4, client={"silent": True})
    first = client.open()
    assert held.here.acquire(timeout=60)
    drained = client.engine.drain()
    client.wait_for(lambda: client.goaways, "the first GOAWAY")
    assert client.goaways == [((1 << 31) - 1, wire.NO_ERROR)]
    second = client.open()  # its client had not heard of it
    assert held.here.acquire(timeout=60)
    (ping,) = [each for each in client.frames if each[0] == wire.PING]
    client.frame(wire.PING, wire.ACK, 0, ping[3])
    client.wait_for(lambda: len(client.goaways) == 2, "the second GOAWAY")
    assert client.goaways[1] == (second.stream_id, wire.NO_ERROR)
    third = client.open()
    client.frame(wire.PING, 0, 0, b"12345678")
    client.wait_for(lambda: client.pongs, "an answer")
    assert not drained.is_set()
    assert third.events == []
    held.gate.set()
    assert (first.whole().body, second.whole().body) == (b"held", b"held")
    assert client.ended.wait(DEADLINE_S)
    assert [type(each) for each in third.events] == [Reset]  # the end of the connection, and nothing else
    assert third.code == -1
    assert drained.wait(DEADLINE_S)


def test_a_client_that_does_not_answer_is_told_the_last_stream_all_the_same(start: Start) -> None:
    client = start(client={"silent": True})
    assert client.open().whole().body == b"hello"
    drained = client.engine.drain()
    assert client.goaway() == (1, wire.NO_ERROR)
    assert len(client.goaways) == 2
    assert drained.wait(DEADLINE_S)


def test_a_connection_that_comes_in_a_drain_is_served_and_told(start: Start) -> None:
    client = start(timeouts={"linger_s": 30.0})
    engine = client.engine
    engine.call(engine.server.release_clients)
    engine.call(engine.server._acceptor.start)
    with Http2Client(engine) as other:
        assert other.open().whole().body == b"hello"
        other.wait_for(lambda: other.goaways, "a GOAWAY")


def test_silence_ends_a_connection_with_a_goaway(start: Start) -> None:
    client = start(timeouts={"keepalive_timeout_s": 0.5})
    assert client.open().whole().body == b"hello"
    assert client.goaway() == (1, wire.NO_ERROR)


def test_a_connection_without_a_word_ends(start: Start) -> None:
    client = start(timeouts={"header_timeout_s": 0.5})
    with client.engine.connect() as silent:
        silent.send(wire.PREFACE[:10])
        assert silent.rest() == b""
    with client.engine.connect() as silent:
        silent.send(wire.PREFACE)
        assert wire.goaway_frame(0, wire.NO_ERROR) in silent.rest()


def test_a_header_block_that_does_not_end(start: Start) -> None:
    client = start(timeouts={"header_timeout_s": 0.5})
    client.frame(wire.HEADERS, wire.END_STREAM, 1, b"\x82")
    assert client.goaway()[1] == wire.PROTOCOL_ERROR


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_a_client_that_says_goaway_gets_what_it_has_asked_for(start: Start) -> None:
    held = Held()
    client = start(held.wsgi, held.asgi)
    stream = client.open()
    assert held.here.acquire(timeout=60)
    client.send(wire.goaway_frame(0, wire.NO_ERROR))
    held.gate.set()
    assert stream.whole().body == b"held"


def test_an_application_that_raises_in_mid_response_resets_its_stream(start: Start) -> None:
    client = start()
    stream = client.open("/middle")
    assert isinstance(stream.end(), Reset)
    assert stream.code == wire.INTERNAL_ERROR
    assert (stream.head()[0], stream.body) == (200, b"first")
    assert client.open().whole().body == b"hello"
    client.engine.wait_for_log("in mid-response; stream reset")
    assert "connection aborted" not in client.engine.log


def test_an_answer_before_the_body_resets_without_an_error(start: Start) -> None:
    def wsgi(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"early"]

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"early"})

    client = start(wsgi, asgi, body_buffering=False)
    stream = client.post("/", body=b"some")
    assert stream.whole().body == b"early"
    stream.wait_for(Reset)
    assert stream.code == wire.NO_ERROR


@pytest.mark.parametrize("worker_class", ["asgi", "threads"])
def test_a_request_over_its_time_is_answered_with_504_and_no_other(start: Start) -> None:
    held = Held()
    client = start(held.wsgi, held.asgi, timeouts={"request_timeout_s": 0.5}, threads=2)
    stream = client.open()
    assert stream.whole().status == 504
    held.gate.set()
    assert client.open().whole().body == b"held"


def test_what_is_left_at_the_end_of_a_drain_is_named_and_cut(start: Start, worker_class: str) -> None:
    if worker_class == "sync":
        pytest.skip("its loop is held by the call: the master ends it")
    held = Held()
    client = start(held.wsgi, held.asgi, threads=4)
    streams = [client.open(f"/{number}") for number in range(3)]
    for _ in streams:
        assert held.here.acquire(timeout=60)
    client.engine.drain()
    cut = client.engine.call(lambda: client.engine.server.cut_rest(5.0))
    assert cut == 3
    client.engine.wait_for_log("drain_timeout_s (5 s) is over: 3 requests cut")
    held.gate.set()
    for stream in streams:
        until(lambda one=stream: one.is_over, "an end")
        if worker_class == "asgi":
            assert stream.got(Reset) or stream.got(Head)[0].status == 503


def test_requests_are_counted_and_logged_as_others_are(start: Start) -> None:
    client = start(access_log=True, request_id_header="X-Request-ID", request_id_in_response=True)
    engine = client.engine
    stream = client.open("/length?10", "GET", (b"user-agent", b"test"), (b"x-request-id", b"mine"))
    assert stream.whole().headers["x-request-id"] == "mine"
    until(lambda: engine.access_path.read_text().count("\n") == 1, "the line")
    assert '"GET /length?10 HTTP/2.0" 200 10 "-" "test"' in engine.access_path.read_text()
    assert engine.call(lambda: engine.server.accounts.own.requests) in {0, 1}  # threads count their own


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_a_request_in_the_first_packet_makes_the_connection_busy(start: Start) -> None:
    """No silence is counted while it is answered."""
    held = Held()
    first = start(held.wsgi, held.asgi, timeouts={"keepalive_timeout_s": 0.3})
    engine = first.engine
    with engine.connect() as client:
        block = first.head("/", "GET")
        frames = wire.header_frames(1, block, wire.END_STREAM, 16384)
        client.send(wire.PREFACE + wire.settings_frame([]) + frames)
        assert held.here.acquire(timeout=60)
        connections = [each for each in engine.server.http2.connections if each.streams]
        assert [each.state for each in connections] == [BUSY]
        engine.call(lambda: engine.server._judge(time.monotonic() + 10))
        assert not connections[0].lost
        held.gate.set()
        assert b"held" in client.read_until(b"held")


@pytest.mark.parametrize("room", ["connections", "requests"])
def test_who_finds_no_room_is_told_so_in_http2(start: Start, room: str) -> None:
    held = Held()
    settings: Any = {"connections_max": 1} if room == "connections" else {"requests_max": 1}
    first = start(held.wsgi, held.asgi, overload="refuse", threads=4, **settings)
    engine = first.engine
    if engine.application.worker_class.holds_loop and room == "requests":
        pytest.skip("its loop is held by the call: there is never a second request")
    stream = first.open()
    assert held.here.acquire(timeout=60)
    if room == "requests":
        assert first.open().whole().status == 503
        held.gate.set()
    else:
        if engine.application.worker_class.holds_loop:
            held.gate.set()
        with Http2Client(engine) as second:
            assert second.goaway() == (0, wire.NO_ERROR)
        held.gate.set()
    assert stream.whole().body == b"held"


@pytest.mark.parametrize("worker_class", ["sync"])
def test_what_a_call_left_goes_out_before_the_end(start: Start) -> None:
    """The last response before a drain's end, of which the socket did not take all."""
    client = start()
    assert client.open().whole().body == b"hello"
    connection = client.connection

    def leave_and_close() -> None:
        connection._pending = wire.frame(wire.PING, wire.ACK, 0, b"12345678")
        connection.out.paused = True
        connection.close()

    client.engine.call(leave_and_close)
    assert client.goaway() == (1, wire.NO_ERROR)
    assert client.pongs == [b"12345678"]
