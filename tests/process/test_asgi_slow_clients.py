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
    "keepalive_timeout_s": 60,  # who is served keeps his connection however slow the machine is
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
    with (
        gwctl_server("asgi_large:application", worker="asgi", timeouts=LIMITS, websocket=WEBSOCKET) as server,
        connect(server) as other,
    ):
        assert other.get("/progress").status == 200
        found: list[float] = []
        # A machine that stands still for a second or two leaves few answers to be timed, all of them late.
        while len(found) < 3 and not (found and found[-1] < 0.4):
            found.append(median_latency(server, other, name))
        assert found[-1] < 0.4, found


def median_latency(server: GwctlServer, other: Client, name: str) -> float:
    """Of what ``other`` is served while slow clients come, and are cut off."""
    first, again, beginning = SLOW[name]
    before = open_sockets(server)
    clients, late = [], []
    for _ in range(CLIENTS):
        begin = time.monotonic()
        clients.append(connect(server, receive_buffer=4096))
        send_quietly(clients[-1], first)
        if time.monotonic() - begin > 0.5:
            late.append(clients[-1])  # it may have been cut off before it said a word
    latencies = []

    def over() -> bool:
        """Also serves: none of what the others do may be felt here."""
        begin = time.monotonic()
        assert other.get("/progress").status == 200
        latencies.append(time.monotonic() - begin)
        for client in clients:
            if again and not is_over(client):
                send_quietly(client, again)
        return all(map(is_over, clients)) and open_sockets(server) == before

    until(over, "the slow ones to be cut off")
    for client in clients:
        assert client in late or beginning_of(client).startswith(beginning)
        client.sock.close()
    return statistics.median(latencies)


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
