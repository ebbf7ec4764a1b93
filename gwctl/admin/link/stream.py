"""A Unix stream socket of which descriptors are taken, too: no transport of an event loop does that."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

_BLOCK_BYTES: Final = 1 << 16
DESCRIPTORS_MAX: Final = 253
"""By one message: the kernel passes no more."""

OnData = Callable[[bytes, list[int]], None]
"""Takes what was read, with the descriptors that came along: they are its to close."""


class Stream:
    """Over ``sock``, which it takes over. ``on_lost`` is called once, with the error if there was one."""

    def __init__(
        self, sock: socket.socket, on_data: OnData, on_lost: Callable[[OSError | None], None]
    ) -> None:
        """Raises OSError: The socket is of no use."""
        sock.setblocking(False)
        self._sock = sock
        self._on_data = on_data
        self._on_lost = on_lost
        self._unsent = bytearray()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    def write(self, data: bytes) -> None:
        """Send it, as soon as it is taken."""
        if self._closed:
            return
        if not self._unsent:
            self._loop.add_writer(self._sock.fileno(), self._writable)
        self._unsent += data

    def close(self) -> None:
        """What was not sent is lost; `on_lost` is not called any more."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()

    def _readable(self) -> None:
        try:
            data, passed, _flags, _address = socket.recv_fds(self._sock, _BLOCK_BYTES, DESCRIPTORS_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        for fd in passed:
            os.set_inheritable(fd, False)
        if data:
            self._on_data(data, passed)
        else:
            self._lose(None)

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())

    def _lose(self, error: OSError | None) -> None:
        if not self._closed:
            self.close()
            self._on_lost(error)
