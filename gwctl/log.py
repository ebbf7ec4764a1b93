"""The event log: text on stderr, one line an event, written so that it never blocks.

    10:02:11.204 info  master     gwctl 0.1.0 pid 4120, ...
    10:02:11.630 info  web.0 g1   pid 4133 ready in 0.42 s

The subject column says who: ``master``, a pool, or ``pool.slot gN`` of a worker. A line that
stderr cannot take at once (a stopped terminal, a full pipe) is kept, up to a bound, and
written before the next one; past the bound lines are counted, and the count is logged.
A process that serves must never wait for whoever reads its log.

Control characters are written as escapes: what a client sends and an application raises
may end up here, and be read on a terminal.

Several processes write to one stderr. A record stays together: a file takes it in one write; to a pipe,
a socket of journald's or a terminal it goes in pieces of whole lines, while others wait for their turn
(`write_lock`). Where that cannot be had, each further line of a long record says whose it is.

Any thread may write an event. One at a time empties the queue; the others, and a signal's
handler that interrupts it, leave their lines to it instead of waiting.
"""

from __future__ import annotations

import _thread
import os
import select
import stat
import time
from collections import deque
from enum import IntEnum
from typing import Final

from gwctl.write_lock import WriteLock

QUEUE_LINES_MAX: Final = 1000
READER_PATIENCE_S: Final = 0.25
"""For a reader in the midst of a record, in all, so that nothing of others comes between its parts."""
IMPATIENT_S: Final = 60.0
"""Nor is a reader waited for so long after that was in vain."""
_WRITE_BYTES: Final = 4096  # PIPE_BUF: poll() says writable only when this much fits
_STDERR: Final = 2
_FURTHER: Final = b"\n  "


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

    def __init__(
        self,
        fd: int = 2,
        level: Level = Level.INFO,
        subject: str = "master",
        lock: WriteLock | None = None,
    ) -> None:
        """``lock`` is shared by all that write to ``fd``."""
        self._fd = fd
        self.lock = lock or WriteLock()
        self._whole = stat.S_ISREG(os.fstat(fd).st_mode)
        self._begun = False
        """The first record of the queue is written in part."""
        self.level = level
        self.subject = subject
        self._impatient_until = 0.0
        self._offset_s: int | None = None
        self._colour = os.isatty(fd) and "NO_COLOR" not in os.environ
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._queue: deque[tuple[bytes, int]] = deque()  # and how many lines each stands for
        self._dropped = 0
        self.lost = 0
        """Lines, since the start, that stderr did not take."""
        self._emptying = _thread.allocate_lock()  # not threading: the master must not need it

    def close_in_child(self) -> None:
        """In a forked child, which writes to stderr: close what the master opened for itself."""
        if self._fd > _STDERR:
            os.close(self._fd)

    def writes_to(self, fd: int) -> bool:
        """``fd`` is the same pipe, socket, terminal or file."""
        return os.path.samestat(os.fstat(fd), os.fstat(self._fd))

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

    def write(self, level: Level, text: str, subject: str = "", at: float | None = None) -> None:
        """Write one event. Further lines of ``text`` (a traceback, details) are indented under it.

        ``at`` is when it happened, in seconds since 1970, if that is not now.
        """
        if level < self.level:
            return
        now = time.time() if at is None else at
        zone = time.localtime(now) if self._offset_s is None else time.gmtime(now + self._offset_s)
        clock = f"{time.strftime('%H:%M:%S', zone)}.{int(now * 1000) % 1000:03d}"
        line = event_line(clock, level, subject or self.subject, text, colour=self._colour)
        self._enqueue((line + "\n").encode("utf-8", "backslashreplace"))
        self.flush()

    def waiting(self) -> list[bytes]:
        """Lines that stderr has not taken yet."""
        return [line for line, _ in self._queue]

    def begin_anew(self) -> None:
        """In a forked child: the lines that wait are its parent's to write, whose threads are not here."""
        self._queue.clear()
        self._dropped = 0
        self._emptying = _thread.allocate_lock()

    def resume(self, lines: list[bytes]) -> None:
        """Write ``lines``, which another program could not write, before all others."""
        self._queue.extendleft((line, 1) for line in reversed(lines))

    def _enqueue(self, line: bytes) -> None:
        if len(self._queue) >= QUEUE_LINES_MAX:
            self._lose(1)
            return
        if self._dropped:
            text = f"({self._dropped} log lines were lost: stderr did not take them)\n"
            self._queue.append((text.encode(), self._dropped))
            self._dropped = 0
        self._queue.append((line, 1))

    def _lose(self, lines: int) -> None:
        self._dropped += lines
        self.lost += lines

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
        if self._whole:
            return self._write_queue(locked=True)
        if not self._takes_more(0.0):
            return False
        locked = self.lock.take()
        try:
            return self._write_queue(locked=locked)
        finally:
            if locked:
                self.lock.give_back()

    def _write_queue(self, *, locked: bool) -> bool:
        while self._queue:
            record, count = self._queue[0]
            if self._begun or (not locked and len(record) > _WRITE_BYTES):
                record = self._signed(record)
            try:
                left = self._write_record(record)
            except OSError:
                # stderr is gone (EPIPE, EIO, ENOSPC): serving goes on, the lines count as lost.
                self._lose(sum([each for _, each in self._queue]))
                self._queue.clear()
                self._begun = False
                return True
            self._begun = len(left) < len(record)
            if left:
                self._queue[0] = (left, count)
                return False
            self._begun = False
            self._queue.popleft()
        return True

    def _takes_more(self, within_s: float) -> bool:
        try:
            return bool(self._poll.poll(within_s * 1000))
        except OSError:  # EINVAL: an application has set RLIMIT_NOFILE to 0, and poll(2) goes by that
            return bool(select.select((), (self._fd,), (), within_s)[1])

    def _signed(self, record: bytes) -> bytes:
        """Each line says whose it is: others may write between its parts, or have already."""
        mark = f"  [{self.subject}] ".encode()
        body = record.removesuffix(b"\n").replace(b"\n" + mark, _FURTHER).replace(_FURTHER, b"\n" + mark)
        if self._begun and not body.startswith(mark):
            body = mark + body.removeprefix(b"  ")
        return body + b"\n"

    def _write_record(self, record: bytes) -> bytes:
        """Write as much as is taken now; return what is left.

        Raises:
            OSError: Nobody will ever read it.
        """
        give_up_at = 0.0
        while record:
            now = time.monotonic()
            if not self._takes_more(max(0.0, give_up_at - now)):
                if give_up_at > now:
                    self._impatient_until = now + IMPATIENT_S
                return record
            if now >= self._impatient_until:
                give_up_at = give_up_at or now + READER_PATIENCE_S
            try:
                written = os.write(self._fd, record if self._whole else _piece(record))
            except BlockingIOError:
                return record
            record = record[written:]
        return record


def event_line(clock: str, level: Level, subject: str, text: str, *, colour: bool) -> str:
    """Lay out one event: further lines of ``text`` are indented; nothing in it is a control."""
    first, *rest = text.splitlines() or [""]
    head = f"{clock} {_NAMES[level]:<5} {subject:<10} "
    line = escaped(head + first + "".join(f"\n  {more}" for more in rest))
    return f"{_COLOURS[level]}{line}\x1b[0m" if colour and level in _COLOURS else line


def escaped(text: str) -> str:
    """``text`` for a terminal: what controls it is shown instead, but for tabs and ends of lines."""
    return text.translate(_ESCAPES)


def _piece(record: bytes) -> bytes:
    """Whole lines, as many as a pipe keeps together."""
    if len(record) <= _WRITE_BYTES:
        return record
    end = record.rfind(b"\n", 0, _WRITE_BYTES) + 1
    return record[: end or _WRITE_BYTES]
