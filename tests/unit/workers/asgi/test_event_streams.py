"""Event streams at a drain, and what applications are told of one."""

from __future__ import annotations

import asyncio
import copy
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from gwctl.ipc.channel import Channel, Drain, Park, Serve, Tell
from gwctl.ipc.scoreboard import HEARTBEAT_AT
from gwctl.workers.app.drain_notice import DrainNotice, drains
from gwctl.workers.asgi import event_streams
from gwctl.workers.runners.asgi import AsgiRunner
from tests.support.engine import Client, Engine
from tests.support.wait import until

pytestmark = [
    pytest.mark.usefixtures("asgi_under"),
    pytest.mark.not_under("sync", reason="the order waits in the channel there: test_asgi_bridge has it"),
]

EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8")]
TIMES = {"stream_grace_s": 0.3, "linger_s": 0.1}
OFTEN_S = 0.05
"""How often the server looks for silent streams."""
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def start(headers: Any = EVENTS) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": headers}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def opened(engine: Engine) -> Client:
    client = engine.connect()
    client.send(REQUEST)
    assert client.head()[0] == 200
    return client


def let_look(engine: Engine, seconds: float) -> None:
    """Wait until the engine has looked at its streams at a time so much later than now."""
    end = time.monotonic() + seconds
    until(lambda: engine.record.floats[HEARTBEAT_AT] > end, "the sweep")


async def until_told(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def returns(scope, receive, send):
    await send(start())
    await send(body(b"data: 1\n\n", more=True))
    await until_told(receive)


async def says_its_last(scope, receive, send):
    await send(start([]))
    await send(body(b"data: 1\n\n", more=True))
    await until_told(receive)
    await send(body(b"bye"))


async def raises(scope, receive, send):
    class ClientDisconnect(Exception):
        pass

    await returns(scope, receive, send)
    raise ClientDisconnect


async def starlette(scope, receive, send):
    async def events() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    await StreamingResponse(events(), media_type="text/event-stream")(scope, receive, send)


@pytest.mark.parametrize("application", [returns, says_its_last, raises, starlette])
def test_a_silent_stream_ends_properly_in_a_drain(application: Any) -> None:
    with Engine(application, "asgi", timeouts=TIMES, sweep_s=OFTEN_S) as engine, opened(engine) as client:
        assert client.chunk() == b"data: 1\n\n"
        began_at = time.monotonic()
        drained = engine.drain()
        assert list(client.chunks()) == ([b"bye"] if application is says_its_last else [])
        assert time.monotonic() - began_at >= TIMES["stream_grace_s"] - 0.1
        assert client.at_end()
        assert drained.wait(20)
        assert engine.log == ""


def test_an_http_1_0_stream_ends_with_its_connection() -> None:
    with Engine(returns, "asgi", timeouts=TIMES, sweep_s=OFTEN_S) as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        client.head()
        drained = engine.drain()
        assert client.rest() == b"data: 1\n\n"
        assert drained.wait(20)


def test_a_stream_before_its_first_event_is_open_and_ends_properly() -> None:
    async def application(scope, receive, send):
        async def events() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        await StreamingResponse(events(), media_type="text/event-stream")(scope, receive, send)

    with Engine(application, "asgi", timeouts=TIMES, sweep_s=OFTEN_S) as engine, opened(engine) as client:
        drained = engine.drain()
        assert list(client.chunks()) == []
        assert drained.wait(20)


@pytest.mark.parametrize("headers", [[], [(b"content-type", b"text/csv")]])
def test_half_of_something_else_never_looks_whole(headers: Any) -> None:
    """An application that just returns has not said that this was all."""

    async def application(scope, receive, send):
        await send(start(headers))
        await send(body(b"a,b\n", more=True))
        await until_told(receive)

    with Engine(application, "asgi", timeouts=TIMES, sweep_s=OFTEN_S) as engine, opened(engine) as client:
        drained = engine.drain()
        with pytest.raises((ConnectionResetError, AssertionError)):
            list(client.chunks())
        assert drained.wait(20)
        assert engine.log == ""


async def sends_tokens(scope, receive, send):
    listener = asyncio.ensure_future(until_told(receive))
    await send(start())
    for _ in range(35):
        await send(body(b"token", more=True))
        await asyncio.sleep(0.1)
    await send(body(b"", more=listener.done()))
    await listener


async def does_not_listen(scope, receive, send):
    await send(start())
    await send(body(b"begun", more=True))
    await asyncio.sleep(1.2)
    await send(body(b"end"))


async def has_a_length(scope, receive, send):
    listener = asyncio.ensure_future(until_told(receive))
    await send(start([*EVENTS, (b"content-length", b"8")]))
    await send(body(b"begun", more=True))
    await asyncio.sleep(1.2)
    await send(body(b"end" if not listener.done() else b""))
    await listener


async def is_not_begun(scope, receive, send):
    listener = asyncio.ensure_future(until_told(receive))
    await asyncio.sleep(1.2)
    await send(start())
    await send(body(b"end" if not listener.done() else b""))
    await listener


@pytest.mark.parametrize("application", [sends_tokens, does_not_listen, has_a_length, is_not_begun])
def test_others_are_finished_in_a_drain(application: Any) -> None:
    times = {**TIMES, "stream_grace_s": 2.5} if application is sends_tokens else TIMES  # it may pause, too
    with Engine(application, "asgi", timeouts=times, sweep_s=OFTEN_S) as engine, engine.connect() as client:
        client.send(REQUEST)
        until(lambda: engine.call(lambda: engine.server.active_requests), "the request")
        drained = engine.drain()
        response = client.response()
        assert response.body.endswith(b"token" * 35) or response.body.endswith(b"end")
        assert drained.wait(20)


def test_an_upload_that_is_waited_for_is_not_silence() -> None:
    async def application(scope, receive, send):
        await send(start())
        await send(body(b"begun", more=True))
        got = b""
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            got += message["body"]
        await send(body(got + message.get("body", b"told")))

    with Engine(application, "asgi", timeouts=TIMES, sweep_s=OFTEN_S) as engine, engine.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        client.head()
        assert client.chunk() == b"begun"
        drained = engine.drain()
        let_look(engine, 0.8)
        client.send(b"cd")
        assert b"".join(client.chunks()) == b"abcd"
        assert drained.wait(20)


def test_a_client_that_is_slow_to_read_is_not_silence() -> None:
    async def application(scope, receive, send):
        listener = asyncio.ensure_future(until_told(receive))
        await send(start())
        for _ in range(64):
            await send(body(b"x" * 262_144, more=True))
        await send(body(b"", more=listener.done()))
        await listener

    with (
        Engine(application, "asgi", timeouts=TIMES, sweep_s=OFTEN_S) as engine,
        engine.connect(4096) as client,
    ):
        client.send(REQUEST)
        client.head()
        drained = engine.drain()
        let_look(engine, 0.8)
        assert sum(map(len, client.chunks())) == 64 * 262_144
        assert drained.wait(20)


def test_who_always_sends_is_told_right_before_the_end() -> None:
    """A reset would follow."""

    async def application(scope, receive, send):
        listener = asyncio.ensure_future(until_told(receive))
        await send(start())
        while not listener.done():
            await send(body(b"tick", more=True))
            await asyncio.sleep(0.02)

    times = {**TIMES, "stream_grace_s": 30.0}  # a pause of the machine is no silence
    with Engine(application, "asgi", timeouts=times, sweep_s=OFTEN_S) as engine, opened(engine) as client:
        runner = engine.server.runner
        streams = runner._streams if isinstance(runner, AsgiRunner) else runner.bridge.streams
        streams._drain_s = 1.2  # the cut itself comes later, however slow the machine
        began_at = time.monotonic()
        drained = engine.drain()
        assert len(list(client.chunks())) > 2
        assert time.monotonic() - began_at > 0.5
        assert drained.wait(20)


def test_whose_client_has_yet_to_take_a_part_is_told_right_before_the_end() -> None:
    """As is anybody who sends in that very moment."""
    told = threading.Event()

    async def sends(send):
        while True:
            await send(body(b"x" * 65536, more=True))

    async def application(scope, receive, send):
        listener = asyncio.ensure_future(until_told(receive))
        await send(start())
        sender = asyncio.ensure_future(sends(send))
        await listener
        told.set()
        sender.cancel()

    with (
        Engine(application, "asgi", timeouts={**TIMES, "drain_timeout_s": 1.0}, sweep_s=OFTEN_S) as engine,
        engine.connect(4096) as client,
    ):
        client.send(REQUEST)
        assert client.head()[0] == 200
        drained = engine.drain()
        assert told.wait(20), "nobody takes anything, and so nothing is sent"
        assert sum(map(len, client.chunks())) % 65536 == 0
        assert drained.wait(20)


def test_who_does_not_listen_in_the_last_moment_is_told_in_the_next(monkeypatch) -> None:
    """As one that awaits receive() again and again, for a while each."""
    looked = threading.Event()
    tell_all = event_streams.Streams._tell_all

    def tell(streams: event_streams.Streams) -> None:
        tell_all(streams)
        looked.set()

    monkeypatch.setattr(event_streams.Streams, "_tell_all", tell)

    async def application(scope, receive, send):
        await send(start())
        await send(body(b"tick", more=True))
        while not looked.is_set():  # noqa: ASYNC110 - of no loop
            await asyncio.sleep(0.02)
        await until_told(receive)

    times = {**TIMES, "stream_grace_s": 30.0, "drain_timeout_s": 0.6}
    with Engine(application, "asgi", timeouts=times, sweep_s=OFTEN_S) as engine, opened(engine) as client:
        drained = engine.drain()
        assert list(client.chunks()) == [b"tick"]
        assert drained.wait(20)


def test_streams_end_one_after_the_other(monkeypatch) -> None:
    monkeypatch.setattr(event_streams, "STEP_MAX_S", 0.25)
    ends: list[float] = []

    async def application(scope, receive, send):
        await returns(scope, receive, send)
        ends.append(time.monotonic())

    with Engine(application, "asgi", timeouts=TIMES, sweep_s=OFTEN_S) as engine:
        clients = [opened(engine) for _ in range(12)]
        assert engine.drain().wait(20)
        for client in clients:
            with client:
                assert [client.chunk(), client.chunk()] == [b"data: 1\n\n", b""]
    assert max(ends) - min(ends) > 0.4


@pytest.mark.parametrize("told", [True, False])
def test_a_worker_that_serves_again_tells_nobody_any_more(told: bool) -> None:
    """As after a rollback; and parked in a roll it tells nobody from the beginning."""
    with Engine(returns, "asgi", timeouts=TIMES, sweep_s=OFTEN_S) as engine, opened(engine) as client:
        assert client.chunk() == b"data: 1\n\n"
        if told:
            engine.call(engine.server.release_clients)
            assert list(client.chunks()) == []
            engine.call(engine.server.serve)
            again = opened(engine)
        else:
            engine.call(engine.server.park)
            engine.call(engine.server.serve)
            engine.call(engine.server.release_clients)
            engine.call(engine.server.serve)
            again = client
        let_look(engine, 0.8)
        assert engine.call(lambda: engine.server.active_requests) == 1
        drained = engine.drain()
        assert [chunk for chunk in again.chunks() if chunk != b"data: 1\n\n"] == []
        again.sock.close()
        assert drained.wait(20)


def test_with_a_long_grace_nobody_is_told() -> None:
    with (
        Engine(returns, "asgi", timeouts={**TIMES, "stream_grace_s": 30.0}, sweep_s=OFTEN_S) as engine,
        opened(engine) as client,
    ):
        engine.drain()
        let_look(engine, 0.8)
        assert engine.call(lambda: engine.server.active_requests) == 1
        client.sock.close()


# ---- gwctl.draining


def test_an_asgi_application_can_ask_and_wait() -> None:
    seen: list[Any] = []

    async def application(scope, receive, send):
        notice = copy.deepcopy(scope["extensions"])["gwctl.draining"]
        if scope["path"] == "/ask":
            seen.append(notice())
        else:
            seen.append(notice())
            await asyncio.wait([asyncio.ensure_future(notice.wait())], timeout=20)
            await notice
            seen.append(notice())
        await send(start())
        await send(body(b"data: bye\n\n"))

    with Engine(application, "asgi", timeouts=TIMES, sweep_s=OFTEN_S) as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: seen, "the application to ask")
        engine.call(engine.server.release_clients)
        assert client.response().body == b"data: bye\n\n"
        engine.call(engine.server.serve)
        for version in (b"1.1", b"1.0"):
            with engine.connect() as again:
                again.send(b"GET /ask HTTP/" + version + b"\r\nHost: x\r\n\r\n")
                again.head()
        assert engine.log == ""
    assert seen == [False, True, False, False]


@pytest.mark.not_under("threads", reason="it has no WebSockets")
def test_a_websocket_can_ask() -> None:
    seen: list[bool] = []

    async def application(scope, receive, send):
        seen.append(scope["extensions"]["gwctl.draining"]())
        await receive()
        await send({"type": "websocket.close"})

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert client.head()[0] == 403
    assert seen == [False]


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
@pytest.mark.parametrize("order", ["drain", "release_clients", "close_listeners"])
def test_a_wsgi_application_can_ask_while_it_works(worker_class: str, order: str) -> None:
    """Also under sync, where the order waits in the channel until the call is over."""
    begun, pause = threading.Event(), threading.Event()

    def application(environ, start_response):
        draining = environ["gwctl.draining"]
        if environ["PATH_INFO"] == "/ask":
            start_response("200 OK", [])
            return [b"%d" % draining()]
        assert not draining()
        begun.set()
        end = time.monotonic() + 20
        while not draining() and time.monotonic() < end:
            pause.wait(0.01)
        start_response("200 OK", [])
        return [b"%d" % draining()]

    with (
        Engine(application, worker_class, timeouts=TIMES, sweep_s=OFTEN_S) as engine,
        engine.connect() as client,
    ):
        client.send(REQUEST)
        assert begun.wait(20)
        master = Channel(engine._channels[1].dup())
        if order == "close_listeners":
            engine.server.close_listeners()  # as a signal's handler does
        elif worker_class == "sync":
            master.send(Tell())
            master.send(Drain(30.0, sweep=False) if order == "drain" else Park(release_clients=True))
        else:
            engine.loop.call_soon_threadsafe(
                engine.server.release_clients
                if order == "release_clients"
                else lambda: engine.server.drain(False)
            )
        assert client.response().body == b"1"
        if order == "release_clients" and worker_class == "sync":
            master.send(Serve())
            with engine.connect() as again:
                assert again.get("/ask").body == b"0"
        master.close()


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([], None),
        ([Tell()], None),
        ([Park(release_clients=False)], None),
        ([Park(release_clients=True)], True),
        ([Drain(1.0, sweep=True), Tell()], True),
        ([Park(release_clients=True), Serve()], False),
        ([Serve(), Park(release_clients=True), Park(release_clients=False)], True),
    ],
)
def test_what_orders_that_wait_make_of_it(orders: list[Any], expected: bool | None) -> None:
    ours, theirs = (Channel(each) for each in socket.socketpair())
    for order in orders:
        theirs.send(order)
    assert drains(ours.waiting()) is expected
    assert [message for message, _ in ours.receive()] == orders  # they are still there
    for end in (ours, theirs):
        end.close()
    assert ours.waiting() == []


def test_who_finds_an_order_that_waits_tells_those_who_have_waited_longer() -> None:
    """The order itself may not be read for as long as the call lasts in which both ask."""
    waits: list[bool] = []
    notice = DrainNotice(lambda: bool(waits))

    async def ask() -> None:
        first = asyncio.ensure_future(notice.wait())
        await asyncio.sleep(0)
        assert not first.done()
        waits.append(True)
        assert notice()
        await asyncio.wait_for(first, 20)

    asyncio.run(ask())


def test_a_waiter_in_another_loop_is_told_and_one_whose_loop_is_gone_does_no_harm() -> None:
    notice = DrainNotice()
    waiting = threading.Event()

    async def wait() -> None:
        task = asyncio.ensure_future(notice.wait())
        await asyncio.sleep(0)
        waiting.set()
        await asyncio.wait_for(task, 20)

    async def forget() -> None:
        notice._waiters[asyncio.get_running_loop().create_future()] = asyncio.get_running_loop()

    asyncio.run(forget())
    thread = threading.Thread(target=asyncio.run, args=(wait(),))
    thread.start()
    assert waiting.wait(20)
    notice.begin()
    thread.join(20)
    assert not thread.is_alive()
    asyncio.run(asyncio.wait_for(notice.wait(), 20))
