"""Watching what a reload has let in: how the new generation fares, beside the old one.

How it works
    A pool is watched for ``watch_s`` when its canaries have settled, and again when all its new workers
    serve, before the commit. A watch reads the scoreboard (`Measure`, answered by one `Measured`) once a
    second or so. What has been counted since the check before is added up by generation, and `comparison`
    judges the sums. A watch that finds nothing by its end has passed.

    The first watch compares the two side by side. In the second the old generation serves at most those
    clients that have kept their connections; so its figures are those since the first watch began. In an
    atomic pool the canaries do not serve: there the first watch only takes the old generation's figures.

Rules
    - Counters are as workers wrote them, bounded by the shell: what runs backwards counts as nothing.
    - A worker's first measurement is where its counting begins. What an old worker had counted by then is
      its life before (`comparison`).
    - Requests of an old worker that died are failed ones: as many as it did not finish. A new one that dies
      ends the reload by itself.
    - Checks share the chance of an error by design: the last has half of it, the others the rest (`needed`).
"""

from __future__ import annotations

from collections.abc import Container
from math import inf, log
from typing import Final

from msgspec import Struct, field

from gwctl.supervisor.core.comparison import Allowed, Counted, Kind, judge, since
from gwctl.supervisor.core.events import Figures, WorkerId
from gwctl.supervisor.core.policy import WatchPolicy
from gwctl.watched import Served, Watched

CHECKS_MIN: Final = 5
CHECKS_MAX: Final = 60
CHECK_S: Final = 1.0
"""Between two checks, unless there were more than `CHECKS_MAX` or fewer than `CHECKS_MIN` then."""
LEVEL: Final = 0.01
"""How likely a generation that is exactly as bad as it may be is refused, at most."""
_SHARES: Final = 12
"""Of `LEVEL`: two watches, three questions (errors twice, latency), the last check and all others."""
UNANSWERED_S: Final = 5.0
"""A watch ends this much later at the latest, whatever is measured."""


class Watch(Struct, eq=False):
    """Of one pool."""

    policy: WatchPolicy
    previous: int
    """The pool's generation in force: the old one."""
    began_at: float
    until: float
    check_at: float
    """When the next check is due; inf: none is."""
    seen_at: float
    """When the last was."""
    life: Counted = field(default_factory=Counted)
    """What the old generation's workers had served when the first watch began."""
    old: Counted = field(default_factory=Counted)
    """What it has served since."""
    spans: list[Counted] = field(default_factory=list)
    """What the new generation served, from check to check."""
    last: dict[WorkerId, Counted] = field(default_factory=dict)
    """What was measured last of each worker."""
    based: bool = False
    """The check at its beginning was taken."""
    found: Kind | None = None
    """In what the new generation is worse than allowed."""
    over: bool = False
    again: bool = False
    """It is the second one."""

    def take(self, worker: WorkerId, figures: Figures, *, new: bool, sums: Counted) -> None:
        """Take in what was measured of a worker; ``sums``: what the new ones did since the last check."""
        now = Counted(figures.requests, figures.errors, list(figures.durations))
        before = self.last.get(worker)
        self.last[worker] = now
        if before is not None:
            (sums if new else self.old).add(since(before, now))
        elif not new:
            self.life.add(now)

    def check(self, sums: Counted, now: float) -> None:
        """All of a check is taken in: judge. When its time is up it is over, unless something is found."""
        self.seen_at = now
        if not self.based:
            self.based = True
            return
        self.spans.append(sums)
        final = now >= self.until
        allowed = Allowed(self.policy.errors_max, self.policy.latency_max, self.policy.requests_min)
        self.found = judge(self.old, self.life, self.spans, allowed, needed(self.checks, final=final))
        self.over = final and self.found is None

    def cut_short(self, requests: int) -> None:
        """An old worker has died with so many requests that it did not finish."""
        self.old.add(Counted(requests, requests))

    def begin_check(self, now: float) -> bool:
        """True when the scoreboard is to be read now; then the next check is due later."""
        if self.over or self.found is not None or now < self.check_at:
            return False
        self.check_at = min(self.until, now + self.policy.watch_s / self.checks) if now < self.until else inf
        return True

    def give_up(self, now: float) -> bool:
        """Its time has long been over and nothing was measured: end it, and say so."""
        if self.over or self.found is not None or now < self.until + UNANSWERED_S:
            return False
        self.over = True
        return True

    @property
    def next_at(self) -> float:
        """When it has something to do without news."""
        if self.over:
            return inf
        return min(self.check_at, self.until + UNANSWERED_S)

    @property
    def checks(self) -> int:
        return checks_of(self.policy.watch_s)

    @property
    def new(self) -> Counted:
        """What the new generation has served in this watch."""
        whole = Counted()
        for span in self.spans:
            whole.add(span)
        return whole

    @property
    def enough(self) -> bool:
        """It has seen so much that nothing found means something."""
        new, least = self.new.requests, self.policy.requests_min
        return new >= least and self.old.requests >= least

    def begin_again(self, now: float, old: Container[WorkerId]) -> None:
        """Watch all new workers; of ``old`` ones what was measured last stays where it was."""
        self.began_at = self.check_at = self.seen_at = now
        self.until = now + self.policy.watch_s
        self.spans.clear()
        self.over = self.based = False
        self.again = True
        self.last = {worker: counted for worker, counted in self.last.items() if worker in old}

    def report(self, pool: str, generation: int) -> Watched:
        """What it has seen, for whoever asks."""
        new, policy = self.new, self.policy
        return Watched(
            pool,
            "watch-all" if self.again else "watch",
            round(self.seen_at - self.began_at, 3),
            _served(self.previous, self.old),
            _served(generation, new),
            policy.errors_max,
            policy.latency_max,
            policy.requests_min,
            self.enough,
            self.found or "",
        )

    def shift(self, late_s: float) -> None:
        """All its times move."""
        self.began_at += late_s
        self.seen_at += late_s
        self.until += late_s
        self.check_at += late_s


def _served(generation: int, counted: Counted) -> Served:
    p95_s = counted.p95_s
    return Served(generation, counted.requests, counted.errors, None if p95_s is None else round(p95_s, 6))


def begin(policy: WatchPolicy, previous: int, now: float) -> Watch:
    return Watch(policy, previous, now, now + policy.watch_s, now, now)


def checks_of(watch_s: float) -> int:
    """How many checks a watch takes besides the one at its beginning."""
    return max(CHECKS_MIN, min(CHECKS_MAX, round(watch_s / CHECK_S)))


def needed(checks: int, *, final: bool) -> float:
    """The least surprise that refuses at one of so many checks: see `comparison.surprise`."""
    return log(_SHARES / LEVEL) + (0.0 if final else log(checks - 1))
