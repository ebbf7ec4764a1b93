"""The engine on asyncio's own event loop: what its transports do otherwise than uvloop's.

They raise where the client has reset, must not be closed while they resume writing, and do not
set TCP_NODELAY on an accepted socket.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support import engine_apps
from tests.support.engine import WORKER_CLASSES, Engine
from tests.support.raw import reset_at_close
from tests.support.tls import Files, connect
from tests.support.wait import until

REQUEST = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
QUICK = {"linger_s": 0.1}


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_what_clients_do_to_it(worker_class: str, encrypted: bool, tmp_path: Path) -> None:
    tls = Files(tmp_path, "shop.example").server() if encrypted else None
    application = engine_apps.application(worker_class)
    with Engine(application, worker_class, loop="asyncio", tls=tls, timeouts=QUICK) as engine:

        def opened():
            return connect(engine) if encrypted else engine.connect(receive_buffer=4096)

        with opened() as client:
            assert client.get("/").body == b"hello"
            (connection,) = engine.call(engine.server.open_connections)
            assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"u" * 300_000)
            assert client.response().body == b"u" * 300_000
            client.send(REQUEST % b"/stream" + REQUEST % b"/")
            assert client.response().body == b"onetwothree"
            assert client.response().body == b"hello"
            client.send(b"GET /length?3000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert len(client.response().body) == 3_000_000  # the transport is closed when it has gone out
        for path in (b"/length?3000000", b"/", b"/middle"):
            client = opened()
            client.send(REQUEST % path)
            client.read_until(b"\r\n")
            reset_at_close(client.sock)
            client.sock.close()
        client = opened()  # refused, so that we linger, and reset meanwhile
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n")
        reset_at_close(client.sock)
        client.sock.close()
        until(lambda: not engine.call(lambda: engine.server.connections), "the connections to be gone")
        engine.call(lambda: engine.server.drain(False))
        until(lambda: engine.call(lambda: engine.server.drained), "the drain")
