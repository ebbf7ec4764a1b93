"""What WSGI calls write to on a TLS connection, in the shape of a socket (see `wsgi.response_writer`).

`SyncOutput`: the call runs in the loop's thread and the loop stands still meanwhile, so it
encrypts and sends on the socket itself. A call is only made when the raw transport is empty,
and gives back what it could not send, so nothing is overtaken.

`ThreadOutput`: the call runs in another thread, and OpenSSL is the loop's. It hands plain bytes
over, at most `HANDED_BYTES_MAX` that the loop has not taken, and none while the raw transport is
full. So memory is bounded, and the thread waits when the client does not read.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Final, Protocol

SLICE_BYTES: Final = 65536
"""Encrypted at once: so much may be on its way when the socket is full."""
HANDED_BYTES_MAX: Final = 65536
_TURN_S: Final = 1.0
"""Longest wait for a turn of the loop; beyond it the rest is kept by the call."""


class Layer(Protocol):
    """What encrypts and sends (`gwctl.workers.transport.tls.TlsLayer`)."""

    def encrypt(self, data: bytes | memoryview) -> bytes: ...
    def send_raw(self, block: bytes) -> None: ...
    def settle_soon(self) -> None: ...
    def settle_from_thread(self) -> None: ...
    def abort(self) -> None: ...


class SyncOutput:
    """For calls in the loop's thread."""

    def __init__(self, layer: Layer, sock: socket.socket) -> None:
        self._layer = layer
        self._sock = sock
        self._unsent = b""
        self._settling = False
        self._lost = False

    def send(self, data: bytes | memoryview) -> int:
        """Send as much as the socket takes; what is encrypted counts as sent.

        Raises:
            BlockingIOError: Nothing was taken.
            OSError: The client is gone.
        """
        if self._lost:
            raise BrokenPipeError
        self._push()
        if self._unsent:
            raise BlockingIOError
        view, taken = memoryview(data), 0
        while taken < len(view) and not self._unsent:
            piece = view[taken : taken + SLICE_BYTES]
            self._unsent = self._layer.encrypt(piece)
            taken += len(piece)
            self._push()
        if self._unsent and not self._settling:
            self._settling = True
            self._layer.settle_soon()  # after the call, if it does not send more itself
        return taken

    def say(self, block: bytes) -> int:
        """Send what TLS itself has to say, behind what is unsent; return how much of it has to wait.

        It may be in the middle of a call, in which the raw transport must stay empty.
        """
        self._unsent += block
        with suppress(OSError):  # the loop will notice
            self._push()
        if not self._unsent:
            return 0
        if not self._settling:
            self._settling = True
            self._layer.settle_soon()
        return len(block)

    def _push(self) -> None:
        if self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                return
            self._unsent = self._unsent[sent:]

    def fileno(self) -> int:
        return self._sock.fileno()

    def settle(self) -> None:
        self._settling = False
        if self._unsent:
            block, self._unsent = self._unsent, b""
            self._layer.send_raw(block)

    def paused(self) -> None:
        """The raw transport is full: no call is made then."""

    def resumed(self) -> None:
        """As for `paused`."""

    def lost(self) -> None:
        self._lost = True
        self._unsent = b""

    def close(self) -> None:
        """The socket is the raw transport's."""


class ThreadOutput:
    """For calls in another thread. `send` and `wait_writable` are theirs, the rest is the loop's."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._lock = threading.Lock()
        self._room = threading.Event()
        self._room.set()
        self._handed: list[bytes] = []
        self._size = 0
        """Handed over since the raw transport was last known to have room."""
        self._full = False
        self._lost = False

    def send(self, data: bytes | memoryview) -> int:
        """Hand over as much as the client has room for; the loop's own turn is waited for.

        Raises:
            BlockingIOError: There is none.
            BrokenPipeError: The client is gone.
        """
        taken = 0
        while taken < len(data):
            size, full = self._hand_over(data[taken : taken + HANDED_BYTES_MAX])
            taken += size
            if not size and (full or not self._room.wait(_TURN_S)):
                break
        if not taken and len(data):
            raise BlockingIOError
        return taken

    def _hand_over(self, data: bytes | memoryview) -> tuple[int, bool]:
        """Return how much was handed over, and whether the raw transport is full."""
        with self._lock:
            if self._lost:
                raise BrokenPipeError
            piece = bytes(data[: HANDED_BYTES_MAX - self._size])
            if not piece:
                self._room.clear()
                return 0, self._full
            first = not self._handed
            self._handed.append(piece)
            self._size += len(piece)
        if first:
            self._layer.settle_from_thread()
        return len(piece), False

    def wait_writable(self, timeout_s: float) -> bool:
        """Wait for room; False when there is none after ``timeout_s``."""
        return self._room.wait(timeout_s)

    def fileno(self) -> int:
        """Nothing to poll: `wait_writable` waits."""
        raise OSError("a TLS connection's thread has no descriptor")

    def settle(self) -> None:
        with self._lock:
            handed, self._handed = self._handed, []
            if not self._full:
                self._open()
        if handed:
            try:
                self._layer.send_raw(self._layer.encrypt(b"".join(handed)))
            except OSError:
                self._layer.abort()

    def _open(self) -> None:
        self._size = 0
        self._room.set()

    def paused(self) -> None:
        with self._lock:
            self._full = True

    def resumed(self) -> None:
        with self._lock:
            self._full = False
            self._open()

    def lost(self) -> None:
        with self._lock:
            self._lost = True
            self._handed.clear()
            self._room.set()

    def close(self) -> None:
        """Nothing of its own to close."""
