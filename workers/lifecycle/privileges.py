"""Limits and identity of a worker: what is set while it may still be root, and how root is left.

Order: open files, OOM score, groups, gid, uid, umask. After `drop` root cannot be had again,
and that is tried, not assumed.

HOME, USER and LOGNAME follow the user (as systemd and login set them): an application that
looks for ``~`` would otherwise be sent to root's home, which it cannot read. ``env`` and
``env_file`` are applied later and win.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
from pathlib import Path
from typing import Final

from msgspec import Struct

from gwctl.config.model.settings import PoolSettings
from gwctl.config.model.types import NOFILE_MIN
from gwctl.errors import BootError
from gwctl.log.event_log import Log

OOM_SCORE_RAISE: Final = 100
"""A worker is a better victim than its master: it can be replaced."""
_OOM_SCORE_MAX: Final = 1000
_OOM_SCORE_FILE: Final = "/proc/self/oom_score_adj"


class Identity(Struct, frozen=True):
    """Who a worker becomes. ``name`` is empty for a number without an entry; -1: no change."""

    uid: int
    gid: int
    name: str = ""
    home: str = ""


def set_limits(settings: PoolSettings, log: Log) -> None:
    """Apply ``nofile`` and raise the OOM score. What the kernel refuses is logged, not fatal.

    Raises:
        BootError: So few open files that libuv would abort the process.
    """
    if settings.nofile:
        _set_open_files(settings.nofile, log)
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < NOFILE_MIN:
        raise BootError(
            f"it may have {soft} open files, and needs at least {NOFILE_MIN} and one for each connection: "
            "raise `nofile` (or LimitNOFILE= of the service, ulimit -n)"
        )
    _raise_oom_score(log)


def _set_open_files(wanted: int, log: Log) -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    if unlimited or wanted <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (ValueError, OSError):  # EPERM comes as ValueError
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        log.warning(
            f"nofile = {wanted} is over the hard limit {hard} and may not be raised: using {hard} "
            "(LimitNOFILE= of the service, or CAP_SYS_RESOURCE)"
        )


def _raise_oom_score(log: Log) -> None:
    try:
        with Path(_OOM_SCORE_FILE).open("r+", encoding="utf-8") as file:
            score = min(int(file.read()) + OOM_SCORE_RAISE, _OOM_SCORE_MAX)
            file.seek(0)
            file.write(str(score))
    except OSError as error:  # not Linux, or a hardened container
        log.debug(f"{_OOM_SCORE_FILE} could not be raised: {error.strerror}")


def identity(user: str, group: str) -> Identity:
    """Look up ``user`` and ``group``, each a name, a number or empty.

    Raises:
        BootError: There is none of that name, or a number has no group to go with it.
    """
    uid, gid, name, home = -1, -1, "", ""
    if user:
        entry = _user_entry(user)
        if entry is not None:
            uid, gid, name, home = entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir
        else:
            uid = int(user)
    if group:
        gid = _group_id(group)
    elif uid != -1 and gid == -1:
        raise BootError(f"user {user} has no entry in the password database: set `group` too")
    return Identity(uid, gid, name, home)


def _user_entry(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        if not user.isdecimal():
            raise BootError(f"there is no user {user!r}") from None
    try:
        return pwd.getpwuid(int(user))
    except (KeyError, OverflowError):
        return None


def _group_id(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if group.isdecimal():
            return int(group)
        raise BootError(f"there is no group {group!r}") from None


def drop(who: Identity) -> None:
    """Become ``who`` for good: supplementary groups, then gid, then uid.

    Raises:
        BootError: This process may not, or root could be regained.
    """
    change_uid = who.uid not in (-1, os.getuid()) or (who.uid != -1 and os.geteuid() != who.uid)
    change_gid = who.gid not in (-1, os.getgid())
    if change_uid or change_gid:
        try:
            _set_groups(who)
            if who.gid != -1:
                _set_all_gids(who.gid)
            if change_uid:
                _set_all_uids(who.uid)
        except PermissionError:
            wanted = who.name or who.uid if change_uid else f"group {who.gid}"
            raise BootError(f"cannot become {wanted}: uid {os.geteuid()} may not change users") from None
        except (OSError, OverflowError) as error:
            raise BootError(f"cannot become uid {who.uid}, gid {who.gid}: {error}") from None
    if who.uid > 0:
        _assert_root_is_gone()
    if change_uid and who.name:
        os.environ.update(HOME=who.home, USER=who.name, LOGNAME=who.name)


def _set_groups(who: Identity) -> None:
    gid = who.gid if who.gid != -1 else os.getgid()
    if who.name:
        os.initgroups(who.name, gid)
    else:
        os.setgroups([gid])


def _set_all_gids(gid: int) -> None:
    if hasattr(os, "setresgid"):
        os.setresgid(gid, gid, gid)
    else:
        os.setgid(gid)


def _set_all_uids(uid: int) -> None:
    if hasattr(os, "setresuid"):
        os.setresuid(uid, uid, uid)
    else:
        os.setuid(uid)


def _assert_root_is_gone() -> None:
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise BootError("root could be regained after setuid: this process holds CAP_SETUID")


def set_umask(umask: str) -> None:
    if umask:
        os.umask(int(umask, 8))
