"""Waiting for a condition: the only place where tests pause.

A test never waits for time to pass: it waits until something is so, and fails with what it
was waiting for when that takes too long. The deadline is generous, because a busy machine is
no bug; a passing test does not get slower by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE_S = 60.0
_PAUSE_S = 0.01
_PAUSE_MAX_S = 0.2

T = TypeVar("T")


def until(condition: Callable[[], T], what: str | Callable[[], str], timeout_s: float = DEADLINE_S) -> T:
    """Return the first true value of ``condition``.

    Args:
        condition: Called again and again; the longer it takes, the longer is the pause.
        what: Said after "waited 60 s for"; a callable is asked when it has come to that.
        timeout_s: Seconds until giving up.

    Raises:
        AssertionError: It did not come true.
    """
    end = time.monotonic() + timeout_s
    while True:
        asked_at = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > end:
            raise AssertionError(f"waited {timeout_s:g} s for {what() if callable(what) else what}")
        time.sleep(min(max(_PAUSE_S, 3 * (now - asked_at)), _PAUSE_MAX_S))


def pass_time(seconds: float) -> None:
    """Let time pass, for what must not happen meanwhile, or where time itself is what is tried."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end, "time to pass")
