"""What becomes of a connection after it was handed over, and of who hands over when its worker ends."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from gwctl.ipc.connection_queue import ConnectionQueue, TransferHeader
from gwctl.ipc.scoreboard import BUSY_SINCE
from gwctl.workers.balancing.handoff import Handover
from tests.support.compiled import pure_only
from tests.support.engine import Engine
from tests.unit.workers.balancing.test_handoff import WSGI, pair


@pytest.mark.parametrize("worker_class", WSGI)
def test_a_connection_that_its_receiver_closes_is_over_for_the_client(worker_class: str) -> None:
    """The sender's descriptor of it is open until the call is over; the client must not wait for that."""
    with pair(worker_class) as both, both.connect() as slow, both.connect() as client:
        both.stick(slow)
        client.sock.settimeout(20)  # the call would last longer
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.response().body == b"other"
        assert client.at_end()
        both.app.let_go.set()
        assert slow.response().body == b"one"


@pytest.mark.parametrize("worker_class", WSGI)
def test_whose_word_is_believed_goes_along(worker_class: str) -> None:
    settings = {"trusted_proxies": ("127.0.0.1",)}
    with pair(worker_class, **settings) as both, both.connect() as slow, both.connect() as client:
        assert client.get("/who", "X-Forwarded-For: 192.0.2.7").body.startswith(b"one 192.0.2.7 ")
        both.stick(slow)
        assert client.get("/who", "X-Forwarded-For: 192.0.2.8").body.startswith(b"other 192.0.2.8 ")
        assert client.get("/who").body.startswith(b"other 127.0.0.1 ")
        both.app.let_go.set()
        assert slow.response().body == b"one"


def test_a_response_that_is_cut_by_its_receiver_does_not_look_whole() -> None:
    """Told by a reset, at once, although the sender has a descriptor of it too; never by an end."""
    with pair("sync") as both, both.connect() as slow, both.connect() as client:
        both.other.server.context.application = cut_short
        both.stick(slow)
        with pytest.raises(ConnectionResetError):
            client.get()
        both.app.let_go.set()
        assert slow.response().body == b"one"


def cut_short(_environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "10")])
    return [b"half "]


@pure_only
def test_the_sentry_outlives_a_connection_that_is_closed_while_it_looks() -> None:
    """Its call is over then, and the loop's thread closes what it likes."""
    with pair("sync") as both, both.connect():
        server = both.one.server
        closed = server.open_connections()
        for connection in closed:
            connection.sock = socket.socket()
            connection.sock.close()
        server.open_connections = lambda: closed  # type: ignore[method-assign]
        server.runner._sentry._relieve(server.handover, server.context.record.floats[BUSY_SINCE])


def test_in_an_exchange_that_is_closed_nothing_waits() -> None:
    with Engine(lambda *_: [], siblings=True) as engine:
        queue = ConnectionQueue.open()
        assert queue is not None
        handover = Handover(engine.server, queue, lambda: 1)
        queue.close()
        assert not handover.pending


def test_a_client_whose_address_cannot_be_told_stays_where_it_is() -> None:
    """The path of a Unix client need not be text."""
    queue = ConnectionQueue.open()
    assert queue is not None
    assert not queue.send(0, TransferHeader("unix:/run/x", "/tmp/\udcff"), b"")
    assert queue.receive() is None
    queue.close()
