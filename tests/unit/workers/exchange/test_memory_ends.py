"""Ends of exchanges by the protocol in memory: clients that take their time or leave, limits, a drain.

And what is left of them: nothing, without the garbage collector.
"""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gwctl.ipc.scoreboard import CROWDED, DROPPED
from tests.support.compiled import pure_only
from tests.support.engine import Engine
from tests.support.memory_apps import Gate, asgi_block, asgi_echo, asgi_start, wsgi_echo
from tests.support.memory_client import MemoryClient, Stream
from tests.support.memory_responses import HELD_BYTES_MAX
from tests.support.memory_wire import Data, End, Head, Reset
from tests.support.wait import until

pytestmark = pure_only  # its classes are based on the engine's

Start = Callable[..., MemoryClient]

BLOCK = bytes(50_000)
BLOCKS = 40


class Stopped:
    """An application that streams `BLOCKS`, and counts how many it was asked for. ``ends``: how it ended."""

    def __init__(self) -> None:
        self.made = 0
        self.ends: list[str] = []

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return self._blocks() if environ["PATH_INFO"] == "/stream" else [b"hello"]

    def _blocks(self) -> Iterator[bytes]:
        try:
            for _ in range(BLOCKS):
                self.made += 1
                yield BLOCK
            self.ends.append("end")
        except GeneratorExit:
            self.ends.append("closed")
            raise

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(asgi_start(200))
        if scope["path"] != "/stream":
            await send(asgi_block(b"hello", more=False))
            return
        for _ in range(BLOCKS):
            self.made += 1
            await send(asgi_block(BLOCK))
        await send(asgi_block(b"", more=False))
        self.ends.append((await receive())["type"])


def held_up(client: MemoryClient, stream: Stream) -> None:
    """Wait until the client has taken what it takes, and as much more is there as may wait for it."""
    exchange = client.exchange(stream)
    until(
        lambda: len(stream.body) == stream.window and exchange.held_bytes() > HELD_BYTES_MAX, "it to be full"
    )


def test_a_client_that_does_not_take_its_response_holds_it_up_and_no_other(
    start: Start, worker_class: str
) -> None:
    """Memory stays bounded; under sync there is nobody else to go on."""
    app = Stopped()
    client = start(app.wsgi, app.asgi)
    stream = client.open("/stream", window=100_000)
    held_up(client, stream)
    exchange = client.exchange(stream)
    assert app.made == 4
    if worker_class != "sync":
        for _ in range(5):
            assert client.open().whole().body == b"hello"
    assert app.made == 4
    assert exchange.held_bytes() == 4 * len(BLOCK) - stream.window
    assert stream.body == bytes(100_000)
    for _ in range(BLOCKS):
        stream.allow(len(BLOCK))
    assert stream.whole().body == BLOCK * BLOCKS
    assert app.made == BLOCKS


def test_what_a_client_takes_last_is_sent_when_the_call_is_over(start: Start) -> None:
    """A small rest holds neither thread nor worker."""
    app = Stopped()
    client = start(app.wsgi, app.asgi)
    stream = client.open(window=1)
    assert client.open().whole().body == b"hello"
    until(lambda: stream.body == b"h", "the first byte of the other, which another thread may serve")
    assert not stream.is_over
    until(lambda: not client.engine.call(lambda: client.engine.server.runner.active), "the call to be over")
    stream.allow(4)
    assert stream.whole().body == b"hello"


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_a_client_that_takes_nothing_for_too_long_is_cut_off(start: Start) -> None:
    app = Stopped()
    client = start(app.wsgi, timeouts={"response_timeout_s": 0.5})
    stream = client.open("/stream", window=100)
    assert isinstance(stream.end(), Reset)
    assert stream.body == bytes(100)
    client.engine.wait_for_log("the client took no byte for 0.5 s")
    assert app.ends == ["closed"]
    assert client.open().whole().body == b"hello"


@pytest.mark.parametrize("whole_connection", [False, True])
def test_a_client_that_leaves_in_mid_response(
    start: Start, worker_class: str, whole_connection: bool
) -> None:
    app = Stopped()
    client = start(app.wsgi, app.asgi)
    stream = client.open("/stream", window=100_000)
    held_up(client, stream)
    if whole_connection:
        client.disconnect()
    else:
        stream.leave()
    until(lambda: app.ends, "the application to hear of it")
    assert app.ends == ["http.disconnect" if worker_class == "asgi" else "closed"]
    assert app.made == (
        BLOCKS if worker_class == "asgi" else 4
    )  # an asgi application may go on: nobody takes it
    until(lambda: not client.exchanges, "the exchange to be gone")
    assert [type(event) for event in stream.events if not isinstance(event, Data)] == [Head]
    assert client.open().whole().body == b"hello"


def test_all_exchanges_of_a_connection_end_with_it(start: Start, worker_class: str, protocol: str) -> None:
    gate = Gate()
    seen: list[str] = []

    def wsgi(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"one"
        gate.wait()
        seen.append("next")
        yield b"two"
        seen.append("never asked for")

    async def asgi(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(asgi_start(200))
        await send(asgi_block(b"one"))
        gate.reached.set()
        seen.append((await receive())["type"])

    count = 1 if worker_class == "sync" else 5
    client = start(wsgi, asgi, threads=5)
    streams = [client.open() for _ in range(count)]
    for stream in streams:
        stream.wait_for_body(b"one")
    assert gate.reached.wait(60)
    client.disconnect()
    if worker_class != "sync":  # whose loop the call has
        until(lambda: not client.exchanges, "the exchanges to be gone")
    gate.open()
    until(lambda: len(seen) >= count, "all to hear of it")
    if worker_class == "sync" and protocol == "http2" and len(seen) > 1:
        # The end of a client that is gone looks like that of one which waits, until something is sent.
        assert seen.pop() == "never asked for"
    assert seen == ["http.disconnect" if worker_class == "asgi" else "next"] * count
    until(lambda: not client.exchanges, "the exchanges to be gone")
    assert [stream.body for stream in streams] == [b"one"] * count
    assert not any(stream.is_over for stream in streams)


# ---- nothing is left


@pytest.mark.parametrize("how", ["hello", "stream", "upload", "refused", "raised", "left", "left at upload"])
@pytest.mark.parametrize("buffering", [True, False])
def test_an_exchange_that_is_over_is_freed_at_once(start: Start, how: str, buffering: bool) -> None:
    """And not when the garbage collector comes by: there may be thousands on one connection."""
    app = Stopped()

    def wsgi(environ: Any, start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "POST":
            return wsgi_echo(environ, start_response)
        return app.wsgi(environ, start_response)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await (asgi_echo if scope["method"] == "POST" else app.asgi)(scope, receive, send)

    client = start(wsgi, asgi, body_buffering=buffering, limits={"body_bytes_max": 100_000})
    found: list[weakref.ref[Any]] = []
    gc.disable()
    try:
        if how in {"hello", "stream"}:
            stream = client.open(f"/{how}", window=1)
            found.append(weakref.ref(client.exchange(stream)))
            stream.allow(1 << 30)
            stream.whole()
        elif how == "left":
            stream = client.open("/stream", window=1)
            held_up(client, stream)
            found.append(weakref.ref(client.exchange(stream)))
            stream.leave()
        else:
            stream = client.post("/", body=b"some")
            found.append(weakref.ref(client.exchange(stream)))
            if how == "upload":
                stream.upload(bytes(50_000))
                stream.finish()
                assert stream.whole().body == b"some" + bytes(50_000)
            elif how == "refused":
                stream.upload(bytes(150_000))
                assert stream.whole().status == 413
            elif how == "left at upload":
                stream.leave()
            else:
                stream.finish()
                stream.whole()
        until(lambda: [ref() for ref in found] == [None], "it to be freed")
    finally:
        gc.enable()


# ---- requests that wait


def test_a_request_that_has_waited_too_long_is_answered_without_the_application(start: Start) -> None:
    called: list[str] = []

    def wsgi(environ: Any, start_response: Any) -> Any:
        called.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"served"]

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        called.append(scope["path"])
        await send(asgi_start(200))
        await send(asgi_block(b"served", more=False))

    client = start(wsgi, asgi, trusted_proxies=("127.0.0.1",), timeouts={"queue_timeout_s": 5.0})
    late = client.open("/late", "GET", (b"x-request-start", b"%d" % (time.time() - 60)))
    on_time = client.open("/on-time", "GET", (b"x-request-start", b"%d" % time.time()))
    assert late.whole().status == 503
    assert on_time.whole().body == b"served"
    assert called == ["/on-time"]
    assert client.engine.words(DROPPED) == 1


@pytest.mark.parametrize("worker_class", ["threads"])
def test_a_request_that_waits_too_long_for_a_thread_is_answered_without_one(start: Start) -> None:
    gate = Gate()
    called: list[str] = []

    def wsgi(environ: Any, start_response: Any) -> Any:
        called.append(environ["PATH_INFO"])
        gate.wait()
        start_response("200 OK", [])
        return [b"served"]

    client = start(wsgi, threads=1, timeouts={"queue_timeout_s": 0.2})
    first = client.open("/first")
    assert gate.reached.wait(60)
    late = client.open("/late", "POST", body=b"which is let go of")
    waiting = client.exchange(late)
    until(lambda: time.monotonic() - waiting.since > 0.3, "it to have waited for too long")
    gate.open()
    assert (first.whole().body, late.whole().status) == (b"served", 503)
    assert called == ["/first"]


def test_a_request_whose_client_has_left_before_its_turn_is_dropped(start: Start, worker_class: str) -> None:
    """Under sync and threads it stood in line; an asgi request has its turn with the loop's next."""
    gate = Gate()
    called: list[str] = []

    def wsgi(environ: Any, start_response: Any) -> Any:
        called.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/first":
            gate.wait()
        start_response("200 OK", [])
        return [b"served"]

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        called.append(scope["path"])
        await send(asgi_start(200))
        await send(asgi_block(b"served", more=False))

    client = start(wsgi, asgi, threads=1)
    if worker_class == "asgi":
        left = client.engine.call(lambda: _open_and_leave(client))
    else:
        assert (
            client.open("/slow").whole().body == b"served"
        )  # as far as a sync worker knows: now there is a line
        client.engine.call(client.engine.server.accounts.flush)
        first = client.open("/first")
        assert gate.reached.wait(60)
        left = client.open("/left")
        if worker_class == "threads":
            waiting = client.exchange(left)
            until(lambda: time.monotonic() - waiting.since > 0.1, "it to have waited for a while")
        left.leave()
        gate.open()
        assert first.whole().body == b"served"
    assert client.open("/last").whole().body == b"served"
    assert called[-1] == "/last"
    assert "/left" not in called
    assert left.events == []


def _open_and_leave(client: MemoryClient) -> Stream:
    stream = client.open("/left")
    stream.leave()
    return stream


def test_a_client_is_known_to_have_left_before_the_loop_sees_it(
    start: Start, worker_class: str, protocol: str
) -> None:
    if (worker_class, protocol) == ("sync", "http2"):
        pytest.skip("its frames have to be read for that, which the loop does that the call holds")
    gate = Gate()

    def wsgi(_environ: Any, start_response: Any) -> Any:
        gate.wait()
        start_response("200 OK", [])
        return [b""]

    async def asgi(_scope: Any, receive: Any, send: Any) -> None:
        await gate.passed()
        await send(asgi_start(200))
        await send(asgi_block(b"", more=False))

    client = start(wsgi, asgi)
    stream = client.open()
    exchange = client.exchange(stream)
    assert gate.reached.wait(60)
    assert not exchange.has_left(exchange.since)
    stream.leave()
    assert exchange.has_left(exchange.since)
    gate.open()


# ---- time


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_request_that_takes_too_long(start: Start, worker_class: str, begun: bool) -> None:
    """Answered with 504, or cut where it had begun; the others on its connection go on."""
    gate = Gate()

    def wsgi(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/slow":
            if begun:
                yield b"begun"
            gate.wait()
        yield b"served"

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            if begun:
                await send(asgi_start(200))
                await send(asgi_block(b"begun"))
            await gate.passed()
        await send(asgi_start(200))
        await send(asgi_block(b"served", more=False))

    client = start(wsgi, asgi, timeouts={"request_timeout_s": 0.5}, threads=2)
    slow = client.open("/slow")
    assert gate.reached.wait(60)
    assert client.open("/quick").whole().body == b"served"
    if begun:
        assert isinstance(slow.end(), Reset)
        assert (slow.head()[0], slow.body) == (200, b"begun")
    else:
        assert slow.whole().status == 504
    assert client.open("/quick").whole().body == b"served"
    client.engine.wait_for_log("request timeout: GET /slow has run")
    gate.open()
    until(lambda: not client.exchanges, "the exchange to be gone")
    assert (worker_class == "threads") == bool(client.engine.process.given_up_requests)
    assert client.open("/quick").whole().body == b"served"
    assert [type(event) for event in slow.events] == ([Head, Data, Reset] if begun else [Head, Data, End])


# ---- drain


def test_a_drain_waits_for_the_exchanges_that_are_open(worker_class: str) -> None:
    gate = Gate()

    def wsgi(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun, "
        gate.wait()
        yield b"and brought to its end"

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send(asgi_start(200))
        await send(asgi_block(b"begun, "))
        await gate.passed()
        await send(asgi_block(b"and brought to its end", more=False))

    application = asgi if worker_class == "asgi" else wsgi
    with Engine(application, worker_class, threads=3) as engine, MemoryClient(engine) as client:
        streams = [client.open() for _ in range(1 if worker_class == "sync" else 3)]
        for stream in streams:
            stream.wait_for_body(b"begun, ")
        if worker_class == "sync":  # the loop is the call's until that is over
            engine.loop.call_soon_threadsafe(lambda: engine.server.drain(False))
            gate.open()
        else:
            drained = engine.drain()
            assert not drained.is_set()
            gate.open()
            assert drained.wait(60)
        assert {stream.whole().body for stream in streams} == {b"begun, and brought to its end"}
        until(lambda: engine.call(lambda: engine.server.drained), "the drain to be over")


@pytest.mark.parametrize("worker_class", ["asgi"])
def test_what_a_drain_has_no_more_time_for_is_given_up(start: Start) -> None:
    """503 where nothing was sent, else a reset."""
    gate = Gate()

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        if scope["path"] == "/begun":
            await send(asgi_start(200))
            await send(asgi_block(b"begun"))
        await gate.passed()

    client = start(None, asgi)
    begun, waiting = client.open("/begun"), client.open("/waiting")
    begun.wait_for_body(b"begun")
    client.exchange(waiting)
    client.engine.call(lambda: client.engine.server.cut_rest(1.0))
    assert waiting.whole().status == 503
    assert isinstance(begun.end(), Reset)
    until(lambda: not client.exchanges, "the exchanges to be gone")


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_exchanges_stay_in_their_worker_though_a_sibling_is_free(start: Start, worker_class: str) -> None:
    """A connection can be given away, one of many exchanges on it cannot."""
    gate = Gate()

    def wsgi(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/first":
            gate.wait()
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    client = start(wsgi, threads=1, siblings=True)
    engine = client.engine
    # Else the sibling may accept it, which knows no HTTP/2.
    assert client.open("/here").whole().body == b"/here"
    with Engine(wsgi, worker_class, threads=1, beside=engine):
        assert client.open("/slow").whole().body == b"/slow"  # now there is a line in a sync worker
        engine.call(engine.server.accounts.flush)
        first = client.open("/first")
        assert gate.reached.wait(60)
        others = [client.open(f"/{number}") for number in range(3)]
        if worker_class == "threads":
            until(lambda: engine.record.words[CROWDED], "the worker to look for a sibling")
        gate.open()
        assert first.whole().body == b"/first"
        assert [other.whole().body for other in others] == [b"/0", b"/1", b"/2"]
