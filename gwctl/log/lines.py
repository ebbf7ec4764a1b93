"""Lines of the event log that wait to be written, oldest first."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

QUEUE_LINES_MAX: Final = 1000
"""That wait in one process. Further ones are lost, and counted."""
OUTPUT_LINES_MAX: Final = QUEUE_LINES_MAX // 2
"""Where so many wait, none of what applications print is added: room is left for what happens."""
Queue = deque[tuple[bytes, int]]
"""What is written, and how many lines each stands for: a count of lost ones is one, too."""


class UnsendableError(Exception):
    """A line cannot be sent as it is."""


class Sink(Protocol):
    """Where lines go. It never waits for who reads them."""

    name: str
    """For people: who has not taken lines that were lost."""

    @property
    def descriptor(self) -> int:
        """What it has opened for itself; -1: nothing, or it writes to stderr."""

    def write_out(self, queue: Queue, subject: str) -> bool:
        """Write the queue and take off it what was written. False: the reader does not take all of it now.

        ``subject`` is who writes, for lines that have to say it.

        Raises:
            UnsendableError: Nobody will ever read the first of them. It is still in the queue.
            OSError: Nobody will ever read any of them.
        """

    def redirected(self) -> None:
        """Its descriptor is open for something else of the same kind by now."""

    def close_in_child(self) -> None:
        """In a forked child, which has its own: close what this opened."""
