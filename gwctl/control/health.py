"""Whether all is well with a master, in one word and with its reason: pure, from its status.

    down        a pool that is to serve has no worker that does
    starting    nobody has served yet
    stopping    it was told to
    degraded    a pool has fewer workers than it should, or a reload was refused
    overloaded  connections wait, and the workers can take no more
    healthy     none of these

The first that holds is said. ``gwctl status`` ends with 1 for the first two: whoever asks whether this
server serves is told no. A worker less for a moment is no reason: workers are replaced all the time.
"""

from __future__ import annotations

from typing import Final

from gwctl.control.status import MasterStatus, PoolStatus

HEALTHY: Final = "healthy"
REFUSED: Final = "a reload was refused: what runs is not what is on disk"
SERVES_NOBODY: Final = frozenset({"down", "starting"})
_BUSY: Final = 0.9


def of(status: MasterStatus) -> tuple[str, str]:
    """The word, and why; no reason where all is well."""
    pools = [pool for pool in status.pools if pool.size]
    if status.phase in {"stopping", "starting"}:
        return status.phase, ", ".join(_strength(pool) for pool in pools)
    empty = [pool for pool in pools if not pool.ready]
    if empty:
        return "down", "; ".join(map(_short_of, empty))
    short = [pool for pool in pools if pool.ready < pool.size]
    reasons = [*map(_short_of, short), *filter(None, [_other_code(status)])]
    if reasons:
        return "degraded", "; ".join(reasons)
    crowded = [pool for pool in pools if pool.backlog and (pool.busy is None or pool.busy >= _BUSY)]
    if crowded:
        return "overloaded", "; ".join(
            f"{pool.name}: {pool.backlog:,} {'connection waits' if pool.backlog == 1 else 'connections wait'}"
            for pool in crowded
        )
    return HEALTHY, ""


def _strength(pool: PoolStatus) -> str:
    return f"{pool.name} {pool.ready}/{pool.size} ready"


def _short_of(pool: PoolStatus) -> str:
    return f"{pool.name}: {pool.ready} of {pool.size} ready" + (f", {pool.note}" if pool.note else "")


def _other_code(status: MasterStatus) -> str:
    if not status.degraded:
        return REFUSED if status.refused_at is not None else ""
    started = sum(worker.from_disk for pool in status.pools for worker in pool.workers)
    text = status.degraded
    if started:
        text += f", {started} {'worker runs' if started == 1 else 'workers run'} it"
    return text
