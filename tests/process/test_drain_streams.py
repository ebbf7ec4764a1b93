"""Event streams across a reload and a stop, and applications that ask whether their worker drains."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

import pytest

from tests.support.apps import by_class
from tests.support.raw import RawClient
from tests.support.server import GwctlServer
from tests.support.wait import until

APPS = by_class("drains:wsgi", "drains:asgi")
DRAIN_S = 30.0
DONE = {"reload": r"adopted generation 2\b", "term": "web.0 g2 .*ready in", "stop": "0 requests cut"}


@pytest.mark.parametrize(
    ("worker", "preload", "count"),
    [("asgi", False, 3), ("asgi", True, 3), ("threads", False, 3), ("sync", False, 1)],
)
def test_silent_streams_hold_neither_a_reload_nor_a_stop(worker: str, preload: bool, count: int) -> None:
    """Each ends with its last chunk; that of the new generation goes on."""
    timeouts = {"drain_timeout_s": DRAIN_S, "stream_grace_s": 0.3, "linger_s": 0.2}
    with (
        GwctlServer(
            APPS["asgi"], worker=worker, preload=preload, timeouts=timeouts, reload={"settle_s": 0.05}
        ) as server,
        ExitStack() as stack,
    ):
        streams = [stack.enter_context(RawClient(server.url)) for _ in range(count)]
        for client in streams:
            client.send("/live")
            client.begin()
        began = time.monotonic()
        server.signal(signal.SIGHUP)
        for client in streams:
            assert client.answer().body == b"data: 0\n\n"
        server.wait_for_log(r"adopted generation 2\b")
        last = stack.enter_context(RawClient(server.url))
        last.send("/live")
        last.begin()
        server.signal(signal.SIGTERM)
        assert last.answer().body == b"data: 0\n\n"
        assert server.wait_for_exit() == 0
        assert time.monotonic() - began < DRAIN_S / 2
        assert "; 0 requests cut" in server.log


@pytest.mark.parametrize("worker", APPS)
def test_an_application_learns_of_the_drain_while_it_works(worker: str) -> None:
    """By the master's order in a reload and a stop, and by a TERM to the worker itself."""
    timeouts = {"drain_timeout_s": DRAIN_S, "linger_s": 0.2}
    reload = {"settle_s": 0.05}
    with GwctlServer(APPS[worker], worker=worker, timeouts=timeouts, reload=reload) as server:
        for number, how in enumerate(("reload", "term", "stop"), 1):
            with RawClient(server.url) as client:
                client.send("/asks")
                until(lambda number=number: server.output.count("asks\n") == number, "the application to ask")
                until(lambda: len(server.workers) == 1, "the worker before to be gone")
                if how == "term":
                    os.kill(server.workers[0], signal.SIGTERM)
                else:
                    server.signal(signal.SIGHUP if how == "reload" else signal.SIGTERM)
                assert client.answer().body == b"hello"
            server.wait_for_log(DONE[how])
        assert server.wait_for_exit() == 0
