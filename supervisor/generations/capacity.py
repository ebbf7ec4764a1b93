"""How many worker processes ``processes = "auto"`` means on this machine, and why.

The least of three: the CPUs that this process may use (affinity), the CPU time its control
groups allow (quota, rounded up: half a CPU more is worth a process), and the memory that
its control groups or the machine have, at `WORKER_BYTES` a worker after one share for the
master. Never less than one. Counting the host's CPUs, as ``cpu_count() * 2 + 1`` does, puts
160 workers into a container of two CPUs.

Control groups are found as the kernel tells: ``/proc/self/cgroup`` names the group,
``/proc/self/mountinfo`` where its hierarchy is mounted; every group up to the root of the
mount may set a limit, and the least of them holds. Versions 1, 2 and both at once are read
(cgroups(7)). A file that is missing or unreadable sets no limit.

All of it may change while the master runs, as a container is resized in place (`CapacityWatch`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from gwctl.supervisor.core.events import CapacityMeasured
from gwctl.supervisor.core.scaling import differs
from gwctl.supervisor.core.state import FleetState

WORKER_BYTES: Final = 128 << 20
"""What a worker of a usual web application is assumed to need; unlike its real size it is known at start."""

WATCH_EVERY_S: Final = 4.0
"""Less than the master sleeps at most."""
_PAGES: Final = {"MemTotal": "SC_PHYS_PAGES", "MemAvailable": "SC_AVPHYS_PAGES"}
_V1_UNLIMITED_BYTES: Final = 1 << 60  # version 1 has no word for "no limit", only a huge number


class Capacity(Struct, frozen=True):
    """``processes`` for "auto", and ``why`` in words for the line that says so."""

    processes: int
    why: str
    cpus: float = 0.0
    """By affinity and quota; 0: not known."""


class GroupLimits(Struct, frozen=True):
    """What the control groups of this process allow altogether; None: they set no limit."""

    cpus: float | None
    memory_bytes: float | None
    pids: float | None


def group_limits(root: Path = Path("/")) -> GroupLimits:
    """The least of each, from this process's group up to the root of the mount."""
    groups = list(_groups(root))
    return GroupLimits(_least(_cpu_quotas(groups)), _least(_memory_limits(groups)), _least(_pids(groups)))


class _Group(Struct, frozen=True):
    """One control group: its folder and the folders above it up to the mount point."""

    version: int
    controllers: frozenset[str]
    folders: tuple[Path, ...]


def measure(root: Path = Path("/"), cpus: int | None = None) -> Capacity:
    """Measure this process's share of the machine.

    Args:
        root: Where ``proc`` and the control groups are found; tests put a fake tree there.
        cpus: CPUs by affinity; asked of the kernel when None.
    """
    if cpus is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    bounds, allowed = [cpus], float(cpus)
    parts = [f"{cpus} CPU{'s' if cpus != 1 else ''} by affinity"]
    groups = list(_groups(root))
    quota = _least(_cpu_quotas(groups))
    if quota is not None:
        bounds.append(math.ceil(quota))
        allowed = min(allowed, quota)
        parts.append(f"quota {quota:.1f}" if quota >= 0.1 else f"quota {quota:.2g}")
    memory = _least([*_memory_limits(groups), *_machine_memory(root)])
    if memory is not None:
        share = int(memory // WORKER_BYTES) - 1
        bounds.append(share)
        parts.append(f"memory allows {max(1, share)}")
    return Capacity(max(1, min(bounds)), ", ".join(parts), allowed)


class CapacityWatch:
    """Tells of what is allowed as long as it differs from what the pools go by.

    It is measured when the master is awake anyway, which it is every five seconds (`deadlines.SAMPLE_S`): a
    change is followed within ten. The core takes it when nothing else decides on sizes, and is told again
    until then.
    """

    def __init__(
        self, report: Callable[[CapacityMeasured], None], measured: Callable[[], Capacity] = measure
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
        if differs(fleet, found.processes, found.cpus):
            self._report(CapacityMeasured(found.processes, found.cpus, found.why))


class MemoryLeft:
    """What memory is left before a limit of this process's control groups, or the machine's, is reached."""

    def __init__(self, root: Path = Path("/")) -> None:
        """``root`` as for `measure`. The groups are looked for once: a master is moved by nobody."""
        self._root = root
        self._groups = [group for group in _groups(root) if _has_memory(group)]

    def read(self) -> int | None:
        """In bytes, never below 0; None: nobody says.

        Of what a group has, pages of files that have not been used lately are there for whoever needs them.
        """
        found = [_memory_left(folder, group.version) for group in self._groups for folder in group.folders]
        found.append(_meminfo(self._root, "MemAvailable"))
        left = min((each for each in found if each is not None), default=None)
        return None if left is None else max(0, int(left))


def _has_memory(group: _Group) -> bool:
    return group.version == 2 or "memory" in group.controllers


def _memory_left(folder: Path, version: int) -> float | None:
    """Of one group; None: it has no limit."""
    limit = _least(list(_folder_limits(folder, version)))
    used = _number(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes"))
    if limit is None or used is None:
        return None
    name = "inactive_file" if version == 2 else "total_inactive_file"
    for line in _text(folder / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            used -= int(value)
    return limit - used


def _least(values: Iterator[float] | list[float]) -> float | None:
    return min(values, default=None)


def _text(path: Path) -> str:
    """The file's content; empty when it is not there or not ours to read."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdecimal() else None


def _groups(root: Path) -> Iterator[_Group]:
    """The control groups of this process, one for each mounted hierarchy."""
    mounts = list(_mounts(root))
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        version = 2 if number == "0" and not names else 1
        controllers = frozenset(names.split(",")) - {""}
        for mount in mounts:
            if mount.version == version and controllers <= mount.controllers:
                yield _Group(version, controllers, _folders(root, mount, path))
                break


class _Mount(Struct, frozen=True):
    version: int
    controllers: frozenset[str]
    top: str
    """The group that is seen at ``point``: ``/`` unless a part of the tree is mounted."""
    point: str


def _mounts(root: Path) -> Iterator[_Mount]:
    """Mounted cgroup file systems: proc_pid_mountinfo(5)."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        head, separator, tail = line.partition(" - ")
        fields, kind = head.split(), tail.split()
        if not separator or len(fields) < 5 or not kind or kind[0] not in {"cgroup", "cgroup2"}:
            continue
        options = frozenset(kind[2].split(",")) if len(kind) > 2 else frozenset[str]()
        yield _Mount(2 if kind[0] == "cgroup2" else 1, options, fields[3], fields[4])


def _folders(root: Path, mount: _Mount, path: str) -> tuple[Path, ...]:
    """The group's folder first, then its parents. In a container ``path`` may lie outside the mount."""
    point = root / mount.point.lstrip("/")
    inside = path[len(mount.top.rstrip("/")) :] if path.startswith(mount.top) else ""
    folder = point / inside.strip("/")
    if not folder.is_dir():
        folder = point
    return (folder, *(parent for parent in folder.parents if parent == point or point in parent.parents))


def _cpu_quotas(groups: list[_Group]) -> Iterator[float]:
    """CPUs' worth of time that each limiting group allows."""
    for group in groups:
        for folder in group.folders:
            if group.version == 2:
                quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
                if quota.isdecimal() and period.isdecimal() and int(period) > 0:
                    yield int(quota) / int(period)
            elif "cpu" in group.controllers:
                time_us = _number(folder / "cpu.cfs_quota_us")
                period_us = _number(folder / "cpu.cfs_period_us")
                if time_us is not None and period_us and time_us > 0:
                    yield time_us / period_us


def _memory_limits(groups: list[_Group]) -> Iterator[float]:
    for group in groups:
        for folder in group.folders:
            if _has_memory(group):
                yield from _folder_limits(folder, group.version)


def _folder_limits(folder: Path, version: int) -> Iterator[float]:
    names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
    for name in names:
        limit = _number(folder / name)
        if limit is not None and 0 < limit < _V1_UNLIMITED_BYTES:
            yield limit


def _pids(groups: list[_Group]) -> Iterator[float]:
    """Processes and threads that each limiting group may have."""
    for group in groups:
        if group.version == 2 or "pids" in group.controllers:
            found = (_number(folder / "pids.max") for folder in group.folders)
            yield from (limit for limit in found if limit is not None)


def _machine_memory(root: Path) -> Iterator[float]:
    """All of the machine's memory. Not what is free now: the answer must not depend on the moment."""
    total = _meminfo(root, "MemTotal")
    if total is not None:
        yield total


def _meminfo(root: Path, name: str) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    if root != Path("/"):
        return None
    # Where /proc has processes alone (ProcSubset=pid), as sysinfo(2) has it: without what caches hold.
    with suppress(OSError, ValueError):
        return os.sysconf(_PAGES[name]) * os.sysconf("SC_PAGE_SIZE")
    return None
