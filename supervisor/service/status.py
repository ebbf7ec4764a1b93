"""What the outside is told of the fleet's state: systemd, and the STATUS line it shows.

The core knows nothing of systemd. After each step its phase is compared with what was told
last, and only a difference is sent.
"""

from __future__ import annotations

from math import inf
from typing import Final, assert_never

import msgspec

from gwctl.supervisor.core.state import FleetState, Phase
from gwctl.supervisor.service.sd_notify import Notifier

RETRY_S: Final = 0.25
"""Until a message that systemd's full queue did not take is tried again."""

END_MARGIN_S: Final = 10.0
"""What an end may take beyond the delay and the drain: stacks written, workers killed and reaped."""


class AnnouncerSnapshot(msgspec.Struct, frozen=True):
    """What was told last, and what systemd's queue has not taken yet; as handed over in an upgrade."""

    phase: str = Phase.STARTING.value
    status: str = ""
    waiting: tuple[bytes, ...] = ()


class Announcer:
    """Sends READY, RELOADING, STOPPING and STATUS as the fleet's phase changes."""

    def __init__(self, notifier: Notifier, snapshot: AnnouncerSnapshot | None = None) -> None:
        snapshot = snapshot or AnnouncerSnapshot()
        self._notifier = notifier
        self._phase = Phase(snapshot.phase)
        self._status = snapshot.status
        notifier.resume(snapshot.waiting)
        self._watchdog_at = inf if notifier.watchdog_interval_s is None else -inf
        self._retry_at = -inf if notifier.pending else inf

    def snapshot(self) -> AnnouncerSnapshot:
        return AnnouncerSnapshot(self._phase.value, self._status, self._notifier.waiting())

    def observe(self, fleet: FleetState) -> None:
        """Tell what changed since the last call."""
        lines = []
        if fleet.phase is not self._phase:
            lines += self._phase_lines(fleet)
            self._phase = fleet.phase
        status = describe(fleet)
        if status != self._status:
            lines.append(f"STATUS={status}")
            self._status = status
        if lines:
            self._notifier.send(*lines)
            if self._notifier.pending:
                self._retry_at = -inf

    @property
    def next_at(self) -> float:
        """When `turn` has something to do, in monotonic seconds."""
        return min(self._watchdog_at, self._retry_at)

    def turn(self, now: float) -> None:
        """Say that the master's loop turns, if systemd asked for it; send what its queue did not take."""
        interval_s = self._notifier.watchdog_interval_s
        if interval_s is not None and now >= self._watchdog_at:
            self._notifier.watchdog()
            self._watchdog_at = now + interval_s
        if now >= self._retry_at:
            self._notifier.flush()
        self._retry_at = now + RETRY_S if self._notifier.pending else inf

    def _phase_lines(self, fleet: FleetState) -> list[str]:
        match fleet.phase:
            case Phase.STARTING:
                return []
            case Phase.SERVING:
                return ["READY=1"]
            case Phase.RELOADING | Phase.UPGRADING:
                return self._notifier.reloading()
            case Phase.STOPPING:
                return ["STOPPING=1", f"EXTEND_TIMEOUT_USEC={_patience_us(fleet)}"]
            case _:
                assert_never(fleet.phase)


def _patience_us(fleet: FleetState) -> int:
    """How long the end may take, which may be longer than the unit's TimeoutStopSec= (90 s by default)."""
    limits = [worker.policy.drain_timeout_s for pool in fleet.pools.values() for worker in pool.workers]
    delay_s = (fleet.ending.accept_until - fleet.ending.since) if fleet.ending is not None else 0.0
    return round((max(delay_s, 0.0) + max(limits, default=0.0) + END_MARGIN_S) * 1e6)


def describe(fleet: FleetState) -> str:
    """One line for ``systemctl status``: ``generation 2: web 4/4 ready``."""
    pools = ", ".join(
        f"{name} {pool.ready}/{pool.size} ready" for name, pool in fleet.pools.items() if pool.size
    )
    text = f"generation {fleet.generation}: {pools}"
    if fleet.phase is Phase.SERVING:
        return text
    return f"{text}; {fleet.phase.value}" + (
        ", still accepting" if fleet.ending is not None and fleet.ending.accepting else ""
    )
