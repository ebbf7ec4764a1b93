"""What systemd is told: sd_notify(3) datagrams to ``$NOTIFY_SOCKET``.

Rules
    - Never blocks: a message that the manager's full queue does not take now is kept, in
      order, and sent before the next one or by `flush`.
    - Never raises: without systemd, serving goes on. A failure is logged once, not per message.
    - Takes the environment, changes nothing in it: the master still needs the variables when
      it executes itself anew, and workers lose them in the fork's hygiene.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from gwctl.log import Log

_QUEUE_MAX: Final = 16
_STATUS_CHARS_MAX: Final = 200


class Notifier:
    """Speaks to the service manager, if there is one."""

    def __init__(self, environ: Mapping[str, str], log: Log) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._log = log
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

    def ready(self, status: str = "") -> None:
        """Started, or a reload is over (with either outcome)."""
        self._send("READY=1", status)

    def reloading(self, status: str = "") -> None:
        """A reload has begun; Type=notify-reload needs the time of it too."""
        self._send(
            f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}", status
        )

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """The one line that ``systemctl status`` shows."""
        self._send("", text)

    def main_pid(self, pid: int) -> None:
        self._send(f"MAINPID={pid}")

    def watchdog(self) -> None:
        """The loop turns. A tick that finds the queue full is dropped: the next one says the same."""
        if not self._queue:
            self._send("WATCHDOG=1")

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

    def _send(self, assignment: str, status: str = "") -> None:
        if self._address is None:
            return
        lines = [assignment] if assignment else []
        if status:
            lines.append("STATUS=" + " ".join(status.split())[:_STATUS_CHARS_MAX])
        self._queue.append("\n".join(lines).encode("utf-8", "replace"))
        self.flush()

    def _socket(self) -> socket.socket:
        if self._sock is None:
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sock.setblocking(False)
        return self._sock

    def _fail(self, error: OSError) -> None:
        if not self._failed:
            reason = error.strerror or str(error)
            self._log.warning(f"systemd cannot be notified at $NOTIFY_SOCKET: {reason}; serving goes on")
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
