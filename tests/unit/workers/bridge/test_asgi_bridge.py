"""An ASGI application under sync and threads never holds its client, its worker or a thread.

What it sends and receives is tested where ASGI is (`asgi_under`); here is what a bridge could get wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gwctl.ipc.channel import Channel, Drain, Park
from gwctl.workers.bridge import call
from gwctl.workers.runners import threads_deadlines
from tests.support.engine import Client, Engine
from tests.support.tls import Files, connect
from tests.support.wait import until

CLASSES = ("sync", "threads")
START = {"type": "http.response.start", "status": 200, "headers": []}
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.fixture(params=CLASSES)
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    """Start engines with one thread: ``serve(application, **settings)``."""
    engines: list[Engine] = []

    def start(application: Any, **settings: Any) -> Engine:
        settings = {"threads": 1} | settings
        engine = Engine(application, request.param, interface="asgi", **settings)
        engine.__enter__()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        engine.__exit__(None, None, None)


class Odd(BaseException):
    """Of nobody's kind."""


def raised(kind: str) -> BaseException:
    return {
        "Exception": ValueError("deliberate"),
        "SystemExit": SystemExit(3),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "CancelledError": asyncio.CancelledError(),
        "GeneratorExit": GeneratorExit(),
        "BaseException": Odd("deliberate"),
        "Group": BaseExceptionGroup("deliberate", [SystemExit(1), ValueError("deliberate")]),
        "StopIteration": StopIteration(5),
    }[kind]


KINDS = ("Exception", "SystemExit", "KeyboardInterrupt", "CancelledError", "GeneratorExit", "BaseException")


# ---- exceptions


class Raises:
    def __init__(self, kind: str, where: str) -> None:
        self.kind = kind
        self.where = where
        self.task: Any = None

    def fail(self) -> None:
        raise raised(self.kind)

    async def fail_in_task(self) -> None:
        raise raised(self.kind)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        where = "" if scope["path"] == "/fine" else self.where
        if where == "at once":
            raise raised(self.kind)
        await send(START)
        if where == "begun":
            raise raised(self.kind)
        if where == "mid":
            await send(body(b"half", more=True))
            raise raised(self.kind)
        if where == "in a task of its own":
            self.task = asyncio.ensure_future(self.fail_in_task())
        if where == "in a callback":
            asyncio.get_running_loop().call_soon(self.fail)
        await send(body(b"whole" if where else b"fine"))
        await asyncio.sleep(0.01)
        if where == "after":
            raise raised(self.kind)


@pytest.mark.parametrize(
    "where", ["at once", "begun", "mid", "after", "in a task of its own", "in a callback"]
)
@pytest.mark.parametrize("kind", [*KINDS, "Group", "StopIteration"])
def test_whatever_is_raised_ends_its_request_alone(serve, kind: str, where: str) -> None:
    engine = serve(Raises(kind, where))
    with engine.connect() as client:
        client.send(GET % b"/")
        if where in {"at once", "begun"}:
            assert client.response().status == 500
            assert client.at_end()
        elif where == "mid":
            with pytest.raises((ConnectionResetError, AssertionError)):
                client.response()
        else:
            assert client.response().body == b"whole"
    for _ in range(2):
        with engine.connect() as client:
            assert client.get("/fine").body == b"fine"
    if where in {"at once", "begun", "mid"}:
        assert engine.log.count(" error ") == 1, engine.log
        assert kind == "CancelledError" or type(raised(kind)).__name__ in engine.log
        assert kind == "CancelledError" or "in __call__" in engine.log
        assert "gwctl/workers" not in engine.log


@pytest.mark.parametrize("messages", [[], [START], [START, body(b"half", more=True)]])
def test_an_application_that_returns_too_early_leaves_nobody_waiting(serve, messages: list[Any]) -> None:
    async def application(scope, receive, send):
        for message in messages:
            await send(message)

    engine = serve(application)
    for _ in range(3):
        with engine.connect() as client:
            client.send(GET % b"/")
            if len(messages) < 2:
                assert client.response().status == 500
            else:
                with pytest.raises((ConnectionResetError, AssertionError)):
                    client.response()


@pytest.mark.parametrize("how", ["stops its loop", "cancels all tasks"])
def test_an_application_that_turns_on_its_own_loop(serve, how: str) -> None:
    async def application(scope, receive, send):
        if scope["path"] == "/":
            if how == "stops its loop":
                asyncio.get_running_loop().stop()
                await asyncio.sleep(0.02)
            else:
                for task in asyncio.all_tasks():
                    task.cancel()
                await asyncio.sleep(0)
        await send(START)
        await send(body(b"done"))

    engine = serve(application)
    with engine.connect() as client:
        assert client.get("/").status == (200 if how == "stops its loop" else 500)
    with engine.connect() as client:
        assert client.get("/fine").body == b"done"


# ---- after the response


async def sends_again(scope: Any, receive: Any, send: Any) -> None:
    await send(body(b""))


async def begins_again(scope: Any, receive: Any, send: Any) -> None:
    await send(START)


async def receives_twice(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] in {"http.request", "http.disconnect"}
    assert (await receive())["type"] == "http.disconnect"
    assert (await receive())["type"] == "http.disconnect"


async def hints_late(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</a>"]})


async def sleeps(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(60)


async def waits_for_ever(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    "then", [sends_again, begins_again, receives_twice, hints_late, sleeps, waits_for_ever]
)
@pytest.mark.parametrize("length", [[], [(b"content-length", b"4")]])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_what_comes_after_the_response_holds_nobody(
    serve, then: Any, length: list[Any], version: bytes
) -> None:
    over: list[str] = []

    async def application(scope, receive, send):
        await send({**START, "headers": length})
        await send(body(b"done"))
        try:
            await then(scope, receive, send)
        finally:
            over.append(scope["path"])

    engine = serve(application)
    begin = time.monotonic()
    for _ in range(3):
        with engine.connect() as client:
            client.send(b"GET / HTTP/%b\r\nHost: x\r\nConnection: close\r\n\r\n" % version)
            assert client.response().body == b"done"
            assert client.at_end()
    assert time.monotonic() - begin < 10
    if then not in {sleeps, waits_for_ever}:
        until(lambda: len(over) == 3, "all three to end")
    else:
        assert engine.under_way == 3


# ---- clients that leave


async def listens(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def streams_and_listens(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(body(b"begun", more=True))
    await listens(scope, receive, send)


async def streams_without_end(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    while True:
        await send(body(b"x" * 1000, more=True))
        await asyncio.sleep(0.001)


async def streams_and_is_silent(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(body(b"begun", more=True))
    await asyncio.sleep(60)


@pytest.mark.parametrize("over", ["tcp", "unix", "tls"])
@pytest.mark.parametrize("doing", [listens, streams_and_listens, streams_without_end, streams_and_is_silent])
def test_clients_that_leave_take_their_thread_with_them(
    serve, shop: Files, monkeypatch: pytest.MonkeyPatch, doing: Any, over: str
) -> None:
    """Also if the application does not listen: then after a while without a byte."""
    monkeypatch.setattr(call, "SILENT_MAX_S", 0.3)

    async def application(scope, receive, send):
        if scope["path"] == "/fine":
            await send(START)
            await send(body(b"fine"))
        else:
            await doing(scope, receive, send)

    settings: dict[str, Any] = {"unix": True} if over == "unix" else {}
    if over == "tls":
        settings["tls"] = shop.server()
    engine = serve(application, **settings)

    def client() -> Client:
        return connect(engine) if over == "tls" else engine.connect()

    for _ in range(3):
        with client() as leaver:
            leaver.send(GET % b"/")
            if doing is not listens:
                leaver.head()
    with client() as other:
        assert other.get("/fine").body == b"fine"
    assert engine.log.count(" error ") == 0


def test_a_client_that_leaves_while_it_waits_in_line_is_no_error(serve) -> None:
    go = threading.Event()
    began: list[str] = []

    async def application(scope, receive, send):
        began.append(scope["path"])
        if scope["path"] == "/first":
            await asyncio.to_thread(go.wait, 20)
        await send(START)
        await send(body(b"fine"))

    engine = serve(application)
    with engine.connect() as first:
        first.send(GET % b"/first")
        until(lambda: began, "the first to begin")
        for _ in range(3):
            with engine.connect() as leaver:
                leaver.send(GET % b"/left")
        go.set()
        assert first.response().body == b"fine"
        with engine.connect() as last:
            assert last.get("/last").body == b"fine"
    assert engine.log.count(" error ") == 0


# ---- both directions


@pytest.mark.parametrize("buffering", [True, False])
@pytest.mark.parametrize("size", [0, 5, 70_000, 3_000_000])
def test_a_body_arrives_whole(serve, buffering: bool, size: int) -> None:
    async def application(scope, receive, send):
        whole = b""
        more = True
        while more:
            message = await receive()
            whole += message["body"]
            more = message["more_body"]
        await send(START)
        await send(body(whole))

    sent = bytes(range(250)) * (size // 250) + b"x" * (size % 250)
    engine = serve(application, body_buffering=buffering, limits={"body_memory_bytes": 1_000_000})
    with engine.connect() as client:
        for _ in range(2):
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + sent)
            assert client.response().body == sent
        client.send(CHUNKED % b"/" + (b"%x\r\n%b\r\n" % (size, sent) if size else b"") + b"0\r\n\r\n")
        assert client.response().body == sent


def test_a_body_that_is_buffered_is_there_before_the_application(serve) -> None:
    began = threading.Event()

    async def application(scope, receive, send):
        began.set()
        message = await receive()
        await send(START)
        await send(body(message["body"]))

    engine = serve(application)
    with engine.connect() as client:
        client.send(CHUNKED % b"/" + b"3\r\none\r\n")
        assert not began.wait(0.1)
        client.send(b"4\r\n two\r\n0\r\n\r\n")
        assert client.response().body == b"one two"


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"x\r\n", 400), (b"3\r\nonetwo", 400), (b"ffffff\r\n" + b"u" * 60_000, 413), (b"", 408)],
)
def test_a_body_that_is_not_sound_is_answered_while_the_application_waits(
    serve, sent: bytes, status: int
) -> None:
    told: list[str] = []

    async def application(scope, receive, send):
        message: dict[str, Any] = {"type": "http.request"}
        while message["type"] == "http.request":
            message = await receive()
        told.append(message["type"])

    engine = serve(
        application,
        body_buffering=False,
        limits={"body_bytes_max": 50_000},
        timeouts={"body_timeout_s": 0.3} if status == 408 else {},
    )
    with engine.connect() as client:
        client.send(CHUNKED % b"/" + sent)
        assert client.response().status == status
    until(lambda: not engine.under_way, "the application to be told, if it was called at all")
    assert told in ([], ["http.disconnect"])
    assert engine.log.count(" error ") == 0


def test_contexts_are_of_one_request_each_and_its_tasks_share_it(serve) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def application(scope, receive, send):
        seen.append(variable.get())
        variable.set(scope["path"])
        await asyncio.create_task(asyncio.sleep(0))
        seen.append(
            await asyncio.get_running_loop().run_in_executor(
                None, contextvars.copy_context().run, variable.get
            )
        )
        await send(START)
        await send(body(b""))

    engine = serve(application)
    with engine.connect() as client:
        for path in ("/a", "/b"):
            client.get(path)
    assert seen == ["unset", "/a", "unset", "/b"]


def test_who_asks_for_a_websocket_gets_a_plain_response_and_the_log_says_why(serve) -> None:
    async def application(scope, receive, send):
        assert scope["type"] == "http"
        await send({**START, "status": 404})
        await send(body(b""))

    engine = serve(application)
    with engine.connect() as client:
        for _ in range(2):
            client.send(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert client.response().status == 404
    assert engine.log.count("GET /ws asks for a WebSocket") == 1, "said once in a while"


def test_the_loop_is_one_and_is_none_of_the_runners(serve) -> None:
    seen: set[Any] = set()

    async def application(scope, receive, send):
        seen.add((threading.get_ident(), asyncio.get_running_loop()))
        await send(START)
        await send(body(b""))

    engine = serve(application)
    for _ in range(2):
        with engine.connect() as client:
            client.get("/")
    ((thread, loop),) = seen
    assert thread != engine.thread.ident
    assert loop is not engine.loop


# ---- time


class Slow:
    def __init__(self) -> None:
        self.cancelled: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            if scope["path"] == "/blocks":
                threading.Event().wait(1.5)  # the loop stands still
            elif scope["path"] != "/fine":
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.append(scope["path"])
            raise
        await send(START)
        await send(body(b"fine"))


def test_a_thread_is_free_when_its_request_is_given_up() -> None:
    application = Slow()
    timeouts = {"request_timeout_s": 60.0, "request_timeout_paths": ("/slow 0.2",)}
    with Engine(application, "threads", interface="asgi", threads=1, timeouts=timeouts) as engine:
        for _ in range(3):
            with engine.connect() as client:
                assert client.get("/slow").status == 504
        with engine.connect() as client:
            assert client.get("/fine").body == b"fine"
        until(lambda: len(application.cancelled) == 3, "the tasks to be cancelled")
        assert len(engine.server.runner.threads) == 1, "no other thread was needed"
        assert engine.log.count("its task is cancelled\n") == 3
        assert "in __call__" in engine.log


def test_a_loop_that_stands_still_is_told_and_the_worker_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_deadlines, "CLEAN_UP_S", 0.2)
    timeouts = {"request_timeout_s": 60.0, "request_timeout_paths": ("/blocks 0.2",)}
    with Engine(Slow(), "threads", interface="asgi", threads=2, timeouts=timeouts) as engine:
        with engine.connect() as client, engine.connect() as other:
            client.send(GET % b"/blocks")
            assert client.response().status == 504
            assert other.get("/fine").status == 200, "when its loop turns again"
        until(lambda: engine.process.given_up_requests, "the worker to ask for a successor")
        assert engine.process.given_up_requests[0] == "GET /blocks"
        assert "event loop has stood still for 0.2 s; the worker is replaced" in engine.log
        assert "in __call__" in engine.log.partition("thread of the loop")[2]


def test_a_drain_waits_for_what_goes_on_behind_a_response_and_cancels_it_in_the_end(serve) -> None:
    ended: list[str] = []

    async def application(scope, receive, send):
        await send(START)
        await send(body(b"done"))
        try:
            await asyncio.sleep(60 if scope["path"] == "/long" else 0.3)
            ended.append("finished")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    drained = threading.Event()
    engine = serve(application, timeouts={"linger_s": 0.05})
    with engine.connect() as client:
        assert client.get("/").body == b"done"
        assert client.get("/long").body == b"done"
    engine.call(lambda: engine.server.drain(False, drained.set))
    until(lambda: ended == ["finished"], "the shorter one")
    assert not drained.is_set()
    engine.call(lambda: engine.server.runner.give_up("the drain is over"))
    assert drained.wait(10)
    assert ended == ["finished", "cancelled"]


async def streams_until_told(scope: Any, receive: Any, send: Any) -> None:
    """It is never silent for as long as it takes to look at it."""
    notice = asyncio.ensure_future(scope["extensions"]["gwctl.draining"].wait())
    while not notice.done():
        await send(body(b"event", more=True))
        await asyncio.sleep(0.001)
    await send(body(b""))


@pytest.mark.parametrize("stream", [listens, streams_until_told])
@pytest.mark.parametrize("order", [Drain(30.0, sweep=False), Park(release_clients=True)])
def test_an_event_stream_under_sync_hears_of_a_drain_that_waits_in_the_channel(
    order: Any, stream: Any
) -> None:
    """The loop that would read the order stands still for as long as the stream is open."""
    told: list[str] = []

    async def application(scope, receive, send):
        notice = asyncio.ensure_future(scope["extensions"]["gwctl.draining"].wait())
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        await stream(scope, receive, send)
        await notice
        told.append("told")

    times = {"stream_grace_s": 0.2}
    with (
        Engine(application, "sync", interface="asgi", timeouts=times, sweep_s=0.05) as engine,
        engine.connect() as client,
    ):
        client.send(GET % b"/")
        assert client.head()[0] == 200, "the head is sent although there is no event yet"
        master = Channel(engine._channels[1].dup())
        master.send(order)
        assert set(client.chunks()) <= {b"event"}
        until(lambda: told, lambda: f"the application to be told; in the log: {engine.log!r}")
        assert engine.log == ""


def test_no_request_leaves_anything_behind(serve) -> None:
    async def application(scope, receive, send):
        await receive()
        await send(START)
        await send(body(b"done"))

    engine = serve(application)
    with engine.connect() as client:
        client.get("/")
        until(lambda: not engine.under_way, "the request to end")
        before = len(asyncio.all_tasks(engine.server.runner.application_loop))
        counted = sys.getallocatedblocks()
        for _ in range(300):
            client.get("/")
        until(lambda: not engine.under_way, "all requests to end")
        assert len(asyncio.all_tasks(engine.server.runner.application_loop)) == before
        assert sys.getallocatedblocks() - counted < 30_000


def test_the_bell_stays_while_somebody_may_ring_it() -> None:
    """Its number would be another's descriptor by then."""

    async def application(scope, receive, send):
        await send(START)
        await send(body(b"x"))
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    over = threading.Event()
    with Engine(application, "sync", interface="asgi") as engine:
        with engine.connect() as client:
            assert client.get().body == b"x"
        bridge = engine.server.runner.bridge
    os.fstat(bridge.bell_fd)
    over.set()
    bridge.loop.run_until_complete(asyncio.wait(asyncio.all_tasks(bridge.loop)))
    bridge.end()
    assert bridge.bell_fd == -1
