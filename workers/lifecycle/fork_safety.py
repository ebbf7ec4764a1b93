"""What an application's import leaves in a template that does not go well with forking workers from it.

Threads exist in the process that started them and in none that is forked from it; a lock that one
of them holds stays locked there. A connection, or an event loop, is the same in all workers: they would
read each other's answers. Neither can be mended here, so it is said, with names.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_FDS: Final = Path("/proc/self/fd")
_TASKS: Final = Path("/proc/self/task")
_LOOP: Final = "anon_inode:[eventpoll]"
_NAMED_MAX: Final = 5


def descriptors() -> dict[int, str]:
    """What is open now, by number."""
    found = {}
    for entry in _FDS.iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)  # noqa: PTH115 - links to no files
        except OSError:
            continue  # that of the listing itself
    return found


def warnings(before: dict[int, str], log_fd: int = -1) -> Iterator[str]:
    """Say what the import left behind.

    Args:
        before: What was open when it began.
        log_fd: The event log's own, which may have been opened since.
    """
    opened = {fd: what for fd, what in descriptors().items() if before.get(fd) != what and fd != log_fd}
    threads = _threads()
    if threads:
        yield (
            f"the application started {_listed('thread', threads)} at import: they do not exist in "
            "workers, and what they have locked stays locked there. Start them in the worker (lifespan, "
            "first use, os.register_at_fork)"
        )
    sockets = [f"descriptor {fd}{_peer(fd)}" for fd, what in opened.items() if what.startswith("socket:")]
    if sockets:
        yield (
            f"the application opened {_listed('socket', sockets)} at import: all workers have the "
            "same, and mix up what comes over it. Connect in the worker, or close it before the import ends"
        )
    children = _children()
    if children:
        yield (
            f"the application started {_listed('child process', children)} at import: all workers of this "
            "generation share them, and they end after the workers. What is connected to them has to be made "
            "anew in each worker, as multiprocessing's managers do by themselves"
        )
    if _LOOP in opened.values():
        yield (
            "the application made an event loop at import: it is not the one that serves, and all workers "
            "share it. Make it in the worker"
        )


def _threads() -> list[str]:
    named = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    others = sum(1 for _ in _TASKS.iterdir()) - 1 - len(named)
    return named + ["of a C library"] * max(0, others)


def _children() -> list[str]:
    """Name the child processes, as multiprocessing or the kernel does; but for its resource tracker."""
    named = {}
    if (process := sys.modules.get("multiprocessing.process")) is not None:
        named = {child.pid: child.name for child in process._children}  # noqa: SLF001 - active_children() reaps
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    harmless = tracker._resource_tracker._pid if tracker is not None else None  # noqa: SLF001 - as above
    found = []
    for task in _TASKS.iterdir():
        with contextlib.suppress(OSError):  # the thread has ended, or the kernel does not tell
            found += [int(pid) for pid in (task / "children").read_text("ascii").split()]
    return [f"{pid} {named.get(pid) or _command(pid)}" for pid in sorted(found) if pid != harmless]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "(gone)"


def _peer(fd: int) -> str:
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            peer = sock.getpeername()
    except OSError:
        return ""
    return f" to {peer[0]}:{peer[1]}" if isinstance(peer, tuple) else f" to {peer!r}" if peer else ""


def _listed(what: str, names: list[str]) -> str:
    """``2 threads (poller, reporter)``."""
    count = len(names)
    more = f" and {count - _NAMED_MAX} more" if count > _NAMED_MAX else ""
    plural = "es" if what.endswith("ss") else "s"
    return f"{count} {what}{plural if count > 1 else ''} ({', '.join(names[:_NAMED_MAX])}{more})"
