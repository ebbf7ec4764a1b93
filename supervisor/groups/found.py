"""The control groups of this process, and what they allow.

They are found as the kernel tells: ``/proc/self/cgroup`` names the group, ``/proc/self/mountinfo`` where its
hierarchy is mounted; every group up to the root of the mount may set a limit, and the least of them holds.
Versions 1, 2 and both at once are read (cgroups(7)). A file that is missing or unreadable sets no limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from gwctl.config.model.types import MASTER_GROUP

_V1_UNLIMITED_BYTES: Final = 1 << 60  # version 1 has no word for "no limit", only a huge number


class GroupLimits(Struct, frozen=True):
    """What the control groups of this process allow altogether; None: they set no limit."""

    cpus: float | None
    memory_bytes: float | None
    pids: float | None


class Group(Struct, frozen=True):
    """One control group: its folder and the folders above it up to the mount point."""

    version: int
    controllers: frozenset[str]
    """Of version 1: those of its hierarchy."""
    folders: tuple[Path, ...]
    own: Path
    """Where this process is: the first of them, or `MASTER_GROUP` below it, which is the master's alone."""

    @property
    def has_memory(self) -> bool:
        return self.version == 2 or "memory" in self.controllers


def group_limits(root: Path = Path("/")) -> GroupLimits:
    """The least of each, from this process's group up to the root of the mount."""
    groups = list(find_groups(root))
    return GroupLimits(least(cpu_quotas(groups)), least(memory_limits(groups)), least(_pids(groups)))


def find_groups(root: Path = Path("/")) -> Iterator[Group]:
    """The control groups of this process, one for each mounted hierarchy.

    Args:
        root: Where ``proc`` and the control groups are found; tests put a fake tree there.
    """
    mounts = list(_mounts(root))
    for line in text_of(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        version = 2 if number == "0" and not names else 1
        controllers = frozenset(names.split(",")) - {""}
        for mount in mounts:
            if mount.version == version and controllers <= mount.controllers:
                folders = _folders(root, mount, path)
                below = folders[0].name == MASTER_GROUP and len(folders) > 1
                yield Group(version, controllers, folders[1:] if below else folders, folders[0])
                break


class _Mount(Struct, frozen=True):
    version: int
    controllers: frozenset[str]
    top: str
    """The group that is seen at ``point``: ``/`` unless a part of the tree is mounted."""
    point: str


def _mounts(root: Path) -> Iterator[_Mount]:
    """Mounted cgroup file systems: proc_pid_mountinfo(5)."""
    for line in text_of(root / "proc/self/mountinfo").splitlines():
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


# ---- what they allow


def cpu_quotas(groups: list[Group]) -> Iterator[float]:
    """CPUs' worth of time that each limiting group allows."""
    for group in groups:
        for folder in group.folders:
            if group.version == 2:
                quota, _, period = text_of(folder / "cpu.max").strip().partition(" ")
                if quota.isdecimal() and period.isdecimal() and int(period) > 0:
                    yield int(quota) / int(period)
            elif "cpu" in group.controllers:
                time_us = number_of(folder / "cpu.cfs_quota_us")
                period_us = number_of(folder / "cpu.cfs_period_us")
                if time_us is not None and period_us and time_us > 0:
                    yield time_us / period_us


def memory_limits(groups: list[Group]) -> Iterator[float]:
    """In bytes, of each limiting group."""
    for group in groups:
        for folder in group.folders:
            if group.has_memory:
                yield from limits_of(folder, group.version)


def limits_of(folder: Path, version: int) -> Iterator[int]:
    """Of the memory of one group, in bytes; none: it has no limit."""
    names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
    for name in names:
        limit = number_of(folder / name)
        if limit is not None and 0 < limit < _V1_UNLIMITED_BYTES:
            yield limit


def _pids(groups: list[Group]) -> Iterator[float]:
    """Processes and threads that each limiting group may have."""
    for group in groups:
        if group.version == 2 or "pids" in group.controllers:
            found = (number_of(folder / "pids.max") for folder in group.folders)
            yield from (limit for limit in found if limit is not None)


# ---- how its files are read


def least(values: Iterator[float] | list[float]) -> float | None:
    return min(values, default=None)


def text_of(path: Path) -> str:
    """The file's content; empty when it is not there or not ours to read."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def number_of(path: Path) -> int | None:
    """The one number in a file; None: it is not there, or says something else (``max``)."""
    text = text_of(path).strip()
    return int(text) if text.lstrip("-").isdecimal() else None


def numbers_of(path: Path) -> dict[str, int]:
    """A file of lines like ``anon 4096``."""
    words = (line.split() for line in text_of(path).splitlines())
    return {each[0]: int(each[1]) for each in words if len(each) == 2 and each[1].isdecimal()}
