"""How much work waits for what is short: pressure stall information (PSI), as the kernel counts it.

Of the control group of this process if it has such figures (version 2), else of the whole machine. Absent
where the kernel keeps none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gwctl.control.status import PressureStatus
from gwctl.supervisor.groups.found import find_groups, text_of

_RESOURCES: Final = ("cpu", "memory", "io")


def read_pressure(root: Path = Path("/")) -> PressureStatus | None:
    """What is known now; ``root`` as for `find_groups`."""
    for whose, paths in _places(root):
        found = {name: _some(path) for name, path in paths.items()}
        if any(value is not None for value in found.values()):
            return PressureStatus(whose, **found)
    return None


def _places(root: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    for group in find_groups(root):
        if group.version == 2 and len(group.folders) > 1:  # the topmost is the machine
            yield "group", {name: group.folders[0] / f"{name}.pressure" for name in _RESOURCES}
    yield "machine", {name: root / "proc/pressure" / name for name in _RESOURCES}


def _some(path: Path) -> float | None:
    """The part of the last ten seconds in which some task waited: ``some avg10=1.25 avg60=...``."""
    for line in text_of(path).splitlines():
        words = dict(word.partition("=")[::2] for word in line.split())
        if "some" in words and "avg10" in words:
            try:
                return round(float(words["avg10"]) / 100, 4)
            except ValueError:
                return None
    return None
