"""Responses of threads that leave together: none is held up by a call, each connection is released once."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest

from gwctl.workers.exchange.outbox import HOLD_S
from gwctl.workers.runners.threads import ThreadsRunner
from gwctl.workers.runners.threads_outbox import ThreadsOutbox
from tests.support.compiled import pure_only
from tests.support.engine import Engine
from tests.support.wait import until

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("close", [False, True])
def test_a_response_is_not_held_up_by_the_call_after_it(close: bool) -> None:
    """The only thread goes on to a call that blocks, or blocks in the close() of this one."""
    go = threading.Event()
    taken: list[bool] = []

    class Result:
        def __iter__(self) -> Any:
            return iter([b"/quick"])

        def close(self) -> None:
            taken.append(bool(engine.server.outbox))
            assert not close or go.wait(20)

    def application(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(path)))])
        if path == "/quick":
            until(lambda: runner._queue.requests, "a request that waits")
            return Result()
        if path == "/slow":
            assert go.wait(20)
        return [path.encode()]

    with Engine(application, "threads", threads=1) as engine:
        assert isinstance(engine.server.runner, ThreadsRunner)
        runner = engine.server.runner
        with engine.connect() as quick, engine.connect() as slow:
            assert quick.get("/first").body == b"/first"  # its head is known from here on
            quick.send(GET % b"/quick")
            until(lambda: [each.what for each in runner.under_way()] == ["GET /quick"], "its call")
            slow.send(GET % b"/slow")
            try:
                assert quick.response().body == b"/quick"
                until(lambda: taken, "close()")  # the loop may send it before its thread comes to that
            finally:
                go.set()
            assert slow.response().body == b"/slow"
            for client in (quick, slow):
                assert client.get("/last").body == b"/last"


class Call:
    """A call whose response is taken."""

    def __init__(self) -> None:
        self.halves: list[bool] | None = None
        self.sent: list[bytes] = []
        self.send_now: Callable[[bytes], None] = self.sent.append
        self.environ: Any = None


def answered(call: Call) -> Any:
    """Its exchange."""
    return SimpleNamespace(response=SimpleNamespace(call=call))


@pytest.fixture
def queue() -> deque[Any]:
    return deque(["a request"])


@pytest.fixture
def released() -> list[Any]:
    return []


@pytest.fixture
def woken() -> list[Callable[[], None]]:
    return []


@pytest.fixture
def outbox(queue: Any, released: list[Any], woken: list[Any]) -> ThreadsOutbox:
    loop: Any = SimpleNamespace(call_soon_threadsafe=lambda callback, context: woken.append(callback))
    return ThreadsOutbox(loop, copy_context(), queue, released.append)


@pure_only
def test_the_second_of_sender_and_caller_releases(outbox: Any, released: list[Any]) -> None:
    one, two = Call(), Call()
    assert outbox.take(answered(one), b"1", 0.0)
    outbox.ended(one, 0.0)
    assert outbox.take(answered(two), b"2", 0.0)
    assert not one.sent
    assert not released
    outbox.send()
    assert one.sent == [b"1"]
    assert two.sent == [b"2"]
    assert released == [one]  # the other is still in its close()
    outbox.ended(two, 0.0)
    assert released == [one, two]


@pure_only
@pytest.mark.parametrize("why", ["nobody waits", "it is late"])
def test_a_thread_sends_when_it_is_time(outbox: Any, queue: Any, released: list[Any], why: str) -> None:
    calls = [Call() for _ in range(3)]
    for call in calls:
        assert outbox.take(answered(call), b"x", 0.0)
        outbox.ended(call, HOLD_S / 2)
    assert not released
    last = Call()
    assert outbox.take(answered(last), b"x", 0.0)
    if why == "nobody waits":
        queue.pop()
        assert not outbox.take(answered(Call()), b"x", 0.0)
    outbox.ended(last, 0.0 if why == "nobody waits" else 1.1 * HOLD_S)
    assert set(released) == {*calls, last}
    assert len(released) == 4


@pure_only
def test_the_loop_is_woken_once_for_a_batch(outbox: Any, released: list[Any], woken: list[Any]) -> None:
    for turn in range(1, 3):
        for _ in range(3):
            call = Call()
            assert outbox.take(answered(call), b"x", 0.0)
            outbox.ended(call, 0.0)
        assert len(woken) == turn
        woken[-1]()
        assert len(released) == 3 * turn


def test_a_response_that_is_held_when_its_thread_is_given_up_goes_out_first() -> None:
    """The loop was late, so that the response still waits when the call is found to have taken too long."""
    held, go = threading.Event(), threading.Event()

    class Result:
        def __iter__(self) -> Any:
            return iter([b"/quick"])

        def close(self) -> None:
            assert go.wait(20)

    def application(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(path)))])
        if path == "/quick":
            assert held.wait(20)
            return Result()
        return [path.encode()]

    with Engine(application, "threads", threads=1, timeouts={"request_timeout_s": 60.0}) as engine:
        runner = engine.server.runner
        assert isinstance(runner, ThreadsRunner)
        clock = runner.clock
        assert clock is not None

        def judge() -> None:
            held.set()
            until(lambda: engine.server.outbox, "the response to be held")
            clock.check_timeouts(time.monotonic() + 100)

        with engine.connect() as quick, engine.connect() as other:
            assert quick.get("/first").body == b"/first"  # its head is known from here on
            quick.send(GET % b"/quick")
            until(lambda: [each.what for each in runner.under_way()] == ["GET /quick"], "its call")
            other.send(GET % b"/other")
            until(lambda: runner._queue.requests, "a request that waits")
            try:
                engine.call(judge)
                assert quick.response().body == b"/quick"
                assert quick.at_end()
                assert other.response().body == b"/other"
                assert "its response was sent, its connection is closed" in engine.log
            finally:
                go.set()


@pure_only
def test_each_response_is_sent_once_whatever_is_freed_meanwhile(outbox: Any, queue: Any) -> None:
    """What a call before has held may let other threads run when it is freed, in the midst of taking the next."""
    for _ in range(20):
        calls = [Call() for _ in range(100)]
        sent = [call.sent for call in calls]
        for call in calls:
            call.environ = open(os.devnull, "rb")  # noqa: SIM115, PTH123 - what is freed
            outbox.take(answered(call), b"x", 0.0)
        del call, calls
        threads = [threading.Thread(target=outbox.send) for _ in range(4)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sent == [[b"x"]] * 100
