"""``gwctl check --app``: import each pool's application in a child process and say how it went.

A worker is forked as the master would fork it, with the same privileges, environment and
path, but without listeners, and it ends after the import. The command that asks stays free
of the application's code, whatever that does.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from msgspec import Struct

from gwctl import memory_limits
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.ipc import scoreboard
from gwctl.ipc.assignment import Assignment
from gwctl.ipc.channel import Channel, WorkerFailed, WorkerReady
from gwctl.log.level import Level
from gwctl.supervisor.children.fork import fork_worker


class TrialResult(Struct, frozen=True):
    """How the import of one pool's application went.

    ``message`` says what was found (worker class, seconds) or what failed; ``traceback`` has
    the application's frames.
    """

    pool: str
    ok: bool
    message: str
    traceback: str = ""


def try_application(settings: Settings) -> list[TrialResult]:
    """Import the application of each pool, one after the other."""
    board = scoreboard.Scoreboard(1)
    try:
        return [_try(name, pool, settings.master.name, board) for name, pool in settings.pool.items()]
    finally:
        board.close_descriptor()


def _try(name: str, pool: PoolSettings, instance: str, board: scoreboard.Scoreboard) -> TrialResult:
    record = board.allocate()
    if record is None:
        raise AssertionError("a trial releases its record before the next")
    ours, theirs = socket.socketpair()
    assignment = Assignment(
        worker=1,
        pool=name,
        slot=0,
        generation=1,
        instance=instance,
        settings=pool,
        processes=1,
        listeners=(),
        channel=Channel(theirs),
        record=record,
        access_log_fd=-1,
        log_level=Level.ERROR,
        master_pid=os.getpid(),
        trial=True,
    )
    channel = Channel(ours)
    try:
        pid = fork_worker(assignment, channel.close)
        theirs.close()
        return _outcome(name, channel, pid, pool.timeouts.boot_timeout_s)
    finally:
        channel.close()
        board.release(record)


def _outcome(name: str, channel: Channel, pid: int, timeout_s: float) -> TrialResult:
    """Wait for the child's word or its end; it is reaped in any case."""
    end = time.monotonic() + timeout_s
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    result = None
    while result is None and poll.poll(max(0.0, end - time.monotonic()) * 1000):
        for message, _fds in channel.receive():
            if isinstance(message, WorkerReady):
                text = f"imported in {message.import_s:.2f} s, worker class {message.worker_class}"
                result = TrialResult(name, True, text)
            elif isinstance(message, WorkerFailed):
                result = TrialResult(name, False, message.message, message.traceback)
        if channel.closed:
            break
    if result is None and not _ended(pid, end - time.monotonic(), channel):
        os.kill(pid, signal.SIGKILL)
        result = TrialResult(name, False, f"the import took longer than boot_timeout_s ({timeout_s:g} s)")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if result is None:  # C code that gets no memory may crash
        low = memory_limits.too_low() if status < 0 else ""
        result = TrialResult(name, False, low or f"the import ended the process (status {status})")
    return result


def _ended(pid: int, timeout_s: float, channel: Channel) -> bool:
    """Wait for the end of a child that says nothing: its channel may be closed and it goes on."""
    if not hasattr(os, "pidfd_open"):
        return channel.closed
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))
    finally:
        os.close(pidfd)
