"""A template: imports the application once, then forks workers of it when the master asks.

Boot order as of a worker (`boot`), up to the import. Then garbage is collected and what is left is
frozen: a collection writes to every object that it looks at, and a page that is written to is a page no
longer shared. It says that it is ready and waits; it runs no event loop and no thread, and it
serves nothing. Lifespan startup and all that follows are the worker's.

A worker is forked twice, so that it becomes a child of the master:

    template    forks the one in between, waits for its end, tells the master the worker's pid, opens the gate
    in between  forks the worker, writes its pid to the template, ends
    worker      waits at the gate; then boots like any other, its parent the master by now

The gate is a pipe, and the master is told before it opens: so the worker does nothing before the master
can know of it, and if anybody in the chain dies before that, it finds the gate closed and ends.

The first fork is libc's, called without Python's own hooks, the second is `os.fork`: so what the application
registered with `os.register_at_fork` runs once, in the worker. (clone(CLONE_PARENT) would need no process in
between, but skips the hooks of C libraries, OpenSSL's random numbers among them.)

When it is no longer needed, or the master is gone, it lets go of the listeners at once, and waits for the
end of its workers, which may use what the import has started: a manager of multiprocessing, say. Each holds
an end of a pipe for as long as it lives. Then it ends like a worker (`ending`). Of the signals only QUIT ends
it, and at once; the master's death does so in the middle of the import.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import Any, Final, NoReturn

from msgspec.structs import replace
from setproctitle import setproctitle

from gwctl import __version__
from gwctl.errors import AppLoadError, BootError, ExitStatus
from gwctl.ipc.assignment import Assignment
from gwctl.ipc.channel import (
    PROTOCOL,
    Channel,
    ChannelError,
    Drain,
    Fork,
    Forked,
    Hello,
    ReopenEvents,
    SetLogLevel,
    Stage,
)
from gwctl.ipc.output_pipes import WorkerEnds
from gwctl.ipc.scoreboard import LAYOUT
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.app import fork_hooks, monkey_patches
from gwctl.workers.app.background_work import Background
from gwctl.workers.app.interruption import Interrupted, comes_of_interruption, resend_dropped
from gwctl.workers.app.loader import LoadedApplication, load
from gwctl.workers.app.standard_streams import flush_stdio, hold_open
from gwctl.workers.lifecycle import boot, environment, fork_safety, metrics_folder, signals
from gwctl.workers.lifecycle.captured_output import StandardStreams
from gwctl.workers.lifecycle.exit_steps import Ending
from gwctl.workers.lifecycle.library_logs import take_application_logs
from gwctl.workers.lifecycle.master_link import flush
from gwctl.workers.lifecycle.worker_process import WorkerProcess

_ANSWER_S: Final = 5.0
_STDERR: Final = 2
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_OUTCOME: Final = struct.Struct("ii")
"""What the one in between writes: the pid of the worker, or 0 and an errno."""
_GO: Final = b"g"


def run(assignment: Assignment) -> NoReturn:
    """Boot the template of ``assignment`` and fork workers until told to end. Called in the child."""
    streams = StandardStreams()
    streams.capture(assignment.output)
    log = boot.log_of(assignment, streams)
    boot.run_process(assignment, log, streams, lambda: _Template(assignment, log, streams))


class _Template:
    def __init__(self, assignment: Assignment, log: Log, streams: StandardStreams) -> None:
        self._assignment = assignment
        self._streams = streams
        self._channel = assignment.channel
        self._log = log
        self._started_at = time.monotonic()
        self._pid = os.getpid()
        # PyDLL keeps the interpreter's lock: the child goes on in the middle of Python code.
        self._libc = ctypes.PyDLL(None, use_errno=True)
        self._on_child: Any = None
        """What the application does on SIGCHLD."""
        self._ending = Ending(log, Background(0.0))
        self._waiting = self._leaving = False
        self._wait_s = 0.0
        """How long to wait for the end of the workers."""
        self._lifeline = (-1, -1)
        self._signals = signals.Signals(_do_nothing, self._on_quit, assignment.dump_fd)
        setproctitle(f"gwctl: {assignment.title}")

    def run(self) -> int:
        status: int = ExitStatus.OK
        try:
            self._prepare()
            self._obey(self._load())
        except BaseException as error:  # noqa: BLE001 - what nothing expects is raised again
            if not comes_of_interruption(error):
                status = self._failed(error)
        with suppress(Interrupted):
            self._wait_for_workers()
        self._leaving = True
        self._ending.limit(0.0, "the template ends", quietly=True)
        self._ending.after_loop(status)
        return status

    def _failed(self, error: BaseException) -> int:
        """Tell the master; return the exit status."""
        match error:
            case AppLoadError():
                return boot.failed(self._channel, "import", error, error.traceback)
            case BootError():
                return boot.failed(self._channel, "boot", error, "")
        raise error

    def _prepare(self) -> None:
        resend_dropped()
        self._signals.install()
        signals.unblock()
        fork_hooks.guard(self._assignment.title, self._log, self._signals, self._descriptors)
        boot.forget_exit_functions()
        self._channel.send(Hello(PROTOCOL, LAYOUT, __version__))
        self._channel.send(Stage("environment"))
        settings = self._assignment.settings
        boot.become(settings, self._log)
        self._libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if self._master_is_gone():
            WorkerProcess.end(ExitStatus.OK)
        if self._assignment.access_log_fd > _STDERR:
            os.close(self._assignment.access_log_fd)  # each worker gets one, opened anew meanwhile maybe
        environment.enter_folder(settings)
        environment.set_variables(settings)
        metrics_folder.offer(self._assignment, self._log)

    def _load(self) -> LoadedApplication:
        """Import the application, and what its workers need besides.

        Raises:
            AppLoadError: It cannot be imported.
        """
        self._channel.send(Stage("import"))
        before = fork_safety.descriptors()
        started_at = time.monotonic()
        settings = self._assignment.settings
        take_application_logs(self._log, settings)
        try:
            application = load(settings.app, settings.worker, self._assignment.threads_given)
        except AppLoadError as error:
            fork_hooks.end_if_child(error)
            raise
        fork_hooks.end_if_child()
        why = monkey_patches.refusal_of_preload()
        if why:
            raise AppLoadError(f"cannot serve {application.spec}: {why}")
        import_s = time.monotonic() - started_at
        hold_open()
        self._take_back()
        for warning in fork_safety.warnings(before, self._log.descriptor):
            self._log.warning(f"preload: {warning}")
        _import_the_rest(application, self._assignment.settings.loop)
        ready = boot.ready(
            application, import_s, time.monotonic() - self._started_at, self._assignment.settings
        )
        flush_stdio()  # or each worker would write what is buffered
        gc.collect()
        gc.freeze()
        self._channel.send(ready)
        self._lifeline = os.pipe()
        self._libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGQUIT), 0, 0, 0)
        if self._master_is_gone():
            raise Interrupted
        return application

    def _shared_descriptors(self) -> list[int]:
        """Return those of the pool."""
        fds = [listener.sock.fileno() for listener in self._assignment.listeners]
        if self._assignment.queue is not None:
            fds += self._assignment.queue.fds
        return fds

    def _descriptors(self) -> list[int]:
        """Return what is open here and nothing to a child that the application forks."""
        own = [self._channel.fileno(), self._lifeline[1], *self._streams.of_this_process()]
        if self._assignment.dump_fd > _STDERR:
            own.append(self._assignment.dump_fd)
        return self._shared_descriptors() + [fd for fd in own if fd >= 0]

    def _take_back(self) -> None:
        """What the application has decided about signals and children holds in its workers, but not here."""
        self._signals.install()
        signals.unblock()
        self._on_child = signal.getsignal(signal.SIGCHLD)
        if self._on_child is not None:  # else it is a C library's, and could not be given back
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)  # its workers are to be the master's children

    def _obey(self, application: LoadedApplication) -> None:
        """Fork what is asked for, until the channel ends. Signals end this process in their handlers."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while not self._channel.closed:
            flush(self._channel, _ANSWER_S)
            poll.poll()
            try:
                messages = self._channel.receive()
            except ChannelError as error:
                self._log.error(f"cannot understand the master, so this template ends: {error}")
                return
            for message, fds in messages:
                if isinstance(message, Drain):
                    self._wait_s = message.timeout_s
                    return
                if isinstance(message, SetLogLevel):
                    self._log.level, self._log.json = Level(message.level), message.format == "json"
                if isinstance(message, Fork):
                    self._fork(message, fds, application)
                for fd in fds:
                    self._streams.reopen(fd, self._log) if isinstance(message, ReopenEvents) else os.close(fd)
        self._wait_s = self._drain_timeout_s

    # ---- the end

    def _on_quit(self) -> None:
        """From the master, or at its death: see `run`."""
        alone = self._master_is_gone()
        if self._leaving or (alone and self._waiting):
            return
        self._wait_s = self._drain_timeout_s if alone else 0.0
        raise Interrupted

    def _wait_for_workers(self) -> None:
        """Let go of what nobody shall find here any more, and wait `_wait_s` at most for the workers' end."""
        self._waiting = True
        if self._master_is_gone():
            self._streams.orphaned(self._log, self._assignment.printed)
        for fd in self._shared_descriptors():
            os.close(fd)
        reading, writing = self._lifeline
        if reading < 0:
            return
        os.close(writing)
        ended = select.poll()
        ended.register(reading, select.POLLIN)
        ended.poll(self._wait_s * 1000)

    def _master_is_gone(self) -> bool:
        return os.getppid() != self._assignment.master_pid

    @property
    def _drain_timeout_s(self) -> float:
        return self._assignment.settings.timeouts.drain_timeout_s

    # ---- forking

    def _fork(self, order: Fork, fds: list[int], application: LoadedApplication) -> None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        outcome_read, outcome_write = os.pipe()
        gate_read, gate_write = os.pipe()
        middle = self._libc.fork()
        if middle == 0:
            os.close(outcome_read)
            self._in_between(order, fds, application, outcome_write, (gate_read, gate_write))
        reason = f"fork failed: {os.strerror(ctypes.get_errno())}"
        os.close(outcome_write)
        os.close(gate_read)
        pid = 0
        if middle > 0:
            pid, reason = _outcome(outcome_read, middle)
        os.close(outcome_read)
        self._channel.send(Forked(order.worker, pid, "" if pid else reason))
        flush(self._channel, _ANSWER_S)
        if pid and not self._channel.wants_write:
            with suppress(BrokenPipeError):  # it is dead already: the master will see
                os.write(gate_write, _GO)
        os.close(gate_write)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _in_between(
        self,
        order: Fork,
        fds: list[int],
        application: LoadedApplication,
        outcome: int,
        gate: tuple[int, int],
    ) -> NoReturn:
        """In a copy whose interpreter does not know that it is one: nothing but the next fork."""
        try:
            self._libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != self._pid:
                os._exit(0)
            fork_hooks.expect_worker()
            pid = os.fork()
            if pid == 0:
                os.close(outcome)
                os.close(gate[1])
                self._in_worker(order, fds, application, gate[0])
            os.write(outcome, _OUTCOME.pack(pid, 0))
        except OSError as error:
            os.write(outcome, _OUTCOME.pack(0, error.errno or 0))
        finally:
            os._exit(0)

    def _in_worker(self, order: Fork, fds: list[int], application: LoadedApplication, gate: int) -> NoReturn:
        """Take the template's things away, wait until the master knows, and be a worker."""
        try:
            self._channel.close()
            os.close(self._lifeline[0])
            if self._assignment.dump_fd > _STDERR:
                os.close(self._assignment.dump_fd)
            known = os.read(gate, 1) == _GO
            os.close(gate)
            if not known:
                os._exit(0)
            os.setpgid(0, 0)
            if self._on_child is not None:
                signal.signal(signal.SIGCHLD, self._on_child)
            assignment = self._assignment_of(order, fds)
            metrics_folder.move(self._assignment, assignment, self._log)
            boot.run_preloaded(assignment, self._log, self._streams, application)
        finally:
            os._exit(1)

    def _assignment_of(self, order: Fork, fds: list[int]) -> Assignment:
        board = self._assignment.board
        assert board is not None
        channel, dump_fd, *more = fds
        access_log_fd = more.pop(0) if order.access_log_fd > _STDERR else order.access_log_fd
        return replace(
            self._assignment,
            template=False,
            worker=order.worker,
            slot=order.slot,
            processes=order.processes,
            channel=Channel(socket.socket(fileno=channel)),
            record=board.record(order.record),
            access_log_fd=access_log_fd,
            log_level=Level(order.log_level),
            log_json=order.log_format == "json",
            dump_fd=dump_fd,
            lifeline_fd=self._lifeline[1],
            output=WorkerEnds(*more) if order.captured else None,
        )


def _import_the_rest(application: LoadedApplication, loop: str) -> None:
    """What the workers would each import for themselves: not before the application, as in a worker."""
    if loop == "uvloop":
        import uvloop  # noqa: F401, PLC0415

    from gwctl.workers import server  # noqa: F401, PLC0415
    from gwctl.workers.runners import registry  # noqa: PLC0415

    registry.runner_class(application.worker_class, application.interface)
    if application.lifespan is not None:
        import uvicorn.lifespan.on  # noqa: F401, PLC0415

        from gwctl.workers.app import uvicorn_config  # noqa: F401, PLC0415


def _outcome(source: int, middle: int) -> tuple[int, str]:
    """Wait for the end of the one in between; return the worker's pid, or 0 and why there is none."""
    data = os.read(source, _OUTCOME.size)
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(middle, 0)[1])
    except ChildProcessError:  # a thread that the application started has waited for it
        status = 0
    if len(data) < _OUTCOME.size:
        return 0, f"the process in between ended with status {status}"
    pid, error = _OUTCOME.unpack(data)
    return pid, f"fork failed: {os.strerror(error)}"


def _do_nothing() -> None:
    """On TERM: it comes to the whole group when a service stops, and workers may yet be wanted until then."""
