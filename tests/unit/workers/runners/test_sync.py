"""What is particular to the sync runner: the application has the loop's thread to itself."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from gwctl.ipc.scoreboard import BUSY_SINCE
from gwctl.workers.runners import sync_watchdog
from gwctl.workers.runners.sync import SyncRunner
from tests.support.engine import Engine
from tests.support.wait import until


def test_no_event_loop_is_visible() -> None:
    """Not to the call, not to the iteration, not to close(); and asyncio.run works in all of them."""
    seen: list[str] = []

    async def coroutine(what: str) -> None:
        await asyncio.sleep(0)
        seen.append(what)

    class Result:
        def __iter__(self) -> Any:
            asyncio.run(coroutine("iterate"))
            yield b"done"

        def close(self) -> None:
            asyncio.run(coroutine("close"))

    def application(environ, start_response):
        asyncio.run(coroutine("call"))
        start_response("200 OK", [])
        return Result()

    with Engine(application) as engine, engine.connect() as client:
        for _ in range(2):
            assert client.get().body == b"done"
        until(lambda: len(seen) == 6, "the second close")
        assert seen == ["call", "iterate", "close"] * 2


def test_the_loop_is_visible_again_once_the_worker_has_drained() -> None:
    """The worker's last steps (lifespan shutdown, for one) are ordinary asyncio code."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"done"]

    drained: list[object] = []
    with Engine(application) as engine:
        with engine.connect() as client:
            assert client.get().body == b"done"
        note = lambda: drained.append(asyncio.get_running_loop())  # noqa: E731
        engine.call(lambda: engine.server.drain(False, note))
        until(lambda: drained, "the drain to end")
        assert drained == [engine.loop]


def test_one_request_at_a_time() -> None:
    """The next one starts when the iterable of the one before is closed, whoever asked for it."""
    events: list[str] = []

    class Result:
        def __init__(self, name: str) -> None:
            self.name = name

        def __iter__(self) -> Any:
            events.append(f"iterate {self.name}")
            yield b"x"

        def close(self) -> None:
            events.append(f"close {self.name}")

    def application(environ, start_response):
        name = environ["PATH_INFO"]
        events.append(f"call {name}")
        start_response("200 OK", [("Content-Length", "1")])
        return Result(name)

    with Engine(application) as engine, engine.connect() as one, engine.connect() as two:
        request = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
        one.send(request % 1 + request % 2)
        two.send(request % 3)
        for client in (one, one, two):
            client.response()
        until(lambda: len(events) == 9, "three requests")
    for start in range(0, 9, 3):
        name = events[start].split()[1]
        assert events[start : start + 3] == [f"call {name}", f"iterate {name}", f"close {name}"]


def test_a_block_goes_out_before_the_next_is_asked_for() -> None:
    received = threading.Event()
    waited: list[bool] = []

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"first"
        waited.append(received.wait(10))
        yield b"second"

    with Engine(application) as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.head()
        assert client.chunk() == b"first"
        received.set()
        assert client.chunk() == b"second"
    assert waited == [True]


def test_a_response_is_out_before_the_next_request_starts() -> None:
    """Also when the loop has several requests to serve in one turn."""
    go = threading.Event()
    order: list[str] = []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/second":
            order.append("second called")
            assert go.wait(10)
        start_response("200 OK", [])
        return [b"done"]

    with Engine(application) as engine, engine.connect() as client:
        client.send(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().body == b"done"
        go.set()
        assert client.response().body == b"done"


def test_each_request_has_a_fresh_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    def application(environ, start_response):
        seen.append(variable.get())
        variable.set("set")
        start_response("200 OK", [])

        def body():
            seen.append(variable.get())
            yield b"x"

        return body()

    with Engine(application) as engine, engine.connect() as client:
        client.get()
        client.get()
    assert seen == ["unset", "set", "unset", "set"]


def test_what_is_being_served_is_on_the_scoreboard() -> None:
    arrived, go = threading.Event(), threading.Event()

    def application(environ, start_response):
        arrived.set()
        assert go.wait(10)
        start_response("200 OK", [])
        return []

    with Engine(application) as engine, engine.connect() as client:
        client.send(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n")
        assert arrived.wait(10)
        assert engine.record.floats[BUSY_SINCE] > 0
        assert engine.record.request_line == "GET /a?b=c"
        go.set()
        client.response()
        until(lambda: engine.record.floats[BUSY_SINCE] == 0, "the request to be over")


def test_fast_responses_that_leave_together_stay_in_order_and_bounded() -> None:
    """With calls this fast they are left to the loop; a client that does not read holds its own up."""
    calls = 0

    def application(environ, start_response):
        nonlocal calls
        calls += 1
        start_response("200 OK", [])
        number = environ["QUERY_STRING"].encode()
        return [number * 500] if calls % 10 else iter([number * 250, number * 250])

    with (
        Engine(application, timeouts={"queue_timeout_s": 0.0}) as engine,
        engine.connect(receive_buffer=4096) as client,
        engine.connect() as other,
    ):
        runner = engine.server.runner
        engine.call(lambda: setattr(runner, "_average_s", 0.0))
        assert other.get("/?1").body == b"1" * 500
        for connection in engine.call(lambda: list(engine.server._connections)):
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        request = b"GET /?%04d HTTP/1.1\r\nHost: x\r\n\r\n"
        client.send(b"".join(request % n for n in range(1000)))
        assert other.get("/?2").body == b"2" * 500
        assert calls < 500
        for n in range(1000):
            assert client.response().body == b"%04d" % n * 500
        assert other.get("/?3").body == b"3" * 500


def test_a_slow_call_does_not_hold_the_response_before_it() -> None:
    """Two connections are ready in the same turn of the loop; the second call takes its time."""
    go = threading.Event()
    both = threading.Event()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/wait":
            assert both.wait(10)
        if environ["PATH_INFO"] == "/slow":
            assert go.wait(10)
        start_response("200 OK", [])
        return [b"done"]

    with (
        Engine(application) as engine,
        engine.connect() as holder,
        engine.connect() as fast,
        engine.connect() as slow,
    ):
        for client in (holder, fast, slow):
            assert client.get().body == b"done"
        holder.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: engine.record.request_line == "GET /wait", "the loop to be held")
        fast.send(b"GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        both.set()
        assert holder.response().body == b"done"
        assert fast.response().body == b"done"
        go.set()
        assert slow.response().body == b"done"


def test_those_in_line_are_served_in_one_turn_once_calls_are_fast_again() -> None:
    """Under load the line is never empty: that must not keep a worker at one request a turn."""
    asked = threading.Event()
    served: list[str] = []
    waiting: list[int] = []
    turned: list[list[str]] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/first":
            assert asked.wait(20)
        elif len(served) == 1:
            waiting.append(len(runner.line))
            runner._average_s = 0.0
            runner.on_flush()  # as every few milliseconds
            engine.loop.call_soon(lambda: turned.append(served.copy()))
        served.append(path)
        start_response("200 OK", [])
        return [path.encode()]

    with Engine(application) as engine, ExitStack() as stack:
        assert isinstance(engine.server.runner, SyncRunner)
        runner = engine.server.runner
        clients = [stack.enter_context(engine.connect()) for _ in range(4)]
        until(lambda: engine.call(lambda: engine.server.connections) == 4, "the connections")
        runner._average_s = 1.0
        engine.call(runner.on_flush)
        clients[0].send(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: engine.record.floats[BUSY_SINCE], "the first call")
        for client in clients[1:]:
            client.send(b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
        asked.set()
        for client in clients:
            assert client.response().status == 200
        until(lambda: turned, "the loop to turn")
        assert waiting == [2]
        assert turned == [["/first", "/next", "/next", "/next"]]


def test_requests_are_served_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of processes (TasksMax=) the sentry has to wait; a request must not."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"done"]

    with Engine(application) as engine, engine.connect() as client:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _refuse)
            patched.setattr(sync_watchdog, "_RETRY_S", 0.0)
            for _ in range(3):
                assert client.get().body == b"done"
        assert engine.log_path.read_text().count("no thread can be started") == 1

        def watched() -> bool:
            """One request may belong to a batch that began before."""
            assert client.get().body == b"done"
            return any(thread.name == "gwctl-sentry" for thread in threading.enumerate())

        until(watched, "the sentry")


def _refuse(*_: object) -> None:
    message = "can't start new thread"
    raise RuntimeError(message)
