"""A client is not given up for what the worker did: its answer may wait to be read."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import SimpleNamespace

import pytest
import uvloop

from gwctl.workers.websocket.keepalive import Watch

PING_TIMEOUT_S = 0.1


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("answers", [True, False])
def test_a_loop_that_stood_still_reads_what_came_before_it_judges(make_loop, answers):
    """The answer comes while the loop stands still, reading from another, for longer than the client has to answer."""
    settings = SimpleNamespace(
        websocket=SimpleNamespace(ping_interval_s=0.01, ping_timeout_s=PING_TIMEOUT_S),
        timeouts=SimpleNamespace(response_timeout_s=60.0),
    )
    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(_is_given_up(settings, answers=answers)) is not answers


async def _is_given_up(settings, *, answers):
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    near, far = socket.socketpair()
    near.setblocking(False)
    idle, busy = socket.socketpair()

    def heard():
        near.recv(100)
        watch.heard = True

    def ping():
        busy.send(b"work")

    def stand_still():
        idle.recv(100)
        if answers:
            far.send(b"pong")
        threading.Event().wait(2 * PING_TIMEOUT_S)

    with near, far, idle, busy:
        watch = Watch(loop, settings, None, ping, lambda: over.set_result(True), lambda: None)
        loop.add_reader(near, heard)
        loop.add_reader(idle, stand_still)
        watch.start_pings()
        loop.call_later(6 * PING_TIMEOUT_S, lambda: over.done() or over.set_result(False))
        try:
            return await over
        finally:
            watch.stop()
            loop.remove_reader(near)
            loop.remove_reader(idle)
