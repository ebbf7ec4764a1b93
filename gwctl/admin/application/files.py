"""The files of prometheus_client's multiprocess mode, as anything that an application may have put there.

A worker has a folder of its own; in it is a file for each type of metric and each process that counts (the
worker, and children that the application forks): ``counter_4133.db``, ``gauge_livesum_4133.db``. In a file
(prometheus_client/mmap_dict.py) a number of bytes used is followed by entries: the length of a key, the key
(JSON of family, name, labels and help), and two doubles, the value and a time.

Rules
    - Whatever the application writes, reading ends soon and takes little memory. No link is followed, nothing
      is waited for, and what is not read is counted.
    - Nothing is mapped into memory: whoever made a mapped file shorter would end this process.
    - What was read before something that is not understood counts. So a counter never runs backwards because
      a file goes bad at its end.

Reading with `MultiProcessCollector.merge` was the alternative. It opens whatever a name leads to, waits for a
pipe, reads as much as a file claims to have, and one bad file ends it for all.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from gwctl.admin.application.left_out import LeftOut

FILES_MAX: Final = 256
"""Of one worker."""
FILE_BYTES_MAX: Final = 8 << 20
BYTES_MAX: Final = 16 << 20
"""Of one worker, in all its files."""
ENTRIES_MAX: Final = 10_000
"""Of one worker, in all its files."""
KEY_BYTES_MAX: Final = 4096

_NAME: Final = re.compile(
    r"(?:(counter|summary|histogram)|gauge_((?:live)?(?:all|min|max|sum|mostrecent)))_([^/]{1,64})\.db"
)
_HEADER_BYTES: Final = 8
_VALUES_BYTES: Final = 16
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_length_at = struct.Struct("i").unpack_from
_values_at = struct.Struct("dd").unpack_from

Entry = tuple[bytes, float, float]
"""Key, value, and time where the type has one."""


class File(NamedTuple):
    """One file: ``kind`` is the type of its metrics, ``mode`` a gauge's, ``process`` who wrote it."""

    kind: str
    mode: str
    process: str
    entries: list[Entry]


def read_worker(pool: int, worker: str, left_out: LeftOut) -> list[File]:
    """Read the folder ``worker`` in the folder with the descriptor ``pool``; none if it is not there."""
    try:
        folder = os.open(worker, FOLDER, dir_fd=pool)
    except FileNotFoundError:
        return []
    except OSError:
        left_out["file"] += 1
        return []
    try:
        return list(_files(folder, left_out))
    finally:
        os.close(folder)


def _files(folder: int, left_out: LeftOut) -> Iterator[File]:
    with os.scandir(folder) as found:
        names = [entry.name for entry in islice(found, FILES_MAX + 1)]
    if len(names) > FILES_MAX:
        left_out["too_many"] += 1
    entries_left, bytes_left = ENTRIES_MAX, BYTES_MAX
    for name in sorted(names[:FILES_MAX]):
        if not (entries_left and bytes_left):
            left_out["too_many" if bytes_left else "too_large"] += 1
            break
        parts = _NAME.fullmatch(name)
        if parts is None:
            left_out["file"] += 1
            continue
        kind, mode, process = parts.groups("")
        data, cut = _read(folder, name, min(bytes_left, FILE_BYTES_MAX), left_out)
        bytes_left -= len(data)
        entries = entries_in(data, entries_left, left_out, cut=cut)
        entries_left -= len(entries)
        yield File(kind or "gauge", mode, process, entries)


def _read(folder: int, name: str, bytes_max: int, left_out: LeftOut) -> tuple[bytes, bool]:
    """Return what is used of a file, and whether it is more than ``bytes_max``, which is all that is read."""
    cut = False
    try:
        fd = os.open(name, _OPEN, dir_fd=folder)
    except OSError:  # a link, a socket, or nobody may read it
        left_out["file"] += 1
        return b"", False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            left_out["file"] += 1
            return b"", False
        head = os.pread(fd, _HEADER_BYTES, 0)
        if len(head) < _HEADER_BYTES:
            if head:  # one without anything was made at this moment
                left_out["malformed"] += 1
            return b"", False
        used = _length_at(head)[0]
        if used > bytes_max:
            left_out["too_large"] += 1
            used, cut = bytes_max, True
        data = os.pread(fd, used, 0) if used > 0 else b""
    except OSError:
        left_out["file"] += 1
        return b"", False
    finally:
        os.close(fd)
    if len(data) < used or used < 0:
        left_out["malformed"] += 1
    return data, cut


def entries_in(data: bytes, entries_max: int, left_out: LeftOut, *, cut: bool) -> list[Entry]:
    """Take a file apart; what cannot be is left out, and all after it. ``cut``: that is counted already."""
    entries: list[Entry] = []
    end, at = len(data), _HEADER_BYTES
    while at < end:
        length = _length_at(data, at)[0] if at + 4 <= end else 0
        values_at = at + 4 + length + 8 - (length + 4) % 8
        if length <= 0 or values_at + _VALUES_BYTES > end:
            if not cut:
                left_out["malformed"] += 1
            break
        if length > KEY_BYTES_MAX:
            left_out["too_large"] += 1
        elif len(entries) >= entries_max:
            left_out["too_many"] += 1
            break
        else:
            entries.append((data[at + 4 : at + 4 + length], *_values_at(data, values_at)))
        at = values_at + _VALUES_BYTES
    return entries
