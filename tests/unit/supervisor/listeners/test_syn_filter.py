"""Behind a closed door those who came before are served, and nobody is let in to be reset."""

from __future__ import annotations

import errno
import select
import socket
import sys

import pytest

from gwctl.supervisor.listeners.syn_filter import reject_new_connections
from tests.support.wait import DEADLINE_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux")


def test_a_client_that_comes_too_late_is_refused_and_not_reset() -> None:
    """It is not connected while the listener is still open, so nothing that it asks can be lost."""
    listener = socket.create_server(("127.0.0.1", 0), reuse_port=True)
    address = listener.getsockname()
    listener.setblocking(False)
    with (
        socket.socket() as holder,
        socket.create_connection(address) as early,
        socket.socket() as late,
    ):
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)  # and never listens: nobody else gets the port before the kernel tries again
        assert select.select([listener], [], [], DEADLINE_S)[0]
        reject_new_connections(listener)
        late.setblocking(False)
        assert late.connect_ex(address) == errno.EINPROGRESS
        accepted, _ = listener.accept()
        with accepted:
            early.sendall(b"served")
            accepted.setblocking(True)
            assert accepted.recv(6) == b"served", "what was accepted is not filtered"
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.close()
        answer = select.poll()
        answer.register(late, select.POLLOUT)
        assert answer.poll(20_000), "the kernel tries again after a second"
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_of_no_consequence_to_other_sockets(family: socket.AddressFamily) -> None:
    with socket.socket(family) as sock:
        if family == socket.AF_INET:
            sock.close()
        reject_new_connections(sock)
