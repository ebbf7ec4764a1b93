"""What systemd is told: sd_notify(3) datagrams to ``$NOTIFY_SOCKET``.

Rules
    - Never blocks: a message that the manager's full queue does not take now is kept, in
      order, and sent before the next one, with `watchdog` or by `flush`.
    - Never raises: without systemd, serving goes on. A failure is logged once, not per message.
    - Takes the environment, changes nothing in it: the master still needs the variables when
      it executes itself anew, and workers lose them in the fork's hygiene.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from gwctl.records.master import SystemdUnreachable
from gwctl.supervisor.recorder import Recorder

_QUEUE_MAX: Final = 16
_LINE_CHARS_MAX: Final = 200


class Notifier:
    """Speaks to the service manager, if there is one."""

    def __init__(self, environ: Mapping[str, str], recorder: Recorder) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._recorder = recorder
        self._failed = False
        self._queue: deque[bytes] = deque(maxlen=_QUEUE_MAX)
        self._sock: socket.socket | None = None
        self.watchdog_interval_s = _watchdog_interval_s(environ)
        """How often to call `watchdog`: half of what the unit asks for. None: no watchdog."""

    @property
    def enabled(self) -> bool:
        return self._address is not None

    @property
    def pending(self) -> bool:
        """Is a message waiting for the manager? Then call `flush` at some later turn of the loop."""
        return bool(self._queue)

    def waiting(self) -> tuple[bytes, ...]:
        """Messages that the manager has not taken yet."""
        return tuple(self._queue)

    def resume(self, messages: Iterable[bytes]) -> None:
        """Send ``messages`` before all others."""
        self._queue.extend(messages)

    def send(self, *lines: str) -> None:
        """Send assignments in one message: ``READY=1``, ``STATUS=...``, as of sd_notify(3).

        A line break inside a line becomes a blank: it would start another assignment.
        """
        if self._address is None or not lines:
            return
        clean = (" ".join(line.split())[:_LINE_CHARS_MAX] for line in lines)
        self._queue.append("\n".join(clean).encode("utf-8", "replace"))
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
        if self._address is None:
            return
        while self._queue:
            try:
                self._socket().sendto(self._queue[0], self._address)
            except BlockingIOError:
                return
            except OSError as error:
                self._queue.clear()
                self._fail(error)
                return
            self._queue.popleft()

    def close(self) -> None:
        """Close the descriptor; also in a forked child. A later message opens another."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _socket(self) -> socket.socket:
        if self._sock is None:
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sock.setblocking(False)
        return self._sock

    def _fail(self, error: OSError) -> None:
        if not self._failed:
            reason = error.strerror or str(error)
            self._recorder.write(SystemdUnreachable(reason=reason))
        self._failed = True


def _address(value: str) -> bytes | str | None:
    """A path, or with ``@`` an abstract name. (vsock, for whole machines, is nobody's service.)"""
    if value.startswith("@"):
        return b"\0" + os.fsencode(value[1:])
    return value if value.startswith("/") else None


def _watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """Half of WATCHDOG_USEC if it is meant for this process: sd_watchdog_enabled(3)."""
    period, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not period.isdecimal() or int(period) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None
    return int(period) / 2e6
