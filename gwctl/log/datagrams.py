"""Where each line is a datagram: the socket of the journal's, or of syslog.

Rules
    - Nothing waits. What is not taken now is kept, in order, as for a stream; who cannot be reached is tried
      again, once in `RETRY_S`.
    - The socket is known by its inode: an application that closes all descriptors and opens its own ones must
      not find log lines in its connections.
    - Each process has a socket of its own, or shares one with its parent: a datagram says itself whose it is.
    - A line that cannot be sent (too long, and no memory file to be had) is lost alone: those behind it are
      sent.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gwctl.log.descriptors import identity
from gwctl.log.lines import Queue, UnsendableError
from gwctl.sealed_files import WRITE, seal

RETRY_S: Final = 1.0
Address = str | tuple[str, int]
"""The path of a socket, or an IP address and a port."""
_ATTEMPTS: Final = 2
_LATER: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_TOO_LONG: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})
"""As sd_journal_sendv(3) has it."""


class Datagrams:
    """Sends lines to ``address``. With ``by_file`` what is too long for a datagram goes as a memory file."""

    def __init__(
        self,
        name: str,
        address: Address,
        *,
        by_file: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._address = address
        self._by_file = by_file
        self._clock = clock
        self._socket: socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        self._retry_at = 0.0

    @property
    def descriptor(self) -> int:
        return self._socket.fileno() if self._socket is not None else -1

    def redirected(self) -> None:
        """Nothing: it has a socket, which nobody puts in the place of another."""

    def close_in_child(self) -> None:
        self._leave()

    def write_out(self, queue: Queue, subject: str) -> bool:  # noqa: ARG002 - each says whose it is
        while queue:
            if not self._takes(queue[0][0]):
                return False
            queue.popleft()
        return True

    def reach(self) -> None:
        """Find out whether anybody listens.

        Raises:
            OSError: Nobody does, or it is not for us.
        """
        self._leave()
        self._connect()

    def _takes(self, line: bytes) -> bool:
        """Send ``line``; False: not now. A socket whose other end was made anew is made anew, too."""
        for _ in range(_ATTEMPTS):
            try:
                self._send(self._connected(), line)
            except OSError as error:
                if error.errno in _LATER:
                    return False
                self._leave()
            else:
                return True
        self._retry_at = self._clock() + RETRY_S
        return False

    def _send(self, connected: socket.socket, line: bytes) -> None:
        try:
            connected.send(line)
        except OSError as error:
            if error.errno not in _TOO_LONG:
                raise
            if not self._by_file:
                raise UnsendableError(error.strerror) from None
            self._send_file(connected, line)

    def _send_file(self, connected: socket.socket, line: bytes) -> None:
        """As sd_journal_sendv(3): a sealed file, which its reader need not copy to trust."""
        try:
            fd = os.memfd_create("gwctl-log-line", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except (OSError, AttributeError) as error:  # forbidden by a filter; not Linux
            raise UnsendableError(str(error)) from None
        try:
            with os.fdopen(fd, "wb", closefd=False) as file:
                file.write(line)
            seal(fd, WRITE)
            connected.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        except BlockingIOError:
            raise
        except OSError as error:  # RLIMIT_FSIZE, no memory; or a reader that takes no files
            raise UnsendableError(error.strerror) from None
        finally:
            os.close(fd)

    def _connected(self) -> socket.socket:
        if self._socket is not None and identity(self._socket.fileno()) == self._identity:
            return self._socket
        self._leave()
        if self._clock() < self._retry_at:
            raise BlockingIOError(errno.EAGAIN, "it was tried a moment ago")
        return self._connect()

    def _connect(self) -> socket.socket:
        made = socket.socket(_family(self._address), socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.connect(self._address)
        except OSError:
            made.close()
            raise
        self._socket, self._identity = made, identity(made.fileno())
        return made

    def _leave(self) -> None:
        """Close the socket, unless its number is another file's by now."""
        left, self._socket = self._socket, None
        if left is None:
            return
        if identity(left.fileno()) == self._identity:
            with suppress(OSError):
                left.close()
        else:
            left.detach()


def _family(address: Address) -> socket.AddressFamily:
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
