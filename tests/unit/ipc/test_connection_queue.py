"""The queue of connections between workers: boundaries, descriptors, and what happens when it is full."""

from __future__ import annotations

import os
import socket

import msgspec
import pytest

from gwctl.ipc.connection_queue import DATA_BYTES_MAX, ConnectionQueue, TransferHeader
from gwctl.supervisor.generations.connection_queues import ConnectionQueues
from tests.support.processes import descriptors


def open_queue() -> ConnectionQueue:
    queue = ConnectionQueue.open()
    assert queue is not None
    return queue


def test_what_goes_in_comes_out_once_and_whole() -> None:
    queue = open_queue()
    ours, theirs = socket.socketpair()
    headers = [
        TransferHeader("127.0.0.1:80", ("::1", 7, 0, 0)),
        TransferHeader("unix:/x", ""),
        TransferHeader("fd:3", ("a", 1), "/s"),
    ]
    bodies = [b"", b"GET / HTTP/1.1\r\n\r\n", b"\n" * DATA_BYTES_MAX]
    for header, body in zip(headers, bodies, strict=True):
        assert queue.send(theirs.fileno(), header, body)
    theirs.close()
    for header, body in zip(headers, bodies, strict=True):
        taken = queue.receive()
        assert taken is not None
        fd, about, data = taken
        assert not os.get_inheritable(fd)
        peer = list(header.peer) if isinstance(header.peer, tuple) else header.peer
        assert (about.listener, about.peer, about.local, data) == (header.listener, peer, header.local, body)
        os.write(fd, b"x")
        os.close(fd)
    assert queue.receive() is None
    assert ours.recv(10) == b"xxx"
    assert ours.recv(10) == b"", "every copy is closed"
    queue.close()
    ours.close()


def test_a_full_queue_refuses_and_loses_nothing() -> None:
    queue = open_queue()
    ours, theirs = socket.socketpair()
    count = 0
    while queue.send(theirs.fileno(), TransferHeader("x", None), b"x" * 1000):
        count += 1
        assert count < 100_000
    for _ in range(count):
        taken = queue.receive()
        assert taken is not None
        os.close(taken[0])
    assert queue.receive() is None
    queue.close()
    ours.close()
    theirs.close()


def test_a_queue_that_is_closed_takes_nothing() -> None:
    queue = open_queue()
    queue.close()
    with socket.socket() as sock:
        assert not queue.send(sock.fileno(), TransferHeader("x", None), b"")
    assert queue.receive() is None


def test_what_is_no_connection_is_passed_over_and_costs_no_descriptor() -> None:
    """The application has both ends, and may put anything in: the next connection is taken all the same."""
    queue = open_queue()
    sending = socket.socket(fileno=os.dup(queue.fds[0]))
    null = os.open(os.devnull, os.O_RDONLY)
    ours, theirs = socket.socketpair()
    before = len(descriptors(os.getpid()))
    head = msgspec.json.encode(TransferHeader("x", None))
    for data, fds in (
        (b"x" * 100, []),
        (head, []),
        (head, [null]),
        (head, [theirs.fileno(), theirs.fileno()]),
        (b"{" * 5000, [theirs.fileno()]),
        (b"[" * 16000, [theirs.fileno()]),
        (b"\xff", [theirs.fileno()] * 100),
    ):
        socket.send_fds(sending, [data], fds)
    assert queue.send(theirs.fileno(), TransferHeader("x", None), b"GET /")
    taken = queue.receive()
    assert taken is not None
    assert taken[2] == b"GET /"
    os.close(taken[0])
    assert queue.receive() is None
    assert len(descriptors(os.getpid())) <= before
    os.close(null)
    for each in (sending, ours, theirs):
        each.close()
    queue.close()


def test_nothing_blocks_whatever_the_sockets_are_set_to() -> None:
    """Their flags are those of all who hold them."""
    queue = open_queue()
    for fd in queue.fds:
        os.set_blocking(fd, True)
    assert queue.receive() is None
    ours, theirs = socket.socketpair()
    while queue.send(theirs.fileno(), TransferHeader("x", None), b"x" * 16000):
        pass
    queue.close()
    ours.close()
    theirs.close()


@pytest.mark.parametrize("end", [0, 1])
def test_a_queue_that_was_shut_down_is_known_to_be_and_replaced(end: int) -> None:
    queues = ConnectionQueues()
    queue = queues.get("web")
    assert queue is not None
    assert not queue.broken
    assert queues.get("web") is queue
    with socket.socket(fileno=os.dup(queue.fds[end])) as sock:
        sock.shutdown(socket.SHUT_RDWR)
    assert queue.broken
    assert queue.receive() is None
    assert not queue.send(0, TransferHeader("x", None), b"")
    another = queues.get("web")
    assert another is not None
    assert another is not queue
    assert not another.broken
    queues.keep_only([])
