"""Requests that took longer than ``slow_request_s``: their ends, for the master, who tells of them.

That they are slow while they run is the master's to see: a loop that one of them holds says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from gwctl.config.model.request_limits import RequestLimits
from gwctl.config.model.settings import PoolSettings
from gwctl.config.model.worker_class import WorkerClass
from gwctl.workers.observe.counters import SlowRequest

A_MINUTE_MAX: Final = 10
_MINUTE_S: Final = 60.0


class SlowRequests:
    """Of one worker: at most `A_MINUTE_MAX` are told of. ``tell`` takes request, status and seconds."""

    def __init__(
        self,
        settings: PoolSettings,
        worker_class: WorkerClass,
        shown: Callable[[str], str],
        tell: Callable[[str, int, float], None],
    ) -> None:
        """``shown`` makes a target as logs show it."""
        self._limits = RequestLimits(settings.timeouts, worker_class, settings.root_path)
        self._shown = shown
        self._tell = tell
        self._minute_at = 0.0
        self._told = 0

    def ended(self, request: SlowRequest) -> None:
        method, target, status, seconds = request
        now = monotonic()
        if now - self._minute_at >= _MINUTE_S:
            self._minute_at, self._told = now, 0
        if self._told < A_MINUTE_MAX and not self._limits.may_last(target):
            self._told += 1
            self._tell(f"{method} {self._shown(target)}", status, seconds)
