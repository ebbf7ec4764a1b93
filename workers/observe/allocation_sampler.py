"""What was allocated in a span and is still in use at its end, by where: Python's own tracemalloc.

It notes the stack of each allocation, so it costs a good part of the worker's speed while it is on, and
memory of its own. Of the latter there is a bound: who has reached it has seen enough.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import Final

from gwctl.profile.lines import Allocations, Counts
from gwctl.workers.observe.sample_table import SampleTable, parts

FRAMES: Final = 24
"""Innermost ones of each stack, that are noted."""
BYTES_MAX: Final = 1 << 26
"""Of tracemalloc's own memory."""
_NOBODY: Final = -1
_OURS: Final = (tracemalloc.__file__, __file__)


class AllocationSampler:
    """Notes allocations from `begin` to `take`, or to `end` if it does not come to that."""

    def begin(self) -> str:
        """Return why it cannot; empty if it does."""
        if tracemalloc.is_tracing():
            return "tracemalloc is on already: the application has started it, or PYTHONTRACEMALLOC"
        tracemalloc.start(FRAMES)
        return ""

    def end(self) -> None:
        """Note no more, and forget what was noted."""
        tracemalloc.stop()

    @property
    def is_full(self) -> bool:
        return tracemalloc.get_tracemalloc_memory() > BYTES_MAX

    def take(self) -> list[Allocations]:
        """End, and say what was found. What nobody uses any more is collected before."""
        gc.collect()
        snapshot = tracemalloc.take_snapshot()
        self.end()
        table = SampleTable()
        sizes: dict[int, list[int]] = {}
        stacks: dict[tracemalloc.Traceback, int] = {}
        for trace in snapshot.traces:
            stack = stacks.get(trace.traceback)
            if stack is None:
                stack = stacks[trace.traceback] = _stack(table, trace.traceback)
            if stack == _NOBODY:
                continue
            size = sizes.setdefault(stack, [0, 0])
            size[0] += trace.size
            size[1] += 1
        counts: list[Counts] = [(stack, size, blocks, 0) for stack, (size, blocks) in sizes.items()]
        found = [Allocations(frames, told) for frames, told in table.news()]
        return found + [Allocations(sizes=tuple(part)) for part in parts(counts)]


def _stack(table: SampleTable, traceback: tracemalloc.Traceback) -> int:
    """The number of a stack, root first, without the machinery that leads to it; `_NOBODY`: it is ours."""
    places = [(each.filename, each.lineno) for each in traceback]
    if places[-1][0] in _OURS:
        return _NOBODY
    frames = [table.code("", filename, line) for filename, line in places]
    start = next((at for at, number in enumerate(frames) if not table.is_machinery(number)), len(frames) - 1)
    return table.stack(tuple(frames[start:]))
