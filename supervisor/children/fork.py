"""The fork, and the one door between supervisor and workers.

The master is single-threaded, so a fork copies no half-held lock. Signals are blocked from
before the fork until the child has its own handlers. The child's first acts take the
master's things away from it (see `Loop.close_in_child`); from then on it is
`gwctl.workers.lifecycle.boot` that runs, and it ends in ``os._exit``: no frame of the master's is ever
unwound in a worker.
"""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from gwctl import memory_limits
from gwctl.config.model.settings import PoolSettings
from gwctl.ipc.assignment import Assignment
from gwctl.ipc.channel import WorkerFailed
from gwctl.supervisor.children.stdio import leave_stdin, own_streams
from gwctl.supervisor.event_loop import clean_environment, signals_blocked


def share_with_workers(pools: Iterable[PoolSettings]) -> None:
    """Import what workers have in common, and see to it that they go on sharing it.

    A collection of garbage writes to every object it looks at, and a page that is written to is copied:
    what exists now is left out of collections, here and in all children.
    """
    from gwctl.workers.lifecycle.prefork_imports import import_for  # noqa: PLC0415 - only a master that starts needs them

    import_for(pools)
    gc.freeze()


def fork_worker(assignment: Assignment, close_in_child: Callable[[], None]) -> int:
    """Fork; the child boots ``assignment``, a worker or a template, and never returns here.

    ``close_in_child`` closes everything of the master that is not the child's.

    Raises:
        OSError: The fork failed (EAGAIN, ENOMEM); there is no child.
    """
    with signals_blocked():
        pid = os.fork()
        if pid == 0:
            _child(assignment, close_in_child)
    return pid


def _child(assignment: Assignment, close_in_child: Callable[[], None]) -> NoReturn:
    """Run in the child with all signals blocked: hygiene first, then the worker's own code."""
    try:
        close_in_child()
        clean_environment()
        os.setpgid(0, 0)
        leave_stdin()
        own_streams()
        if assignment.template:
            from gwctl.workers.lifecycle import template  # noqa: PLC0415 - the master must not import the workers

            template.run(assignment)
        from gwctl.workers.lifecycle import boot  # noqa: PLC0415 - as above

        boot.run(assignment)
    except BaseException as error:  # noqa: BLE001 - last frame of the child: nothing may unwind into the master's
        if reason := memory_limits.reason(error):
            assignment.channel.send(WorkerFailed("boot", reason, ""))
            assignment.channel.flush()
        else:
            traceback.print_exc()
    finally:
        os._exit(1)
