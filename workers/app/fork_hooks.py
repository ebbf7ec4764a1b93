"""Children that the application forks (os.fork, multiprocessing): what they hold, and that they never serve.

The hooks stand before the application is imported, in workers and in templates. A child

- lets go of everything of gwctl's: listeners, channel, exchange, the sockets of all clients. Their
  numbers are kept occupied by a pipe that is never written to: whatever still refers to them reaches nobody;
- waits at no epoll instance of its parent's: what one of them hears there the other never does, a
  wakeup by another thread among it (uvloop's loop would sleep for ever);
- has the default actions of signals, and a title of its own;
- must not come back. One that returns from the call in which it was forked, or raises, would serve
  on: a second response on the connection, and other clients' requests. It is ended where it comes back:

      from a WSGI call         by the call (`workers.wsgi`), which looks at `is_child`
      from a step of a task,   by the loop: asyncio finds that the current task is not the one whose step
        or a callback          ends, and its loop's exception handler ends the process
      from an executor's job   where its result would be set, or by the next job of that thread
      from the import          by the boot

  In a thread of the application's own it just ends with the thread.

A worker is forked from a template by `os.fork`, too: that one is announced (`expect_worker`).
"""

from __future__ import annotations

import asyncio
import os
import queue
import select
import sys
from _thread import get_ident
from collections.abc import Callable, Iterable
from concurrent import futures
from concurrent.futures import thread as executors
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from setproctitle import setproctitle

from gwctl.workers.observe.tracebacks import summary

if TYPE_CHECKING:
    from gwctl.log.event_log import Log


class Signals(Protocol):
    """What of a process's signals has to be seen to when it forks (`gwctl.workers.lifecycle.signals`)."""

    def before_fork(self) -> None: ...
    def after_fork(self) -> None: ...
    def leave_to_child(self) -> None: ...


is_child = False
"""This process was forked by the application."""

_executor_loop: Final = executors._worker.__code__  # noqa: SLF001 - the body of its threads
_executor_job: Final = executors._WorkItem.run.__code__  # noqa: SLF001 - what runs one of them


class _Guard:
    """What is done for the process that this is at present. There is one, as hooks cannot be taken back."""

    def __init__(self) -> None:
        self.installed = False
        self.expected = False
        self.name = ""
        self.log: Log | None = None
        self.signals: Signals | None = None
        self.descriptors: Callable[[], Iterable[int]] = tuple
        self.loops: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = {}
        self.forks = 0


_guard: Final = _Guard()


def guard(name: str, log: Log, signals: Signals, descriptors: Callable[[], Iterable[int]]) -> None:
    """See to the children of this process from now on.

    Args:
        name: What stands in their titles.
        log: Where it is said that one was ended.
        signals: Whose handlers are not theirs.
        descriptors: Says what is open and not theirs.
    """
    _guard.name, _guard.log, _guard.signals, _guard.descriptors = name, log, signals, descriptors
    _guard.expected = False
    if not _guard.installed:
        _guard.installed = True
        os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def expect_worker() -> None:
    """The next fork is that of a worker; which calls `guard` itself."""
    _guard.expected = True


def end_child(error: BaseException | None = None) -> NoReturn:
    """End this child, which has come back, with status 1 if by an ``error``."""
    how = f": {summary(error)}" if error is not None else ""
    log = _guard.log
    if log is not None and not _guard.forks & (_guard.forks - 1):
        log.warning(
            f"a child process that the application forked (pid {os.getpid()}) came back into its worker, and "
            "was ended: it answers nobody. End it by os._exit() where its work is done "
            f"(said for the 1st, 2nd, 4th ... fork of a process){how}"
        )
    os._exit(0 if error is None else 1)


def end_if_child(error: BaseException | None = None) -> None:
    """To be called where application code has returned, or raised ``error``."""
    if is_child:
        end_child(error)


# ---- the hooks


def _before() -> None:
    if _guard.expected:
        return
    _guard.forks += 1
    if _guard.signals is not None:
        _guard.signals.before_fork()
    loop = asyncio._get_running_loop()  # noqa: SLF001 - after the fork nobody knows any more
    if loop is not None:
        _guard.loops[get_ident()] = (loop, asyncio.current_task(loop))


def _after_in_parent() -> None:
    if _guard.expected:
        return
    if _guard.signals is not None:
        _guard.signals.after_fork()
    _guard.loops.pop(get_ident(), None)


def _after_in_child() -> None:
    global is_child  # noqa: PLW0603 - a fact about the process
    if _guard.expected:
        return
    is_child = True
    _let_go(_guard.descriptors())
    if _guard.log is not None:
        _guard.log.begin_anew()
    setproctitle(f"gwctl: child of {_guard.name}")
    _catch_in_executor()
    loop, task = _guard.loops.get(get_ident(), (None, None))
    if loop is not None:
        _catch_in_loop(loop, task)
    if _guard.signals is not None:
        _guard.signals.leave_to_child()
        _guard.signals.after_fork()


def _let_go(descriptors: Iterable[int]) -> None:
    """Put in the place of ``descriptors`` one that a loop can watch, and that never has anything to tell."""
    try:
        silent, _ = os.pipe()  # the other end stays open: this one would tell of its end
        os.set_blocking(silent, False)
    except OSError:  # no descriptor left: those that are closed make room
        silent = -1
    for fd in descriptors:
        with suppress(OSError):
            os.dup2(silent, fd, inheritable=False) if silent >= 0 else os.close(fd)
    if silent >= 0:
        os.close(silent)


def _poll_apart(loop: asyncio.AbstractEventLoop) -> None:
    """Have ``loop`` poll an epoll instance of this process's own, in which nothing is waited for.

    All descriptors are in it: libuv ends its process when it cannot change what it waits for.
    """
    number = getattr(loop, "_get_backend_id", None)  # uvloop: what its tests use; nothing else says it
    number = number or getattr(getattr(loop, "_selector", None), "fileno", None)
    if number is None or not hasattr(select, "epoll"):
        return
    shared = number()
    with select.epoll() as own:
        for fd in [int(each.name) for each in Path("/proc/self/fd").iterdir()]:
            if fd != shared:
                with suppress(OSError):  # files cannot be waited for
                    own.register(fd, 0)
        os.dup2(own.fileno(), shared, inheritable=False)


def _catch_in_loop(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
    """End this process when the present step of ``task``, or turn of ``loop``, is over."""
    with suppress(OSError):  # no descriptor left
        _poll_apart(loop)
    loop.set_exception_handler(lambda _loop, _context: end_child())
    loop.call_soon(end_child)
    if task is not None:
        with suppress(RuntimeError, KeyError):  # 3.14: nobody is in a task after a fork
            asyncio.tasks._leave_task(loop, task)  # noqa: SLF001 - its step ends with an error


class _LastJob:
    """What a thread of an executor in a child takes up next."""

    def run(self) -> None:
        end_child()


def _catch_in_executor() -> None:
    """End this process when the present job of this thread of an executor, of anyio or asgiref is over."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - only its frames know
    while frame is not None:
        if frame.f_code is _executor_loop:
            jobs = frame.f_locals["work_queue"]
            with suppress(queue.Empty):
                while True:
                    jobs.get_nowait()  # these are the parent's to do
            jobs.put(_LastJob())
        elif frame.f_code.co_name == "run" and frame.f_globals.get("__name__", "").startswith("anyio."):
            worker = frame.f_locals.get("self")
            if isinstance(getattr(worker, "queue", None), queue.Queue):
                # Another one: somebody may have been about to put something into it, and hold its lock.
                worker.queue = queue.Queue()  # type: ignore[union-attr]
                worker.queue.put_nowait(None)  # type: ignore[union-attr]  # ends the thread
        elif frame.f_code.co_name == "run" and frame.f_globals.get("__name__", "").startswith("asgiref."):
            # A WSGI call that runs jobs for a loop in another thread, which is gone: it would wait for more.
            _end_at_result(frame.f_locals.get("self"))
        elif frame.f_code is _executor_job:
            # Somebody may have been about to wait for it, or to begin another thread, and hold a lock.
            _end_at_result(frame.f_locals.get("self"))
        frame = frame.f_back


def _end_at_result(job: object) -> None:
    future = getattr(job, "future", None)
    if isinstance(future, futures.Future):
        future.set_result = lambda _result: end_child()  # type: ignore[method-assign, assignment]
        future.set_exception = end_child  # type: ignore[method-assign, assignment]
