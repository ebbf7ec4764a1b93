"""Slow clients of a live `asgi` worker: each kind is ended by its limit, and others notice nothing."""

from __future__ import annotations

import contextlib
import select
import statistics
import time

import pytest

from tests.support.engine import Client
from tests.support.processes import descriptors
from tests.support.raw import connect
from tests.support.server import GwctlServer
from tests.support.wait import until
from tests.support.websocket import frame, handshake

CLIENTS = 60
LIMITS = {
    "header_timeout_s": 1,
    "body_timeout_s": 1,
    "response_timeout_s": 1,
    "linger_s": 0.5,
}
WEBSOCKET = {"ping_interval_s": 0.5, "ping_timeout_s": 0.5}

# What a client sends at first, what it adds again and again, and how its connection must end.
SLOW = {
    "the head, byte by byte": (b"GET / HTTP/1.1\r\nX: ", b"x", b"HTTP/1.1 408 "),
    "a head, then silence": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"", b"HTTP/1.1 408 "),
    "part of a body": (
        b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
        b"",
        b"HTTP/1.1 408 ",
    ),
    "part of a chunk": (
        b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nx",
        b"",
        b"HTTP/1.1 408 ",
    ),
    "reading nothing": (b"GET /download?10000 HTTP/1.1\r\nHost: x\r\n\r\n", b"", b"HTTP/1.1 200 "),
    "nothing at all": (b"", b"", b""),
    "a WebSocket that answers no ping": (handshake(path=b"/count"), b"", b"HTTP/1.1 101 "),
    "a part of a WebSocket's message": (
        handshake(path=b"/count") + frame(2, b"", length=1000) + b"xxx",
        b"",
        b"HTTP/1.1 101 ",
    ),
    "a WebSocket's handshake": (handshake(path=b"/count")[:-3], b"", b"HTTP/1.1 408 "),
}


@pytest.mark.parametrize("name", SLOW)
def test_slow_clients(gwctl_server, name: str) -> None:
    first, again, beginning = SLOW[name]
    # Where it is not the limit in question, who is served keeps his connection however slow the machine is.
    limits = {**LIMITS, "keepalive_timeout_s": 60 if first else 1}
    with (
        gwctl_server("asgi_large:application", worker="asgi", timeouts=limits, websocket=WEBSOCKET) as server,
        connect(server) as other,
    ):
        assert other.get("/progress").status == 200
        before = open_sockets(server)
        clients = [connect(server, receive_buffer=4096) for _ in range(CLIENTS)]
        until(lambda: open_sockets(server) == before + CLIENTS, "all to be accepted")
        for client in clients:
            client.send(first)
        latencies = []

        def over() -> bool:
            """Also serves: none of what the others do may be felt here."""
            begin = time.monotonic()
            assert other.get("/progress").status == 200
            latencies.append(time.monotonic() - begin)
            for client in clients:
                if again and not is_over(client):
                    send_quietly(client, again)
            return open_sockets(server) == before

        until(over, "the slow ones to be cut off")
        assert statistics.median(latencies) < 0.4
        for client in clients:
            assert beginning_of(client).startswith(beginning)
            client.sock.close()


def open_sockets(server: GwctlServer) -> int:
    (worker,) = server.workers
    return sum(name.startswith("socket:") for name in descriptors(worker).values())


def is_over(client: Client) -> bool:
    return bool(select.select([client.sock], [], [], 0)[0])


def send_quietly(client: Client, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.send(data)


def beginning_of(client: Client) -> bytes:
    try:
        return client.sock.recv(20)
    except ConnectionResetError:
        return b""
