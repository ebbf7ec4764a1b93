"""The connection queue of a pool: connections that wait in one worker while another is free.

One Unix socket pair per pool, made by the master and inherited by all workers of the pool,
whatever their generation. A worker that cannot serve a connection soon sends its descriptor
(SCM_RIGHTS), with what it has read of the request, if anything; whichever worker is free takes
it. What is sent stays in the queue when its sender dies, and when all workers do: the master
holds both ends.

A message keeps its boundaries and goes to one receiver (SOCK_SEQPACKET). It is a line of JSON,
then the bytes that were read; unknown fields are ignored, since worker generations of two
versions may share the queue.

The application has the descriptors, too: what is no message is passed over, nothing here blocks
whatever it has set them to, and if it shuts them down the queue is `broken`: each worker then keeps
what it has, and the master gives those that it starts another one.
"""

from __future__ import annotations

import array
import os
import select
import socket
import stat
from typing import Any, Final

import msgspec

from gwctl.ipc import inherited_fds

DATA_BYTES_MAX: Final = 16384
"""Most of a request that is sent along."""
_MESSAGE_BYTES_MAX: Final = DATA_BYTES_MAX + 4096
_FD_BYTES: Final = array.array("i").itemsize
_NOW: Final = getattr(socket, "MSG_DONTWAIT", 0)
_JUNK_MAX: Final = 64
"""Messages that are none, passed over at once."""


class TransferHeader(msgspec.Struct, frozen=True):
    """What goes with a connection: both its ends' addresses, as a proxy may have told them."""

    listener: str
    peer: Any
    local: Any = None


class ConnectionQueue:
    """Both ends. None of the calls blocks or raises."""

    def __init__(self, sending: socket.socket, receiving: socket.socket) -> None:
        self._sending = sending
        self._receiving = receiving

    @classmethod
    def open(cls) -> ConnectionQueue | None:
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
    def resumed(cls, fds: tuple[int, int]) -> ConnectionQueue:
        """Go on with the `fds` that another program has made."""
        sending, receiving = fds
        return cls(inherited_fds.socket_of(sending), inherited_fds.socket_of(receiving))

    def fileno(self) -> int:
        """Return the end that is readable while something is in the queue."""
        return self._receiving.fileno()

    def send(self, fd: int, header: TransferHeader, data: bytes) -> bool:
        """Put a connection into the queue; False if it does not take it (full, no memory).

        ``data`` is what was read of its next request, at most `DATA_BYTES_MAX`.
        """
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        try:
            head = msgspec.json.encode(header)
            self._sending.sendmsg([head, b"\n", data], ancillary, _NOW)
        except (OSError, UnicodeEncodeError):  # the latter: a Unix client's path that is no text
            return False
        return True

    @property
    def broken(self) -> bool:
        """Tell whether nothing can be sent through it any more."""
        poll = select.poll()
        poll.register(self._receiving, 0)
        poll.register(self._sending, 0)
        return bool(poll.poll(0))

    def receive(self) -> tuple[int, TransferHeader, bytes] | None:
        """Take one connection, as a descriptor of the caller's; None if there is none.

        There must be room for one descriptor: without it the kernel would close the connection.
        """
        for _ in range(_JUNK_MAX):
            received = self._receive()
            if received is None:
                return None
            data, fds = received
            head, _, rest = data.partition(b"\n")
            try:
                header = msgspec.json.decode(head, type=TransferHeader)
            except (ValueError, RecursionError):
                header = None
            if header is not None and len(fds) == 1 and _is_socket(fds[0]):
                return fds[0], header, rest
            for fd in fds:
                os.close(fd)
        return None

    def _receive(self) -> tuple[bytes, list[int]] | None:
        flags = _NOW | getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        try:
            data, ancillary, _, _ = self._receiving.recvmsg(
                _MESSAGE_BYTES_MAX, socket.CMSG_SPACE(_FD_BYTES), flags
            )
        except OSError:
            return None
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % _FD_BYTES])
        return (data, fds.tolist()) if data or fds else None

    def close(self) -> None:
        self._sending.close()
        self._receiving.close()


def _is_socket(fd: int) -> bool:
    return stat.S_ISSOCK(os.fstat(fd).st_mode)
