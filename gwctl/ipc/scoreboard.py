"""The scoreboard: shared memory that workers write and the master reads, one for each pool.

One mapping on a memfd (an anonymous mapping would not survive the exec of an upgrade), cut
into fixed records. A record belongs to a worker, not to a slot: during a surge two workers
share a slot. Each record has one writer, so there are no locks; a reader may see a record
between two stores, which is why no decision rests on two fields agreeing.

Whoever has mapped a file dies of SIGBUS when somebody else has made it shorter. So the memfd is
sealed when it has its size: no holder of the descriptor can change that, nor add a seal. What a
worker can still do is write anything into any record of its pool: see
`gwctl.supervisor.children.record_reader`.

Workers read the records of their siblings, those of the same pool, to share the load with
them. Records are given out lowest first, so few have ever been used, and the first that has
not ends a search.

Times are monotonic seconds (`time.monotonic`, the same clock in all processes of a host).
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Container
from typing import Final

from gwctl import durations, sealed_files

LAYOUT: Final = 5
"""Version of the record below. Raise it with any change of a field's place or meaning."""

RECORD_BYTES: Final = 2048
_WORDS: Final = RECORD_BYTES // 8

# Indices of 8-byte words. What is written for each request comes first, text is up to the middle, and what
# is written once in a while comes last.
HEARTBEAT_AT: Final = 0  # float: the serving loop's last turn
EXTENDED_REQUEST: Final = 1  # float: `BUSY_SINCE` of the request that was given more time, by the application
STARTED_AT: Final = 2  # float
PID: Final = 3
REQUESTS: Final = 4  # finished responses, of any status
ERRORS: Final = 5  # of those, status 5xx
BYTES_OUT: Final = 6
CONNECTIONS: Final = 7  # open now
ACTIVE: Final = 8  # requests in the application now
MEMORY_BYTES: Final = 9  # resident, as the worker last measured it
ACCEPTED: Final = 10  # connections accepted in its life
POOL: Final = 11  # number of its pool, from 1; `FREE` when nobody's; 0: no worker ever had this record
SERVING: Final = 12  # 1 while it accepts connections: not before it serves, not parked, not draining
REFUSED: Final = 13  # connections and requests refused for overload
CROWDED: Final = 14  # 1 while requests wait longer than a moment for a free thread
EXTENDED_UNTIL: Final = 15  # float: how long that one may take
LONGEST_SINCE: Final = (
    15  # float: the same word where workers judge requests themselves (threads, asgi): when the
)
# request that ran longest at the last `HEARTBEAT_AT` was dispatched; 0.0: there was none
LATENCY: Final = 16  # 24 words: requests by duration, bucket i holds those under 2**i * 0.1 ms
LATENCY_BUCKETS: Final = 24
FREE: Final = 1 << 32
EVICTED: Final = 40  # connections closed to make room for new ones: their clients were silent
DROPPED: Final = 41  # requests that were not begun: they had waited too long, or their client was gone
# Words 42 and 43 are free.
BUSY_SINCE: Final = 44  # float: the request being served was dispatched; 0.0 = idle
_REQUEST_AT: Final = (BUSY_SINCE + 1) * 8  # start of the head of the request being served, padded with zeros
_REQUEST_END: Final = 512
REQUEST_BYTES_MAX: Final = _REQUEST_END - _REQUEST_AT
ANSWERS: Final = _REQUEST_END // 8  # words: requests by method, and for each by class of status
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "other")
STATUS_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
"""``none``: the client had gone, or was cut off, before there was a status. ``1xx``: WebSockets begun."""
ANSWER_WORDS: Final = len(METHODS) * len(STATUS_CLASSES)
SECONDS: Final = ANSWERS + ANSWER_WORDS  # float: all that finished requests took, together
WAITED_S: Final = SECONDS + 1  # float: of that, before the application was called
WEBSOCKETS: Final = SECONDS + 2  # open now
CPU_S: Final = SECONDS + 3  # float: as the kernel has it for the process
LAG_S: Final = (
    SECONDS + 4
)  # float: how late the loop was at the last heartbeat, with a timer or what was ready
COLLECTIONS: Final = SECONDS + 5  # of garbage
COLLECTED_S: Final = SECONDS + 6  # float: what they took, together
COLLECTED_MAX_S: Final = SECONDS + 7  # float: what the longest took
BYTES_IN: Final = SECONDS + 8  # of request bodies, as they came
TLS_HANDSHAKES: Final = SECONDS + 9  # that were completed
TLS_RESUMED: Final = SECONDS + 10  # of those, that went on with a session of before
TLS_FAILED: Final = SECONDS + 11  # begun by a client, and not completed
PRIVATE_BYTES: Final = (
    SECONDS + 12
)  # of `MEMORY_BYTES`, what it shares with nobody; 0: it does not measure that
# Three words are free.
DURATIONS: Final = 128  # words: requests by duration, as `gwctl.durations` has it
DURATION_PLACES: Final = durations.PLACES
# 42 words: `gwctl.ipc.exemplars`. The last one is free.
_read_pool: Final = struct.Struct(f"{8 * POOL}xQ").unpack_from
note_request: Final = struct.Struct(f"d{REQUEST_BYTES_MAX}s").pack_into
"""``note_request(record.request, 0, since, head)``: one call into C, as it is made for each request."""
FIELDS: Final = {
    "HEARTBEAT_AT": HEARTBEAT_AT,
    "EXTENDED_REQUEST": EXTENDED_REQUEST,
    "STARTED_AT": STARTED_AT,
    "PID": PID,
    "REQUESTS": REQUESTS,
    "ERRORS": ERRORS,
    "BYTES_OUT": BYTES_OUT,
    "CONNECTIONS": CONNECTIONS,
    "ACTIVE": ACTIVE,
    "MEMORY_BYTES": MEMORY_BYTES,
    "PRIVATE_BYTES": PRIVATE_BYTES,
    "ACCEPTED": ACCEPTED,
    "POOL": POOL,
    "SERVING": SERVING,
    "REFUSED": REFUSED,
    "CROWDED": CROWDED,
    "EXTENDED_UNTIL": EXTENDED_UNTIL,
    "EVICTED": EVICTED,
    "DROPPED": DROPPED,
    "LATENCY": LATENCY,
    "LATENCY_BUCKETS": LATENCY_BUCKETS,
    "DURATIONS": DURATIONS,
    "DURATION_PLACES": DURATION_PLACES,
    "ANSWERS": ANSWERS,
    "ANSWER_WORDS": ANSWER_WORDS,
    "SECONDS": SECONDS,
    "WAITED_S": WAITED_S,
    "BYTES_IN": BYTES_IN,
    "TLS_HANDSHAKES": TLS_HANDSHAKES,
    "TLS_RESUMED": TLS_RESUMED,
    "TLS_FAILED": TLS_FAILED,
    "WEBSOCKETS": WEBSOCKETS,
    "CPU_S": CPU_S,
    "LAG_S": LAG_S,
    "COLLECTIONS": COLLECTIONS,
    "COLLECTED_S": COLLECTED_S,
    "COLLECTED_MAX_S": COLLECTED_MAX_S,
    "BUSY_SINCE": BUSY_SINCE,
    "RECORD_BYTES": RECORD_BYTES,
}
"""The layout by its names, for a program with another one that takes this board over."""
_VERSIONS: Final = (" HTTP/1.1", " HTTP/1.0")


class Record:
    """One worker's record. ``floats`` and ``words`` are views for the worker's hot path."""

    __slots__ = ("floats", "index", "request", "words")

    def __init__(self, index: int, memory: memoryview) -> None:
        self.index = index
        start = index * RECORD_BYTES
        view = memory[start : start + RECORD_BYTES]
        self.floats = view.cast("d")
        self.words = view.cast("Q")
        self.request = view[BUSY_SINCE * 8 : _REQUEST_END]

    def copy(self) -> Record:
        """What it says at this moment, for a reader who looks at several fields or looks twice."""
        return Record(0, memoryview(bytearray(self.words)))

    def close(self) -> None:
        """Let go of the memory; nothing can be read or written any more."""
        for view in (self.floats, self.words, self.request):
            view.release()

    def clear(self) -> None:
        """Make every field zero but `POOL`: done by the master before a record is given out."""
        for i in range(_WORDS):
            if i != POOL:
                self.words[i] = 0

    @property
    def request_line(self) -> str:
        """Method and target of the request that was served last, cut at `REQUEST_BYTES_MAX`."""
        head = bytes(self.request[8:]).rstrip(b"\0").lstrip(b"\r\n")
        line = head.partition(b"\r\n")[0].decode("utf-8", "replace")
        return line[: -len(_VERSIONS[0])] if line.endswith(_VERSIONS) else line

    def latency(self) -> list[int]:
        return self.words[LATENCY : LATENCY + LATENCY_BUCKETS].tolist()

    def durations(self) -> list[int]:
        """Requests by duration, by the places of `gwctl.durations`."""
        return self.words[DURATIONS : DURATIONS + DURATION_PLACES].tolist()

    def answers(self) -> list[int]:
        """Requests by method and class of status, in the order of `METHODS` and `STATUS_CLASSES`."""
        return self.words[ANSWERS : ANSWERS + ANSWER_WORDS].tolist()


class Scoreboard:
    """The mapping and its free list. The master makes it; workers inherit it through fork."""

    def __init__(self, records_max: int, fd: int = -1, used: Container[int] = ()) -> None:
        """Make one; or with ``fd`` go on with the one that another program has made, of this layout.

        Raises:
            OSError: No descriptor or no memory is left. Nothing was made; ``fd`` is as before.
        """
        size = records_max * RECORD_BYTES
        made = fd < 0 and hasattr(os, "memfd_create")
        if made:
            fd = os.memfd_create("gwctl-scoreboard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            if made:
                os.ftruncate(fd, size)
                sealed_files.seal(fd)
            # macOS: no memfd, and no upgrade in place either
            self._map = mmap.mmap(fd, size)
        except OSError:
            if made:
                os.close(fd)
            raise
        self.fd = fd
        self._memory = memoryview(self._map)
        self.records_max = records_max
        self._free = [index for index in range(records_max - 1, -1, -1) if index not in used]
        self._given: dict[int, Record] = {}
        """By index, the last that was handed out in this process, given back since or not."""

    def record(self, index: int) -> Record:
        """Return a record that was given out already."""
        self._given[index] = record = Record(index, self._memory)
        return record

    @property
    def is_used(self) -> bool:
        """Tell whether a record is given out."""
        return len(self._free) < self.records_max

    def allocate(self, pool: int = 1) -> Record | None:
        """Take a cleared record for a worker of ``pool``, or None when all are given out."""
        if not self._free:
            return None
        index = self._free.pop()
        if index in self._given:
            self._given[index].close()  # of a worker that is gone
        record = self.record(index)
        record.clear()
        record.words[POOL] = pool
        return record

    def release(self, record: Record) -> None:
        """Give a record back once its worker is reaped and its counters are folded away."""
        record.words[SERVING] = 0
        record.words[POOL] = FREE
        self._free.append(record.index)

    def siblings(self, record: Record) -> list[Record]:
        """Return the records of the other workers in the pool of ``record``, in whatever state."""
        pool = record.words[POOL]
        found: list[Record] = []
        if not pool:
            return found  # given out by a master that does not number its pools
        for index in range(self.records_max):
            (other,) = _read_pool(self._memory, index * RECORD_BYTES)
            if other == pool and index != record.index:
                found.append(Record(index, self._memory))
            elif not other:
                break
        return found

    def close_descriptor(self) -> None:
        """Close the memfd; the mapping stays for as long as a record of it is used."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Close all of it, mapping and descriptors: no record can be read in this process any more."""
        for record in self._given.values():
            record.close()
        self._given.clear()
        self._memory.release()
        self._map.close()
        self.close_descriptor()
