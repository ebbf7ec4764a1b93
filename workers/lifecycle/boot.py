"""A worker from the fork to its exit.

    hygiene            done by the forking module: descriptors, environment, process group
    signals            handlers first, then what was blocked is let in
    limits             open files, OOM score
    identity           groups, gid, uid, umask; root cannot be had again
    death watch        the kernel tells when the master dies (cleared by setuid, so after it)
    environment        chdir through its links afresh, sys.path, env_file, env
    import             the application; handlers it changed are taken back
    lifespan           ASGI startup
    ready              from here on the worker does what the master says

Each failure becomes one `WorkerFailed` with the application's frames, and an exit status: 4
when the application could not be imported, 3 for the rest. A boot that hangs is ended by the
master. Whatever happens, `run` ends the process: no frame of the master is ever unwound here.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import signal
import sys
import time
import traceback
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from gwctl import __version__, memory_limits
from gwctl.config.model.settings import PoolSettings
from gwctl.config.model.worker_class import Concurrency
from gwctl.errors import AppLoadError, BootError, ExitStatus, GwctlError
from gwctl.ipc.assignment import Assignment
from gwctl.ipc.channel import PROTOCOL, Channel, Hello, Stage, WorkerFailed, WorkerReady
from gwctl.ipc.scoreboard import LAYOUT, PID, STARTED_AT
from gwctl.log.event_log import Log
from gwctl.log.write_lock import WriteLock
from gwctl.workers.app import fork_hooks
from gwctl.workers.app.event_loop import Loops, keep_turning, shown
from gwctl.workers.app.interruption import comes_of_interruption, resend_dropped
from gwctl.workers.app.lifespan import Lifespan, LifespanError, in_loop
from gwctl.workers.app.loader import LoadedApplication, load
from gwctl.workers.app.own_threads import OwnTask
from gwctl.workers.app.standard_streams import flush_stdio, hold_open
from gwctl.workers.context import WorkerContext
from gwctl.workers.lifecycle import environment, metrics_folder, privileges, signals
from gwctl.workers.lifecycle.admin_process import admin_application
from gwctl.workers.lifecycle.captured_output import StandardStreams
from gwctl.workers.lifecycle.library_logs import forward_library_logs, sign_tracebacks, take_application_logs
from gwctl.workers.lifecycle.master_link import Link, flush
from gwctl.workers.lifecycle.multiprocessing_state import leave_to_template
from gwctl.workers.lifecycle.parent_death import KILL_S, DeathWatch, alarm_after
from gwctl.workers.lifecycle.worker_process import WorkerProcess, memory_bytes
from gwctl.workers.observe import request_ids
from gwctl.workers.observe.garbage import GarbageWatch
from gwctl.workers.observe.throttled_log import ThrottledLog
from gwctl.workers.observe.tracebacks import summary

if TYPE_CHECKING:
    from gwctl.workers.server import Server

_FLUSH_S: Final = 1.0
_STDERR: Final = 2


class Process(Protocol):
    """What a child is: a worker, or the template of workers."""

    def run(self) -> int:
        """Do all of it; return the exit status."""


def run(assignment: Assignment) -> NoReturn:
    """Boot ``assignment``, serve until drained, exit. Called in the child, all signals blocked."""
    streams = StandardStreams()
    streams.capture(assignment.output)
    assignment, log = streams.assigned(assignment), log_of(assignment, streams)
    run_process(assignment, log, streams, lambda: _Boot(assignment, log, streams))


def run_preloaded(
    assignment: Assignment, log: Log, streams: StandardStreams, application: LoadedApplication
) -> NoReturn:
    """The same in a child of the template, which has done all up to the import; what is left is its own."""
    streams.capture(assignment.output)
    assignment = streams.assigned(assignment)
    log.subject = assignment.subject
    log.level = assignment.log_level
    log.json, log.origin = assignment.log_json, assignment.origin
    leave_to_template()
    run_process(assignment, log, streams, lambda: _Boot(assignment, log, streams, application))


def log_of(assignment: Assignment, streams: StandardStreams) -> Log:
    """The event log as a new process writes it."""
    log = Log(
        streams.stderr,
        level=assignment.log_level,
        subject=assignment.subject,
        lock=WriteLock(assignment.log_lock_fd),
        json=assignment.log_json,
        origin=assignment.origin,
        to=assignment.log_to,
    )
    log.request_id = request_ids.current
    log.keep_time_zone()
    return log


def run_process(
    assignment: Assignment, log: Log, streams: StandardStreams, make: Callable[[], Process]
) -> NoReturn:
    """Run what ``make`` returns, and end this process, whatever happens."""
    status: int = ExitStatus.FAILED
    try:
        process = make()
        status = ExitStatus.BOOT_FAILED
        status = process.run()
    except BaseException as error:  # noqa: BLE001 - the child's last frame
        fork_hooks.end_if_child(error)
        frames, reason = "", memory_limits.reason(error)
        if reason:
            log.error(f"pid {os.getpid()} ends: {reason}")
        else:
            frames, reason = traceback.format_exc(), summary(error)
            log.error(f"pid {os.getpid()} ended by an error that nothing expects\n{frames}")
        assignment.channel.send(WorkerFailed("boot", reason, frames))
        flush(assignment.channel, _FLUSH_S)
    finally:
        log.flush()
        flush_stdio()
        streams.finish(log, assignment.printed)
        os._exit(status)


class _Boot:
    """The steps, in order; each uses what the ones before it made."""

    def __init__(
        self,
        assignment: Assignment,
        log: Log,
        streams: StandardStreams,
        preloaded: LoadedApplication | None = None,
    ) -> None:
        self._assignment = assignment
        self._preloaded = preloaded
        self._settings = assignment.settings
        self._channel = assignment.channel
        self._log = log
        self._started_at = time.monotonic()
        self._import_s = 0.0
        self._loops: Loops | None = None
        self._watch = DeathWatch(assignment.master_pid, self._settings.timeouts.drain_timeout_s)
        self._watch.died = lambda: streams.orphaned(log, assignment.printed)
        self._process = WorkerProcess(assignment, log, self._watch, streams)
        process = self._process
        self._signals = signals.Signals(
            process.on_terminate, process.on_quit, assignment.dump_fd, process.on_inspect
        )
        self._process.answered = self._signals.termination.last_answered

    def run(self) -> int:
        """Do all of it; return the exit status."""
        status: int = ExitStatus.OK
        try:
            self._live()
        except BaseException as error:  # noqa: BLE001 - what nothing expects is raised again
            status = self._ended_by(error)
        self._process.finish(status)
        return status

    def _ended_by(self, error: BaseException) -> int:
        """Tell the master; return the exit status."""
        if comes_of_interruption(error):
            self._process.say_drained()
            return ExitStatus.OK
        match error:
            case AppLoadError():
                return failed(self._channel, "import", error, error.traceback)
            case LifespanError():
                return failed(self._channel, "lifespan", error, error.traceback)
            case BootError():
                return failed(self._channel, "boot", error, error.traceback)
        raise error

    def _live(self) -> None:
        self._prepare()
        self._loops = Loops(self._settings)
        application = self._preloaded or self._import()
        loop = self._loops.serving(shared=application.shares_loop)
        self._take_over(loop, application)
        if self._assignment.trial:
            self._channel.send(self._ready(application))
            flush(self._channel, _FLUSH_S)
            return
        life = OwnTask(self._serve(loop, application), loop=loop)
        life.add_done_callback(lambda _life: loop.stop())
        keep_turning(loop, life.done, ThrottledLog(self._log))
        life.result()
        self._process.say_drained()

    def _prepare(self) -> None:
        """Everything before the application's code: who and where this process is."""
        resend_dropped()
        self._signals.install()
        signals.unblock()
        record = self._assignment.record
        record.words[PID] = os.getpid()
        record.floats[STARTED_AT] = self._started_at
        self._channel.send(Hello(PROTOCOL, LAYOUT, __version__))
        self._channel.send(Stage("environment"))
        if self._preloaded is None:
            forget_exit_functions()
            become(self._settings, self._log)
        fork_hooks.guard(
            self._assignment.title,
            self._log,
            self._signals,
            self._process.descriptors,
        )
        self._watch.arm()
        if self._watch.master_is_gone():
            self._process.end(ExitStatus.OK)
        if self._preloaded is None:
            environment.enter_folder(self._settings)
            environment.set_variables(self._settings)
            metrics_folder.offer(self._assignment, self._log)

    def _take_over(self, loop: asyncio.AbstractEventLoop, application: LoadedApplication) -> None:
        match application.interface, application.worker_class.concurrency:
            case "asgi", Concurrency.TASKS:
                self._signals.explain_with(self._process.on_explain)
                if self._assignment.threads_given:
                    self._log.warning(
                        "`threads` is set, and means nothing to an ASGI application in asgi workers"
                    )
            case "asgi", Concurrency.ONE:
                self._signals.explain_with(self._process.on_explain_call)
        self._take_signals_back(loop, application)
        forward_library_logs(self._log)
        sign_tracebacks(self._log, self._settings)

    def _take_signals_back(self, loop: asyncio.AbstractEventLoop, application: LoadedApplication) -> None:
        """What the application's code has changed meanwhile, handlers and mask, is put as it was."""
        self._signals.install(loop if application.shares_loop else None)  # others never had it
        last_resort = alarm_after(self._settings.timeouts.drain_timeout_s + KILL_S) or signal.SIGALRM
        signals.unblock_handled(signal.SIGALRM, last_resort)

    def _import(self) -> LoadedApplication:
        self._channel.send(Stage("import"))
        started_at = time.monotonic()
        settings = self._settings
        if self._assignment.admin is not None:
            return admin_application(self._assignment.admin, self._assignment.instance, self._log)
        take_application_logs(self._log, settings)
        try:
            application = load(settings.app, settings.worker, self._assignment.threads_given)
        except AppLoadError as error:
            fork_hooks.end_if_child(error)
            raise
        fork_hooks.end_if_child()
        self._import_s = time.monotonic() - started_at
        hold_open()
        return application

    async def _serve(self, loop: asyncio.AbstractEventLoop, application: LoadedApplication) -> None:
        from gwctl.workers.server import Server  # noqa: PLC0415 - after the application: its own imports are its time

        process = self._process
        server = Server(WorkerContext(loop, self._assignment, application, self._log, process))
        link = Link(loop, self._channel, process, self._log)
        process.attach(loop, link, server)
        GarbageWatch(self._assignment.record).begin()
        link.start()
        server.start()
        await self._start_lifespan(application, server)
        self._take_signals_back(loop, application)
        await process.until_greeted()
        if not process.ending:
            process.say_ready(self._ready(application))
        await process.live()

    async def _start_lifespan(self, application: LoadedApplication, server: Server) -> None:
        process = self._process
        process.lifespan_loop = server.runner.application_loop
        if application.lifespan is None:
            return
        self._channel.send(Stage("lifespan"))
        if self._settings.lifespan == "off":
            return
        process.lifespan = Lifespan(
            application.lifespan, application.state, self._log, self._settings.lifespan
        )
        await process.unless_ended(in_loop(process.lifespan_loop, process.lifespan.startup()))

    def _ready(self, application: LoadedApplication) -> WorkerReady:
        boot_s = time.monotonic() - self._started_at
        return ready(application, self._import_s, boot_s, self._settings)


def become(settings: PoolSettings, log: Log) -> None:
    """Take on the limits and the identity of the pool.

    Raises:
        BootError: They cannot be had.
    """
    environment.have_exact_timers()
    who = privileges.identity(settings.user, settings.group)
    privileges.set_limits(settings, log)
    privileges.drop(who)
    privileges.set_umask(settings.umask)


def ready(
    application: LoadedApplication, import_s: float, boot_s: float, settings: PoolSettings
) -> WorkerReady:
    from gwctl.workers.http1.parser import parser_name  # noqa: PLC0415 - see _serve

    return WorkerReady(
        worker_class=application.worker_class.name,
        import_s=import_s,
        boot_s=boot_s,
        memory_bytes=memory_bytes(),
        parser=parser_name(),
        loop=shown(settings.loop),
    )


def failed(channel: Channel, kind: str, error: GwctlError, frames: str) -> int:
    """Tell the master; return the exit status."""
    channel.send(WorkerFailed(kind, str(error), frames))
    flush(channel, _FLUSH_S)
    return int(error.exit_status)


def forget_exit_functions() -> None:
    """Drop the master's exit functions: they are not ours to run. Those of libraries it uses are kept."""
    atexit._clear()  # noqa: SLF001 - as multiprocessing does in its children
    atexit.register(logging.shutdown)
    if util := sys.modules.get("multiprocessing.util"):
        atexit.register(util._exit_function)  # noqa: SLF001 - registered once, when it is imported
    # Its finalizers are the master's; with the first of ours it registers itself again.
    weakref.finalize._registry = {}  # type: ignore[attr-defined]  # noqa: SLF001
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]  # noqa: SLF001
