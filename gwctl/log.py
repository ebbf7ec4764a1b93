"""The event log: text on stderr, one line an event, written so that it never blocks.

    10:02:11.204 info  master     gwctl 0.1.0 pid 4120, ...
    10:02:11.630 info  web.0 g1   pid 4133 ready in 0.42 s

The subject column says who: ``master``, a pool, or ``pool.slot gN`` of a worker. A line that
stderr cannot take at once (a stopped terminal, a full pipe) is kept, up to a bound, and
written before the next one; past the bound lines are counted, and the count is logged.
A process that serves must never wait for whoever reads its log.

Control characters are written as escapes: what a client sends and an application raises
may end up here, and be read on a terminal.

Any thread may write an event. One at a time empties the queue; the others, and a signal's
handler that interrupts it, leave their lines to it instead of waiting.
"""

from __future__ import annotations

import _thread
import os
import select
import time
from collections import deque
from enum import IntEnum
from typing import Final

QUEUE_LINES_MAX: Final = 1000
_WRITE_BYTES: Final = 4096  # PIPE_BUF: poll() says writable only when this much fits


class Level(IntEnum):
    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


_NAMES: Final = {Level.DEBUG: "debug", Level.INFO: "info", Level.WARNING: "warn", Level.ERROR: "error"}
_ESCAPES: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"
}
_COLOURS: Final = {Level.WARNING: "\x1b[33m", Level.ERROR: "\x1b[31m", Level.DEBUG: "\x1b[2m"}


class Log:
    """Writes event lines to one descriptor.

    ``subject`` is the default for lines of this process; the master passes one per line.
    """

    def __init__(self, fd: int = 2, level: Level = Level.INFO, subject: str = "master") -> None:
        self._fd = fd
        self.level = level
        self.subject = subject
        self._offset_s: int | None = None
        self._colour = os.isatty(fd) and "NO_COLOR" not in os.environ
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._queue: deque[tuple[bytes, int]] = deque()  # and how many lines each stands for
        self._dropped = 0
        self._emptying = _thread.allocate_lock()  # not threading: the master must not need it

    def keep_time_zone(self) -> None:
        """Write times in the present zone, whatever becomes of TZ: Django sets it while it is imported."""
        self._offset_s = time.localtime().tm_gmtoff

    def debug(self, text: str, subject: str = "") -> None:
        self.write(Level.DEBUG, text, subject)

    def info(self, text: str, subject: str = "") -> None:
        self.write(Level.INFO, text, subject)

    def warning(self, text: str, subject: str = "") -> None:
        self.write(Level.WARNING, text, subject)

    def error(self, text: str, subject: str = "") -> None:
        self.write(Level.ERROR, text, subject)

    def write(self, level: Level, text: str, subject: str = "") -> None:
        """Write one event. Further lines of ``text`` (a traceback, details) are indented under it."""
        if level < self.level:
            return
        now = time.time()
        zone = time.localtime(now) if self._offset_s is None else time.gmtime(now + self._offset_s)
        clock = time.strftime("%H:%M:%S", zone)
        head = f"{clock}.{int(now * 1000) % 1000:03d} {_NAMES[level]:<5} {subject or self.subject:<10} "
        first, *rest = text.splitlines() or [""]
        line = (head + first + "".join(f"\n  {more}" for more in rest)).translate(_ESCAPES)
        if self._colour and level in _COLOURS:
            line = f"{_COLOURS[level]}{line}\x1b[0m"
        self._enqueue((line + "\n").encode("utf-8", "backslashreplace"))
        self.flush()

    def waiting(self) -> list[bytes]:
        """Lines that stderr has not taken yet."""
        return [line for line, _ in self._queue]

    def resume(self, lines: list[bytes]) -> None:
        """Write ``lines``, which another program could not write, before all others."""
        self._queue.extendleft((line, 1) for line in reversed(lines))

    def _enqueue(self, line: bytes) -> None:
        if len(self._queue) >= QUEUE_LINES_MAX:
            self._dropped += 1
            return
        if self._dropped:
            text = f"({self._dropped} log lines were lost: stderr did not take them)\n"
            self._queue.append((text.encode(), self._dropped))
            self._dropped = 0
        self._queue.append((line, 1))

    def flush(self) -> None:
        """Write what can be written without waiting."""
        # Looked at again after each release: a line that came meanwhile was left to us.
        while self._queue and self._emptying.acquire(blocking=False):
            try:
                if not self._empty():
                    return
            finally:
                self._emptying.release()

    def _empty(self) -> bool:
        """Write the queue; return False if the reader does not take all of it now."""
        while self._queue:
            if not self._poll.poll(0):
                return False
            line, count = self._queue[0]
            try:
                written = os.write(self._fd, line[:_WRITE_BYTES])
            except BlockingIOError:
                return False
            except OSError:
                # stderr is gone (EPIPE, EIO, ENOSPC): serving goes on, the lines count as lost.
                self._dropped += sum([each for _, each in self._queue])
                self._queue.clear()
                return True
            if written == len(line):
                self._queue.popleft()
            else:
                self._queue[0] = (line[written:], count)
        return True
