"""A worker that is profiled: a thread of its own samples, and tells whoever has the other end of a socket.

The master has only passed the socket on. The profile ends when its time is over, when who asked ends its
sending side (it is told all the same) or is gone, and with the process.

The thread is none of `threading`'s: it may be begun in a signal's handler, between any two bytecodes of the
application, which may be starting a thread itself and hold what that needs.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Callable, Iterable
from contextlib import suppress
from select import POLLIN, POLLOUT, poll  # as they are now: an application may take them away
from signal import SIG_BLOCK, pthread_sigmask, valid_signals
from time import monotonic, sleep, thread_time
from typing import TYPE_CHECKING, Any, Final

from gwctl.log.event_log import Log
from gwctl.profile.lines import BYTES_MAX, Begun, Ended, Line, Refused, encode
from gwctl.workers.app.event_loop import keep_turning
from gwctl.workers.app.monkey_patches import patched_by
from gwctl.workers.app.own_threads import OwnTask
from gwctl.workers.observe.introspection import is_ours
from gwctl.workers.observe.sample_table import shown
from gwctl.workers.observe.stack_sampler import REQUESTS, StackSampler, Whereabouts
from gwctl.workers.observe.tracebacks import summary

if TYPE_CHECKING:
    from gwctl.workers.exchange.runner import Runner
    from gwctl.workers.observe.allocation_sampler import AllocationSampler

INTERVAL_S: Final = 0.01
"""Between two samples, on average: half of it at least and one and a half at most, so that what happens
regularly is not always met at the same point."""
HALVES_S: Final = 0.0005
"""Between the two halves of a sample."""
COST_RATIO: Final = 40.0
"""A sample that took CPU time is followed by a pause so many times as long at least."""
TELL_S: Final = 1.0
"""After so long the first samples are told; the longer it lasts, the less often the next."""
_TELL_SHARE: Final = 0.1
_MEMORY_CHECK_S: Final = 0.1
_PATIENCE_S: Final = 5.0
"""For who asked to read what is left at the end."""
_UNSENT_MAX: Final = 1 << 22
_NUMBERED: Final = re.compile(r"Task-\d+")
_END_S: Final = 0.3
"""For what a profile has, when its process ends."""


class Output:
    """Lines on their way over ``fd``, which may be closed, and be another's, by the application's doing."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._inode = os.fstat(fd).st_ino
        self._unsent = bytearray()
        self._bytes = 0
        self.ended = False
        """Who asked wants no more, or is gone; or it is too much."""
        os.set_blocking(fd, False)

    def put(self, lines: Iterable[Line]) -> None:
        """Say ``lines`` as far as they are taken; the rest goes before what is said next."""
        for line in lines:
            self._unsent += encode(line)
        if len(self._unsent) > _UNSENT_MAX or self._bytes > BYTES_MAX:
            self.ended = True
        self._send()

    def is_wanted(self) -> bool:
        """Tell whether who asked wants more."""
        readable = poll()
        readable.register(self.fd, POLLIN)
        if readable.poll(0):
            self.ended = True
        return not self.ended

    def finish(self) -> None:
        """Wait until everything is taken, or for `_PATIENCE_S`."""
        end = monotonic() + _PATIENCE_S
        writable = poll()
        writable.register(self.fd, POLLOUT)
        while self._unsent and (left := end - monotonic()) > 0:
            writable.poll(left * 1000)
            self._send()

    def _send(self) -> None:
        try:
            while self._unsent and os.fstat(self.fd).st_ino == self._inode:
                sent = os.write(self.fd, self._unsent)
                self._bytes += sent
                del self._unsent[:sent]
        except BlockingIOError:
            return
        except OSError:
            self.ended = True
            self._unsent.clear()


class Profiler:
    """Of one worker: one profile at a time."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._fd = -1
        self._why = ""
        self._under_way = allocate_lock()
        self._switch_s = 0.0
        """What it is without a profile."""
        self._hooked = False
        self._stop_noting: Callable[[], None] | None = None
        """Ends what notes allocations, while something does."""

    def descriptors(self) -> list[int]:
        return [self._fd] if self._fd >= 0 else []

    def begin(self, fd: int, seconds: float, where: Whereabouts | None) -> None:
        """Sample for so long and tell it over ``fd``, which is taken over. In the main thread.

        ``where``: for stacks; None: for allocations.
        """
        reason = self._reason_against()
        if not reason:
            self._hook()
            self._fd, self._why = fd, ""
            self._under_way.acquire()
            try:
                start_new_thread(self._run, (fd, seconds, where))
            except RuntimeError as error:
                self._fd, reason = -1, str(error)
                self._under_way.release()
        if reason:
            with suppress(OSError):
                os.write(fd, encode(Refused(shown(reason))))
            os.close(fd)

    def end(self, why: str) -> None:
        """Have a profile that is under way tell what it has, and wait a moment for it."""
        if self._fd >= 0:
            self._why = why
            self._under_way.acquire(timeout=_END_S)

    def _reason_against(self) -> str:
        if self._fd >= 0:
            return "a profile of it is being taken already"
        library = patched_by()
        return f"its threads are patched by {library}" if library else ""

    def _hook(self) -> None:
        if not self._hooked:
            self._hooked = True
            os.register_at_fork(after_in_child=self._leave_to_child)

    def _leave_to_child(self) -> None:
        """In a child that the application forks nobody samples, nor puts back what was set for it."""
        if self._fd >= 0 and self._switch_s:
            sys.setswitchinterval(self._switch_s)
        if self._stop_noting is not None:
            self._stop_noting()

    def _run(self, fd: int, seconds: float, where: Whereabouts | None) -> None:
        pthread_sigmask(SIG_BLOCK, valid_signals())  # they are the main thread's
        self._switch_s = sys.getswitchinterval()
        try:
            output = Output(fd)
            if where is None:
                self._note_allocations(output, seconds)
            else:
                self._sample(output, seconds, where)
            output.finish()
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker serves on
            self._log.error(f"the profile has failed: {summary(error)}")
        finally:
            sys.setswitchinterval(self._switch_s)
            self._fd = -1
            with suppress(OSError):
                os.close(fd)
            self._under_way.release()

    def _sample(self, output: Output, seconds: float, where: Whereabouts) -> None:
        output.put([Begun()])
        sampler = StackSampler(where)
        chance = random.Random()  # not the application's, which may have seeded that
        began_at = monotonic()
        until, tell_at = began_at + seconds, began_at + TELL_S
        while True:
            cost = -thread_time()
            sampler.read_clocks()
            sleep(HALVES_S)
            sampler.sample()
            sys.setswitchinterval(sampler.switch_s)
            now = monotonic()
            if now >= until or self._is_over(output):
                break
            if now >= tell_at:
                output.put(sampler.take())
                tell_at = now + max(TELL_S, (now - began_at) * _TELL_SHARE)
            cost += thread_time()
            sleep(max(0.0, min(max(INTERVAL_S * (0.5 + chance.random()), cost * COST_RATIO), until - now)))
        output.put(sampler.take())
        ended = Ended(
            seconds=now - began_at,
            samples=sampler.samples,
            cpu_s=thread_time(),
            stacks_cut=sampler.stacks_cut,
            depth_cut=sampler.depth_cut,
            why=self._why_early(now, until),
        )
        output.put([ended])

    def _note_allocations(self, output: Output, seconds: float) -> None:
        from gwctl.workers.observe.allocation_sampler import AllocationSampler  # noqa: PLC0415 - tracemalloc

        sampler = AllocationSampler()
        if reason := sampler.begin():
            output.put([Refused(reason)])
            return
        self._stop_noting = sampler.end
        try:
            self._tell_allocations(output, seconds, sampler)
        finally:
            sampler.end()
            self._stop_noting = None

    def _tell_allocations(self, output: Output, seconds: float, sampler: AllocationSampler) -> None:
        output.put([Begun(memory=True)])
        began_at = now = monotonic()
        until = began_at + seconds
        full = False
        while now < until and not full and not self._is_over(output):
            sleep(min(_MEMORY_CHECK_S, until - now))
            now = monotonic()
            full = sampler.is_full
        why = "there was no room for more allocations" if full else self._why_early(now, until)
        output.put(sampler.take())
        output.put([Ended(seconds=now - began_at, cpu_s=thread_time(), why=why)])

    def _is_over(self, output: Output) -> bool:
        return bool(self._why) or not output.is_wanted()

    def _why_early(self, now: float, until: float) -> str:
        if now >= until:
            return ""
        return self._why or "who asked had enough"


def where_of(runner: Runner, loop: asyncio.AbstractEventLoop) -> Whereabouts:
    """What a sampler has to know. In the main thread; ``loop`` is that of the application's tasks."""
    return Whereabouts(
        serving=runner.serving_threads,
        loop_thread=runner.application_thread or get_ident(),
        task=lambda: _task_of(loop),
        base=keep_turning.__code__,
    )


def _task_of(loop: asyncio.AbstractEventLoop) -> str:
    """Whose step it is: that of a request, of a task of the application, or of nobody."""
    task: asyncio.Task[Any] | None = asyncio.current_task(loop)
    if task is None or isinstance(task, OwnTask):
        return ""
    if is_ours(task):
        return REQUESTS
    name = task.get_name()
    if _NUMBERED.fullmatch(name):
        name = getattr(task.get_coro(), "__qualname__", name).replace("<locals>.", "")
    return f"task {name}"
