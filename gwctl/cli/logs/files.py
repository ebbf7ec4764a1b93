"""An event log that is a file: its last entries, and those that come, over rotations.

Rules
    - What is asked for is looked for from the end of the file, however long that is; then it is read from
      there on, so that no more than one entry is in memory at a time.
    - A line of text has no day. It is known from the end: the last line is of the day on which the file was
      last written to, and where the clock goes back from one line to the next, a day has passed. (Two
      days without any line look like one: JSON knows better.)
    - An entry as text ends where a line begins that is not indented.
    - A file that is renamed is read on until another has its name, and for `OLD_S` more: processes begin with
      the new one each in its own time. One that is cut off is read from its beginning.
"""

from __future__ import annotations

import datetime as dt
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

from gwctl.cli.logs.entries import Entry, Wanted, clock_of, of_json, of_text, time_of
from gwctl.errors import ControlError

LINE_BYTES_MAX: Final = 1 << 20
"""Of a line; a longer one is read as several."""
ENTRY_BYTES_MAX: Final = 1 << 20
OLD_S: Final = 5.0
_POLL_MS: Final = 250
_DISORDER_HOURS: Final = 1.0
"""Lines of several processes may be out of order, and a clock be set."""
_BLOCK_BYTES: Final = 65_536


class Query(NamedTuple):
    """What is asked for. ``last`` is None for all."""

    path: Path
    wanted: Wanted = Wanted()
    since: dt.datetime | None = None
    last: int | None = None
    follow: bool = False


def read(query: Query, show: Callable[[Entry], None], nobody_reads: Callable[[], bool], reader: int) -> None:
    """Show the entries, the oldest first. ``reader`` is where they go; -1: that cannot be watched.

    Raises:
        ControlError: The file cannot be read.
    """
    with _opened(query.path) as file:
        tail = _Tail(file, _Assembly(query.wanted, _written_at(file)))
        tail.begin(query)
        for entry in tail.entries():
            show(entry)
            if nobody_reads():
                return
        if query.follow:
            _follow(query, tail, show, nobody_reads, reader)
            return
        for entry in tail.unfinished():
            show(entry)


def _follow(
    query: Query, tail: _Tail, show: Callable[[Entry], None], nobody_reads: Callable[[], bool], reader: int
) -> None:
    """Go on with what comes, until nobody reads."""
    leaving = select.poll()
    if reader >= 0:
        leaving.register(reader, select.POLLERR)
    old: list[tuple[_Tail, float]] = []
    try:
        while not nobody_reads():
            for each in [*(each for each, _ in old), tail]:
                for entry in each.entries():
                    show(entry)
            now = time.monotonic()
            for each, until in [one for one in old if one[1] <= now]:
                old.remove((each, until))
                each.close()
            successor = tail.successor(query)
            if successor is not None:
                old.append((tail, now + OLD_S))
                tail = successor
            elif any(mask & select.POLLERR for _, mask in leaving.poll(_POLL_MS)):
                return
    finally:
        for each in (*(each for each, _ in old), tail):
            each.close()


class _Assembly:
    """Makes entries of lines: those of one entry belong together, and only the wanted ones are kept."""

    def __init__(self, wanted: Wanted, written_at: dt.datetime) -> None:
        self._wanted = wanted
        self.day = written_at.date()
        """Of what is read next."""
        self._clock: dt.time | None = None
        self._lines: list[str] = []
        self._bytes = 0

    def line(self, line: str) -> Iterator[Entry]:
        """Take one line; return the entry that it ends, and the one that it is."""
        if self._lines and line.startswith((" ", "\t")) and self._bytes < ENTRY_BYTES_MAX:
            self._lines.append(line)
            self._bytes += len(line)
            return
        yield from self.flush()
        entry = of_json(line)
        if entry is not None:
            if self._wanted(entry):
                yield entry
            return
        self._lines, self._bytes = [line], len(line)

    def flush(self) -> Iterator[Entry]:
        """Return what nobody waits for the rest of any longer."""
        if not self._lines:
            return
        entry = of_text("\n".join(self._lines))
        clock = clock_of(self._lines[0])
        self._lines = []
        if clock is not None:
            if self._clock is not None and _hours(self._clock) - _hours(clock) > _DISORDER_HOURS:
                self.day = _day_after(self.day, 1)
            self._clock = clock
            at = _moment(self.day, clock)
            if at is not None:
                entry = entry._replace(fields={"time": at.isoformat()} | dict(entry.fields))
        if self._wanted(entry):
            yield entry


class _Tail:
    """One file that is read to its present end, again and again."""

    def __init__(self, file: IO[bytes], assembly: _Assembly) -> None:
        self._file = file
        self._assembly = assembly
        self._begun = b""

    def close(self) -> None:
        self._file.close()

    def begin(self, query: Query) -> None:
        """Go to the first entry that is asked for."""
        offset, self._assembly.day = _start(self._file, query)
        self._file.seek(offset)

    def entries(self) -> Iterator[Entry]:
        """Those up to the present end: an entry is written at once, with all its lines."""
        while data := self._file.read(_BLOCK_BYTES):
            *lines, self._begun = (self._begun + data).split(b"\n")
            for line in lines:
                yield from self._assembly.line(_decoded(line))
            if len(self._begun) > LINE_BYTES_MAX:
                yield from self._assembly.line(_decoded(self._begun))
                self._begun = b""
        yield from self._assembly.flush()

    def unfinished(self) -> Iterator[Entry]:
        """What is at the end without an end of a line."""
        if self._begun:
            yield from self._assembly.line(_decoded(self._begun))
            yield from self._assembly.flush()
            self._begun = b""

    def successor(self, query: Query) -> _Tail | None:
        """The file that has the name by now; None: it is this one, or there is none."""
        own = os.fstat(self._file.fileno())
        if own.st_size < self._file.tell():
            self._file.seek(0)
            self._begun = b""
        try:
            if os.path.samestat(query.path.stat(), own):
                return None
            file = query.path.open("rb")
        except OSError:
            return None  # it was renamed a moment ago, or may not be read: the old one is read on
        return _Tail(file, _Assembly(query.wanted, _written_at(file)))


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise ControlError(f"the log is the file {path}, which cannot be read: {error.strerror}") from None


def _start(file: IO[bytes], query: Query) -> tuple[int, dt.date]:
    """Where the first entry is that is asked for, and its day."""
    written_at = _written_at(file)
    day, later = written_at.date(), written_at.time()
    offset, offset_day, found = file.seek(0, os.SEEK_END), day, 0
    for position, line in _backwards(file, offset):
        if line.startswith((" ", "\t")):
            continue
        entry, clock = of_json(line), clock_of(line)
        if clock is not None:
            if _hours(clock) - _hours(later) > _DISORDER_HOURS:
                day = _day_after(day, -1)
            later = clock
        at = time_of(entry.fields) if entry is not None else None
        if clock is not None:
            at = _moment(day, clock)
        if query.since is not None and at is not None and at < query.since:
            break
        if query.last is not None and query.wanted(entry or of_text(line)):
            if found == query.last:
                break
            found += 1
        if query.since is None or at is not None:  # else it belongs to what was before it
            offset, offset_day = position, day
    else:
        if query.since is None:
            return 0, day
    return offset, offset_day


def _backwards(file: IO[bytes], end: int) -> Iterator[tuple[int, str]]:
    """The lines before ``end``, the last first, each with where it begins."""
    begun = b""
    position = end
    while position > 0:
        size = min(_BLOCK_BYTES, position)
        position -= size
        file.seek(position)
        first, *rest = (file.read(size) + begun).split(b"\n")
        at = position + len(first) + 1
        places = []
        for line in rest:
            places.append((at, line))
            at += len(line) + 1
        for place, line in reversed(places):
            if place < end:
                yield place, _decoded(line)
        begun = first
        if len(begun) > LINE_BYTES_MAX:
            yield position, _decoded(begun)
            begun = b""
    if begun:
        yield 0, _decoded(begun)


def _written_at(file: IO[bytes]) -> dt.datetime:
    """As the file system says, if that can be."""
    try:
        return dt.datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime).astimezone()
    except (ValueError, OverflowError, OSError):
        return dt.datetime.now().astimezone()


def _day_after(day: dt.date, days: int) -> dt.date:
    """The first and the last day that there are stay: lines may say that the clock went back without end."""
    try:
        return day + dt.timedelta(days=days)
    except OverflowError:
        return day


def _moment(day: dt.date, clock: dt.time) -> dt.datetime | None:
    try:
        return dt.datetime.combine(day, clock).astimezone()
    except (ValueError, OverflowError, OSError):
        return None  # at the first or the last day that there are


def _hours(clock: dt.time) -> float:
    return clock.hour + clock.minute / 60


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")
