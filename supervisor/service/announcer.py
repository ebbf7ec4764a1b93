"""What systemd is told of the fleet's state, and when.

The core knows nothing of systemd. After each step its phase, its status line and whether it moves on are
compared with what was told last, and only a difference is sent. While a start, a reload, an upgrade or an
end moves on, systemd is asked every `EXTEND_EVERY_S` for `EXTEND_S` more: a master that hangs asks no more,
and what the unit allows holds again after that time.
"""

from __future__ import annotations

from math import inf
from typing import Final, assert_never

import msgspec

from gwctl.supervisor.core.state import FleetState, Phase
from gwctl.supervisor.service.progress import moves_on
from gwctl.supervisor.service.sd_notify import Notifier, extension, failure_lines
from gwctl.supervisor.service.status_line import describe

RETRY_S: Final = 0.25
"""Until a message that systemd's full queue did not take is tried again."""

EXTEND_S: Final = 20.0
"""What is asked for at a time. Where it is less than what the unit has left, it changes nothing."""

EXTEND_EVERY_S: Final = 5.0
"""From one such request to the next: three may be late or lost."""


class AnnouncerSnapshot(msgspec.Struct, frozen=True):
    """What was told last, and what systemd's queue has not taken yet; as handed over in an upgrade."""

    phase: str = Phase.STARTING.value
    status: str = ""
    waiting: tuple[bytes, ...] = ()


class Announcer:
    """Tells the service manager what phase the fleet is in, its status line, and that it is alive."""

    def __init__(self, notifier: Notifier, snapshot: AnnouncerSnapshot | None = None) -> None:
        snapshot = snapshot or AnnouncerSnapshot()
        self._notifier = notifier
        self._phase = Phase(snapshot.phase)
        self._status = snapshot.status
        notifier.resume(snapshot.waiting)
        self._sound = True
        self._watchdog_at = inf if notifier.watchdog_interval_s is None else -inf
        self._retry_at = -inf if notifier.pending else inf
        self._extend_at = inf

    def snapshot(self) -> AnnouncerSnapshot:
        return AnnouncerSnapshot(self._phase.value, self._status, self._notifier.waiting())

    def observe(self, fleet: FleetState, now: float) -> None:
        """Tell what changed since the last call."""
        if not self._notifier.enabled:
            return
        self._sound = not fleet.broken
        lines = []
        if fleet.phase is not self._phase:
            lines += self._phase_lines(fleet.phase)
            self._phase = fleet.phase
            self._extend_at = inf  # of another change
        status = describe(fleet)
        if status != self._status:
            lines.append(f"STATUS={status}")
            self._status = status
        if not moves_on(fleet, now):
            self._extend_at = inf
        elif self._extend_at == inf:
            lines.append(extension(EXTEND_S))
            self._extend_at = now + EXTEND_EVERY_S
        self._send(*lines)

    def end(self, status: int, text: str) -> None:
        """Tell how the service ended, if it failed: the last message."""
        if status:
            self._send(*failure_lines(text, status))

    def close_in_child(self) -> None:
        self._notifier.close_in_child()

    @property
    def next_at(self) -> float:
        """When `turn` has something to do, in monotonic seconds."""
        return min(self._watchdog_at, self._retry_at, self._extend_at)

    def turn(self, now: float) -> None:
        """Do what is due: say that the loop turns, ask for more time, send what the queue did not take.

        The watchdog hears nothing of a master that has found itself broken: it will be replaced.
        """
        interval_s = self._notifier.watchdog_interval_s
        if interval_s is not None and now >= self._watchdog_at:
            if self._sound:
                self._notifier.watchdog()
            self._watchdog_at = now + interval_s
        if now >= self._extend_at:
            self._send(extension(EXTEND_S))
            self._extend_at = now + EXTEND_EVERY_S
        if now >= self._retry_at:
            self._notifier.flush()
        self._retry_at = now + RETRY_S if self._notifier.pending else inf

    def _send(self, *lines: str) -> None:
        self._notifier.send(*lines)
        if self._notifier.pending:
            self._retry_at = -inf

    def _phase_lines(self, phase: Phase) -> list[str]:
        match phase:
            case Phase.STARTING:
                return []
            case Phase.SERVING:
                return ["READY=1"]
            case Phase.RELOADING | Phase.UPGRADING:
                return self._notifier.reloading()
            case Phase.STOPPING:
                return ["STOPPING=1"]
            case _:
                assert_never(phase)
