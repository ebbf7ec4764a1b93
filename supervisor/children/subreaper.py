"""The master as the parent of those whose parent has ended.

A template forks a worker through a process in between that ends at once, so that the worker becomes a
child of the nearest ancestor that asked for such orphans. With that the master waits for it as for one
that it forked itself. Asked for when the first template is made: from then on it also gets, and
reaps, what applications leave behind.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> None:
    """Ask for them. It lasts for the life of this process, an exec included; children do not inherit it.

    Raises:
        OSError: The kernel refuses, or there is no such thing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "prctl"):
        raise OSError(0, "orphans cannot be adopted on this system")
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def is_child_of(template: int, pid: int) -> bool:
    """Tell whether ``pid`` is a child of this process and of the user of ``template``, which says so.

    Others are nothing to signal by that word: this process may be root, and pid anybody's.
    """
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, OverflowError):
        return False
    user = _user_of(pid)
    return user == _user_of(template) and (user >= 0 or os.geteuid() != 0)


def _user_of(pid: int) -> int:
    """Real user id; -1: /proc does not say."""
    try:
        text = (Path("/proc") / str(pid) / "status").read_text("utf-8", "replace")
    except OSError:
        return -1
    return int(text.partition("\nUid:")[2].split()[0])
