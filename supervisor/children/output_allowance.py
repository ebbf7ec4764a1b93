"""How much of what workers print is taken: so much a second, and so much at once. No clock, no input.

One unit is a line, and each `UNIT_BYTES` of it one more. A line costs the master some 15 microseconds: a pool
that prints without end costs it an eighth of a processor, and each further pool as much. Who prints more
waits in its own write, as at any pipe that is read slowly.
"""

from __future__ import annotations

from typing import Final

UNIT_BYTES: Final = 256
WORKER_UNITS_PER_S: Final = 4000.0
POOL_UNITS_PER_S: Final = 8000.0
BURST_S: Final = 4.0
"""So much of it may come at once."""
PAUSE_S: Final = 0.05
"""At least so long nothing is read after that: what has come meanwhile is read together."""


def cost(lines: int, size: int) -> float:
    """Of ``lines`` that have ``size`` bytes."""
    return lines + size / UNIT_BYTES


class Bucket:
    """What one worker, or a pool, may have taken. It fills with time."""

    def __init__(self, units_per_s: float) -> None:
        self._units_per_s = units_per_s
        self._most = units_per_s * BURST_S
        self._left = self._most
        self._at = 0.0

    def left(self, now: float) -> float:
        """At ``now``; below 0 after more was taken than there was, as at a worker's death."""
        self._left = min(self._most, self._left + self._units_per_s * max(0.0, now - self._at))
        self._at = max(self._at, now)
        return self._left

    def spend(self, units: float, now: float) -> None:
        """Take it, also if it is not there, but owe no more than a full bucket."""
        self._left = max(-self._most, self.left(now) - units)

    def wait_s(self, now: float) -> float:
        """How long until something worth reading can be taken; 0: now."""
        left = self.left(now)
        return 0.0 if left >= 1.0 else PAUSE_S - left / self._units_per_s
