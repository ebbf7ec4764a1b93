"""Stdout and stderr of a worker whose output the master takes, and what becomes of them when that is dead.

From the fork on descriptors 1 and 2 are pipes; what they were goes on under other numbers, for the event log,
the access log and the end. When the master is dead (`orphaned`)

- stdout and stderr are again what they were, for all that is printed from then on. A write that waits, as the
  pipe was full, is one to the pipe still, and so is whatever child processes print;
- so a thread reads the pipes from their other ends, which this process has kept, and writes lines of the
  event log itself, until nobody has the pipes any more, or this process ends (`finish`).

What remains: C code that holds the interpreter while it waits in write(2) is never read, as no thread of
Python runs; the alarm of `parent_death` ends it. What child processes print after this process's end finds no
reader.
"""

from __future__ import annotations

import ctypes
import fcntl
import io
import os
import signal
import sys
from _thread import allocate_lock, start_new_thread
from contextlib import suppress
from select import POLLIN, poll  # these, as they are now: an application may put others in their place
from typing import Final

from msgspec.structs import replace

from gwctl.ipc.assignment import Assignment
from gwctl.ipc.output_pipes import STREAMS, WorkerEnds
from gwctl.log.descriptors import identity
from gwctl.log.event_log import Log
from gwctl.log.output_lines import OutputLines, Printed

_STDOUT: Final = 1
_STDERR: Final = 2
_READ_BYTES: Final = 16_384
_LINES_MAX: Final = 1000
_PATIENCE_MS: Final = 250
_LAST_READS_MAX: Final = 16
"""At the end of the process: somebody may print for ever."""
_LAST_S: Final = 0.2
_LINE_BUFFERED: Final = 1  # _IOLBF of stdio.h


class _Stream:
    """One pipe that nobody else reads any more."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.lines = OutputLines()
        self.has_ended = False

    def read(self) -> bool:
        """False: nothing is there now."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return False
        self.has_ended = not data
        self.lines.feed(data)
        return True


class StandardStreams:
    """Where this process writes what is its own to write, and what it prints."""

    def __init__(self) -> None:
        """They are what the master's are."""
        self.stdout = _STDOUT
        """What stdout was before it was captured."""
        self.stderr = _STDERR
        self._ends: WorkerEnds | None = None
        self._known: dict[int, tuple[int, int] | None] = {}
        """What is open under each number. The application may close all of them, and open its own."""
        self._orphaned = allocate_lock()
        """Held by whoever has noticed first, for good."""
        self._reading = allocate_lock()
        self._left: list[_Stream] = []

    def capture(self, ends: WorkerEnds | None) -> None:
        """Print to ``ends`` from now on; in a worker of a template in the place of that one's."""
        if ends is None:
            return
        if self._ends is None:
            self.stdout, self.stderr = (
                fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1) for fd in (_STDOUT, _STDERR)
            )
        else:
            os.close(self._ends.stdout_back)
            os.close(self._ends.stderr_back)
        self._ends = ends
        for fd, pipe in ((_STDOUT, ends.stdout), (_STDERR, ends.stderr)):
            os.dup2(pipe, fd)
            os.close(pipe)
        numbers = (_STDOUT, _STDERR, self.stdout, self.stderr, ends.stdout_back, ends.stderr_back)
        self._known = {fd: identity(fd) for fd in numbers}
        _buffer_lines()

    def assigned(self, assignment: Assignment) -> Assignment:
        """The same, with the access log where stdout was."""
        if assignment.access_log_fd == _STDOUT:
            return replace(assignment, access_log_fd=self.stdout)
        return assignment

    def of_this_process(self) -> list[int]:
        """Return what is open here and nothing to a child that the application forks."""
        own = [] if self._ends is None else [self.stdout, self._ends.stdout_back, self._ends.stderr_back]
        return [fd for fd in own if self._is_ours(fd)]

    def reopen(self, fd: int, log: Log) -> None:
        """Have the event log, and stderr if it is not captured, be what ``fd`` is; that number is closed."""
        log.redirect(fd)
        if self._ends is not None:
            self._known[self.stderr] = identity(self.stderr)

    def orphaned(self, log: Log, origin: Printed) -> None:
        """The master is dead. Called by whoever notices, in any thread or a signal's handler; done once.

        ``origin`` is who prints, whatever the stream.
        """
        ends = self._ends
        if ends is None or not self._orphaned.acquire(blocking=False):
            return
        for fd, before in ((_STDOUT, self.stdout), (_STDERR, self.stderr)):
            if self._is_ours(fd) and self._is_ours(before):
                os.dup2(before, fd)
        backs = (ends.stdout_back, ends.stderr_back)
        self._left = [_Stream(name, fd) for name, fd in zip(STREAMS, backs, strict=True) if self._is_ours(fd)]
        with suppress(RuntimeError):  # no thread left: it is read at the end
            start_new_thread(self._take_rest, (log, origin))

    def finish(self, log: Log, origin: Printed) -> None:
        """At the end of an orphaned process: what is in the pipes goes to the log."""
        if not self._left or not self._reading.acquire(timeout=_LAST_S):
            return
        for stream in self._left:
            for _ in range(_LAST_READS_MAX):
                if not self._is_ours(stream.fd) or not stream.read() or stream.has_ended:
                    break
                _write(log, origin, stream)
            _write(log, origin, stream, all_of_it=True)

    def _take_rest(self, log: Log, origin: Printed) -> None:
        """The body of a thread."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
        while open_ones := [each for each in self._left if not each.has_ended and self._is_ours(each.fd)]:
            printed = poll()
            for each in open_ones:
                printed.register(each.fd, POLLIN)
            waits = any(each.lines.left for each in open_ones)
            ready = {fd for fd, _ in printed.poll(_PATIENCE_MS if waits else None)}
            with self._reading:
                for each in open_ones:
                    if each.fd in ready:
                        each.read()
                    _write(log, origin, each, all_of_it=each.has_ended or not ready)

    def _is_ours(self, fd: int) -> bool:
        found = identity(fd)
        return found is not None and found == self._known.get(fd)


def _write(log: Log, origin: Printed, stream: _Stream, *, all_of_it: bool = False) -> None:
    while lines := stream.lines.take(_LINES_MAX, all_of_it=all_of_it):
        log.write_output(origin._replace(stream=stream.name), lines)


def _buffer_lines() -> None:
    """Have lines come when they end, although stdout is no terminal: Python's, and that of C libraries.

    An application that puts something else in the place of sys.stdout has what it puts there.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _LINE_BUFFERED, ctypes.c_size_t(0))
