"""How much the log says: by the settings, or for a while by what somebody asked for (``gwctl log-level``).

Rules
    - What was asked for with a time holds for that time, over reloads and upgrades: whoever looks for what
      goes wrong in a reload wants to see all of it.
    - What was asked for without one holds until the next reload is adopted.
    - The change itself is told at whichever of both levels says more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Final

import msgspec

from gwctl.log.level import Level
from gwctl.records.master import LogLevelChanged
from gwctl.supervisor.recorder import Recorder
from gwctl.wording import span

EXPIRED: Final = "its time is over"


class LogLevelSnapshot(msgspec.Struct, frozen=True):
    """What somebody asked for; ``until`` is monotonic, None for the next reload."""

    level: int
    until: float | None = None


class LogLevel:
    """The level of one master's log. ``changed`` is called when it is another."""

    def __init__(
        self, recorder: Recorder, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._recorder = recorder
        self._changed = changed
        self._clock = clock
        self._configured = recorder.log.level
        self._until: float | None = None
        """Until when it is another than that of the settings; None: it is not."""

    @property
    def next_at(self) -> float:
        """When `turn` has something to do: monotonic seconds, or infinite."""
        return inf if self._until is None else self._until

    def turn(self, now: float) -> None:
        if now >= self.next_at:
            self._until = None
            self._be(self._configured, EXPIRED)

    def configure(self, level: Level) -> None:
        """Take the level of settings that were adopted."""
        self._configured = level
        if self._until is None or self._until == inf:
            self._until = None
            self._be(level, "reload")

    def ask(self, level: Level, for_s: float | None, source: str) -> None:
        """Have another level: for ``for_s`` seconds, or until a reload."""
        before = self._until
        self._until = self._clock() + for_s if for_s is not None else inf
        if level == self._configured and for_s is None:
            self._until = None
        self._be(level, source, for_s, again=self._until != before)

    def _be(self, level: Level, source: str, for_s: float | None = None, *, again: bool = False) -> None:
        """``again``: it may be what it was, but for another time."""
        log = self._recorder.log
        was = log.level
        if level == was and not again:
            return
        record = LogLevelChanged(source=source, was=was.name.lower(), to=level.name.lower(), for_s=for_s)
        log.level = min(was, level)
        self._recorder.write(record)
        log.level = level
        self._changed()

    def report(self) -> dict[str, object]:
        """What it is, for whoever asked or has just changed it."""
        level, configured = self._recorder.log.level.name.lower(), self._configured.name.lower()
        left_s = None if self._until is None or self._until == inf else max(0.0, self._until - self._clock())
        text = level
        if self._until is not None:
            until = "until the next reload" if left_s is None else f"for {span(left_s)}"
            text = f"{level} {until}" + (f", then {configured}" if configured != level else "")
        return {"text": text, "level": level, "configured": configured, "left_s": left_s}

    # ---- upgrade

    def snapshot(self) -> LogLevelSnapshot | None:
        if self._until is None:
            return None
        return LogLevelSnapshot(self._recorder.log.level, None if self._until == inf else self._until)

    def resume(self, snapshot: LogLevelSnapshot | None) -> None:
        """Go on with what another program was asked for."""
        if snapshot is not None:
            self._until = inf if snapshot.until is None else snapshot.until
            self._recorder.log.level = Level(snapshot.level)
