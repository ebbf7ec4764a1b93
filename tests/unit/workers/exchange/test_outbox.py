"""Responses that leave at the end of the turn: nothing overtakes them, and no slow call holds them up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest

from gwctl.workers.exchange.outbox import HOLD_S, Outbox
from gwctl.workers.runners.sync import SyncRunner
from tests.support.compiled import pure_only
from tests.support.engine import Client, Engine
from tests.support.wait import until

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    """``/slow`` waits for ``go``; the others answer at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.slow = threading.Event()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            self.slow.set()
            assert self.go.wait(20)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]


def warm(engine: Engine, *clients: Client) -> None:
    """Make the engine believe that calls are fast, and its caches know the response's head."""
    for client in clients:
        assert client.get("/first").body == b"/first"
    assert isinstance(engine.server.runner, SyncRunner)
    engine.server.runner._average_s = 0.0


def together(engine: Engine, *sends: Any) -> None:
    """Hold the loop until all has been sent, so that it is read in one turn."""
    held, go = threading.Event(), threading.Event()
    # epoll lists first what it has reported in its last round, so let that be over.
    engine.call(lambda: None)
    engine.loop.call_soon_threadsafe(lambda: (held.set(), go.wait(20)))
    assert held.wait(20)
    for send in sends:
        send()
    go.set()


def test_a_response_is_not_held_up_by_a_slow_call_of_the_same_turn() -> None:
    app = App()
    with Engine(app) as engine, engine.connect() as quick, engine.connect() as slow:
        warm(engine, quick, slow)
        together(
            engine,
            lambda: quick.send(GET % b"/quick"),
            lambda: slow.send(GET % b"/slow"),
        )
        assert app.slow.wait(20)
        try:
            assert quick.response().body == b"/quick"
        finally:
            app.go.set()
        assert slow.response().body == b"/slow"


@pytest.mark.parametrize("rest", [b"nonsense\r\n\r\n", GET % b"/second" + b"nonsense\r\n\r\n"])
def test_a_refusal_does_not_overtake_the_response_before_it(rest: bytes) -> None:
    with Engine(App()) as engine, engine.connect() as client:
        warm(engine, client)
        client.send(GET % b"/1" + rest)
        assert client.response().body == b"/1"
        for _ in range(rest.count(b"GET")):
            assert client.response().body == b"/second"
        assert client.response().status == 400
        assert client.at_end()


@pytest.mark.parametrize("worker_class", ["sync", "asgi"])
def test_a_client_that_has_said_all_gets_its_response(worker_class: str) -> None:
    """The request and the end of input come in one turn: the close must not overtake the response."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    with Engine(App() if worker_class == "sync" else asgi, worker_class) as engine:
        for _ in range(3):
            with engine.connect() as client:
                assert client.get("/first").body == b"/first"
                if worker_class == "sync":
                    warm(engine)
                together(engine, lambda c=client: c.send(GET % b"/last"), client.finish_sending)
                assert client.response().body == b"/last"
                assert client.at_end()


def test_what_the_socket_does_not_take_follows() -> None:
    """More than its buffers hold, from a client that reads nothing until all has been asked for."""
    body = b"x" * 60_000

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    with Engine(application) as engine, engine.connect(receive_buffer=4096) as client:
        assert client.get().body == body
        assert isinstance(engine.server.runner, SyncRunner)
        engine.server.runner._average_s = 0.0
        client.send(GET % b"/" * 50)
        for _ in range(50):
            assert client.response().body == body


def test_the_next_response_of_a_pipeline_that_comes_in_parts_does_not_overtake() -> None:
    """Input that comes while the next request waits for its turn asks for another turn; both may be in one."""

    def application(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"].encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(path)))])
        return iter([path]) if path == b"/streamed" else [path]

    with Engine(application) as engine, engine.connect() as client:
        warm(engine, client)
        assert isinstance(engine.server.runner, SyncRunner)
        (connection,) = engine.call(engine.server.open_connections)

        def parts() -> None:
            connection.data_received(GET % b"/1" + GET % b"/2" + GET % b"/streamed")
            connection.data_received(GET % b"/4")

        engine.call(parts)
        for path in (b"/1", b"/2", b"/streamed", b"/4"):
            assert client.response().body == path


@pure_only
def test_a_signal_handler_may_send_while_the_sentry_does() -> None:
    """SIGQUIT in a long call: what the sentry has counted is gone before it takes it."""
    sent = []

    def send(data: bytes) -> bytes:
        sent.append(data)
        outbox.send()
        return b""

    outbox = Outbox(SimpleNamespace(call_soon=lambda _, context: None), copy_context())  # type: ignore[arg-type]
    for response in (b"first", b"second"):
        outbox.take(SimpleNamespace(send=send, queued=False), response, 0.0)  # type: ignore[arg-type]
    outbox.send_what_goes()
    assert sent == [b"first", b"second"]
    assert not outbox


@pure_only
def test_the_first_response_does_not_wait_for_a_long_turn() -> None:
    """Each call is fast, but there are many of them."""
    sent: list[bytes] = []

    def send(data: bytes) -> bytes:
        sent.append(data)
        return b""

    asked: list[Any] = []
    loop: Any = SimpleNamespace(call_soon=lambda callback, context: asked.append(callback))
    outbox = Outbox(loop, copy_context())
    for number, now in enumerate([0.0, 0.5 * HOLD_S, 1.1 * HOLD_S, 1.5 * HOLD_S]):
        exchange: Any = SimpleNamespace(send=send, queued=False)
        outbox.take(exchange, b"%d" % number, now)
        assert exchange.queued == (number != 2)
    assert sent == [b"0", b"1", b"2"]
    asked[-1]()
    assert sent == [b"0", b"1", b"2", b"3"]


class Rest:
    """What frameworks return: an iterable with a length that is known, and a close() that has something to do."""

    def __init__(self, body: bytes, close: Callable[[], None]) -> None:
        self.blocks = iter([body])
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return self.blocks


def test_an_iterable_that_is_complete_waits_for_the_others_but_not_for_its_own_close() -> None:
    waited: list[bool] = []
    go = threading.Event()

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return Rest(b"body", close)

    def close() -> None:
        waited.append(bool(engine.server.outbox))
        assert len(waited) < 3 or go.wait(20)

    with Engine(application) as engine, engine.connect() as client:
        assert client.get().body == b"body"
        assert isinstance(engine.server.runner, SyncRunner)
        engine.server.runner._average_s = 0.0
        assert client.get().body == b"body"
        engine.server.runner._average_s = 0.0  # also if that one was slow
        client.send(GET % b"/")
        try:
            assert client.response().body == b"body"
            assert not go.is_set()
        finally:
            go.set()
        assert waited == [False, True, True]


def test_a_generator_is_asked_for_more_only_when_its_last_block_has_been_sent() -> None:
    waited: list[bool] = []

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        yield b"body"
        waited.append(bool(engine.server.outbox))

    with Engine(application) as engine, engine.connect() as client:
        for _ in range(3):
            assert client.get().body == b"body"
            assert isinstance(engine.server.runner, SyncRunner)
            engine.server.runner._average_s = 0.0
        until(lambda: len(waited) == 3, "the end of the third")
        assert not any(waited)
