"""The event log of one process: what it tells, from which level on, and the lines that wait to be written.

Lines are text or JSON on a stream, entries of the journal or messages of syslog (`destination`). What cannot
be taken at once (a stopped terminal, a full pipe, a syslog that is restarted) is kept, up to a bound, and
written before the next line; past the bound lines are counted, and the count is logged. A process that serves
must never wait for whoever reads its log.

Any thread may write an event. One at a time empties the queue; the others, and a signal's
handler that interrupts it, leave their lines to it instead of waiting.
"""

from __future__ import annotations

import _thread
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from gwctl.log import destination, json_lines
from gwctl.log.json_lines import NOBODY, NOTHING_MORE, Fault, LogLine, More, Origin
from gwctl.log.level import Level
from gwctl.log.lines import OUTPUT_LINES_MAX, QUEUE_LINES_MAX, Queue, Sink, UnsendableError
from gwctl.log.output_lines import OutputLine, Printed, shown, whom
from gwctl.log.stream import Stream
from gwctl.log.text_lines import event_line
from gwctl.log.write_lock import WriteLock

_STDERR: Final = 2


class Log:
    """Writes event lines to one descriptor, or to what reads datagrams.

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
        to: str = destination.STDERR,
    ) -> None:
        """``lock`` is shared by all that write to ``fd``; ``origin`` stands in lines that have fields.

        ``to`` is as `gwctl.log.destination.settled` has it.
        """
        self._fd = fd
        self.to = to
        self.lock = lock or WriteLock()
        self._datagram = destination.datagram(to)
        self._sink: Sink = Stream(fd, self.lock) if self._datagram is None else self._datagram.to
        self.json = json
        self.origin = origin
        self.request_id: Callable[[], str] = str
        """Says which request is served where a line is written; empty: none."""
        self.fault_logged: Callable[[Fault], None] = _nobody_asks
        """Is told of the exception behind each error."""
        self.level = level
        self.subject = subject
        self._offset_s: int | None = None
        self._colour = os.isatty(fd) and "NO_COLOR" not in os.environ
        self._queue: Queue = deque()
        self._dropped = 0
        self.lost = 0
        """Lines, since the start, that nobody took."""
        self._emptying = _thread.allocate_lock()  # not threading: the master must not need it

    @property
    def descriptor(self) -> int:
        """What it has opened for itself; -1: nothing."""
        return self._sink.descriptor

    @property
    def has_fields(self) -> bool:
        """Lines have more to say than text does."""
        return self.json or self._datagram is not None

    def close_in_child(self) -> None:
        """In a forked child, which makes its own: close what the master opened for itself."""
        self._sink.close_in_child()

    def redirect(self, fd: int) -> None:
        """Write to what ``fd`` is from now on; that number is closed."""
        if fd != self._fd:  # else the application has closed its own stderr
            os.dup2(fd, self._fd, inheritable=self._fd <= _STDERR)
            os.close(fd)
        elif fd <= _STDERR:
            os.set_inheritable(fd, True)
        self._sink.redirected()

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
        who = subject or self.subject
        if more.fault is not None and level >= Level.ERROR:
            self.fault_logged(more.fault)
        if self.has_fields:
            self._enqueue(self._encoded(self._line(level, text, who, now, more)))
        else:
            self._enqueue(self._as_text(level, text, who, now, more))
        self.flush()

    def write_output(self, who: Printed, lines: Iterable[OutputLine]) -> None:
        """Write what a process has printed, whatever its level.

        Where nobody takes lines it is lost before those that tell what happened.
        """
        now = time.time()
        for line in lines:
            if len(self._queue) >= OUTPUT_LINES_MAX:
                self.flush()
            if len(self._queue) >= OUTPUT_LINES_MAX:
                self._lose(1)
                continue
            level = Level.ERROR if line.is_fault else Level.INFO
            if self.has_fields:
                more = More("output", stream=who.stream, continued=line.continued)
                fields = json_lines.line_of(
                    now, level.name.lower(), who.subject, who.pid, line.text, who.origin, more
                )
                self._enqueue(self._encoded(fields))
            else:
                subject = whom(who.subject, who.stream)
                text = shown(line.text, continued=line.continued)
                self._enqueue(self._as_text(level, text, subject, now, NOTHING_MORE))
        self.flush()

    def write_record(self, level: Level, text: str, subject: str, at: float, happening: Any) -> None:
        """Write a record, of which ``happening`` is all: its text for people, the rest as fields."""
        if self.has_fields:
            self._enqueue(self._encoded(json_lines.record_line(happening, level.name.lower())))
            self.flush()
        else:
            self.write(level, text, subject, at)

    def _as_text(self, level: Level, text: str, who: str, now: float, more: More) -> bytes:
        if more.fault is not None:
            text = f"{text}\n{more.fault.stacktrace}"
        zone = time.localtime(now) if self._offset_s is None else time.gmtime(now + self._offset_s)
        clock = f"{time.strftime('%H:%M:%S', zone)}.{int(now * 1000) % 1000:03d}"
        line = event_line(clock, level, who, text, colour=self._colour)
        return (line + "\n").encode("utf-8", "backslashreplace")

    def _line(self, level: Level, text: str, who: str, at: float, more: More) -> LogLine:
        request_id = self.request_id()
        return json_lines.line_of(
            at, level.name.lower(), who, os.getpid(), text, self.origin, more, request_id
        )

    def _encoded(self, line: LogLine | Mapping[str, Any]) -> bytes:
        if self._datagram is None:
            return json_lines.encoded(line)
        return self._datagram.line(msgspec.to_builtins(line), json=self.json, offset_s=self._offset_s)

    def waiting(self) -> list[bytes]:
        """Lines that nobody has taken yet."""
        return [line for line, _ in self._queue]

    def begin_anew(self) -> None:
        """In a forked child: the lines that wait are its parent's to write, whose threads are not here."""
        self._queue.clear()
        self._dropped = 0
        self._emptying = _thread.allocate_lock()

    def resume(self, lines: list[bytes], to: str) -> None:
        """Write ``lines``, which another program could not write, before all others.

        What was made for another place, ``to``, is written there if that is stderr, else it is lost.
        """
        if to == self.to:
            self._queue.extendleft((line, 1) for line in reversed(lines))
            return
        for line in lines:
            try:
                os.write(self._fd if to == destination.STDERR else -1, line)
            except OSError:
                self._lose(1)

    def _enqueue(self, line: bytes) -> None:
        if len(self._queue) >= QUEUE_LINES_MAX:
            self._lose(1)
            return
        if self._dropped:
            self._queue.append((self._lost_line(self._dropped), self._dropped))
            self._dropped = 0
        self._queue.append((line, 1))

    def _lost_line(self, lines: int) -> bytes:
        text = f"({lines} log lines were lost: {self._sink.name} did not take them)"
        if not self.has_fields:
            return f"{text}\n".encode()
        more = More(kind="log_lines_lost", figures={"lines": lines})
        return self._encoded(self._line(Level.WARNING, text, self.subject, time.time(), more))

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
        try:
            return self._sink.write_out(self._queue, self.subject)
        except UnsendableError:
            self._lose(self._queue.popleft()[1])
            return True
        except OSError:
            # Nobody will ever read it (EPIPE, EIO, ENOSPC): serving goes on, the lines count as lost.
            self._lose(sum([each for _, each in self._queue]))
            self._queue.clear()
            return True


def _nobody_asks(_fault: Fault) -> None:
    """Until somebody wants to know of exceptions."""


def format_name(*, json: bool) -> str:
    """What the setting `log.format` calls it."""
    return "json" if json else "text"
