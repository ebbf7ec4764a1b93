"""The queue of connections between workers: boundaries, descriptors, and what happens when it is full."""

from __future__ import annotations

import os
import socket

from gwctl.exchange import DATA_BYTES_MAX, Exchange, Parcel


def open_exchange() -> Exchange:
    exchange = Exchange.open()
    assert exchange is not None
    return exchange


def test_what_goes_in_comes_out_once_and_whole() -> None:
    exchange = open_exchange()
    ours, theirs = socket.socketpair()
    parcels = [
        Parcel("127.0.0.1:80", ("::1", 7, 0, 0)),
        Parcel("unix:/x", ""),
        Parcel("fd:3", ("a", 1), "/s"),
    ]
    bodies = [b"", b"GET / HTTP/1.1\r\n\r\n", b"\n" * DATA_BYTES_MAX]
    for parcel, body in zip(parcels, bodies, strict=True):
        assert exchange.send(theirs.fileno(), parcel, body)
    theirs.close()
    for parcel, body in zip(parcels, bodies, strict=True):
        taken = exchange.receive()
        assert taken is not None
        fd, about, data = taken
        assert not os.get_inheritable(fd)
        peer = list(parcel.peer) if isinstance(parcel.peer, tuple) else parcel.peer
        assert (about.listener, about.peer, about.local, data) == (parcel.listener, peer, parcel.local, body)
        os.write(fd, b"x")
        os.close(fd)
    assert exchange.receive() is None
    assert ours.recv(10) == b"xxx"
    assert ours.recv(10) == b"", "every copy is closed"
    exchange.close()
    ours.close()


def test_a_full_queue_refuses_and_loses_nothing() -> None:
    exchange = open_exchange()
    ours, theirs = socket.socketpair()
    count = 0
    while exchange.send(theirs.fileno(), Parcel("x", None), b"x" * 1000):
        count += 1
        assert count < 100_000
    for _ in range(count):
        taken = exchange.receive()
        assert taken is not None
        os.close(taken[0])
    assert exchange.receive() is None
    exchange.close()
    ours.close()
    theirs.close()


def test_a_queue_that_is_closed_takes_nothing() -> None:
    exchange = open_exchange()
    exchange.close()
    with socket.socket() as sock:
        assert not exchange.send(sock.fileno(), Parcel("x", None), b"")
    assert exchange.receive() is None
