"""Why a worker could not be started, in words that say what to do.

The subject of such a line is the slot; what failed is the machine or a limit, not the application.
"""

from __future__ import annotations

import errno
import resource
from typing import Final

_DESCRIPTORS: Final = "LimitNOFILE= in the service unit, ulimit -n in a shell"


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
        case errno.ENOMEM:
            return (
                f"{doing} was refused: the kernel has no memory for it. Give it more, set fewer `processes`, "
                "or look at vm.overcommit_memory"
            )
        case errno.ENOSPC:
            return (
                f"{doing} was refused: the master's user watches as many descriptors as it may. "
                "Raise fs.epoll.max_user_watches, or find who watches so many"
            )
        case _:
            return f"{doing} failed: {error.strerror}"
