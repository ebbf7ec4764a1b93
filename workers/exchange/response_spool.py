"""The part of a response that its client has not taken while others waited for the worker: on disk.

Written by the call behind what is in memory, read by the call as the client takes more, and
left to the loop as the tail of a file (`gwctl.workers.http1.file_sender`) when the call is over. All
spools of a worker together have ``response_spool_bytes_max``.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from typing import Final

FILES_PART: Final = 8
"""Of the descriptors a worker may have, one in so many is for spools."""


class SpoolBudget:
    """How much may be on disk for a worker, and in how many files; any thread."""

    def __init__(self, bytes_max: int, files_max: int) -> None:
        self._lock = threading.Lock()
        self.left = bytes_max
        self.files_left = files_max

    def take(self, size: int) -> bool:
        """Take ``size`` bytes, or give them back if negative; False if there are not so many."""
        with self._lock:
            if size > self.left:
                return False
            self.left -= size
            return True

    def take_file(self) -> None:
        """Take one of the files.

        Raises:
            OSError: There is none.
        """
        with self._lock:
            if self.files_left <= 0:
                raise OSError(errno.EMFILE, "as many spools as there may be")
            self.files_left -= 1

    def give_file_back(self) -> None:
        with self._lock:
            self.files_left += 1


class ResponseSpool:
    """Of one call.

    Attributes:
        left: How much is in it that was not read.
        at: Where that begins.
        fd: The file's descriptor.
    """

    def __init__(self, budget: SpoolBudget) -> None:
        """Make an empty one.

        Raises:
            OSError: There is no descriptor, or no folder for temporary files.
        """
        budget.take_file()
        try:
            self._file = tempfile.TemporaryFile(prefix="gwctl-response-", buffering=0)  # noqa: SIM115 - see close
        except OSError:
            budget.give_file_back()
            raise
        self._budget = budget
        self._size = 0
        self.at = 0

    @property
    def left(self) -> int:
        return self._size - self.at

    @property
    def fd(self) -> int:
        return self._file.fileno()

    def take(self, data: bytes | memoryview) -> bool:
        """Keep ``data``; False, and nothing of it kept, when the budget or the disk has no room."""
        size = len(data)
        if not self._budget.take(size):
            return False
        view = memoryview(data)
        try:
            while view:
                view = view[os.pwrite(self._file.fileno(), view, self._size + size - len(view)) :]
        except OSError:
            self._budget.take(-size)
            return False
        self._size += size
        return True

    def read(self, count: int) -> bytes:
        """Return the next bytes, at most ``count``."""
        block = os.pread(self._file.fileno(), min(count, self.left), self.at)
        self.at += len(block)
        if not self.left:
            self._give_back()
        return block

    def _give_back(self) -> None:
        os.ftruncate(self._file.fileno(), 0)
        self._budget.take(-self._size)
        self._size = self.at = 0

    def close(self) -> None:
        if not self._file.closed:
            self._give_back()
            self._file.close()
            self._budget.give_file_back()
