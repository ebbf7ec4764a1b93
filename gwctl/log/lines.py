"""Lines of the event log that wait to be written, oldest first."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

QUEUE_LINES_MAX: Final = 1000
"""That wait in one process. Further ones are lost, and counted."""
Queue = deque[tuple[bytes, int]]
"""What is written, and how many lines each stands for: a count of lost ones is one, too."""


class Sink(Protocol):
    """Where lines go. It never waits for who reads them."""

    name: str
    """For people: who has not taken lines that were lost."""

    def write_out(self, queue: Queue, subject: str) -> bool:
        """Write the queue and take off it what was written. False: the reader does not take all of it now.

        ``subject`` is who writes, for lines that have to say it.

        Raises:
            OSError: Nobody will ever read it.
        """

    def close_in_child(self) -> None:
        """In a forked child, which has its own: close what this opened."""
