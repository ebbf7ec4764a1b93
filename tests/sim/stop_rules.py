"""The observer's rules about the moment at which a fleet that stops closes its door.

- a graceful stop with a delay goes on serving, and replacing its workers, until that is over;
- a further request ends the delay; the same one again within a moment is none;
- then the door is closed at once, and nothing is spawned any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from gwctl.supervisor.core.events import StopAsked
from tests.sim.books import SLACK_S, Unsafe

_ECHO_S = 0.1


@dataclass(eq=False)
class StopRules:
    """``until``: when the door is to be closed; None: nobody has asked to stop."""

    until: float | None = None
    _asked_at: float = 0.0
    _source: tuple[str, bool] = ("", False)

    def heard(self, event: StopAsked, now: float, *, serving: bool) -> None:
        source = (event.source, event.quick)
        if self.until is None:
            self.until = now + (event.delay_s if serving and not event.quick else 0.0)
        elif source == self._source and now - self._asked_at < _ECHO_S:
            return
        else:
            self.until = min(self.until, now)
        self._source, self._asked_at = source, now

    def forgive(self, late_s: float) -> None:
        if self.until is not None:
            self.until += late_s

    def closes(self, now: float) -> None:
        if self.until is not None and now < self.until - 1e-6:
            raise Unsafe(f"closed the door {self.until - now:.3f} s before its time")

    def judge(self, now: float, *, over: bool) -> None:
        """After each step; ``over``: the door is closed."""
        if not over and self.until is not None and now > self.until + SLACK_S:
            raise Unsafe(f"the door is open for {now - self.until:.3f} s too long")
