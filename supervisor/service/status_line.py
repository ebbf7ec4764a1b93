"""The line that ``systemctl status`` shows of a fleet: pure.

``web 8/8 ready g5, live 4/4 ready g2, 312 connections``. What somebody has to do something about comes
first, and stays until it is put right::

    degraded: generation 6 was not adopted: web: import failed (SIGHUP); web 8/8 ready g5
    starting: web 3/8 ready g1
    stopping, still accepting: web 8/8 ready g5, 312 connections
    stopping: 8 processes left, 12 connections

Systemd has a line's room for it, so the parts that have no bound are cut.
"""

from __future__ import annotations

from typing import Final

from gwctl.control import health
from gwctl.supervisor.core import wording
from gwctl.supervisor.core.state import FleetState, Phase

_REASON_CHARS_MAX: Final = 110
_POOLS_MAX: Final = 6
"""Pools that are named; the rest are counted."""


def describe(fleet: FleetState) -> str:
    """Where the fleet stands, in one line."""
    if fleet.draining is not None:
        left = sum(len(pool.members) + len(pool.templates) for pool in fleet.pools.values())
        return ", ".join(
            [f"stopping: {left} {'process' if left == 1 else 'processes'} left", *_connections(fleet)]
        )
    pools = ", ".join([*_strength(fleet), *_connections(fleet)]) or "no pool has workers"
    if fleet.phase is Phase.SERVING:
        why = _trouble(fleet)
        return f"degraded: {why}; {pools}" if why else pools
    return f"{fleet.phase.value}{', still accepting' if fleet.ending is not None else ''}: {pools}"


def _trouble(fleet: FleetState) -> str:
    """Why all is not well with what serves; empty when it is."""
    if fleet.broken:
        return _cut(wording.broken(fleet.broken))
    if fleet.refused_at is not None:
        return _cut(fleet.last_reload or health.REFUSED)
    if fleet.degraded:
        return _cut(fleet.degraded)
    tried = [
        name
        for name, pool in fleet.pools.items()
        if pool.ready < pool.size and any(slot.open for slot in pool.slots.values())
    ]
    return _cut(f"workers of {', '.join(tried)} keep dying") if tried else ""


def _strength(fleet: FleetState) -> list[str]:
    named = [(name, pool) for name, pool in fleet.pools.items() if pool.size]
    parts = [f"{name} {pool.ready}/{pool.size} ready g{pool.generation}" for name, pool in named[:_POOLS_MAX]]
    if len(named) > _POOLS_MAX:
        ready = sum(pool.ready >= pool.size for _, pool in named[_POOLS_MAX:])
        parts.append(f"{ready} of {len(named) - _POOLS_MAX} other pools ready")
    return parts


def _connections(fleet: FleetState) -> list[str]:
    """As last seen on the scoreboard, every five seconds; nothing when there are none."""
    workers = (worker for pool in fleet.pools.values() for worker in pool.workers)
    seen = sum(worker.observed.connections for worker in workers if worker.observed is not None)
    return [f"{seen:,} {'connection' if seen == 1 else 'connections'}"] if seen else []


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _REASON_CHARS_MAX else f"{text[: _REASON_CHARS_MAX - 3]}..."
