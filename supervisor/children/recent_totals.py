"""What pools did in the last minute: sums of their counters, remembered from sample to sample.

A percentile over the life of a pool hides what began a minute ago. Counters only grow, so the
difference of two samples is what came between them; workers that died meanwhile are in both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from gwctl.supervisor.children.totals import Totals

WINDOW_S: Final = 60.0


class Window(Struct, frozen=True):
    """What happened in ``seconds``. ``latency`` as in `gwctl.ipc.scoreboard.LATENCY`."""

    seconds: float
    requests: int
    errors: int
    latency: Sequence[int]

    @property
    def per_s(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


class Recent:
    """The samples of the last minute, by pool, and the one before them."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[float, Totals]]] = {}

    def note(self, pool: str, totals: Totals, now: float) -> None:
        """Remember the sums of ``pool``, its dead workers included."""
        samples = self._samples.setdefault(pool, deque())
        samples.append((now, totals))
        while len(samples) > 1 and samples[1][0] <= now - WINDOW_S:
            samples.popleft()

    def window(self, pool: str, totals: Totals, now: float, since: float) -> Window:
        """From a minute ago to ``now``, when the sums are ``totals``; ``since``: when the master began."""
        samples = self._samples.get(pool, ())
        old = [sample for sample in samples if sample[0] <= now - WINDOW_S]
        if old:
            before = old[-1]
        elif samples and now - since > WINDOW_S:  # it was another program's a minute ago
            before = samples[0]
        else:
            before = (since, Totals())
        at, then = before
        return Window(
            max(0.0, now - at),
            max(0, totals.requests - then.requests),
            max(0, totals.errors - then.errors),
            [max(0, a - b) for a, b in zip(totals.latency, then.latency, strict=True)],
        )
