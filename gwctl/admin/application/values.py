"""The values of many processes as one, by prometheus_client's own rules for each type and mode. Pure.

Counters, histograms (a bucket by itself, not what is below it) and summaries are sums. Gauges are what their
mode says: the least, the largest, the sum or the most recent of all processes; with ``all`` each process has
its own. Those of a ``live`` mode are of processes that live.

Keys are kept as prometheus_client writes them: the same in all workers, and taken apart only once
(`telling`). What they mean is not looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from gwctl.admin.application.files import Entry, File
from gwctl.admin.application.left_out import LeftOut

SERIES_MAX: Final = 10_000
"""Of one pool, those of dead workers included."""
DEAD_PROCESSES_MAX: Final = 32
"""Of how many dead processes gauges of the mode ``all`` are kept."""
_LIVE: Final = "live"
_ALL: Final = "all"

Timed = tuple[float, float]
"""A value, and when it was set."""


class Values(msgspec.Struct):
    """One pool's."""

    sums: dict[str, dict[bytes, float]] = {}
    """By type, then key."""
    gauges: dict[str, dict[bytes, Timed]] = {}
    """By mode, then key; without ``all``."""
    each: dict[str, dict[str, dict[bytes, float]]] = {}
    """Of the modes ``all`` and ``liveall``: by mode, process, key."""
    series: int = 0
    """How many there are."""

    def add(self, files: Iterable[File], left_out: LeftOut, *, dead: bool = False) -> None:
        """Add what one worker has; of a ``dead`` one what outlives it."""
        for file in files:
            if dead and file.mode.startswith(_LIVE):
                continue
            if file.kind != "gauge":
                self._add_up(self.sums.setdefault(file.kind, {}), file.entries, left_out)
            elif file.mode.endswith(_ALL):
                self._keep_each(file, left_out, dead=dead)
            else:
                self._combine(self.gauges.setdefault(file.mode, {}), file, left_out)

    def _room(self, left_out: LeftOut) -> bool:
        if self.series < SERIES_MAX:
            self.series += 1
            return True
        left_out["too_many"] += 1
        return False

    def _add_up(self, sums: dict[bytes, float], entries: Iterable[Entry], left_out: LeftOut) -> None:
        for key, value, _ in entries:
            if key in sums:
                sums[key] += value
            elif self._room(left_out):
                sums[key] = value

    def _combine(self, gauges: dict[bytes, Timed], file: File, left_out: LeftOut) -> None:
        for key, value, time in file.entries:
            before = gauges.get(key)
            if before is not None:
                gauges[key] = combined(file.mode, before, (value, time))
            elif self._room(left_out):
                gauges[key] = value, time

    def _keep_each(self, file: File, left_out: LeftOut, *, dead: bool) -> None:
        """One process: it is put last, as that which died last. Another one may have had its number."""
        processes = self.each.setdefault(file.mode, {})
        self.series -= len(processes.pop(file.process, ()))
        while dead and len(processes) >= DEAD_PROCESSES_MAX:
            self.series -= len(processes.pop(next(iter(processes))))
        processes[file.process] = {key: value for key, value, _ in file.entries if self._room(left_out)}


def combined(mode: str, one: Timed, other: Timed) -> Timed:
    """Two values of a gauge with this mode as one."""
    match mode.removeprefix(_LIVE):
        case "min":
            return other if other[0] < one[0] else one
        case "max":
            return other if other[0] > one[0] else one
        case "mostrecent":
            return other if other[1] > one[1] else one
        case _:
            return one[0] + other[0], 0.0
