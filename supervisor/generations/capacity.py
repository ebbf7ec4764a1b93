"""How many worker processes ``processes = "auto"`` means on this machine, and why.

The least of three: the CPUs that this process may use (affinity), the CPU time its control
groups allow (quota, rounded up: half a CPU more is worth a process), and the memory that
its control groups or the machine have, by what a worker takes (`gwctl.supervisor.core.sizing`).
Never less than one. Counting the host's CPUs, as ``cpu_count() * 2 + 1`` does, puts
160 workers into a container of two CPUs.

All of it may change while the master runs, as a container is resized in place and workers
grow (`CapacityWatch`).
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from gwctl.supervisor.core.events import CapacityMeasured
from gwctl.supervisor.core.scaling import differs
from gwctl.supervisor.core.sizing import WORKER_BYTES, Footprint
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.groups.found import cpu_quotas, find_groups, least, memory_limits, text_of
from gwctl.supervisor.groups.memory import machine_memory

USUAL_BYTES: Final = WORKER_BYTES
"""What a worker is taken to need as long as none was measured, for those who advise."""
WATCH_EVERY_S: Final = 4.0
"""Less than the master sleeps at most."""


class Capacity(Struct, frozen=True):
    """``processes`` for "auto" before any worker is measured, and ``why`` in words for the start line."""

    processes: int
    why: str
    cpus: float = 0.0
    """By affinity and quota; 0: not known."""


def measure(root: Path = Path("/"), cpus: int | None = None) -> Capacity:
    """Measure this process's share of the machine. Arguments as of `read_machine`."""
    found, nobody = read_machine(root, cpus), Footprint()
    fits = nobody.fits(found.memory_bytes, 0)
    why = nobody.why(found.memory_bytes, fits)
    words = ", ".join(filter(None, (found.why, why)))
    return Capacity(max(1, min(found.processes, fits)), words, found.cpus)


def read_machine(root: Path = Path("/"), cpus: int | None = None) -> CapacityMeasured:
    """What the machine and the control groups of this process allow.

    Args:
        root: Where ``proc`` and the control groups are found; tests put a fake tree there.
        cpus: CPUs by affinity; asked of the kernel when None.
    """
    if cpus is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes, allowed = cpus, float(cpus)
    parts = [f"{cpus} CPU{'s' if cpus != 1 else ''} by affinity"]
    groups = list(find_groups(root))
    quota = least(cpu_quotas(groups))
    if quota is not None:
        processes, allowed = max(1, min(cpus, math.ceil(quota))), min(allowed, quota)
        parts.append(f"quota {quota:.1f}" if quota >= 0.1 else f"quota {quota:.2g}")
    memory = least([*memory_limits(groups), *machine_memory(root)])
    return CapacityMeasured(processes, allowed, ", ".join(parts), int(memory or 0), _resident_bytes(root))


def _resident_bytes(root: Path) -> int:
    """Of this process; 0: /proc does not say."""
    words = text_of(root / "proc/self/statm").split()
    return int(words[1]) * resource.getpagesize() if len(words) > 1 else 0


class CapacityWatch:
    """Tells of what is allowed as long as it differs from what the pools go by.

    It is measured when the master is awake anyway, which it is every five seconds (`deadlines.SAMPLE_S`): a
    change is followed within ten. The core takes it when nothing else decides on sizes, and is told again
    until then.
    """

    def __init__(
        self,
        report: Callable[[CapacityMeasured], None],
        measured: Callable[[], CapacityMeasured] = read_machine,
    ) -> None:
        self._report = report
        self._measure = measured
        self._next_at = 0.0

    def turn(self, now: float, fleet: FleetState) -> None:
        """Measure if it is time, and if a pool goes by it."""
        if now < self._next_at:
            return
        self._next_at = now + WATCH_EVERY_S
        policies = [pool.policy for pool in fleet.pools.values() if pool.size]
        if not any(policy.by_capacity or policy.scale is not None for policy in policies):
            return
        found = self._measure()
        if differs(fleet, found):
            self._report(found)
