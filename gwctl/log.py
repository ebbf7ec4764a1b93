"""The event log: text on stderr, one line an event, written so that it never blocks.

    10:02:11.204 info  master     gwctl 0.1.0 pid 4120, ...
    10:02:11.630 info  web.0 g1   pid 4133 ready in 0.42 s

The subject column says who: ``master``, a pool, or ``pool.slot gN`` of a worker. A line that
stderr cannot take at once (a stopped terminal, a full pipe) is kept, up to a bound, and
written before the next one; past the bound lines are counted, and the count is logged.
A process that serves must never wait for whoever reads its log.

Control characters are written as escapes: what a client sends and an application raises
may end up here, and be read on a terminal.

With ``json`` each event is one object on one line (`gwctl.log_json`). A line of that kind is never left
half written for others to write in its midst: to a pipe it is begun when there is room for all of it, and
cut where there can be none, or where the lock cannot be had.

Several processes write to one stderr. A record stays together: a file takes it in one write; to a pipe,
a socket of journald's or a terminal it goes in pieces of whole lines, while others wait for their turn
(`write_lock`). Where that cannot be had, each further line of a long record says whose it is.

Any thread may write an event. One at a time empties the queue; the others, and a signal's
handler that interrupts it, leave their lines to it instead of waiting.
"""

from __future__ import annotations

import _thread
import fcntl
import os
import select
import stat
import struct
import termios
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

from gwctl import log_json
from gwctl.log_json import NOBODY, NOTHING_MORE, Fault, More, Origin
from gwctl.write_lock import WriteLock

QUEUE_LINES_MAX: Final = 1000
READER_PATIENCE_S: Final = 0.25
"""For a reader in the midst of a record, in all, so that nothing of others comes between its parts."""
IMPATIENT_S: Final = 60.0
"""Nor is a reader waited for so long after that was in vain."""
_WRITE_BYTES: Final = 4096  # PIPE_BUF: poll() says writable only when this much fits
_STDERR: Final = 2
_FURTHER: Final = b"\n  "
_JSON_BYTES_MAX: Final = 32_768
"""Of a line of JSON, but in a file: less than what pipes and sockets usually hold."""
_PAGE_BYTES: Final = 4096
_PAUSE_S: Final = 0.001


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
        *,
        json: bool = False,
        origin: Origin = NOBODY,
    ) -> None:
        """``lock`` is shared by all that write to ``fd``; ``origin`` stands in lines of JSON."""
        self._fd = fd
        self.lock = lock or WriteLock()
        mode = os.fstat(fd).st_mode
        self._whole = stat.S_ISREG(mode)
        self._is_pipe = stat.S_ISFIFO(mode)
        self._begun = False
        """The first record of the queue is written in part."""
        self._begun_json = False
        self.json = json
        self.origin = origin
        self.request_id: Callable[[], str] = str
        """Says which request is served where a line is written; empty: none."""
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

    def error(self, text: str, subject: str = "", fault: Fault | None = None) -> None:
        self.write(Level.ERROR, text, subject, more=NOTHING_MORE if fault is None else More(fault=fault))

    def write(
        self,
        level: Level,
        text: str,
        subject: str = "",
        at: float | None = None,
        more: More = NOTHING_MORE,
    ) -> None:
        """Write one event. Further lines of ``text`` (details) are indented under it, as is a stacktrace.

        ``at`` is when it happened, in seconds since 1970, if that is not now.
        """
        if level >= self.level:
            self._write(level, text, subject, time.time() if at is None else at, more)

    def pass_on(self, level: Level, text: str, more: More) -> None:
        """Write what the application logs: by its own levels, not by that of this log."""
        self._write(level, text, "", time.time(), more)

    def _write(self, level: Level, text: str, subject: str, now: float, more: More) -> None:
        if self.json:
            self._enqueue(self._as_json(level, text, subject, now, more))
            self.flush()
            return
        if more.fault is not None:
            text = f"{text}\n{more.fault.stacktrace}"
        zone = time.localtime(now) if self._offset_s is None else time.gmtime(now + self._offset_s)
        clock = f"{time.strftime('%H:%M:%S', zone)}.{int(now * 1000) % 1000:03d}"
        line = event_line(clock, level, subject or self.subject, text, colour=self._colour)
        self._enqueue((line + "\n").encode("utf-8", "backslashreplace"))
        self.flush()

    def write_record(self, level: Level, text: str, subject: str, at: float, happening: Any) -> None:
        """Write a record, of which ``happening`` is all: the text for people, the rest for JSON."""
        if self.json:
            self._enqueue(log_json.line_of_record(happening, level.name.lower()))
            self.flush()
        else:
            self.write(level, text, subject, at)

    def _as_json(self, level: Level, text: str, subject: str, at: float, more: More) -> bytes:
        who = subject or self.subject
        request_id = self.request_id()
        return log_json.line_of(at, level.name.lower(), who, os.getpid(), text, self.origin, more, request_id)

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
            self._queue.append((self._lost_line(self._dropped), self._dropped))
            self._dropped = 0
        self._queue.append((line, 1))

    def _lost_line(self, lines: int) -> bytes:
        text = f"({lines} log lines were lost: stderr did not take them)"
        if not self.json:
            return f"{text}\n".encode()
        more = More(kind="log_lines_lost", figures={"lines": lines})
        return self._as_json(Level.WARNING, text, "", time.time(), more)

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
            is_json = self._begun_json if self._begun else record.startswith(b"{")
            if is_json and not (self._begun or self._whole) and len(record) > _WRITE_BYTES:
                record = log_json.fitting(record, self._json_bytes_max() if locked else _WRITE_BYTES)
                if not self._has_room(len(record)):
                    return False
            elif not is_json and (self._begun or (not locked and len(record) > _WRITE_BYTES)):
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
            self._begun_json = is_json
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

    def _json_bytes_max(self) -> int:
        """How much of a line there may ever be room for, which in a pipe of two pages is not much."""
        if not self._is_pipe:
            return _JSON_BYTES_MAX
        pages = fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ) // _PAGE_BYTES - 2
        return min(max(pages * _PAGE_BYTES, _WRITE_BYTES), _JSON_BYTES_MAX)

    def _has_room(self, size: int) -> bool:
        """Tell whether a pipe takes ``size`` bytes at once, maybe in a moment; a socket does."""
        if not self._is_pipe or size <= _WRITE_BYTES:
            return True
        give_up_at = time.monotonic() + READER_PATIENCE_S
        while self._room() < size and not self._reader_is_gone():
            now = time.monotonic()
            if now >= give_up_at:
                self._impatient_until = now + IMPATIENT_S
            if now < self._impatient_until:
                return False
            time.sleep(_PAUSE_S)
        return True

    def _reader_is_gone(self) -> bool:
        return any(mask & select.POLLERR for _, mask in self._poll.poll(0))

    def _room(self) -> int:
        """What a pipe takes at least: its pages may be half full each, but for the last."""
        (used,) = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))
        pages = int(fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ)) // _PAGE_BYTES
        return (pages - (2 * int(used) + _PAGE_BYTES - 1) // _PAGE_BYTES - 1) * _PAGE_BYTES

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


def format_name(*, json: bool) -> str:
    """What the setting `log.format` calls it."""
    return "json" if json else "text"


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
