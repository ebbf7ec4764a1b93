"""Applications that replace the standard library's threads and sockets: gevent's and eventlet's patches.

What is patched waits in a loop of its own, which other servers have worker classes for. A sync
worker calls the application in its one thread: there what gevent has patched waits as long as
the call does, like any other code that blocks. Threads and asyncio made of patched modules do not
work, and eventlet takes away what a worker itself needs (select.poll).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gwctl.config.model.worker_class import WorkerClass

_GEVENT = "gevent (gevent.monkey.patch_all() or the like)"
_EVENTLET = "eventlet (eventlet.monkey_patch())"


def patched_by() -> str | None:
    """Name the library that has patched threads, sockets or select, and how; None: none has."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and any(map(gevent.is_module_patched, ("threading", "thread", "socket", "select"))):
        return _GEVENT
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and any(map(eventlet.is_monkey_patched, ("thread", "socket", "select"))):
        return _EVENTLET
    return None


def refusal(worker_class: WorkerClass, interface: str) -> str:
    """Say why a worker of ``worker_class`` cannot serve what was imported; empty if it can."""
    library = patched_by()
    in_sync = library == _GEVENT and interface == "wsgi"
    if library is None or (in_sync and worker_class.holds_loop):
        return ""
    why = (
        f"it patches the standard library for {library}, and threads and sockets so patched do not work "
        f"in a worker of class {worker_class}. Take the patching out"
    )
    if in_sync:
        why += ", or set `worker` to sync and raise `processes`: each serves one request at a time"
    return why


def refusal_of_preload() -> str:
    """Say why a template that has imported the application cannot be forked from; empty if it can."""
    library = patched_by()
    if library is None:
        return ""
    return (
        f"it patches the standard library for {library}, and a template of patched modules does not end "
        "as it should. Take the patching out, or set `preload` to false"
    )
