"""``wsgi.file_wrapper`` (PEP 3333, "Optional Platform-Specific File Handling").

An application that returns the wrapper itself hands its file over: if what would be read is
plainly a regular file, its bytes go from the kernel to the client, from the current position
on, as many as there are or as Content-Length says. Anything else is iterated over in blocks.

*Plainly* matters: a GzipFile has a descriptor too, of the compressed file, and a class of the
application's may have one and yet read something else. So it counts who would really do the
reading: Python's own file object on a descriptor, whichever wrapper (a temporary file,
Django's File) passes ``read`` on to it.
"""

from __future__ import annotations

import os
import stat
from io import BufferedRandom, BufferedReader, FileIO
from typing import Any, Final, NamedTuple

_BUFFERED: Final = (BufferedReader, BufferedRandom)


class FileWrapper:
    """Iterates over a file in blocks."""

    def __init__(self, filelike: Any, blksize: int = 65536) -> None:
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.blksize)
        if not block:
            raise StopIteration
        return block


class Extent(NamedTuple):
    """What is left of a regular file."""

    fd: int
    position: int
    size: int


def extent(filelike: Any) -> Extent | None:
    """Return what reading ``filelike`` to its end would give, or None if only reading can tell.

    A size of 0 can't tell either: files of /proc say that and have content.
    """
    source = _reader(filelike)
    try:
        if type(source) in _BUFFERED:
            if type(source.raw) is not FileIO:
                return None
            if type(source) is BufferedRandom:
                source.flush()
        elif type(source) is not FileIO:
            return None
        fd = source.fileno()
        status = os.fstat(fd)
        position = source.tell()
    except (OSError, ValueError):
        return None  # closed, say: reading will raise what explains it
    if not stat.S_ISREG(status.st_mode) or status.st_size <= position:
        return None
    return Extent(fd, position, status.st_size - position)


def _reader(filelike: Any) -> Any:
    """Return the object whose ``read`` is called in the end."""
    if type(filelike).__module__ == "tempfile":  # its read is a function around the file's
        filelike = getattr(filelike, "file", None)
    return getattr(getattr(filelike, "read", None), "__self__", None)
