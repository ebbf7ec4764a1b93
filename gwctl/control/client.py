"""Talking to a master from the command line: one connection; `call` asks one thing and waits for the answer.

Who has something else to do meanwhile asks by `ask`, watches `fileno`, and has from `take` what has come.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, Final, Self

from gwctl.control import peer
from gwctl.control import protocol as messages
from gwctl.errors import ControlError

_STOPPED_S: Final = 1.0
"""Without a word from the master, until it is looked whether a signal has stopped it."""
_DISMISSALS_MAX: Final = 16
"""In a row, by a master that has no place for us any more before it has read what we ask."""
PASSED_MAX: Final = 253
"""Descriptors in one message: the kernel's own limit."""

OnNews = Callable[[messages.News], None]


class RefusedError(ControlError):
    """The master did not do what was asked; ``data`` says more (a traceback, pools)."""

    def __init__(self, message: str, data: dict[str, Any]) -> None:
        super().__init__(message)
        self.data = data


class NobodyReadsError(ControlError):
    """There is no reader any more for what was asked for."""


class ControlClient:
    """A connection to the control socket at ``path``; use it in a ``with`` statement."""

    def __init__(self, path: Path) -> None:
        """Connect.

        Raises:
            ControlError: No master there, or not allowed to talk to it.
        """
        self.path = path
        self._requests = 0
        self._reader = -1
        self._passed: list[int] | None = None
        self._connect()

    def _connect(self) -> None:
        path = self.path
        self._received = bytearray()
        self._process = -1
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.connect(str(path))
        except OSError as error:
            self._sock.close()
            raise ControlError(_why_not(path, error)) from None
        self._pid = peer.pid_of(self._sock)
        self._process = _watch(self._pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()
        if self._process >= 0:
            os.close(self._process)
            self._process = -1

    @property
    def owner_uid(self) -> int | None:
        """Of the process that listens; None where the system does not tell."""
        known = peer.credentials(self._sock)
        return known[1] if known is not None else None

    def call(
        self,
        name: str,
        params: messages.Method,
        on_news: OnNews | None = None,
        timeout_s: float | None = None,
        reader: int = -1,
        passed: list[int] | None = None,
    ) -> dict[str, Any]:
        """Ask and wait for the last word. ``timeout_s`` bounds the silence between two lines.

        ``reader`` is a descriptor that leads to whoever reads what ``on_news`` makes of it. ``passed`` takes
        the descriptors that come with the answer; they are the caller's to close, whatever is raised.

        Raises:
            NobodyReadsError: Who reads has gone.
            RefusedError: The master's answer is no.
            ControlError: It went away or said nothing for ``timeout_s``.
        """
        self._reader = reader
        self._passed = passed
        for _ in range(_DISMISSALS_MAX):
            try:
                return self._call(name, params, on_news, timeout_s)
            except RefusedError as error:
                if error.data.get("owed") is not False:
                    raise
            self.close()  # nothing that we asked was begun
            self._connect()
        return self._call(name, params, on_news, timeout_s)

    def _call(
        self, name: str, params: messages.Method, on_news: OnNews | None, timeout_s: float | None
    ) -> dict[str, Any]:
        self._requests += 1
        self._sock.settimeout(timeout_s)
        try:
            self._sock.sendall(messages.encode_request(name, params, self._requests))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it refused at once: why is there to be read
        except TimeoutError:
            raise ControlError(f"the master at {self.path} does not read its control socket") from None
        while True:
            incoming = self._next()
            if incoming.method is not None:
                news = self._news(incoming)
                if on_news is not None and news is not None:
                    on_news(news)
            elif incoming.error is not None:
                raise RefusedError(incoming.error.message, incoming.error.data)
            elif incoming.id == self._requests:
                return incoming.result or {}

    def fileno(self) -> int:
        return self._sock.fileno()

    def ask(self, name: str, params: messages.Method) -> int:
        """Ask and do not wait; the number that is returned is the ``id`` of the answer.

        Raises:
            ControlError: It went away, or does not read what it is asked.
        """
        self._requests += 1
        self._sock.setblocking(False)
        try:
            self._sock.sendall(messages.encode_request(name, params, self._requests))
        except BlockingIOError:
            raise ControlError(f"the master at {self.path} does not read its control socket") from None
        except OSError:
            raise ControlError("the master went away") from None
        return self._requests

    def take(self) -> list[messages.Incoming]:
        """All that has come by now: answers and news, as many as there are.

        Raises:
            ControlError: It went away, and what it had said before has been taken.
        """
        self._sock.setblocking(False)
        try:
            while len(self._received) <= messages.ANSWER_BYTES_MAX:
                data = self._sock.recv(65536)
                if not data:
                    break
                self._received += data
            gone = True
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        found = []
        while b"\n" in self._received:
            found.append(self._next())
        if gone and not found:
            raise ControlError("the master went away")
        return found

    def wait_gone(self, timeout_s: float | None) -> bool:
        """Wait until the master process has ended; False if it has not after ``timeout_s``.

        Where its pid can't be watched, the end of the connection, the last thing it closes, stands for it.
        """
        if self._process < 0:
            return self._wait_closed(timeout_s)
        poll = select.poll()
        poll.register(self._process, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def _wait_closed(self, timeout_s: float | None) -> bool:
        self._sock.settimeout(timeout_s)
        try:
            while self._sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def _next(self) -> messages.Incoming:
        line = self._line()
        try:
            return messages.decode_incoming(line)
        except ValueError as error:
            raise ControlError(f"{self.path} does not speak gwctl's protocol: {error}") from None

    def _news(self, incoming: messages.Incoming) -> messages.News | None:
        try:
            return messages.decode_news(incoming)
        except ValueError as error:
            raise ControlError(f"{self.path} does not speak gwctl's protocol: {error}") from None

    def _line(self) -> bytes:
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > messages.ANSWER_BYTES_MAX:
                raise ControlError(f"{self.path} does not speak gwctl's protocol: a line without end")
            if self._reader >= 0:
                self._wait_with_reader()
            try:
                self._wait_for_word()
                data = self._receive()
            except TimeoutError:
                raise ControlError(f"the master at {self.path} does not answer") from None
            except ConnectionResetError:
                data = b""
            if not data:
                raise ControlError("the master went away before it answered")
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def _wait_for_word(self) -> None:
        """Wait until there is something to read, as long as the socket's timeout says.

        Raises:
            TimeoutError: There was nothing.
            ControlError: Nor can there be: a signal has stopped the master.
        """
        timeout_s = self._sock.gettimeout()
        end = inf if timeout_s is None else time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while not poll.poll(min(_STOPPED_S, max(0.0, end - time.monotonic())) * 1000):
            if _is_stopped(self._pid):
                what = "is stopped by a signal and does nothing"
                raise ControlError(
                    f"the master (pid {self._pid}) {what}: kill -CONT {self._pid} lets it go on"
                )
            if time.monotonic() >= end:
                raise TimeoutError

    def _receive(self) -> bytes:
        if self._passed is None:
            return self._sock.recv(65536)
        data, fds, _flags, _address = socket.recv_fds(self._sock, 65536, PASSED_MAX)
        self._passed += fds
        for fd in fds:
            os.set_inheritable(fd, False)
        return data

    def _wait_with_reader(self) -> None:
        """Wait until there is something to read here, and somebody to read what becomes of it."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._reader, 0)  # its end is told unasked
        if any(fd == self._reader for fd, _ in poll.poll()):
            raise NobodyReadsError("nobody reads what is written")


def _why_not(path: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ECONNREFUSED | errno.ENOTDIR:
            return f"no master runs at {path}"
        case errno.EACCES | errno.EPERM:
            who = "run as its user, as root or as one of [control] allow_users"
            return f"not allowed to talk to the master at {path}: {who}"
    return f"cannot reach the master at {path}: {error.strerror or error}"


def _is_stopped(pid: int | None) -> bool:
    """SIGSTOP, or a debugger. False where that cannot be seen: another pid namespace, another system."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])


def _watch(pid: int | None) -> int:
    """A descriptor that becomes readable when the process ends; -1 where there is no such thing."""
    if pid is None or not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1  # another pid namespace, or gone already: the connection tells
