"""gwctl's own threads and tasks, told from those of the application they run in one process with.

The end of a worker waits for what the application has begun and for nothing of ours. And what is
ours is not the application's to end: one that cancels `asyncio.all_tasks()` cancels its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar
from weakref import WeakSet

from gwctl.workers.app.monkey_patches import patched_by

T = TypeVar("T")

_threads: Final[WeakSet[threading.Thread]] = WeakSet()


def start_thread(target: Callable[..., None], name: str, *args: Any) -> threading.Thread:
    """Start a thread that nobody waits for, in which application code may run.

    Threads that the application starts there are not daemons for being started there: a new thread
    takes that over from the one it is started in, and what it does would be thrown away at the end.

    Raises:
        RuntimeError: The machine has no thread left, or the application has made threads something else.
    """
    library = patched_by()
    if library is not None:
        raise RuntimeError(f"threads are patched by {library}")
    thread = threading.Thread(target=_run, args=(target, args), name=name, daemon=True)
    _threads.add(thread)
    thread.start()
    return thread


def _run(target: Callable[..., None], args: tuple[Any, ...]) -> None:
    # What new threads take over. Nobody joins this one: that was settled when it was started.
    threading.current_thread()._daemonic = False  # type: ignore[attr-defined]  # noqa: SLF001
    target(*args)


def is_own(thread: threading.Thread) -> bool:
    """Tell whether ``thread`` was started by `start_thread`."""
    return thread in _threads


class OwnTask(asyncio.Task[T]):
    """A task that only `end` cancels."""

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002 - asyncio's
        """Do nothing: whoever cancels all tasks means the application's."""
        return False

    def end(self) -> bool:
        return super().cancel()
