"""Whether the kernel killed a worker for memory: its cgroup counts that, and the count is compared.

The counters are read when a worker was ended by a SIGKILL that nobody here sent, and at each look at the
scoreboard: what was counted before the last but one of these was somebody else, such as a child of the
application, and explains no death of today. Workers are in the master's cgroup; the kernel counts a kill
there also when it was the limit of a cgroup above, or the whole machine, that had no memory left.

    cgroup v2   memory.events: oom_kill      memory.max
    cgroup v1   memory.oom_control: oom_kill memory.limit_in_bytes
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from gwctl.config.model.types import MASTER_GROUP
from gwctl.wording import size

_SELF: Final = Path("/proc/self/cgroup")
_MOUNT: Final = Path("/sys/fs/cgroup")
_NO_LIMIT_BYTES: Final = 1 << 60
"""cgroup v1 writes "no limit" as the largest number of whole pages."""


class _Files(NamedTuple):
    folder: Path
    mount: Path
    events: str
    limit: str


class OomWatch:
    """The count of this cgroup, and what was last seen of it. ``this`` and ``mount`` are for tests."""

    def __init__(self, this: Path = _SELF, mount: Path = _MOUNT) -> None:
        self._files = _find(this, mount)
        self._seen = self._count()
        self._left = 0
        """Kills that the last look found, and that have explained nothing yet."""

    def sample(self) -> None:
        """Forget what no worker died of by now. To be called now and then, when all exits have been read."""
        count = self._count()
        if count is not None:
            self._left = max(0, count - (count if self._seen is None else self._seen))
            self._seen = count

    def cause(self, held_bytes: int, *, own: bool | None = None, own_limit: int = 0) -> str:
        """Say that one more process was killed for memory since the last look; empty if none is known of.

        Each kill that was counted explains one death. What a worker's own group counts is counted here, too.

        Args:
            held_bytes: What it had when it was last measured; 0: not known.
            own: Whether its own control group counts a kill: then that decides. None: it has none.
            own_limit: Of that group; 0: none.
        """
        if own is False:
            return ""
        counted = self._take_one()
        return self._said(own_limit, held_bytes) if own or counted else ""

    def _take_one(self) -> bool:
        """Take one of the kills that have explained nothing yet; False: there is none."""
        count = self._count()
        if count is None:
            return False
        if self._seen is None or count < self._seen:
            self._seen = count
            return False
        if count > self._seen:
            self._seen += 1
        elif self._left:
            self._left -= 1
        else:
            return False
        return True

    def _said(self, own_limit: int, held_bytes: int) -> str:
        limit = own_limit or (_limit(self._files) if self._files is not None else 0)
        whose = (
            f"{'its own ' if own_limit else ''}cgroup limit {size(limit)}"
            if limit
            else "the machine has none left"
        )
        held = f"; it had {size(held_bytes)} when last measured" if held_bytes else ""
        return f"killed by the kernel, out of memory ({whose}{held})"

    def _count(self) -> int | None:
        if self._files is None:
            return None
        try:
            text = (self._files.folder / self._files.events).read_text("ascii")
            return int(dict(line.split(" ", 1) for line in text.splitlines())["oom_kill"])
        except (OSError, ValueError, KeyError):
            return None


def _find(this: Path, mount: Path) -> _Files | None:
    """The folder that counts for this process; in a container its own is at the mount itself."""
    try:
        lines = this.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            top, events, limit = mount / "memory", "memory.oom_control", "memory.limit_in_bytes"
        elif number == "0" and not controllers:
            top, events, limit = mount, "memory.events", "memory.max"
        else:
            continue
        own = top / path.lstrip("/")
        for folder in (own.parent if own.name == MASTER_GROUP else own, top):
            if (folder / events).exists():
                return _Files(folder, top, events, limit)
    return None


def _limit(files: _Files) -> int:
    """The smallest limit from here up to the mount; 0: there is none."""
    limits = []
    folder = files.folder
    while True:
        with suppress(OSError, ValueError):  # "max", or the topmost, which has no such file
            limits.append(int((folder / files.limit).read_text("ascii")))
        if folder in {files.mount, folder.parent}:
            break
        folder = folder.parent
    return min((limit for limit in limits if limit < _NO_LIMIT_BYTES), default=0)
