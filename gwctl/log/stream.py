"""A stream that several processes write to: a pipe, a terminal, a file, a socket of the journal's.

A line that it cannot take at once (a stopped terminal, a full pipe) is kept, and written before the next
one. A process that serves must never wait for whoever reads its log.

A record stays together: a file takes it in one write; to a pipe, a socket or a terminal it goes in pieces of
whole lines, while others wait for their turn (`write_lock`). Where that cannot be had, each further line of a
long record says whose it is.

A line of JSON is never left half written for others to write in its midst: to a pipe it is begun when there
is room for all of it, and cut where there can be none, or where the lock cannot be had.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct
import termios
import time
from typing import Final

from gwctl.log import json_lines
from gwctl.log.descriptors import identity
from gwctl.log.lines import Queue
from gwctl.log.write_lock import WriteLock

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


class Stream:
    """Writes records to one descriptor. ``lock`` is shared by all that write to it."""

    name = "stderr"

    def __init__(self, fd: int, lock: WriteLock) -> None:
        self._fd = fd
        self._lock = lock
        self._identity = identity(fd)
        mode = os.fstat(fd).st_mode
        self._whole = stat.S_ISREG(mode)
        self._is_pipe = stat.S_ISFIFO(mode)
        self._begun = False
        """The first record of the queue is written in part."""
        self._begun_json = False
        self._impatient_until = 0.0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    @property
    def descriptor(self) -> int:
        return self._fd if self._fd > _STDERR else -1

    def redirected(self) -> None:
        self._identity = identity(self._fd)

    def close_in_child(self) -> None:
        if self._fd > _STDERR:
            os.close(self._fd)

    def write_out(self, queue: Queue, subject: str) -> bool:
        if self._fd > _STDERR and identity(self._fd) != self._identity:
            raise OSError(errno.EBADF, "the application has closed it")
        if self._whole:
            return self._write_queue(queue, subject, locked=True)
        if not self._takes_more(0.0):
            return False
        locked = self._lock.take()
        try:
            return self._write_queue(queue, subject, locked=locked)
        finally:
            if locked:
                self._lock.give_back()

    def _write_queue(self, queue: Queue, subject: str, *, locked: bool) -> bool:
        while queue:
            record, count = queue[0]
            is_json = self._begun_json if self._begun else record.startswith(b"{")
            if is_json and not (self._begun or self._whole) and len(record) > _WRITE_BYTES:
                record = json_lines.fitting(record, self._json_bytes_max() if locked else _WRITE_BYTES)
                if not self._has_room(len(record)):
                    return False
            elif not is_json and (self._begun or (not locked and len(record) > _WRITE_BYTES)):
                record = self._signed(record, subject)
            try:
                left = self._write_record(record)
            except OSError:
                self._begun = False
                raise
            self._begun = len(left) < len(record)
            self._begun_json = is_json
            if left:
                queue[0] = (left, count)
                return False
            self._begun = False
            queue.popleft()
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

    def _signed(self, record: bytes, subject: str) -> bytes:
        """Each line says whose it is: others may write between its parts, or have already."""
        mark = f"  [{subject}] ".encode()
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


def _piece(record: bytes) -> bytes:
    """Whole lines, as many as a pipe keeps together."""
    if len(record) <= _WRITE_BYTES:
        return record
    end = record.rfind(b"\n", 0, _WRITE_BYTES) + 1
    return record[: end or _WRITE_BYTES]
