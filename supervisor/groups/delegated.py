"""A control group for each worker, in a part of the tree that is the master's own (cgroups(7), version 2).

Where a group was given to the master, it is in one below that, ``gwctl-master``, and each worker gets one of
its own, which the kernel kills as a whole (``memory.oom.group``). So an OOM kill takes one worker, with what
that has begun, and it is plain whom and why. Where none is given, nothing of this is done.

Rules
    - A group is given if systemd says so in an extended attribute, if it is the topmost that a container
      sees, or if it belongs to this user, who is not root. That root may write there says nothing.
    - The kernel lets no group have processes and groups with limits both. So the master has to be in
      ``gwctl-master`` from its start (``DelegateSubgroup=``): else no other could be started in the group
      that was given, while workers of a dead one live on below it. Only as the first process of a
      container, with which all others end, does it move itself; nobody else may be there then.
    - The whole group is not to be killed for one worker. In a container, what asks for that is taken back:
      orchestrators set it for all containers, with no word about this one. In a service it stays, as there it
      is ``OOMPolicy=kill`` of the unit, which somebody has written. Both are in the log.
    - A group is removed when its worker was reaped. If children of the application live on in it, that is
      tried again; those that a dead master has left are removed when empty.
    - Nothing here ever fails for the master: a worker that gets no group lives where the master does.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from gwctl.config.model.types import MASTER_GROUP
from gwctl.records.master import AtOom
from gwctl.supervisor.groups.found import find_groups, limits_of, numbers_of, text_of

PREFIX: Final = "gwctl-"
_CONTROLLER: Final = "memory"
_GIVEN: Final = ("user.delegate", "trusted.delegate")
_LEFT_MAX: Final = 1024
"""Groups that are to be removed and are remembered."""
_REMOVED_AT_ONCE: Final = 64
_HARD_PART: Final = 4
"""A worker's group may hold more than its hard limit by this part of it: pages of files are in it, too."""


class NoGroupsError(Exception):
    """Workers have no groups of their own here. It says why."""


class WorkerGroups:
    """Those of one master. Without a ``top``, the group that was given, there are none.

    ``at_oom``: what becomes of that group's wish to be killed as a whole.
    """

    def __init__(self, top: Path | None = None, at_oom: AtOom = "one") -> None:
        self.top = top
        self.at_oom: Final = at_oom
        self._of: dict[int, Path] = {}
        self._left: deque[Path] = deque(maxlen=_LEFT_MAX)

    @classmethod
    def begin(cls, root: Path = Path("/"), controller: str = _CONTROLLER) -> WorkerGroups:
        """Arrange what was given. To be called before anything is forked.

        Args:
            root: As for `find_groups`.
            controller: That which the groups are for; tests have another.

        Raises:
            NoGroupsError: Nothing was given, or it cannot be used. All is as it was.
        """
        own, top, is_topmost = _given(root)
        if own == top and not is_topmost:
            raise NoGroupsError(
                f"the master is not in {top}/{MASTER_GROUP}: set DelegateSubgroup={MASTER_GROUP}"
            )
        if controller not in text_of(top / "cgroup.controllers").split():
            raise NoGroupsError(f"{top} has no {controller} controller")
        if own == top:
            _move_in(top)
        try:
            _write(top / "cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            if own == top:
                _move_out(top)
            raise NoGroupsError(f"{controller} cannot be enabled below {top}: {error.strerror}") from error
        groups = cls(top, _at_oom(top, is_container=is_topmost))
        groups._left.extend(each for each in _inside(top) if each.name != MASTER_GROUP)
        groups.sweep()
        return groups

    @classmethod
    def resume(cls, root: Path = Path("/")) -> WorkerGroups:
        """Those of the program before this one, in the same process; none if it had none."""
        try:
            own, top, _ = _given(root)
        except NoGroupsError:
            return cls()
        return cls(top) if own != top else cls()

    # ---- one worker

    def _path(self, worker: int) -> Path | None:
        return None if self.top is None else self.top / f"{PREFIX}{os.getpid()}-{worker}"

    def take_in(self, worker: int, pid: int, hard_bytes: int) -> None:
        """Give a new process a group of its own; ``hard_bytes``: the hard limit of its memory, 0: none."""
        path = self._path(worker)
        if path is None:
            return
        try:
            path.mkdir()
            with suppress(FileNotFoundError):  # an older kernel
                _write(path / "memory.oom.group", "1")
                if hard_bytes:
                    _write(path / "memory.max", str(hard_bytes + hard_bytes // _HARD_PART))
            _write(path / "cgroup.procs", str(pid))
        except OSError:  # it ended meanwhile, or no more groups are allowed
            self._left.append(path)
        else:
            self._of[worker] = path

    def resumed(self, worker: int) -> None:
        """It was taken in by the program before this one, or not."""
        path = self._path(worker)
        if path is not None and path.is_dir():
            self._of[worker] = path

    def was_killed(self, worker: int) -> bool | None:
        """Whether the kernel has killed for memory in its group; None: nobody knows."""
        path = self._of.get(worker)
        events = numbers_of(path / "memory.events") if path is not None else {}
        return events["oom_kill"] > 0 if "oom_kill" in events else None

    def own_limit(self, worker: int) -> int:
        """Of the memory of its own group; 0: it has none."""
        path = self._of.get(worker)
        return 0 if path is None else min(limits_of(path, 2), default=0)

    def let_go(self, worker: int) -> None:
        """It was reaped."""
        path = self._of.pop(worker, None)
        if path is not None and not _removed(path):
            self._left.append(path)

    # ---- what is left

    def sweep(self) -> None:
        """Try again to remove groups in which something lived on."""
        for _ in range(min(len(self._left), _REMOVED_AT_ONCE)):
            path = self._left.popleft()
            if not _removed(path):
                self._left.append(path)

    def end(self) -> None:
        """Remove those of workers that have gone."""
        self._left.extend(self._of.values())
        self._of.clear()
        self.sweep()


# ---- what was given


def _given(root: Path) -> tuple[Path, Path, bool]:
    """The group that this process is in, and the one that was given to it: the same, or the one above.

    And whether that is the topmost that it sees.

    Raises:
        NoGroupsError: None was.
    """
    group = next((each for each in find_groups(root) if each.version == 2), None)
    if group is None:
        raise NoGroupsError("there are no control groups of version 2")
    own = group.own
    top = own.parent if own.name == MASTER_GROUP else own
    is_topmost = len(group.folders) == 1
    if not _is_given(top, is_topmost=is_topmost):
        raise NoGroupsError(f"{top} was not delegated to gwctl")
    if not os.access(top / "cgroup.procs", os.W_OK) or not os.access(top, os.W_OK):
        raise NoGroupsError(f"{top} cannot be written to")
    return own, top, is_topmost


def _is_given(top: Path, *, is_topmost: bool) -> bool:
    for name in _GIVEN:
        with suppress(OSError, AttributeError):
            if os.getxattr(top, name) == b"1":
                return True
    try:
        owner = top.stat().st_uid
    except OSError:
        return False
    # The topmost of the machine itself has no type: what has one is the topmost of a name space.
    return (is_topmost and (top / "cgroup.type").exists()) or owner == os.geteuid() != 0


def _move_in(top: Path) -> None:
    others = [pid for pid in text_of(top / "cgroup.procs").split() if pid != str(os.getpid())]
    if others:
        raise NoGroupsError(f"other processes are in {top}, too: {', '.join(others[:3])}")
    try:
        (top / MASTER_GROUP).mkdir(exist_ok=True)
        _write(top / MASTER_GROUP / "cgroup.procs", str(os.getpid()))
    except OSError as error:
        raise NoGroupsError(f"no group can be made in {top}: {error.strerror}") from error


def _move_out(top: Path) -> None:
    with suppress(OSError):
        _write(top / "cgroup.procs", str(os.getpid()))
        (top / MASTER_GROUP).rmdir()


def _at_oom(top: Path, *, is_container: bool) -> AtOom:
    if text_of(top / "memory.oom.group").strip() != "1":
        return "one"
    if is_container:
        with suppress(OSError):  # it may be somebody else's; then it stays, and that is said
            _write(top / "memory.oom.group", "0")
            return "taken back"
    return "all"


def _inside(top: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from top.glob(f"{PREFIX}*/")


def _removed(path: Path) -> bool:
    """Whether it is gone now; not while somebody lives in it."""
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _write(path: Path, text: str) -> None:
    """At once, as the kernel wants it; the file is never made."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
