"""Why a worker could not be started, in words that say what to do.

The subject of such a line is the slot; what failed is the machine or a limit, not the application.
"""

from __future__ import annotations

import errno
import resource
from typing import Final

from gwctl import memory_limits
from gwctl.config.model.types import NOFILE_MIN
from gwctl.errors import GwctlError

_DESCRIPTORS: Final = "LimitNOFILE= in the service unit, ulimit -n in a shell"


class LimitError(GwctlError):
    """A limit of this process is too low for a master."""


def check_descriptors() -> None:
    """To be called before anything is opened: what fails later says less, and is tried again for ever.

    Raises:
        LimitError: So few descriptors that no worker could be started.
    """
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft != resource.RLIM_INFINITY and soft < NOFILE_MIN:
        raise LimitError(
            f"gwctl may have {soft} open files, and needs at least {NOFILE_MIN} and three for each worker "
            f"(five with capture_output). Raise it: {_DESCRIPTORS}"
        )


def check_memory() -> None:
    """To be called before anything is opened.

    Raises:
        LimitError: So little memory that no worker could become ready.
    """
    if reason := memory_limits.too_low():
        raise LimitError(reason)


def why(error: OSError, doing: str) -> str:
    """Explain ``error``, which came while ``doing`` ("fork", "a channel to it")."""
    match error.errno:
        case errno.EMFILE:
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            return f"the master has no descriptor left (its limit is {soft}). Raise it: {_DESCRIPTORS}"
        case errno.ENFILE:
            return "the machine has no open file left (fs.file-max). Raise that, or find who holds so many"
        case errno.EAGAIN:
            return (
                f"{doing} was refused: no further process is allowed. Raise TasksMax= in the service unit, "
                "pids.max of the cgroup or ulimit -u, or find who has so many"
            )
        case errno.ENOMEM if limits := memory_limits.hint(error):
            return f"{doing} was refused{limits}"
        case errno.ENOMEM:
            return (
                f"{doing} was refused: the kernel has no memory for it. Give it more, set fewer `processes`, "
                "or look at vm.overcommit_memory"
            )
        case errno.EFBIG:  # also of what is in memory only
            soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
            return (
                f"{doing} was refused: the master's files may not be larger than {soft} bytes. "
                "Raise LimitFSIZE= in the service unit, ulimit -f in a shell"
            )
        case errno.ENOSPC:
            return (
                f"{doing} was refused: the master's user watches as many descriptors as it may. "
                "Raise fs.epoll.max_user_watches, or find who watches so many"
            )
        case _:
            return f"{doing} failed: {error.strerror}"
