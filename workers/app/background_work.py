"""What an application has going on besides its requests: asyncio tasks, threads, jobs of executors.

The end of a worker waits for *work*, which is begun to be finished, and not for *services*, which run
until somebody ends them (consumers, pollers, pools of idle threads): the lifespan's shutdown and the
interpreter's exit functions do that. Python does not know one from the other. Here it is a service

- if it was there when the worker became ready,
- if it goes on for longer than ``drain_timeout_s`` already,
- if it is a thread that waits for its next job: an executor's, or one that sits in `queue.Queue.get`,
- if it is a daemon thread, which is what the word means.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from concurrent.futures import thread as executors
from types import CodeType, FrameType
from typing import Any, Final
from weakref import WeakSet

from gwctl.workers.app.own_threads import OwnTask, is_own
from gwctl.workers.observe.introspection import FRAMES_MAX, stack_of
from gwctl.workers.observe.introspection import is_ours as is_our_task
from gwctl.workers.observe.tracebacks import is_machinery

INTERVAL_MIN_S: Final = 5.0
_TASKS_MAX: Final = 2000
"""Of more tasks it is not remembered since when they are there: that would take too long."""
_WAITING: Final = {threading.__file__, queue.__file__}
_executor_loop: Final[CodeType] = executors._worker.__code__  # noqa: SLF001 - where its idle threads wait
_jobs: Final[Any] = executors._threads_queues  # noqa: SLF001 - executors' threads, and what they take jobs from


class Background:
    """Knows what of the application is work under way. ``drain_timeout_s`` is how long work may take."""

    def __init__(self, drain_timeout_s: float) -> None:
        self._every_s = max(drain_timeout_s, INTERVAL_MIN_S)
        self._services: WeakSet[Any] = WeakSet()
        self._seen: WeakSet[Any] = WeakSet()
        self._check_at = 0.0

    def started(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """The worker is ready: what goes on now does so for as long as the worker."""
        self._services.update([*self.tasks(loop), *self.threads()])
        self._check_at = now + self._every_s

    def check(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """See what has been going on since the last check. To be called every few seconds."""
        if now < self._check_at:
            return
        self._check_at = now + self._every_s
        few = len(asyncio.all_tasks(loop)) <= _TASKS_MAX
        going_on: set[Any] = {*self.threads(), *(self.tasks(loop) if few else ())}
        self._services.update(going_on.intersection(self._seen))
        self._seen = WeakSet(going_on)

    def tasks(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
        """Return the tasks that are work under way."""
        found = application_tasks(loop)
        return [task for task in found if task not in self._services and not is_our_task(task)]

    def threads(self) -> list[threading.Thread]:
        """Return the threads in which work is under way."""
        return [thread for thread in busy_threads() if thread not in self._services]


def application_tasks(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    """Return all tasks of ``loop`` that may be cancelled at its end; not the current one."""
    current = asyncio.current_task(loop)
    return [task for task in asyncio.all_tasks(loop) if not isinstance(task, OwnTask) and task is not current]


def waited_for() -> list[threading.Thread]:
    """Return the threads whose end the interpreter would wait for at its own."""
    main = threading.main_thread()
    return [
        thread
        for thread in threading.enumerate()
        if thread is not main and not is_own(thread) and (not thread.daemon or thread in _jobs)
    ]


def busy_threads() -> list[threading.Thread]:
    """Of the threads that are waited for, return those that do not just wait for a job."""
    frames = sys._current_frames()  # noqa: SLF001 - the way to another thread's stack
    return [each for each in waited_for() if not _is_idle(each, frames.get(each.ident or 0))]


def is_busy(thread: threading.Thread) -> bool:
    """Tell whether code of the application has ``thread``, whosever it is."""
    return len(told_thread(thread)) > 1


def _is_idle(thread: threading.Thread, frame: FrameType | None) -> bool:
    pending = getattr(thread, "pending_work_items", None)
    if isinstance(pending, dict):  # it manages the processes of a ProcessPoolExecutor
        return not pending
    if frame is not None and frame.f_code is _executor_loop:
        jobs = _jobs.get(thread)
        return jobs is None or jobs.empty()
    while frame is not None and frame.f_code.co_filename in _WAITING:
        if frame.f_code.co_filename == queue.__file__ and frame.f_code.co_name == "get":
            return True
        frame = frame.f_back
    return False


# ---- in words


def told_task(task: asyncio.Task[Any]) -> list[str]:
    """Name ``task`` and say where it stands, in lines."""
    return [f"task {task.get_name()}", *(f"  {frame}" for frame in stack_of(task))]


def told_thread(thread: threading.Thread) -> list[str]:
    """Name ``thread`` and say where it stands, in lines."""
    return [f"thread {thread.name}", *(f"  {line}" for line in frames_of(thread.ident or 0))]


def frames_of(ident: int) -> list[str]:
    """Return where the thread with that ident stands, as `stack_from` does."""
    return stack_from(sys._current_frames().get(ident))  # noqa: SLF001 - as above


def stack_from(frame: FrameType | None) -> list[str]:
    """Return the frames from ``frame`` outwards as faulthandler writes them; without ours."""
    lines: list[str] = []
    while frame is not None and len(lines) < FRAMES_MAX:
        code = frame.f_code
        if not (is_machinery(code.co_filename) or code.co_filename in _WAITING):
            lines.append(f'File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}')
        frame = frame.f_back
    return lines
