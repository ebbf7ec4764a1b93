"""The line between a master that runs and the one that is to take its place.

A socket pair of its own, not the connection by which the new one has asked: that has a place among other
clients which it could lose. The end of either process is the end of the line. One JSON object a line:

    -> {"type": "ready", "kept": ["gwctl;127.0.0.1%3A8000"], "pidfile": "/run/shop.pid"}
    <- {"type": "yours"}
    <- {"type": "denied", "reason": "..."}
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from typing import Final

import msgspec

_BYTES_MAX: Final = 1 << 17
_READ_BYTES: Final = 1 << 16


class Ready(msgspec.Struct, frozen=True, tag_field="type", tag="ready"):
    """The new master serves."""

    kept: tuple[str, ...] = ()
    """Names of the listeners that it goes on with. The others are the old one's to close."""
    pidfile: str = ""


class Yours(msgspec.Struct, frozen=True, tag_field="type", tag="yours"):
    """The old master has given up its control socket and pid file, and ends."""


class Denied(msgspec.Struct, frozen=True, tag_field="type", tag="denied"):
    """The old master keeps its place: from either of them."""

    reason: str


Message = Ready | Yours | Denied
_decode: Final = msgspec.json.Decoder(Message).decode


class Line:
    """One end. ``heard`` is called with each message, and with None when the other end is closed, once."""

    def __init__(
        self,
        sock: socket.socket,
        selector: selectors.BaseSelector,
        heard: Callable[[Message | None], None],
    ) -> None:
        """Raises OSError: The kernel has no room to watch one more."""
        self._sock = sock
        self._selector = selector
        self._heard = heard
        self._received = bytearray()
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, self._readable)

    def send(self, message: Message) -> None:
        """Say it. What cannot be taken at once is said to nobody: the other end hears the end of the line."""
        data = msgspec.json.encode(message) + b"\n"
        try:
            whole = self._sock.send(data) == len(data)
        except OSError:
            whole = False
        if not whole:
            self._end()

    def close(self) -> None:
        """Hear nothing more, and have the other end hear that."""
        if self._sock.fileno() >= 0:
            self._selector.unregister(self._sock)
            self._sock.close()

    def close_in_child(self) -> None:
        """In a forked child: close the copy; the selector stays."""
        self._sock.close()

    def _end(self) -> None:
        if self._sock.fileno() >= 0:
            self.close()
            self._heard(None)

    def _readable(self, _mask: int) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        while (end := self._received.find(b"\n")) >= 0 and self._sock.fileno() >= 0:
            line = bytes(self._received[:end])
            del self._received[: end + 1]
            try:
                message = _decode(line)
            except (ValueError, RecursionError):
                self._end()
                return
            self._heard(message)
        if not data or len(self._received) > _BYTES_MAX:
            self._end()
