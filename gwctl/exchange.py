"""The exchange of a pool: a queue of connections that wait in one worker while another is free.

One Unix socket pair per pool, made by the master and inherited by all workers of the pool,
whatever their generation. A worker that cannot serve a connection soon sends its descriptor
(SCM_RIGHTS), with what it has read of the request, if anything; whichever worker is free takes
it. What is sent stays in the queue when its sender dies, and when all workers do: the master
holds both ends.

A message keeps its boundaries and goes to one receiver (SOCK_SEQPACKET). It is a line of JSON,
then the bytes that were read; unknown fields are ignored, since worker generations of two
versions may share the queue. Nothing here blocks.
"""

from __future__ import annotations

import array
import os
import socket
from typing import Any, Final

import msgspec

from gwctl import taken_over

DATA_BYTES_MAX: Final = 16384
"""Most of a request that is sent along."""
_MESSAGE_BYTES_MAX: Final = DATA_BYTES_MAX + 4096
_FD_BYTES: Final = array.array("i").itemsize


class Parcel(msgspec.Struct, frozen=True):
    """What goes with a connection: both its ends' addresses, as a proxy may have told them."""

    listener: str
    peer: Any
    local: Any = None


class Exchange:
    """Both ends. None of the calls blocks or raises."""

    def __init__(self, sending: socket.socket, receiving: socket.socket) -> None:
        self._sending = sending
        self._receiving = receiving

    @classmethod
    def open(cls) -> Exchange | None:
        """Make one; None where there are no such sockets, or no descriptors left for them."""
        try:
            sending, receiving = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return None
        sending.setblocking(False)
        receiving.setblocking(False)
        return cls(sending, receiving)

    @property
    def fds(self) -> tuple[int, int]:
        return self._sending.fileno(), self._receiving.fileno()

    @classmethod
    def resumed(cls, fds: tuple[int, int]) -> Exchange:
        """Go on with the `fds` that another program has made."""
        sending, receiving = fds
        return cls(taken_over.socket_of(sending), taken_over.socket_of(receiving))

    def fileno(self) -> int:
        """Return the end that is readable while something is in the queue."""
        return self._receiving.fileno()

    def send(self, fd: int, parcel: Parcel, data: bytes) -> bool:
        """Put a connection into the queue; False if it does not take it (full, no memory).

        ``data`` is what was read of its next request, at most `DATA_BYTES_MAX`.
        """
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        try:
            head = msgspec.json.encode(parcel)
            self._sending.sendmsg([head, b"\n", data], ancillary)
        except (OSError, UnicodeEncodeError):  # the latter: a Unix client's path that is no text
            return False
        return True

    def receive(self) -> tuple[int, Parcel, bytes] | None:
        """Take one connection, as a descriptor of the caller's; None if there is none.

        There must be room for one descriptor: without it the kernel would close the connection.
        """
        try:
            data, ancillary, _flags, _address = self._receiving.recvmsg(
                _MESSAGE_BYTES_MAX, socket.CMSG_SPACE(_FD_BYTES), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
            )
        except OSError:
            return None
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % _FD_BYTES])
        head, _, rest = data.partition(b"\n")
        if not fds:
            return None
        return fds[0], msgspec.json.decode(head, type=Parcel), rest

    def close(self) -> None:
        self._sending.close()
        self._receiving.close()

    def close_in_fork(self) -> None:
        """Close the copies of a process that the application forked, whose loop is not its own."""
        for sock in (self._sending, self._receiving):
            fd = sock.detach()
            if fd >= 0:
                os.close(fd)
