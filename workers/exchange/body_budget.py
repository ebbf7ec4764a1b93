"""What the request bodies of one worker may take together: memory first, then disk, then 503.

    WSGI   a body that finds no room in memory goes to a temporary file, however small it is; one
           that finds none on disk is refused
    read during the call (ASGI, and ``body_buffering = false``)
           what has come and was not received counts; with no room, nothing more is read of a body of
           which something waits, and requests with a body are refused before the application

Counted under a lock, but for an asgi worker's, which has one thread and counts each block.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from gwctl.ipc.scoreboard import REFUSED
from gwctl.workers.exchange.request_rules import Refused

if TYPE_CHECKING:
    from gwctl.config.model.settings import Limits

_NO_LIMIT: Final = 1 << 62


class BodiesFull(Exception):  # noqa: N818 - a fact about the worker, answered with 503
    """There is no room for more of a body, neither in memory nor on disk."""


class BodyBudget:
    """Of one worker. ``memory_left`` may fall below 0 by what one read of a socket gives."""

    def __init__(self, limits: Limits, words: Any = None) -> None:
        """``words``: those of the worker's record, where refusals are counted."""
        self._words = words
        self._lock = threading.Lock()
        self.memory_left = limits.bodies_memory_bytes_max or _NO_LIMIT
        self.disk_left = limits.bodies_disk_bytes_max or _NO_LIMIT
        self.holds: dict[int, tuple[int, int]] = {}

    def check(self, size: int) -> None:
        """Refuse a body of ``size`` bytes, as far as that is known, that has room nowhere.

        Raises:
            Refused: 503.
        """
        if size > self.disk_left and size > self.memory_left:
            raise self._refusal("limits.bodies_memory_bytes_max, limits.bodies_disk_bytes_max")

    def check_memory(self) -> None:
        """Refuse a request whose body would have to wait in memory.

        Raises:
            Refused: 503.
        """
        if self.memory_left <= 0:
            raise self._refusal("limits.bodies_memory_bytes_max")

    def _refusal(self, limits: str) -> Refused:
        if self._words is not None:
            self._words[REFUSED] += 1
        return Refused(503, f"no room for its body ({limits})")

    def take_memory(self, size: int) -> bool:
        """Take ``size`` bytes of memory; False if there are not so many."""
        with self._lock:
            if size > self.memory_left:
                return False
            self.memory_left -= size
            return True

    def take_disk(self, size: int) -> None:
        """Take ``size`` bytes of the disk.

        Raises:
            BodiesFull: There are not so many.
        """
        with self._lock:
            if size <= self.disk_left:
                self.disk_left -= size
                return
        if self._words is not None:
            self._words[REFUSED] += 1
        raise BodiesFull("no room for its body (limits.bodies_disk_bytes_max)")

    def give_back(self, memory: int, disk: int = 0) -> None:
        """Give back what was taken; negative: take it, whether or not there is so much."""
        with self._lock:
            self.memory_left += memory
            self.disk_left += disk

    # ---- complete bodies, known by the file that the application reads

    def hold(self, file: object, memory: int, disk: int) -> None:
        """Remember what is to be given back when ``file`` is closed."""
        self.holds[id(file)] = (memory, disk)

    def release(self, file: object) -> None:
        """``file`` is closed. Nothing if it is not one that was remembered."""
        held = self.holds.pop(id(file), None)
        if held is not None:
            self.give_back(*held)
