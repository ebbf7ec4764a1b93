"""The end of a worker, step by step: what Python promises its programs, within a time.

    work            tasks and threads that the application's requests have begun finish (`background`)
    tasks           those that have not are cancelled, so that their ``finally`` runs
    lifespan        its shutdown
    services        all other tasks are cancelled
    generators      asynchronous generators are closed
    executor        the loop's default one is shut down
    threads         threading's exit functions (executors are shut down), then threads are joined
    exit functions  atexit's; multiprocessing's among them ends daemonic children
    exit

The same in all classes and with preload, whoever asked for the end. `limit` says how long work may take;
`EXIT_GRACE_S` after that this process is gone. What does not end by itself in its step is cut, named, and the
next step follows. A step that does not give the main thread back is ended by another thread, which says where
it stands. (Where C code does not even give that one the interpreter, the master kills.)

At a quick stop no work is waited for. A boot that fails runs the last three steps.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Final, TypeVar
from weakref import WeakSet

from gwctl.ipc.assignment import EXIT_GRACE_S
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.app.background_work import (
    Background,
    application_tasks,
    busy_threads,
    is_busy,
    stack_from,
    told_task,
    told_thread,
)
from gwctl.workers.app.lifespan import Lifespan, in_loop
from gwctl.workers.app.own_threads import OwnTask, is_own, start_thread
from gwctl.workers.app.standard_streams import flush_stdio
from gwctl.workers.observe.tracebacks import fault, summary

T = TypeVar("T")

NAMED_MAX: Final = 10
"""Tasks and threads that are named one by one."""
_CANCEL_S: Final = 0.3
"""A task that is cancelled gets at least so long for it."""
_LIFESPAN_MIN_S: Final = 0.2
_AFTER_LIFESPAN_S: Final = 0.7
"""Of the farewell, for what comes after the lifespan's shutdown."""
_AFTER_LOOP_S: Final = 0.65
"""Of the farewell, for what comes after the loop's steps."""
_THREADS_S: Final = 0.2
_CALL_S: Final = 0.1
"""At least so long for each exit function of threading."""
_AFTER_THREADS_S: Final = 0.4
"""Of the farewell, for the application's exit functions."""
_POLL_S: Final = 0.02
_LAST_WRITES_S: Final = 0.1


class Ending:
    """The end of this process. All but `limit` is for the main thread, or that of the application's loop."""

    def __init__(self, log: Log, background: Background) -> None:
        self._log = log
        self._background = background
        self._main = threading.get_ident()
        self._work_until = inf
        self._gone_at = inf
        self._why = ""
        self._level = Level.WARNING
        self._step = ""
        self._since = 0.0
        self._watched = False
        self._status = 0
        self._unresponsive: WeakSet[asyncio.Task[Any]] = WeakSet()  # to being cancelled
        self._cut: dict[int, list[str]] = {}  # what is told of each task and thread, by its id

    # ---- its time

    def limit(self, work_s: float, why: str, *, quietly: bool = False) -> None:
        """Let work take ``work_s`` from now, if that is less than it had. Safe in a signal's handler.

        ``why`` begins the line about what is cut; ``quietly``: whoever asked knows that something will be.
        """
        until = monotonic() + work_s
        if until < self._work_until:
            self._work_until = until
            self._gone_at = until + EXIT_GRACE_S
            self._why = why
            self._level = Level.INFO if quietly else Level.WARNING

    def begin(self, step: str) -> None:
        """From now on this process ends in time, whatever it does."""
        self._step = step
        self._since = monotonic()
        if not self._watched:
            self._watched = True
            with suppress(RuntimeError):  # no thread left: it ends without being watched
                _thread.start_new_thread(self._watch, ())

    def _until(self, least_s: float, reserved_s: float = 0.0) -> float:
        """Return when the present step is to be over: with the time for work, and not before ``least_s``.

        ``reserved_s`` of the farewell are for the steps that follow.
        """
        return max(self._work_until, min(self._since + least_s, self._gone_at - reserved_s))

    # ---- while the loop turns

    async def in_loop(self, lifespan: Lifespan | None, requests: list[asyncio.Task[Any]]) -> None:
        """All steps that need the loop of the application, in which this runs.

        ``requests``: tasks of requests that nobody waits for any more.
        """
        loop = asyncio.get_running_loop()
        self.begin("work in the background")
        await self._wait_for_work(loop)
        late = self._background.tasks(loop)
        self._note(told_task, late)
        await self._cancel(late, self._until(_CANCEL_S))
        # They have been cancelled and waited for before.
        await self._cancel(requests, monotonic() + _CANCEL_S)
        self.begin("the lifespan's shutdown")
        if lifespan is not None:
            left_s = self._lifespan_until() - monotonic()
            await self._within(lifespan.shutdown(left_s), lambda: self._lifespan_until() + _POLL_S)
        self.begin("the end of tasks")
        await self._cancel(application_tasks(loop), self._until(_CANCEL_S))
        self.begin("the end of asynchronous generators")
        await self._within(loop.shutdown_asyncgens(), lambda: self._until(_CANCEL_S))
        self.begin("the end of the default executor")
        await self._wait_for_work(loop)
        if not busy_threads():
            await loop.shutdown_default_executor()

    async def in_other_loop(
        self,
        loop: asyncio.AbstractEventLoop,
        lifespan: Lifespan | None,
        requests: list[asyncio.Task[Any]],
    ) -> None:
        """The same in ``loop``, which turns in another thread, and need not do so any more."""
        self.begin("work in the background")
        steps = in_loop(loop, self.in_loop(lifespan, requests))
        while not steps.done() and monotonic() < self._gone_at - _AFTER_LOOP_S:
            await asyncio.wait((steps,), timeout=_POLL_S)
        if steps.done():
            await steps
        else:
            self._note(
                told_thread, [each for each in threading.enumerate() if is_own(each) and is_busy(each)]
            )

    def _lifespan_until(self) -> float:
        return max(self._gone_at - _AFTER_LIFESPAN_S, self._since + _LIFESPAN_MIN_S)

    async def _wait_for_work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until no work is left, and has not been at two looks: jobs follow each other."""
        idle = 0
        while idle < 2 and monotonic() < self._work_until:
            tasks = self._background.tasks(loop)
            idle = 0 if tasks or self._background.threads() else idle + 1
            if tasks:
                await asyncio.wait(tasks, timeout=_POLL_S)
            else:
                await asyncio.sleep(0 if idle else _POLL_S)

    async def _cancel(self, tasks: list[asyncio.Task[Any]], until: float) -> None:
        """Cancel ``tasks`` and wait for their end; what they raise is reported as a loop's end does it.

        ``until`` becomes less when the time for work does. Who was cancelled before and did not end is
        not waited for again.
        """
        for task in tasks:
            task.cancel()
        left = {task for task in tasks if task not in self._unresponsive}
        while left and monotonic() < min(until, self._until(_CANCEL_S)):
            _, left = await asyncio.wait(left, timeout=_POLL_S)
        self._unresponsive.update(left)
        self._note(told_task, left)
        loop = asyncio.get_running_loop()
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                message = "a task raised when it was cancelled, as its worker ends"
                loop.call_exception_handler({"message": message, "exception": error, "task": task})

    async def _within(self, step: Awaitable[Any], until: Callable[[], float]) -> None:
        """Await ``step``, but not longer than ``until`` says, which may become less meanwhile."""

        async def awaited() -> None:
            await step

        task = OwnTask(awaited())
        while not task.done() and monotonic() < until():
            await asyncio.wait((task,), timeout=_POLL_S)
        if not task.done():
            task.end()
            await asyncio.wait((task,), timeout=_POLL_S)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            self._failed(self._step, error)

    # ---- afterwards

    def after_loop(self, status: int = 0) -> None:
        """All steps for which no loop turns. ``status`` is that of the exit, also if it has to be forced."""
        self._status = status
        self.begin("threads")
        self._end_threads()
        self._tell()
        self.begin("the application's exit functions")
        atexit._run_exitfuncs()  # noqa: SLF001 - public only through the interpreter's own end
        self.begin("the end of daemonic children")
        end_children(signal.SIGTERM)
        self.begin("the last output")

    def _end_threads(self) -> None:
        """As `threading._shutdown`, which knows no limit. In threads, since so are the functions it calls."""
        callers = []
        for function in reversed(getattr(threading, "_threading_atexits", ())):
            try:
                caller = start_thread(self._call, "gwctl-exit", function)
            except RuntimeError:
                break
            callers.append(caller)
            began = monotonic()  # one that comes late, as others did not end, is called all the same
            while caller.is_alive() and monotonic() < max(
                self._until(_THREADS_S, _AFTER_THREADS_S), began + _CALL_S
            ):
                caller.join(_POLL_S)
        idle = 0
        while idle < 2 and monotonic() < self._until(_THREADS_S, _AFTER_THREADS_S):
            busy = busy_threads()
            idle = 0 if busy else idle + 1
            if busy and not _join(busy[0]):
                return
        busy = busy_threads()
        self._note(told_thread, busy or [caller for caller in callers if caller.is_alive()])

    def _call(self, function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - of any kind; the next one is called all the same
            self._failed("an exit function of threading", error)

    def _failed(self, what: str, error: BaseException) -> None:
        self._log.error(f"{what} failed: {summary(error)}", fault=fault(error))

    # ---- what was cut

    def _note(self, told: Callable[[T], list[str]], what: Iterable[T]) -> None:
        for each in what:
            self._cut.setdefault(id(each), told(each))

    def _tell(self) -> None:
        """Say in one record what was cut."""
        if not self._cut:
            return
        told = list(self._cut.values())
        self._cut = {}
        tasks = sum(1 for lines in told if lines[0].startswith("task "))
        counts = [_counted(tasks, "task"), _counted(len(told) - tasks, "thread")]
        what = " and ".join(filter(None, counts))
        why, after = self._why, ""
        if monotonic() < self._work_until:  # nothing else is cut before that
            why, after = "the worker ends", ", although cancelled before"
        lines = [f"{why}: {what} of the application cut{after}"]
        lines += [line for one in told[:NAMED_MAX] for line in one]
        if len(told) > NAMED_MAX:
            lines.append(f"and {len(told) - NAMED_MAX} more")
        self._log.write(self._level, "\n".join(lines))

    # ---- the end of its time

    def _watch(self) -> None:
        """End this process when its time is over; the body of a thread."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
        while (left := self._gone_at - monotonic()) > 0:
            threading.Event().wait(min(left, 0.1))  # it may become less meanwhile
        frame = sys._current_frames().get(self._main)  # noqa: SLF001 - the way to the main thread's stack
        self._tell()
        lines = [f"{self._why}, and so is the farewell ({EXIT_GRACE_S:g} s): {self._step} cut"]
        lines += [f"  {line}" for line in stack_from(frame)]
        lines += [f"child process {child.pid} ({child.name}) lives on" for child in _children(daemon=False)]
        self._log.warning("\n".join(lines))
        end_children(signal.SIGKILL)
        with suppress(RuntimeError):
            # In a thread of its own: who is cut may be in the middle of a write to them.
            _thread.start_new_thread(flush_stdio, ())
        threading.Event().wait(_LAST_WRITES_S)
        self._log.flush()
        os._exit(self._status)


def end_children(signum: int) -> None:
    """Signal the daemonic children of multiprocessing that still live: their parent's end is theirs."""
    for child in _children(daemon=True):
        with suppress(OSError):
            os.kill(child.pid, signum)


def _children(*, daemon: bool) -> list[Any]:
    module = sys.modules.get("multiprocessing.process")
    own = os.getpid()
    found = [] if module is None else list(module._children)  # noqa: SLF001 - active_children() would reap them
    return [
        each
        for each in found
        if each.daemon == daemon and each._parent_pid == own and each.pid and each.exitcode is None  # noqa: SLF001
    ]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}" if count else ""


def _join(thread: threading.Thread) -> bool:
    """Wait for a thread for a moment; False where the application has made threads something else."""
    try:
        thread.join(_POLL_S)
    except RuntimeError:
        return False
    return True
