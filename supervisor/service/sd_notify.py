"""What systemd is told: sd_notify(3) datagrams to ``$NOTIFY_SOCKET``.

Rules
    - Never blocks: a message that the manager's full queue does not take now is kept, in
      order, and sent before the next one, with `watchdog` or by `flush`.
    - Never raises: without systemd, serving goes on. A failure is logged once, not per message.
    - Takes the environment, changes nothing in it: the master still needs the variables when
      it executes itself anew, and workers lose them in the fork's hygiene.
"""

from __future__ import annotations

import array
import errno
import os
import re
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from msgspec import Struct

from gwctl.records.master import SystemdUnreachable
from gwctl.supervisor.recorder import Recorder

_QUEUE_MAX: Final = 64
_NEWS: Final = (b"STATUS=", b"EXTEND_TIMEOUT_USEC=", b"WATCHDOG=")
"""Assignments of which the last one counts: messages of nothing else become one while they wait."""
_LINE_CHARS_MAX: Final = 280
_VSOCK: Final = re.compile(r"vsock(?:-(stream|seqpacket|dgram))?:(\d{0,10}):(\d{1,10})")
_VSOCK_KINDS: Final = {
    "dgram": socket.SOCK_DGRAM,
    "seqpacket": socket.SOCK_SEQPACKET,
    "stream": socket.SOCK_STREAM,
}
_UNSUPPORTED: Final = frozenset(
    {errno.ENODEV, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT}
)


class _Peer(Struct, frozen=True):
    """Where messages go: ``kinds`` of sockets, of which the first that the kernel has is used."""

    family: int
    kinds: tuple[int, ...]
    address: bytes | str | tuple[int, int]

    @property
    def connected(self) -> bool:
        """Each message has a connection of its own, as there may be no datagrams."""
        return self.family != socket.AF_UNIX

    def open(self) -> socket.socket:
        """A non-blocking socket; a connection may be still under way.

        Raises:
            OSError: There is no such socket here, or nobody at the other end.
        """
        sock = self._first()
        sock.setblocking(False)
        if self.connected:
            failure = sock.connect_ex(self.address)
            if failure not in {0, errno.EINPROGRESS}:
                sock.close()
                raise OSError(failure, os.strerror(failure))
        return sock

    def _first(self) -> socket.socket:
        for kind in self.kinds[:-1]:
            try:
                return socket.socket(self.family, kind)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
        return socket.socket(self.family, self.kinds[-1])

    def send(self, sock: socket.socket, message: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send one message. Descriptors do not leave the machine: over vsock it goes without them.

        Raises:
            BlockingIOError: Not now.
            OSError: It cannot be sent.
        """
        if not self.connected:
            sent = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            sock.sendmsg([message], sent, 0, self.address)
            return
        try:
            sock.send(message)
        except OSError as error:
            if error.errno == errno.ENOTCONN:  # the connection is under way
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
            raise


class Notifier:
    """Speaks to the service manager, if there is one."""

    def __init__(self, environ: Mapping[str, str], recorder: Recorder) -> None:
        self._peer = _peer(environ.get("NOTIFY_SOCKET", ""))
        self._recorder = recorder
        self._failed = False
        self._queue: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._sock: socket.socket | None = None
        self.watchdog_interval_s = _watchdog_interval_s(environ)
        """How often to call `watchdog`: half of what the unit asks for. None: no watchdog."""

    @property
    def enabled(self) -> bool:
        return self._peer is not None

    @property
    def pending(self) -> bool:
        """Is a message waiting for the manager? Then call `flush` at some later turn of the loop."""
        return bool(self._queue)

    def waiting(self) -> tuple[bytes, ...]:
        """Messages that the manager has not taken yet; those with descriptors are sent anew."""
        return tuple(message for message, fds in self._queue if not fds)

    def resume(self, messages: Iterable[bytes]) -> None:
        """Send ``messages`` before all others."""
        self._queue.extend((message, ()) for message in messages)

    def send(self, *lines: str, fds: tuple[int, ...] = ()) -> None:
        """Send assignments in one message: ``READY=1``, ``STATUS=...``, as of sd_notify(3).

        A line break inside a line becomes a blank: it would start another assignment. ``fds`` go with it.
        """
        if self._peer is None or not lines:
            return
        message = _message(lines)
        if self._queue and _is_news(self._queue[-1][0]) and _is_news(message):
            message = _merged(self._queue.pop()[0], message)
        if len(self._queue) < _QUEUE_MAX:  # else it has not read for so long that nobody waits for this
            self._queue.append((message, tuple(map(os.dup, fds))))  # the listener may be closed by then
        self.flush()

    def reloading(self) -> list[str]:
        """The lines to `send` when a reload begins; its end is ``READY=1``, whatever the outcome.

        Type=notify-reload needs the time, to tell this reload's READY from an earlier one's.
        """
        return ["RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"]

    def watchdog(self) -> None:
        """Say that the loop turns, if the unit asks for it, and send what waits.

        A tick that finds messages waiting is dropped: the next one says the same.
        """
        self.flush()
        if not self._queue and self.watchdog_interval_s is not None:
            self.send("WATCHDOG=1")

    def flush(self) -> None:
        """Send what waits, as far as the manager takes it."""
        peer = self._peer
        if peer is None:
            return
        while self._queue:
            try:
                if self._sock is None:
                    self._sock = peer.open()
                peer.send(self._sock, *self._queue[0])
            except BlockingIOError:
                return
            except OSError as error:
                while self._queue:
                    self._forget_first()
                self._fail(error)
                return
            self._forget_first()
            if peer.connected:
                self.close()

    def close_in_child(self) -> None:
        """Close what waits, and the descriptor; nothing is sent."""
        while self._queue:
            self._forget_first()
        self.close()

    def close(self) -> None:
        """Close the descriptor. A later message opens another."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _forget_first(self) -> None:
        for fd in self._queue.popleft()[1]:
            os.close(fd)

    def _fail(self, error: OSError) -> None:
        self.close()
        if not self._failed:
            reason = error.strerror or str(error)
            self._recorder.write(SystemdUnreachable(reason=reason))
        self._failed = True


def send_once(environ: Mapping[str, str], *lines: str) -> None:
    """Send one message before there is a master, if there is a service manager: see `Notifier.send`.

    What it says is on standard error, too: so a failure is no news.
    """
    peer = _peer(environ.get("NOTIFY_SOCKET", ""))
    if peer is not None:
        with suppress(OSError), peer.open() as sock:
            peer.send(sock, _message(lines))


def failure_lines(text: str, status: int, errno: int | None = None) -> list[str]:
    """What is told of a service that ends with ``status``: ``systemctl status`` shows all of it afterwards.

    Args:
        text: What went wrong; its first line is used.
        status: The exit status of the process.
        errno: The kernel's reason, if it was one.
    """
    lines = [f"STATUS=failed: {text.strip().partition(chr(10))[0]}", f"EXIT_STATUS={status}"]
    return [*lines, f"ERRNO={errno}"] if errno else lines


def extension(duration_s: float) -> str:
    """The line that asks for so much more time than the unit allows, from now."""
    return f"EXTEND_TIMEOUT_USEC={round(duration_s * 1e6)}"


def _is_news(message: bytes) -> bool:
    return all(line.startswith(_NEWS) for line in message.split(b"\n"))


def _merged(before: bytes, message: bytes) -> bytes:
    last = {line.partition(b"=")[0]: line for each in (before, message) for line in each.split(b"\n")}
    return b"\n".join(last.values())


def _message(lines: Iterable[str]) -> bytes:
    return "\n".join(" ".join(line.split())[:_LINE_CHARS_MAX] for line in lines).encode("utf-8", "replace")


def _peer(value: str) -> _Peer | None:
    """``$NOTIFY_SOCKET``: a path, with ``@`` an abstract name, or ``vsock:CID:PORT`` (sd_notify(3))."""
    if value.startswith("@"):
        return _Peer(socket.AF_UNIX, (socket.SOCK_DGRAM,), b"\0" + os.fsencode(value[1:]))
    if value.startswith("/"):
        return _Peer(socket.AF_UNIX, (socket.SOCK_DGRAM,), value)
    if (vsock := _VSOCK.fullmatch(value)) is None or not hasattr(socket, "AF_VSOCK"):
        return None
    kind, cid, port = vsock.groups()
    kinds = (_VSOCK_KINDS[kind],) if kind else tuple(_VSOCK_KINDS.values())
    return _Peer(socket.AF_VSOCK, kinds, (int(cid) if cid else socket.VMADDR_CID_HOST, int(port)))


def _watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """Half of WATCHDOG_USEC if it is meant for this process: sd_watchdog_enabled(3)."""
    period, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not period.isdecimal() or int(period) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None
    return int(period) / 2e6
