"""How long a slot waits before it is tried again, and what it remembers for that.

Rules
    - The first failure is replaced at once: most crashes are single ones.
    - From the second in a row on the wait doubles, from ``backoff_min_s`` up to
      ``backoff_max_s``. Up to a quarter is taken off at random (``jitter``), so that slots which
      died together do not come back together.
    - A fork that fails waits from the first time on: its cause is the machine, and asking
      again at once makes it worse.
    - After ``breaker_failures`` deaths in a row the slot's breaker is open: it is tried every
      ``breaker_retry_s``. Only while others of the pool serve: without them the breaker would
      make an outage longer, and backoff alone decides. A fork that failed is no death.
    - A worker that was ready for ``healthy_after_s`` clears the record; an open breaker closes
      when one has, not when it dies later.
    - A worker that leaves by itself with status 0 (somebody sent it a TERM) is no failure,
      unless the one before it left just so within ``healthy_after_s``: an application that
      ends its process would otherwise be respawned without a pause.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from gwctl.supervisor.core.policy import PoolPolicy


class Slot(Struct):
    """The record of one place in a pool, for the current generation."""

    failures: int = 0
    """In a row, of any kind."""
    deaths: int = 0
    """Of those, processes that were there and died."""
    failing_since: float = 0.0
    failed_at: float = 0.0
    """The last time."""
    next_try_at: float = 0.0
    """No worker is spawned here before."""
    left_at: float | None = None
    """When a worker last left by itself."""
    open: bool = False
    """Its breaker: it keeps dying, and is tried slowly."""
    told: str = ""
    """Where the failure was whose traceback was told last."""

    def failed(self, now: float, policy: PoolPolicy, jitter: float, *, at_once: bool = True) -> float:
        """Count a failure; returns the seconds to wait. ``at_once``: the first one need not."""
        if self.failures == 0:
            self.failing_since = now
        self.failures += 1
        self.failed_at = now
        doublings = self.failures - 2 if at_once else self.failures - 1
        wait = 0.0 if doublings < 0 else backoff(doublings, policy, jitter)
        self.next_try_at = now + wait
        return wait

    def died(self, now: float, policy: PoolPolicy, jitter: float, *, others_serve: bool) -> float:
        """Count a process that was there and is dead; returns the seconds to wait."""
        wait = self.failed(now, policy, jitter)
        self.deaths += 1
        enough = policy.breaker_failures and self.deaths >= policy.breaker_failures
        if not (enough and others_serve):
            return wait
        self.open = True
        wait = jittered(policy.breaker_retry_s, jitter)
        self.next_try_at = now + wait
        return wait

    def lived(self, healthy_s: float, policy: PoolPolicy) -> None:
        """A worker of this slot was ready for ``healthy_s``."""
        if healthy_s >= policy.healthy_after_s:
            self.failures = self.deaths = 0
            self.open = False

    def tells(self, traceback: str) -> bool:
        """Whether it is news. At each try the same one would bury the log; another is of another failure."""
        lines = traceback.splitlines()
        where = "\n".join(line for line in lines if line.lstrip().startswith("File ")) or traceback
        news = bool(traceback) and (self.failures <= 1 or where != self.told)
        if news:
            self.told = where
        return news

    def left(self, now: float, policy: PoolPolicy, jitter: float, *, others_serve: bool) -> float:
        """A worker left by itself; returns the seconds to wait before the next."""
        again = self.left_at is not None and now - self.left_at < policy.healthy_after_s
        self.left_at = now
        return self.died(now, policy, jitter, others_serve=others_serve) if again else 0.0


def backoff(doublings: int, policy: PoolPolicy, jitter: float) -> float:
    """Seconds to wait after the first, second, ... repetition (``doublings`` 0, 1, ...)."""
    longest = max(policy.backoff_min_s, policy.backoff_max_s)
    return jittered(min(longest, policy.backoff_min_s * 2.0 ** min(doublings, _DOUBLINGS_MAX)), jitter)


_DOUBLINGS_MAX: Final = 64
"""Beyond any cap, and a float can still hold it."""


def jittered(wait_s: float, jitter: float) -> float:
    """Take off up to a quarter."""
    return wait_s * (1.0 - jitter / 4)
