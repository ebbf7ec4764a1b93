"""The folders in which applications keep their own metrics, for the admin process to read.

    NAME.metrics-PID        of the master; in the folder of its control socket, else a temporary one
        .folded             of the admin process: what dead workers have counted
        web                 of the pool's user, and of the group of the admin process
            7               made by worker 7

Rules
    - A pool's user can write in the folder of that pool alone. Where the admin process is another user, it
      may write there by its group: it removes the folders of dead workers.
    - It all goes with the master. One that was killed leaves its folder behind, which the next one of its
      name removes when it makes its own.
    - The master makes and removes, and reads nothing. What it removes is bounded; the rest is left.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from gwctl.config import users
from gwctl.config.model.settings import PoolSettings
from gwctl.control import paths
from gwctl.records.admin import MetricsFolderUnusable
from gwctl.safe_files import reach, remove_tree
from gwctl.supervisor.recorder import Recorder

_FOLDED: Final = ".folded"  # as in gwctl.admin.application.folded
_ENTRIES_MAX: Final = 20_000
_LISTED: Final = 0o755
_PRIVATE: Final = 0o700
_FOR_GROUP: Final = 0o2771
"""What is made inside has the group, too."""


class MetricsFolder:
    """Of the master ``instance``; made when the first pool needs it."""

    def __init__(self, instance: str, recorder: Recorder) -> None:
        self.path = ""
        """Empty: there is none yet."""
        self._instance = instance
        self._recorder = recorder
        self._failed = ""
        """What was said last of why there is none."""
        self._ids: dict[tuple[str, str], tuple[int, int]] = {}
        """Of users and groups that were looked up: whoever knows them may be slow to say."""

    def of_pool(self, name: str, pool: PoolSettings, admin: PoolSettings) -> str:
        """The folder of that pool; empty if it has none. ``admin`` says as whom it is read."""
        if not pool.application_metrics or not admin.bind:
            return ""
        try:
            (reader, group), (owner, _) = self._ids_of(admin), self._ids_of(pool)
            root = self._root(foreign={reader, owner} != {os.geteuid()})
            folder = root / name
            if owner == reader:
                _have(folder, owner, -1, _PRIVATE)
            else:
                _have(folder, owner, group, _FOR_GROUP)
        except OSError as error:
            self._tell(f"{error.filename or name}: {error.strerror}")
            return ""
        self._failed = ""
        return str(folder)

    def for_admin(self, pools: Mapping[str, PoolSettings], admin: PoolSettings) -> str:
        """The folder of all; empty if no pool has its metrics in it."""
        self._ids.clear()
        for name, pool in pools.items():
            self.of_pool(name, pool, admin)
        if not self.path:
            return ""
        try:
            _have(Path(self.path, _FOLDED), self._ids_of(admin)[0], -1, _PRIVATE)
        except OSError as error:
            self._tell(f"{error.filename or self.path}: {error.strerror}")
        return self.path

    def _ids_of(self, pool: PoolSettings) -> tuple[int, int]:
        """Raises OSError: There is no such user or group any more."""
        key = pool.user, pool.group
        if key not in self._ids:
            self._ids[key] = _uid(pool), _gid(pool)
        return self._ids[key]

    def _tell(self, reason: str) -> None:
        if reason != self._failed:
            self._failed = reason
            self._recorder.write(MetricsFolderUnusable(reason=reason))

    def _root(self, *, foreign: bool) -> Path:
        if not self.path:
            self.path = str(_make_root(self._instance))
        if foreign:
            with suppress(OSError):  # the folder above is not ours: whoever made it has let them in, or not
                paths.let_enter(Path(self.path).parent)
        return Path(self.path)

    def remove(self) -> None:
        """At the end: whatever is in it goes, up to a bound."""
        if self.path:
            _remove(Path(self.path))
            self.path = ""


def _make_root(name: str) -> Path:
    try:
        parent = paths.control_path(name, os.environ, os.geteuid()).parent
        paths.make_folder(parent)
    except paths.NoRuntimeDirectoryError:
        made = Path(tempfile.mkdtemp(prefix=f"gwctl-{name}-metrics-"))
        made.chmod(_LISTED)
        return made
    for stale in _stale(parent, name):
        _remove(stale)
    root = parent / f"{name}.metrics-{os.getpid()}"
    root.mkdir()
    root.chmod(_LISTED)
    return root


def _stale(parent: Path, name: str) -> list[Path]:
    """Those of masters of that name that are not there any more."""
    form = re.compile(re.escape(name) + r"\.metrics-([0-9]{1,10})")
    pids = {each: int(found[1]) for each in parent.iterdir() if (found := form.fullmatch(each.name))}
    return [each for each, pid in pids.items() if pid == os.getpid() or not _lives(pid)]


def _lives(pid: int) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    with suppress(OSError), reach(path) as place:
        remove_tree(place.name, _ENTRIES_MAX, place.folder)


def _have(folder: Path, uid: int, gid: int, mode: int) -> None:
    """Make it, or change whose it is: the settings may have changed. It stands in a folder of ours alone."""
    with suppress(FileExistsError):
        folder.mkdir(_PRIVATE)
    found = folder.stat()
    if found.st_uid != uid or gid not in {-1, found.st_gid}:
        os.chown(folder, uid, gid)
    if found.st_mode & 0o7777 != mode:
        folder.chmod(mode)  # after chown(2), which takes the group's bit away


def _uid(pool: PoolSettings) -> int:
    """Raises OSError: There is no such user any more."""
    if not pool.user or os.geteuid() != 0:
        return os.geteuid()
    found = users.uid(pool.user)
    if found is None:
        raise OSError(0, "there is no such user", pool.user)
    return found


def _gid(pool: PoolSettings) -> int:
    """Raises OSError: There is no such group any more."""
    if pool.group:
        group = users.group(pool.group)
        if group is not None or users.is_id(pool.group):
            return group.gr_gid if group is not None else int(pool.group)
        raise OSError(0, "there is no such group", pool.group)
    user = users.user(pool.user) if pool.user else None
    return user.pw_gid if user is not None else os.getegid()
