"""What is particular to the threads runner: who may write to a connection, and when."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import gc
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gwctl.workers.exchange.states import BUSY
from gwctl.workers.http1.call_response import CallResponse
from gwctl.workers.http1.protocol import Connection
from gwctl.workers.runners.request_thread import RequestThread
from tests.support.compiled import pure_only
from tests.support.engine import Engine
from tests.support.raw import reset_at_close
from tests.support.wait import until

REQUEST = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


def test_requests_run_side_by_side() -> None:
    """As many as there are threads, and no more; the others wait and are served in turn."""
    together = threading.Barrier(4)

    def application(environ, start_response):
        together.wait(10)
        start_response("200 OK", [])
        return [threading.current_thread().name.encode()]

    with Engine(application, "threads", threads=4) as engine:
        clients = [engine.connect() for _ in range(8)]
        for client in clients:
            client.send(REQUEST % b"/")
        names = {client.response().body for client in clients}
        for client in clients:
            client.sock.close()
    assert len(names) == 4


def test_threads_that_stay_taken_are_told_of() -> None:
    """Once, with the request that has run longest; a worker with a free thread says nothing."""
    go = threading.Event()

    def application(environ, start_response):
        go.wait(20)
        start_response("200 OK", [])
        return [b"x"]

    with Engine(application, "threads", threads=2) as engine:

        def look(after_s: float) -> None:
            engine.call(lambda: engine.server.runner.on_sweep(time.monotonic() + after_s))

        clients = [engine.connect() for _ in range(3)]
        clients[0].send(REQUEST % b"/first")
        until(lambda: engine.server.active_requests == 1, "the first request")
        look(11)
        for client in clients[1:]:
            client.send(REQUEST % b"/stuck")
        until(lambda: engine.server.active_requests == 3, "all requests to be there")
        until(lambda: len(engine.server.runner.under_way()) == 2, "two of them to be called")
        look(1)
        assert "threads are taken" not in engine.log
        look(11)
        look(12)
        assert engine.log.count("all 2 threads are taken, none has become free for 1") == 1
        assert "1 request waits here. The longest: GET /first, 1" in engine.log
        go.set()
        for client in clients:
            assert client.response().status == 200
            client.sock.close()


def test_one_connection_is_served_in_order_by_changing_threads() -> None:
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    with Engine(application, "threads", threads=8) as engine, engine.connect() as client:
        client.send(b"".join(REQUEST % b"/%d" % n for n in range(300)))
        assert [client.response().body for _ in range(300)] == [b"/%d" % n for n in range(300)]


def test_keep_alive_under_many_connections() -> None:
    """Releasing a connection from a thread and taking the next request from it race all the time."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    failures: list[BaseException] = []

    def talk(number: int) -> None:
        try:
            with engine.connect() as client:
                for n in range(150):
                    client.send(REQUEST % b"/%d/%d" % (number, n) * (1 + n % 3))
                    for _ in range(1 + n % 3):
                        assert client.response().body == b"/%d/%d" % (number, n)
        except BaseException as error:
            failures.append(error)

    with Engine(application, "threads", threads=4) as engine:
        threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
        until(lambda: engine.server.active_requests == 0, "the last request to be counted")


@pure_only
def test_a_response_for_a_lost_client_never_reaches_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A's descriptor is closed and its number given to B while A's response is about to be sent."""
    about_to_send, go = threading.Event(), threading.Event()
    numbers: list[int] = []

    class SlowSocket:
        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock

        def send(self, data: Any) -> int:
            if b"secret of A" in bytes(data):
                about_to_send.set()
                assert go.wait(20)
            return self._sock.send(data)

        def fileno(self) -> int:
            return self._sock.fileno()

    plain = CallResponse.__init__

    def slowly(self: CallResponse, connection: Any, output: Any) -> None:
        numbers.append(connection.sock.fileno())
        plain(self, connection, SlowSocket(output))

    monkeypatch.setattr(CallResponse, "__init__", slowly)

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"secret of A" if environ["PATH_INFO"] == "/a" else b"for B"]

    with Engine(application, "threads", threads=2) as engine:
        a = engine.connect()
        a.send(REQUEST % b"/a")
        assert about_to_send.wait(20)
        reset_at_close(a.sock)
        a.sock.close()
        until(lambda: engine.call(lambda: engine.server.connections) == 0, "A's connection to be gone")
        with engine.connect() as b:
            assert b.get("/b").body == b"for B"
            assert numbers[1] == numbers[0], "the test needs the number to be used again"
            go.set()
            until(lambda: engine.server.active_requests == 0, "A's request to end")
            assert b.get("/b").body == b"for B"


def test_the_duplicate_is_closed_with_the_connection() -> None:
    """Whether the loop or a thread was the last to need it."""

    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x"]

    with Engine(application, "threads") as engine:
        client = engine.connect()
        client.get()  # the loop opens descriptors of its own with its first connection
        client.sock.close()
        until(lambda: engine.call(lambda: engine.server.connections) == 0, "the first connection to be gone")
        before = open_descriptors()
        for n in range(40):
            client = engine.connect()
            client.send(REQUEST % b"/")
            if n % 2:
                client.response()
            client.sock.close()
        until(lambda: engine.call(lambda: engine.server.connections) == 0, "the connections to be gone")
        until(lambda: open_descriptors() <= before, "all descriptors to be closed")


def test_an_aborted_connection_ends_although_more_was_pipelined_and_the_error_is_kept() -> None:
    """A reset is sent when the last descriptor is closed, and an error report may refer to it for long."""
    kept: list[BaseException] = []

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"begun"
        try:
            raise ValueError
        except ValueError as error:
            kept.append(error)
            raise

    with Engine(application, "threads") as engine, engine.connect() as client:
        client.send((REQUEST % b"/") * 3)
        with pytest.raises(ConnectionResetError):
            client.rest()
    assert kept


def test_what_the_thread_cannot_write_is_left_to_the_loop() -> None:
    """The thread is free for another request while a slow reader takes its response."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"y" * int(environ["QUERY_STRING"])]

    with (
        Engine(application, "threads", threads=1) as engine,
        engine.connect(receive_buffer=4096) as slow,
        engine.connect() as other,
    ):
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        engine.call(lambda: None)
        for connection in engine.call(lambda: list(engine.server._connections)):
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        slow.send((REQUEST % b"/?200000") * 3)
        assert other.get("/?5").body == b"yyyyy"
        assert [len(slow.response().body) for _ in range(3)] == [200_000] * 3
        assert slow.get("/?7").body == b"y" * 7


def test_a_busy_connection_is_not_closed_by_the_sweep() -> None:
    go = threading.Event()

    def application(environ, start_response):
        assert go.wait(20)
        start_response("200 OK", [])
        return [b"late"]

    quick = {"keepalive_timeout_s": 0.1, "body_timeout_s": 0.1, "response_timeout_s": 0.1}
    with Engine(application, "threads", timeouts=quick) as engine, engine.connect() as client:
        client.send(REQUEST % b"/")
        until(lambda: [c for c in engine.server._connections if c.state == BUSY], "the request to start")
        seen = engine.server._sweep_at
        until(lambda: engine.server._sweep_at > seen + 0.5, "ten sweeps")
        go.set()
        assert client.response().body == b"late"


def test_each_request_has_a_fresh_context_and_no_loop() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def coroutine() -> None:
        seen.append(variable.get())

    def application(environ, start_response):
        asyncio.run(coroutine())
        variable.set("set")
        start_response("200 OK", [])
        return []

    with Engine(application, "threads", threads=1) as engine, engine.connect() as client:
        client.get()
        client.get()
    assert seen == ["unset", "unset"]


@pure_only
def test_more_time_that_a_call_asks_for_is_not_lost_while_others_are_forgotten() -> None:
    """The loop goes through who was given more time; a call may ask at that very moment."""

    def application(environ, start_response):
        began.set()
        assert ask.wait(20)
        environ["gwctl.extend_timeout"](20.0)
        asked.set()
        assert go.wait(20)
        start_response("200 OK", [])
        return [b"x"]

    class Asks(dict[Any, float]):
        """Reading it lets a call in."""

        def __iter__(self) -> Any:
            for call in list(dict.keys(self)):
                yield call
                self._let_one_in()

        def items(self) -> Any:
            for item in list(dict.items(self)):
                yield item
                self._let_one_in()

        def _let_one_in(self) -> None:
            ask.set()
            assert asked.wait(20)

    began, ask, asked, go = (threading.Event() for _ in range(4))
    timeouts = {"request_timeout_s": 60.0}
    with Engine(application, "threads", timeouts=timeouts) as engine, engine.connect() as client:
        clock = engine.server.runner.clock
        clock._extended = Asks({object(): 1.0})
        client.send(REQUEST % b"/")
        assert began.wait(20)
        try:
            engine.call(lambda: clock.check_timeouts(time.monotonic()))
            kept = list(dict.values(clock._extended))
        finally:
            go.set()
        assert client.response().body == b"x"
    assert len(kept) == 1
    assert kept[0] > time.monotonic()


class TooLate(BaseException):
    """What a library's timeout raises in the thread of a call."""


@pure_only  # compiled code does not look for such exceptions: the next interpreted frame, a view, has them
def test_an_exception_that_comes_too_late_costs_no_thread_and_no_request():
    """One that another thread raises in threads that wait: by then the call it was meant for is over."""

    together = threading.Barrier(2)

    def application(environ, start_response):
        together.wait(20)
        body = str(threading.get_ident()).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    with Engine(application, "threads", threads=2) as engine:
        idents = [counters.ident for counters in engine.server.runner.threads]

        def all_wait() -> bool:
            frames = sys._current_frames()
            return not engine.server.active_requests and all(
                frames[ident].f_code.co_name == "wait" for ident in idents
            )

        for _ in range(3):
            until(all_wait, "the threads to wait for a request")
            for ident in idents:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TooLate))
            with engine.connect() as one, engine.connect() as other:
                for client in (one, other):
                    client.send(REQUEST % b"/")
                assert {int(client.response().body) for client in (one, other)} == {*idents}
        until(lambda: not engine.server.active_requests, "the end of the last call")
        alive = {thread.ident for thread in threading.enumerate()}
        assert alive.issuperset(idents)
        assert "raised in a thread of gwctl's that served no request: TooLate" in engine.log


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
@pytest.mark.parametrize("how", ["list", "write", "generator"])
def test_a_response_in_whose_midst_something_is_raised_is_cut(worker_class: str, how: str) -> None:
    """By a timeout, say, while its client has yet to take it: the next response must not come inside of it."""
    size = 8_000_000
    calls: list[int] = []

    def application(environ, start_response):
        calls.append(threading.get_ident())
        write = start_response("200 OK", [("Content-Length", str(size))])
        if how == "write":
            write(bytes(size))
            return []
        return [bytes(size)] if how == "list" else iter([bytes(1), bytes(size - 1)])

    with Engine(application, worker_class) as engine, engine.connect(receive_buffer=65536) as client:
        client.send(REQUEST % b"/")
        (ident,) = until(lambda: calls, "the call")
        response = next(iter(engine.server._connections)).response
        until(lambda: response.client_wait is not None, "the call to wait for its client")
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TooLate))
        with pytest.raises((OSError, AssertionError)):  # Truncated is an AssertionError
            client.response()
            raise OSError("it must not be whole")
        assert "mid-response; connection aborted: " in engine.log


def connections_of(engine: Engine) -> list[Any]:
    # Not by isinstance(): among all objects are lazy ones, which that would set up (Django's, without its settings).
    return [
        each
        for each in gc.get_objects()
        if issubclass(type(each), Connection) and each.service is engine.server
    ]


def test_a_request_that_is_given_up_when_its_client_has_gone_leaves_nothing() -> None:
    """No connection that only the garbage collector would find."""
    go = threading.Event()

    def application(environ, start_response):
        go.wait(20)
        start_response("200 OK", [])
        return [b""]

    gc.disable()
    try:
        with Engine(application, "threads", timeouts={"request_timeout_s": 3.0}) as engine:
            with engine.connect() as client:
                client.send(REQUEST % b"/")
                until(lambda: engine.server.active_requests, "the call")
                assert len(connections_of(engine)) == 1
                reset_at_close(client.sock)
            engine.wait_for_log("request timeout")
            go.set()
            until(lambda: not connections_of(engine), "it to be freed")
    finally:
        gc.enable()


def test_an_environ_that_is_kept_does_not_keep_its_connection() -> None:
    kept: list[Any] = []

    def application(environ, start_response):
        kept.append(environ)
        start_response("200 OK", [])
        return [b""]

    with Engine(application, "threads") as engine:
        with engine.connect() as client:
            assert client.get("/").status == 200
        until(lambda: not engine.call(lambda: engine.server.connections), "the end of the connection")
        hints = kept[0]["wsgi.early_hints"]
        assert not [each for each in gc.get_referents(hints) if isinstance(each, CallResponse)]
        hints([("Link", "</late>")])  # nobody is there: nothing happens


def test_a_call_that_ends_as_its_time_does_is_left_alone_though_its_client_has_gone() -> None:
    """Its descriptor is not restored to what is closed by then; the loop goes on."""
    go = threading.Event()

    def application(environ, start_response):
        assert environ["PATH_INFO"] == "/next" or go.wait(20)
        start_response("200 OK", [])
        return [b"x"]

    with Engine(application, "threads", timeouts={"request_timeout_s": 60.0}) as engine:
        runner = engine.server.runner
        with engine.connect() as client:
            client.send(REQUEST % b"/")
            (busy,) = until(lambda: [each for each in runner.threads if each.call is not None], "the call")
            reset_at_close(client.sock)
        call = busy.call
        until(lambda: call.exchange.lost and call.exchange.fileno() < 0, "the client to be gone")
        assert engine.call(lambda: runner.clock._take(RequestThread(), call)) is None
        go.set()
        until(lambda: not engine.server.active_requests, "the end of the call")
        assert engine.ask("/next").body == b"x"


@pure_only
def test_whether_too_many_are_active_costs_no_sum_as_long_as_they_cannot_be() -> None:
    """With `requests_max` it is asked before each request."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"done"]

    with Engine(application, "threads", threads=2, requests_max=100) as engine, engine.connect() as client:
        runner: Any = engine.server.runner
        for _ in range(50):
            assert client.get().body == b"done"
        until(lambda: engine.call(lambda: runner.active) == 0, "all to be over")
        asked = []

        class Thread(RequestThread):
            __slots__ = ()

            @property
            def requests(self) -> int:
                asked.append(self)
                return super().requests

        def sums_for(number: int) -> tuple[bool, int]:
            """In one turn of the loop, which sums up for figures of its own in others."""
            before = len(asked)
            return runner.has_active(number), len(asked) - before

        engine.call(lambda: runner.threads.append(Thread()))
        assert engine.call(lambda: sums_for(1)) == (False, 0)
        runner._dispatched += 3
        assert engine.call(lambda: sums_for(4)) == (False, 0)
        assert engine.call(lambda: sums_for(3)) == (True, 1)
        runner._dispatched -= 3
