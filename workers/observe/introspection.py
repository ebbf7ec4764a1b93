"""What a worker says of what it is at, when its master asks (`gwctl.ipc.channel.Tell`).

The stacks of threads do not come from here but from faulthandler, which needs neither the loop
nor the interpreter's lock. A loop that answers at all adds what no thread's stack shows: which
thread is at which request, and the asyncio tasks. Nothing is kept for it while nobody asks,
except what each runner needs anyway.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from time import monotonic
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

from gwctl.ipc.channel import RequestReport, RequestUnderWay, TaskStack
from gwctl.workers.observe.tracebacks import is_machinery

REQUESTS_MAX: Final = 100
TASKS_MAX: Final = 50
FRAMES_MAX: Final = 40
STACKS_CHARS_MAX: Final = 1 << 18
_WRAPPERS: Final = frozenset(
    {"coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable"}
)
"""Types without a name in Python's library."""


class Running(NamedTuple):
    """A request in the application."""

    what: str
    """Method and target."""
    start: float
    thread: int = 0
    task: asyncio.Task[Any] | None = None


def request_report(
    running: list[Running], loop: asyncio.AbstractEventLoop, *, stacks: bool = False
) -> RequestReport:
    """Describe ``running`` and the tasks of ``loop``: those of requests first, the longest of them first.

    ``stacks``: and where all threads are.
    """
    now = monotonic()
    running.sort(key=lambda each: each.start)
    requests = [RequestUnderWay(each.what, now - each.start, each.thread) for each in running]
    serving = {each.task: each.what for each in running if each.task is not None}
    of_tasks = [(task, what, stack_of(task)) for task, what in serving.items()]
    others = [task for task in asyncio.all_tasks(loop) if task not in serving and not is_ours(task)]
    of_tasks += [(task, "", stack_of(task)) for task in others]
    return RequestReport(
        requests=tuple(requests[:REQUESTS_MAX]),
        tasks=tuple(
            TaskStack(task.get_name(), what, tuple(stack)) for task, what, stack in of_tasks[:TASKS_MAX]
        ),
        more_requests=max(0, len(requests) - REQUESTS_MAX),
        more_tasks=max(0, len(of_tasks) - TASKS_MAX),
        stacks=thread_stacks() if stacks else "",
    )


def thread_stacks() -> str:
    """Return where all threads are, as faulthandler writes it.

    That itself must not be used on a process that is to live: it walks the frames of threads that run on
    meanwhile, and CPython dies of what it finds there (https://github.com/python/cpython/issues/116008).
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines: list[str] = []
    for ident, innermost in sys._current_frames().items():  # noqa: SLF001 - documented
        lines.append(f"Thread 0x{ident:016x} [{names.get(ident, '')}] (most recent call first):")
        frame: FrameType | None = innermost
        while frame is not None:
            code = frame.f_code
            lines.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}')
            frame = frame.f_back
    return "\n".join(lines)[:STACKS_CHARS_MAX]


def is_ours(task: asyncio.Task[Any]) -> bool:
    """Tell whether the outermost code of ``task`` is none of the application's."""
    outermost = task.get_coro()
    code = _frame_of(outermost)[1]
    return _is_compiled(outermost) if code is None else is_machinery(code.co_filename)


def stack_of(task: asyncio.Task[Any]) -> list[str]:
    """Return where ``task`` waits, innermost first, as faulthandler writes frames; without our own.

    Task.get_stack() gives the outermost frame alone: what that one awaits has to be followed.
    """
    frames = []
    waiting: Any = task.get_coro()
    for _ in range(FRAMES_MAX):
        frame, code, inner = _frame_of(waiting)
        if code is None and (inner := _behind(waiting)) is None:
            break
        if frame is not None and code is not None and not is_machinery(code.co_filename):
            frames.append(f'File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}')
        waiting = inner
    frames.reverse()
    return frames


def _frame_of(waiting: Any) -> tuple[FrameType | None, CodeType | None, Any]:
    """Return the frame of a coroutine or generator, and what it awaits."""
    for prefix, awaits in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
        code = getattr(waiting, f"{prefix}_code", None)
        if code is not None:
            return getattr(waiting, f"{prefix}_frame", None), code, getattr(waiting, awaits, None)
    return None, None, None


def _behind(waiting: Any) -> Any:
    """Return the coroutine or generator that ``waiting`` hides, or None.

    Python puts something between ``async for`` and its generator, for one; our own coroutines hide theirs in
    the compiled build (docs/adr/0006-compiled-build.md). The garbage collector knows what they hold.
    """
    if not (_is_compiled(waiting) or type(waiting).__name__ in _WRAPPERS):
        return None
    held = gc.get_referents(waiting)
    # mypyc keeps variables in the coroutine or in an object of their own, as its version goes.
    held += [each for one in held if type(one).__name__.endswith("_env") for each in gc.get_referents(one)]
    return next(filter(_leads_on, held), None)


def _leads_on(held: Any) -> bool:
    return _frame_of(held)[1] is not None or type(held).__name__ in _WRAPPERS


def _is_compiled(waiting: Any) -> bool:
    return type(waiting).__module__.startswith("gwctl.workers.")
