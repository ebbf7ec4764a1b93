"""The life of one worker process after its boot: serve, park, drain, end.

Orders come over the channel, by signal, or from nobody (the master is dead); all of them end
in `_drain`, which is done once. A signal's handler may run in the middle of an application
call: it closes the listeners there and then, and leaves the rest to the loop.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NoReturn

from setproctitle import setproctitle

from gwctl.config.model.settings import PoolSettings
from gwctl.errors import BootError
from gwctl.ipc.assignment import CURRENT_REQUEST, Assignment
from gwctl.ipc.channel import (
    GIVE_UP_PROTOCOL,
    OBEYED_PROTOCOL,
    RAISED_PROTOCOL,
    SLOW_PROTOCOL,
    GaveUp,
    Obeyed,
    Raised,
    RequestReport,
    SlowEnded,
    WorkerDrained,
    WorkerDraining,
    WorkerReady,
)
from gwctl.ipc.scoreboard import MEMORY_BYTES, PRIVATE_BYTES
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.app.background_work import Background
from gwctl.workers.app.interruption import Interrupted, Interruption
from gwctl.workers.app.lifespan import Lifespan
from gwctl.workers.app.own_threads import OwnTask
from gwctl.workers.app.standard_streams import flush_stdio
from gwctl.workers.lifecycle.captured_output import StandardStreams
from gwctl.workers.lifecycle.exit_steps import Ending
from gwctl.workers.lifecycle.master_link import Link, flush
from gwctl.workers.lifecycle.parent_death import DeathWatch
from gwctl.workers.lifecycle.profiler import Profiler, where_of
from gwctl.workers.lifecycle.signals import unblock_handled
from gwctl.workers.observe.first_exceptions import FirstExceptions
from gwctl.workers.observe.introspection import request_report, thread_stacks
from gwctl.workers.observe.private_memory import PrivateMemory

if TYPE_CHECKING:
    from gwctl.workers.server import Server

_FLUSH_S: Final = 1.0
_STDERR: Final = 2
_STATM: Final = Path("/proc/self/statm")
_PARENT_CHECK_S: Final = 0.5
_MEASURE_S: Final = 5.0
"""How often the resident size goes to the scoreboard."""


class WorkerProcess:
    """This process: its orders (`link.Orders`), its signals' handlers and its end."""

    def __init__(self, assignment: Assignment, log: Log, watch: DeathWatch, streams: StandardStreams) -> None:
        self._assignment = assignment
        self._streams = streams
        self._log = log
        self._watch = watch
        watch.unheard = self.let_go
        self.loop: asyncio.AbstractEventLoop | None = None
        self.link: Link | None = None
        self.server: Server | None = None
        self.lifespan: Lifespan | None = None
        self.lifespan_loop: asyncio.AbstractEventLoop | None = None
        self._background = Background(self._drain_timeout_s)
        self._ending = Ending(log, self._background)
        self._interruption = Interruption()
        self._profiler = Profiler(log)
        self._private = PrivateMemory() if _asks_for_private(assignment.settings) else None
        self.answered: Callable[[], None] = _nobody_waits
        self._ready = False
        self._draining = False
        self._cut = 0
        self._told_drained = False
        self._finishing = False
        self._ended: asyncio.Event | None = None
        self._refusal: str | None = None
        self.set_title("booting")

    def set_title(self, state: str = "") -> None:
        title = f"gwctl: {self._assignment.title}"
        setproctitle(f"{title} {state}" if state else title)

    def attach(self, loop: asyncio.AbstractEventLoop, link: Link, server: Server) -> None:
        self.loop, self.link, self.server = loop, link, server

    def descriptors(self) -> list[int]:
        """Return what is open here and nothing to a child that the application forks."""
        assignment = self._assignment
        fds = [listener.sock.fileno() for listener in assignment.listeners]
        if assignment.queue is not None:
            fds += assignment.queue.fds
        fds.append(assignment.channel.fileno())
        if assignment.dump_fd > _STDERR:
            fds.append(assignment.dump_fd)
        fds += (assignment.lifeline_fd, *self._streams.of_this_process())
        if self.server is not None:
            fds += self.server.descriptors()
        fds += self._profiler.descriptors()
        return [fd for fd in fds if fd >= 0]

    # ---- the life

    async def until_greeted(self) -> None:
        """Wait until the master's versions are known to go with ours.

        Raises:
            BootError: They do not, or the master is gone.
        """
        assert self.link is not None
        await self.unless_ended(self.link.greeted.wait())

    async def unless_ended(self, step: Awaitable[Any]) -> None:
        """Await a step of the boot, but not longer than this process is wanted.

        Raises:
            BootError: The master's versions do not go with ours. And what the step raises.
        """

        async def taken() -> None:
            await step

        task = OwnTask(taken())
        ended = OwnTask(self._end_event().wait())
        await asyncio.wait((task, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.end()
        if self._refusal is not None:
            raise BootError(self._refusal)
        if task.done():
            await task
        else:
            task.end()

    def say_ready(self, message: WorkerReady) -> None:
        """Tell the master that requests can come. Whoever hears of it finds the process's title changed."""
        assert self.link is not None
        self.set_title()
        if self._assignment.settings.reload.watch_s and self.link.protocol >= RAISED_PROTOCOL:
            FirstExceptions(self._raised).watch(self._log)
        self.link.send(message)

    async def live(self) -> None:
        """Be ready; return when drained and shut down."""
        assert self.loop is not None
        self._ready = True
        self._background.started(self._application_loop, monotonic())
        self._measure()
        await self._end_event().wait()
        assert self.server is not None
        self.answered()
        self.server.runner.on_stop()
        requests = [each.task for each in self.server.runner.under_way() if each.task is not None]
        if self.lifespan_loop is None:
            await self._ending.in_loop(self.lifespan, requests)
        else:
            await self._ending.in_other_loop(self.lifespan_loop, self.lifespan, requests)

    def finish(self, status: int) -> None:
        """The steps for which no loop turns, in the main thread; the process then exits with ``status``."""
        self._finishing = True
        if not self._draining:
            self._ending.limit(0.0, "the boot has failed")
        self._ending.after_loop(status)
        self._profiler.end("the worker has ended")

    @property
    def _application_loop(self) -> asyncio.AbstractEventLoop:
        assert self.loop is not None
        return self.lifespan_loop or self.loop

    def _measure(self) -> None:
        assert self.loop is not None
        words, held = self._assignment.record.words, memory_bytes()
        words[MEMORY_BYTES] = held
        if self._private is not None:
            words[PRIVATE_BYTES] = self._private.measure(held, monotonic())
        unblock_handled()  # a request may have blocked them, and have died before it let them in
        self._background.check(self._application_loop, monotonic())
        self.loop.call_later(_MEASURE_S, self._measure)

    @property
    def ending(self) -> bool:
        return self._draining

    def say_drained(self) -> None:
        """Tell the master, once, that this process is done, and wait a moment for the line to be gone."""
        if self._told_drained:
            return
        self._told_drained = True
        self._assignment.channel.send(WorkerDrained(self._cut))
        flush(self._assignment.channel, _FLUSH_S)

    # ---- orders of the master

    def serve(self) -> None:
        if self.server is not None and not self._draining:
            self.set_title()
            self.server.serve()
            self._obeyed(serving=True)

    def park(self, *, release_clients: bool) -> None:
        if self.server is not None and not self._draining:
            self.set_title("parked")
            self.server.release_clients() if release_clients else self.server.park()
            self._obeyed(serving=False)

    def _obeyed(self, *, serving: bool) -> None:
        if self.link is not None and self.link.protocol >= OBEYED_PROTOCOL:
            self.link.send(Obeyed(serving))

    def drain(self, timeout_s: float, *, sweep: bool) -> None:
        if not self._draining:
            self._drain(timeout_s, sweep=sweep)

    def reopen(self, access_log_fd: int) -> None:
        if self.server is not None:
            self.server.set_access_log(access_log_fd)

    def reopen_events(self, fd: int) -> None:
        self._streams.reopen(fd, self._log)

    def set_log_level(self, level: int, *, json: bool) -> None:
        self._log.level, self._log.json = Level(level), json

    def tell(self, *, stacks: bool) -> None:
        if self.server is None or self.link is None or self.loop is None:  # it boots
            self._assignment.channel.send(RequestReport((), (), stacks=thread_stacks() if stacks else ""))
            return
        runner = self.server.runner
        loop = runner.application_loop or self.loop
        self.link.send(request_report(runner.under_way(), loop, stacks=stacks))

    def profile(self, fd: int, seconds: float, *, memory: bool) -> None:
        assert self.server is not None
        assert self.loop is not None
        runner = self.server.runner
        where = None if memory else where_of(runner, runner.application_loop or self.loop)
        self._profiler.begin(fd, seconds, where)

    # ---- what its server has to say

    def unable(self) -> None:
        self._terminate()

    def given_up(self, request: str, age_s: float) -> None:
        assert self.link is not None
        if self.link.protocol >= GIVE_UP_PROTOCOL:
            self.link.send(GaveUp(request, age_s))

    def slow_ended(self, request: str, status: int, seconds: float) -> None:
        if self.link is not None and self.link.protocol >= SLOW_PROTOCOL:
            self.link.send(SlowEnded(request, status, seconds))

    def _raised(self, message: Raised) -> None:
        """In whatever thread it was raised. After the loop's end nobody waits for it."""
        if self.loop is not None and self.link is not None:
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.link.send, message)

    # ---- what the link has to say

    def refuse(self, reason: str) -> None:
        self._refusal = reason
        self._end_event().set()

    def master_hung_up(self) -> None:
        """The channel has ended: a hint, unless nothing better tells of the master's death."""
        assert self.loop is not None
        if self._watch.told_by_kernel and not self._watch.master_is_gone():
            self.loop.call_later(_PARENT_CHECK_S, self._check_parent)
        else:
            self._outlive_master()

    def _check_parent(self) -> None:
        if self._watch.master_is_gone():
            self._outlive_master()

    def _outlive_master(self) -> None:
        assert self.server is not None
        self._watch.finish_or_die()
        self.server.close_listeners()
        self.drain(self._drain_timeout_s, sweep=False)

    # ---- signals: between any two bytecodes of the main thread

    def on_terminate(self) -> None:
        if self._watch.master_is_gone():
            self._watch.finish_or_die()
        if self.server is None or self.loop is None:
            self._leave_boot()  # nothing was promised to anybody yet
            return
        self.server.close_listeners()
        self.loop.call_soon_threadsafe(self._terminate)

    def let_go(self) -> None:
        """The master is dead, and the main thread too deep in C to hear of it. Called in another thread."""
        if self.server is None:
            self.end(0)
        self.server.vacate()

    def _terminate(self) -> None:
        self.drain(self._drain_timeout_s, sweep=False)

    def on_quit(self) -> None:
        if self.server is None or self.loop is None:
            self._leave_boot()
            return
        self._draining = True
        # What the end of the drain has cut is counted, and what it could not cut is in both.
        self._cut = max(self._cut, self.server.quit())
        self.say_drained()
        self._ending.limit(0.0, "told to end at once", quietly=True)
        self._ending.begin("what was under way")
        self.loop.call_soon_threadsafe(self._end_event().set)
        self.server.runner.interrupt()
        self._interruption.raise_in_application()

    def _leave_boot(self) -> None:
        """Leave whatever the boot is at; `finish` follows. To be called in a signal's handler."""
        if not self._finishing:
            self._ending.limit(0.0, "told to end while it booted", quietly=True)
            self._ending.begin("the boot")
            raise Interrupted

    def on_explain(self) -> None:
        """Write down which request has the loop. Called in its midst: the channel may be in use."""
        current = self.server.runner.current() if self.server is not None else None
        if current is not None:
            line = f"{CURRENT_REQUEST}{monotonic() - current.start:.3f} {current.what}\n"
            with suppress(OSError):
                os.write(self._assignment.dump_fd, line.encode("utf-8", "replace"))

    def on_explain_call(self) -> None:
        """Have a sync worker tell what its ASGI application is at: its own loop stands still meanwhile."""
        if self.server is not None:
            self.server.runner.explain(self._tell_at_once)

    def on_inspect(self) -> None:
        """Say what this worker is at, in the midst of it: its loop does not turn. It goes on afterwards."""
        try:
            if self.link is not None:
                self.link.profile_at_once()
            self._tell_at_once(stacks=True)
        except Exception as error:  # noqa: BLE001 - the application, which was interrupted, has no part in it
            self._log.error(f"what this worker is at cannot be said: {error!r}")

    def _tell_at_once(self, *, stacks: bool = False) -> None:
        self.tell(stacks=stacks)
        flush(self._assignment.channel, _FLUSH_S)

    # ---- the end

    @property
    def _drain_timeout_s(self) -> float:
        return self._assignment.settings.timeouts.drain_timeout_s

    def _drain(self, timeout_s: float, *, sweep: bool) -> None:
        assert self.server is not None
        assert self.link is not None
        assert self.loop is not None
        self._draining = True
        if self._watch.master_is_gone():
            self._say_how_it_goes_on(timeout_s)
        self._ending.limit(timeout_s, f"drain_timeout_s ({timeout_s:g} s) is over")
        self.set_title("draining")
        self.link.send(WorkerDraining(self.server.connections, self.server.active_requests))
        if not self._ready:
            self._end_event().set()
            return
        self.loop.call_later(timeout_s, self._cut_rest, timeout_s)
        self.server.drain(sweep, self._end_event().set)
        self.server.check_drained()

    def _say_how_it_goes_on(self, timeout_s: float) -> None:
        assert self.server is not None
        connections, requests = self.server.connections, self.server.active_requests
        self._log.warning(
            f"the master (pid {self._assignment.master_pid}) is gone: accepts no more, finishes what it has "
            f"(connections: {connections}, requests under way: {requests}) within {timeout_s:g} s, and ends"
        )

    def _cut_rest(self, timeout_s: float) -> None:
        """The time is over. If a call goes on, the master will end this process, and count by what we say."""
        if self.server is None or self._end_event().is_set():
            return
        self._cut = self.server.cut_rest(timeout_s)
        if self.server.active_requests:
            self._assignment.channel.send(WorkerDrained(self._cut))

    def _end_event(self) -> asyncio.Event:
        if self._ended is None:
            self._ended = asyncio.Event()
        return self._ended

    @staticmethod
    def end(status: int) -> NoReturn:
        """End this process here, from whatever frame, without unwinding anything."""
        flush_stdio()
        os._exit(status)


def _asks_for_private(settings: PoolSettings) -> bool:
    """The master decides by what a worker has written itself, and cannot tell that by its size."""
    return settings.follows_capacity or (settings.preload and settings.recycle.memory_group_percent > 0)


def memory_bytes() -> int:
    """Measure the resident size of this process (its peak where there is no /proc)."""
    try:
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _nobody_waits() -> None:
    """Nothing: the signals' handlers are yet to be made."""
