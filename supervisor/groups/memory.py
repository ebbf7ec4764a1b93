"""What memory the control groups and the machine have, hold and have left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from gwctl.supervisor.core.events import GroupMemoryObserved
from gwctl.supervisor.groups.found import Group, find_groups, limits_of, number_of, numbers_of, text_of

_UNUSED: Final = ("inactive_file",)
_RECLAIMABLE: Final = ("inactive_file", "active_file", "slab_reclaimable")
_PAGES: Final = {"MemTotal": "SC_PHYS_PAGES", "MemAvailable": "SC_AVPHYS_PAGES"}


class GroupMemory:
    """What the control groups of this process hold of what they may."""

    def __init__(self, root: Path = Path("/")) -> None:
        """``root`` as for `find_groups`. The groups are looked for once: a master is moved by nobody."""
        self._root = root
        self._groups = [group for group in find_groups(root) if group.has_memory]

    def left(self) -> int | None:
        """What is left before a limit, or the machine's, is reached, never below 0; None: nobody says.

        Of what a group has, pages of files that have not been used lately are there for whoever needs them.
        """
        found = [_left(folder, group) for group in self._groups for folder in group.folders]
        found.append(meminfo(self._root, "MemAvailable"))
        left = min((each for each in found if each is not None), default=None)
        return None if left is None else max(0, left)

    def nearest(self) -> GroupMemoryObserved | None:
        """That which is nearest to its limit by what it cannot give back; None: none has a limit.

        All pages of files can be given back, and are before the kernel kills somebody.
        """
        found = [_held(folder, group) for group in self._groups for folder in group.folders]
        return max(
            (each for each in found if each is not None),
            key=lambda each: each.used_bytes / each.limit_bytes,
            default=None,
        )


def _left(folder: Path, group: Group) -> int | None:
    """Of one group; None: it has no limit."""
    limit = min(limits_of(folder, group.version), default=None)
    used = _used(folder, group)
    return None if limit is None or used is None else limit - used + _given_back(folder, group, _UNUSED)


def _held(folder: Path, group: Group) -> GroupMemoryObserved | None:
    limit = min(limits_of(folder, group.version), default=None)
    used = _used(folder, group)
    if limit is None or used is None:
        return None
    return GroupMemoryObserved(limit, max(0, used - _given_back(folder, group, _RECLAIMABLE)))


def _used(folder: Path, group: Group) -> int | None:
    return number_of(folder / ("memory.current" if group.version == 2 else "memory.usage_in_bytes"))


def _given_back(folder: Path, group: Group, what: tuple[str, ...]) -> int:
    """Of version 1 the sums over the groups below, as what is used is one, too."""
    found = numbers_of(folder / "memory.stat")
    return sum(found.get(name if group.version == 2 else f"total_{name}", 0) for name in what)


def machine_memory(root: Path = Path("/")) -> Iterator[float]:
    """All of the machine's memory. Not what is free now: the answer must not depend on the moment."""
    total = meminfo(root, "MemTotal")
    if total is not None:
        yield total


def meminfo(root: Path, name: str) -> int | None:
    """A line of /proc/meminfo, in bytes."""
    for line in text_of(root / "proc/meminfo").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    if root != Path("/"):
        return None
    # Where /proc has processes alone (ProcSubset=pid), as sysinfo(2) has it: without what caches hold.
    with suppress(OSError, ValueError):
        return os.sysconf(_PAGES[name]) * os.sysconf("SC_PAGE_SIZE")
    return None
