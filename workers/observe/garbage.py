"""How long collections of garbage hold up this worker, for the scoreboard.

Each runs in whatever thread happens to make an object, and all others stand still meanwhile.
"""

from __future__ import annotations

import gc
from os import getpid
from time import perf_counter
from typing import Any

from gwctl.ipc.scoreboard import COLLECTED_MAX_S, COLLECTED_S, COLLECTIONS, Record


class GarbageWatch:
    """Of one worker. A child that the application forks has the record too, and leaves it alone."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._pid = getpid()
        self._began_at = 0.0

    def begin(self) -> None:
        gc.callbacks.append(self._collects)

    def _collects(self, phase: str, _info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_at = perf_counter()
            return
        if getpid() != self._pid:
            return
        took_s = perf_counter() - self._began_at
        floats = self._record.floats
        self._record.words[COLLECTIONS] += 1
        floats[COLLECTED_S] += took_s
        floats[COLLECTED_MAX_S] = max(floats[COLLECTED_MAX_S], took_s)
