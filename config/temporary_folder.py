"""Whether workers can keep large request bodies in a temporary file: asked before the first comes.

Python takes the first folder of TMPDIR, TEMP, TMP, /tmp, /var/tmp, /usr/tmp and the working directory
in which a file can be made, without a word about those that it passes over. Here permissions are
read, as the user that the workers will be; a disk that is full is noticed when it is written to.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.config.variables import given

_VARIABLES: Final = ("TMPDIR", "TEMP", "TMP")
_USUAL: Final = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - Python's, asked about and not used


def warnings(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """What to say about the pools of ``settings``, of a master that has ``environ``."""
    for name, pool in settings.pool.items():
        text = _warning(pool, environ)
        if text:
            yield f"pool.{name}: {text}"


def _warning(pool: PoolSettings, environ: Mapping[str, str]) -> str:
    user = _user(pool)
    if user is None:
        return ""  # there is no such user: the workers will say so
    variables = _variables(pool, environ)
    named = [(variable, variables[variable]) for variable in _VARIABLES if variables.get(variable)]
    troubles = []
    for variable, folder in named:
        trouble = user.trouble(Path(pool.chdir, folder))
        if not trouble:
            break
        troubles.append(f"{variable}={folder} cannot be used: {trouble}")
    else:
        folder = next((each for each in (*_USUAL, pool.chdir) if not user.trouble(Path(each))), "")
        if folder not in _USUAL:
            troubles.append(f"{user.name} may not write in {', '.join(_USUAL[:2])}")
    if not troubles:
        return ""
    bodies = f"bodies over body_memory_bytes ({pool.limits.body_memory_bytes})"
    if folder:
        return f"{'; '.join(troubles)}. Request {bodies} are kept in {folder} instead"
    return (
        f"{'; '.join(troubles)}. No folder is left for request {bodies}, "
        "which will be answered with an error. Set env.TMPDIR to a folder in which the workers may write"
    )


def _variables(pool: PoolSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """As `gwctl.workers.lifecycle.environment` sets them."""
    return {**environ, **given(pool)}


class _User(Struct, frozen=True):
    """Who writes: another user, by what the mode of a folder says; or ourselves, by asking the kernel."""

    name: str
    uid: int = -1
    groups: frozenset[int] = frozenset()

    def trouble(self, folder: Path) -> str:
        """Return why no file can be made in ``folder``; empty if one can."""
        try:
            found = folder.stat()
            read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
        except OSError as error:
            return error.strerror or str(error)
        if not stat.S_ISDIR(found.st_mode):
            return "it is not a folder"
        if read_only:
            return "it is on a read-only file system"
        if self.uid < 0:
            may = os.access(folder, os.W_OK | os.X_OK)
        else:
            above = all(self._may(parent.stat(), 1) for parent in folder.resolve().parents)
            may = above and self._may(found, 3)
        return "" if may else f"{self.name} may not write there"

    def _may(self, found: os.stat_result, wanted: int) -> bool:
        """``wanted`` are bits of a mode: 2 to write, 1 to pass."""
        if self.uid == 0:
            return True
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid in self.groups else 0
        return found.st_mode >> shift & wanted == wanted


def _user(pool: PoolSettings) -> _User | None:
    if os.geteuid() != 0 or not (pool.user or pool.group):
        return _User(f"uid {os.geteuid()}")
    try:
        entry = _entry(pool.user)
        gid = _gid(pool.group) if pool.group else entry.pw_gid if entry else os.getgid()
    except KeyError:
        return None
    if not pool.user:
        return _User(f"uid {os.getuid()}", os.getuid(), frozenset((gid,)))
    if entry is None:
        return _User(f"uid {pool.user}", int(pool.user), frozenset((gid,)))
    groups = frozenset(os.getgrouplist(entry.pw_name, gid))
    return _User(f"uid {entry.pw_uid} ({entry.pw_name})", entry.pw_uid, groups)


def _entry(user: str) -> pwd.struct_passwd | None:
    """Raise KeyError if there is no such user; None: a number without an entry."""
    if not user:
        return None
    try:
        return pwd.getpwnam(user)
    except KeyError:
        if not user.isdecimal():
            raise
    try:
        return pwd.getpwuid(int(user))
    except (KeyError, OverflowError):
        return None


def _gid(group: str) -> int:
    return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
