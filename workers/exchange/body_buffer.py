"""The body of a WSGI request, received by the loop before the application is called.

So a slow client holds a buffer, not a worker. Up to ``memory_bytes`` it stays in memory,
beyond that, and when the worker's bodies have no more room in memory
(`gwctl.workers.exchange.body_budget`), it waits in an unnamed temporary file. What is over the limit
is refused: before anything is read when Content-Length says so, else as soon as it has become too much.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections import deque
from contextlib import suppress
from io import BufferedIOBase, BytesIO
from typing import IO, TYPE_CHECKING, Any, Final, cast

from gwctl.config.model.settings import Limits
from gwctl.workers.exchange.body_budget import BodyBudget

if TYPE_CHECKING:
    from gwctl.workers.observe.throttled_log import ThrottledLog


_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


_JOINED_BYTES_MAX: Final = 1024


class BodyTooLarge(Exception):  # noqa: N818 - a fact about the request, answered with 413
    """More than ``body_bytes_max``."""


def keep(blocks: deque[bytes | bytearray], block: bytes) -> None:
    """Put ``block`` behind those that wait, as part of the last one if it is small.

    A client may send its body in chunks of two bytes, each of which would be an object of 40.
    """
    if len(block) >= _JOINED_BYTES_MAX or not blocks:
        blocks.append(block)
    elif type(blocks[-1]) is bytearray:
        blocks[-1] += block
    else:
        blocks.append(bytearray(block))


class _NoBody(BufferedIOBase):
    """``wsgi.input`` of all requests without a body: one object without a state, so it is shared."""

    def read(self, _size: int | None = -1, /) -> bytes:
        return b""

    def read1(self, _size: int = -1, /) -> bytes:
        return b""

    def readinto(self, _buffer: Any, /) -> int:
        return 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, _offset: int, _whence: int = 0, /) -> int:
        return 0

    def close(self) -> None:
        """Stay open: others read it too."""


NO_BODY: Final[IO[bytes]] = cast("IO[bytes]", _NoBody())


class BodyBuffer:
    """A sink (see `gwctl.workers.http1.body_framing`) that becomes ``wsgi.input``."""

    __slots__ = ("_budget", "_file", "_limit", "_memory", "_on_disk", "size")

    def __init__(self, limits: Limits, budget: BodyBudget | None = None) -> None:
        """``budget``: what all bodies of the worker share; None where others bound them."""
        self._limit = limits.body_bytes_max or float("inf")
        self._memory = limits.body_memory_bytes
        self._budget = budget or BodyBudget(limits)
        self._file: IO[bytes] = BytesIO()
        self._on_disk = False
        self.size = 0

    def feed(self, block: bytes) -> None:
        """Keep ``block``.

        Raises:
            BodyTooLarge: The limit is passed.
            BodiesFull: The worker's bodies have no room for it.
            OSError: The temporary file could not be written (a full disk).
        """
        before = self.size
        size = len(block)
        if before + size > self._limit:
            raise BodyTooLarge
        if self._on_disk:
            self._budget.take_disk(size)
        elif before + size > self._memory or not self._budget.take_memory(size):
            self._to_disk(before, size)
        self.size = before + size
        self._file.write(block)

    def _to_disk(self, before: int, size: int) -> None:
        """Move what there is to a file, with room for ``size`` more."""
        self._budget.take_disk(before + size)
        self._on_disk = True
        self.size = before + size  # that is what is given back, come what may
        self._budget.give_back(before)
        file = tempfile.TemporaryFile(prefix="gwctl-body-")  # noqa: SIM115 - closed with the request
        file.write(cast("BytesIO", self._file).getbuffer())
        self._file = file

    def reader(self) -> IO[bytes]:
        """Return the whole body as a file at its start; it ends where the body ends.

        Who closes it tells the budget so (`BodyBudget.release`).
        """
        self._file.seek(0)
        self._budget.hold(self._file, *self._held())
        return self._file

    def close(self) -> None:
        """Drop a body that is not complete, or was not asked for."""
        with suppress(OSError):  # closing may write: nobody wants the bytes any more
            self._file.close()
        self._budget.give_back(*self._held())

    def _held(self) -> tuple[int, int]:
        return (0, self.size) if self._on_disk else (self.size, 0)


def not_kept(what: str, throttled: ThrottledLog, error: OSError) -> int:
    """Log why the body of request ``what`` could not be kept in a temporary file; return what answers it."""
    where = tempfile.tempdir or os.environ.get("TMPDIR", "the folder for temporary files")
    status = 507 if error.errno in _FULL else 500
    throttled.error(
        "body",
        f"{what}: its body could not be kept in {where}: "
        f"{error.strerror or error}; answered {status}. TMPDIR names another folder; bodies up to "
        "limits.body_memory_bytes need none",
    )
    return status


class Discard:
    """A sink for the rest of a body that nobody reads, up to ``limit`` bytes."""

    __slots__ = ("left",)

    def __init__(self, limit: int) -> None:
        self.left = limit

    def feed(self, block: bytes) -> None:
        """Drop ``block``.

        Raises:
            BodyTooLarge: It is cheaper to close the connection than to read on.
        """
        self.left -= len(block)
        if self.left < 0:
            raise BodyTooLarge
