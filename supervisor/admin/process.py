"""The process that serves the admin listener: started, watched, replaced, ended.

Rules
    - Nothing else depends on it. Whatever becomes of it, pools serve on, and it is started again, after a
      while that doubles with each failure.
    - What it has of the master is a control connection and the listening sockets, which stay the master's:
      while it is replaced, who connects waits in the backlog.
    - When it is to be another one (the settings have changed, or the token), the next is started first, and
      the one before ends when that serves.
"""

from __future__ import annotations

import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

import msgspec

from gwctl import __version__
from gwctl.config.model.settings import PoolSettings
from gwctl.config.model.statsd import StatsdSettings
from gwctl.ipc import scoreboard
from gwctl.ipc.assignment import AdminParts, Assignment, Listener
from gwctl.ipc.channel import (
    PROTOCOL,
    Channel,
    ChannelError,
    Hello,
    Message,
    ReopenEvents,
    Serve,
    SetLogLevel,
    WorkerFailed,
    WorkerReady,
)
from gwctl.ipc.scoreboard import Record, Scoreboard
from gwctl.log.event_log import format_name
from gwctl.records.admin import AdminEnded, AdminFault, AdminKilled, AdminReady
from gwctl.supervisor.children import stdio
from gwctl.supervisor.children.fork import fork_worker
from gwctl.supervisor.children.peer_limits import Allowance, cut
from gwctl.supervisor.children.spawn_errors import why
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service import privileges

BOOT_S: Final = 30.0
SILENT_S: Final = 30.0
"""Without a heartbeat for so long it hangs."""
GRACE_S: Final = 5.0
"""Between TERM and KILL."""
LAST_S: Final = 0.5
"""At the master's end: it has seen that the master goes, and ends by itself."""
HEALTHY_S: Final = 30.0
BACKOFF_MIN_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0
_DOUBLINGS_MAX: Final = 10
_POLL_S: Final = 0.02
"""Between two looks at a process that cannot be watched."""
_NEVER: Final = float("inf")
_RECORDS: Final = 8
_REASON_CHARS: Final = 1000


class Plan(msgspec.Struct, frozen=True):
    """What an admin process is to serve, and as whom."""

    instance: str
    settings: PoolSettings
    listeners: tuple[Listener, ...]
    token: str
    metrics_folder: str = ""
    statsd: StatsdSettings = StatsdSettings()

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(listener.url for listener in self.listeners)


class _Running:
    """One process, from its fork until it is reaped."""

    def __init__(self, plan: Plan, pid: int, channel: Channel, record: Record, now: float) -> None:
        self.plan = plan
        self.pid = pid
        self.channel = channel
        self.record = record
        self.spawned_at = now
        self.watched = False
        """Its channel is open, and registered with the loop."""
        self.allowance = Allowance()
        self.ready_at: float | None = None
        self.kill_at: float | None = None
        """It was told to end."""
        self.killed = False
        self.failed = False
        """It is killed for a fault of its own, not because it is to end."""
        self.reason = ""
        """What it said of its failure."""


class AdminProcess:
    """The one there is to be, and those that are on their way out.

    ``reaped`` has somebody called when a pid has ended; ``connect`` gives a socket to the control server;
    ``close_in_child`` closes in a new process what belongs to the master.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        recorder: Recorder,
        reaped: Callable[[int, Callable[[int], None]], None],
        connect: Callable[[socket.socket], None],
        close_in_child: Callable[[], None],
    ) -> None:
        self._selector = selector
        self._recorder = recorder
        self._reaped = reaped
        self._connect = connect
        self._close_in_child = close_in_child
        self._plan: Plan | None = None
        self._running: list[_Running] = []
        self._former: dict[int, float | None] = {}
        """Those that the program of before an upgrade has started, and when each is to be killed.
        None: it has not been told to end; infinite: it was killed."""
        self._board: Scoreboard | None = None
        self._failures = 0
        self._next_try_at = 0.0

    # ---- what is wanted

    def want(self, plan: Plan | None, now: float) -> None:
        """Have this served from now on; None: nothing."""
        if plan != self._plan:
            self._plan = plan
            self._failures, self._next_try_at = 0, now
        self.turn(now)

    @property
    def ready(self) -> bool:
        """Tell whether what is wanted is served."""
        return any(each.plan == self._plan and each.ready_at is not None for each in self._running)

    @property
    def pid(self) -> int:
        """Of the process that is wanted; 0: there is none."""
        current = self._current()
        return current.pid if current is not None else 0

    @property
    def urls(self) -> tuple[str, ...]:
        return self._plan.urls if self._plan is not None else ()

    def _current(self) -> _Running | None:
        """The one that has the place, until it is reaped: no other one is started before that."""
        return next((each for each in self._running if each.plan == self._plan), None)

    def reopen_events(self) -> None:
        """The file of the event log, which is stderr, was moved away and is another one now."""
        for running in self._running:
            if not running.channel.closed:
                with suppress(OSError), stdio.another_of_stderr() as own:  # no descriptor: the old one stays
                    running.channel.send(ReopenEvents(), (own,))
                running.channel.flush()

    def tell_log_level(self) -> None:
        """The log's level or format is another: it writes to it, too."""
        log = self._recorder.log
        for running in self._running:
            if not running.channel.closed:
                running.channel.send(SetLogLevel(int(log.level), format_name(json=log.json)))
                running.channel.flush()

    # ---- the loop

    @property
    def next_at(self) -> float:
        """When `turn` has something to do."""
        due = [each.kill_at for each in self._running if each.kill_at is not None and not each.killed]
        due += [kill_at for kill_at in self._former.values() if kill_at is not None]
        due += [
            each.spawned_at + BOOT_S
            for each in self._running
            if each.ready_at is None and each.kill_at is None
        ]
        if self._plan is not None and self._current() is None:
            due.append(self._next_try_at)
        return min(due, default=_NEVER)

    def turn(self, now: float) -> None:
        """Start the one that is wanted, end those that are not, or that hang."""
        if self._plan is not None and self._current() is None and now >= self._next_try_at:
            self._spawn(self._plan, now)
        for each in self._running:
            if each.kill_at is not None:
                if now >= each.kill_at and not each.killed:
                    self._kill(each, "term", GRACE_S)
            elif each.plan != self._plan and (self._plan is None or self.ready):
                self._tell_to_end(each, now)
            elif each.ready_at is None and now >= each.spawned_at + BOOT_S:
                self._kill(each, "boot", BOOT_S)
        self._end_former(now, replaced=self._plan is None or self.ready)

    def _end_former(self, now: float, *, replaced: bool) -> None:
        """Those that were told to end are killed in time, whatever has become of their successor since."""
        for pid, kill_at in self._former.items():
            if kill_at is None:
                if replaced:
                    self._former[pid] = now + GRACE_S
                    _signal(pid, signal.SIGTERM)
            elif now >= kill_at:
                self._former[pid] = _NEVER
                self._recorder.write(AdminKilled(pid=pid, fault="term", after_s=GRACE_S))
                _signal(pid, signal.SIGKILL)

    def observe(self, now: float) -> None:
        """See whether it hangs. Called when the workers are looked at."""
        for each in self._running:
            if each.ready_at is None or each.kill_at is not None:
                continue
            beat = each.record.floats[scoreboard.HEARTBEAT_AT]
            turned_at = max(each.ready_at, beat) if beat <= now else each.ready_at  # it writes what it likes
            if now - turned_at > SILENT_S:
                self._kill(each, "silent", now - turned_at)
            elif now - each.ready_at > HEALTHY_S:
                self._failures = 0

    # ---- upgrade

    def snapshot(self) -> tuple[int, ...]:
        """The pids of all that run: they serve on while the program is replaced."""
        return (*(each.pid for each in self._running), *self._former)

    def resume(self, pids: tuple[int, ...]) -> None:
        """Have those end that another program has started, when one of this program serves."""
        for pid in pids:
            self._former[pid] = None
            self._reaped(pid, partial(self._former_ended, pid))

    def _former_ended(self, pid: int, _status: int) -> None:
        self._former.pop(pid, None)

    # ---- start

    def _spawn(self, plan: Plan, now: float) -> None:
        try:
            running = self._fork(plan, now)
        except OSError as error:
            self._failed(now, 0, why(error, "the fork of the admin process"))
            return
        self._running.append(running)
        self._reaped(running.pid, partial(self._ended, running))
        try:
            self._selector.register(running.channel, selectors.EVENT_READ, lambda _mask: self._hears(running))
        except OSError as error:  # the kernel has no room to watch one more
            running.channel.close()
            self._kill(running, "unwatched", detail=why(error, "epoll_ctl"))
            return
        running.watched = True
        running.channel.send(Hello(PROTOCOL, scoreboard.LAYOUT, __version__))

    def _fork(self, plan: Plan, now: float) -> _Running:
        if self._board is None:
            self._board = Scoreboard(_RECORDS)
        board = self._board
        record = board.allocate()
        if record is None:
            raise OSError(0, "those before it have not ended yet")
        sockets: list[socket.socket] = []
        try:
            sockets += socket.socketpair()
            sockets += socket.socketpair()
            ours, theirs, served, asking = sockets
            asking.setblocking(False)
            channel = Channel(ours, takes_fds=False)
            assignment = self._assignment(plan, Channel(theirs), record, asking)

            def close_in_child() -> None:
                channel.close()
                served.close()
                for each in self._running:
                    each.channel.close()
                board.close_descriptor()
                self._close_in_child()
                privileges.gain_no_more()

            pid = fork_worker(assignment, close_in_child)
        except OSError:
            for sock in sockets:
                sock.close()
            board.release(record)
            raise
        theirs.close()
        asking.close()
        self._connect(served)
        return _Running(plan, pid, channel, record, now)

    def _assignment(self, plan: Plan, channel: Channel, record: Record, asking: socket.socket) -> Assignment:
        log = self._recorder.log
        return Assignment(
            worker=0,
            pool="admin",
            slot=0,
            generation=0,
            instance=plan.instance,
            settings=plan.settings,
            processes=1,
            listeners=plan.listeners,
            channel=channel,
            record=record,
            access_log_fd=-1,
            log_level=log.level,
            log_json=log.json,
            log_to=log.to,
            master_pid=os.getpid(),
            log_lock_fd=log.lock.fd,
            admin=AdminParts(asking, plan.token, plan.metrics_folder, plan.statsd),
        )

    # ---- what it says

    def _hears(self, running: _Running, *, lives: bool = True) -> None:
        try:
            for message, _fds in running.channel.receive():
                running.allowance.spend(time.monotonic())
                self._heard(running, message)
        except ChannelError as error:
            self._leave_channel(running)  # nothing more is read from it
            if not lives:
                running.reason = running.reason or cut(str(error), _REASON_CHARS)
            elif not running.killed:
                self._kill(running, "protocol", detail=cut(str(error), _REASON_CHARS))
            return
        if running.channel.closed:
            self._leave_channel(running)
        else:
            running.channel.flush()

    def _heard(self, running: _Running, message: Message) -> None:
        match message:
            case WorkerReady(boot_s=boot_s, memory_bytes=memory_bytes) if running.ready_at is None:
                running.ready_at = time.monotonic()
                running.channel.send(Serve())
                self._recorder.write(
                    AdminReady(
                        pid=running.pid,
                        urls=running.plan.urls,
                        boot_s=max(0.0, min(boot_s, BOOT_S)),
                        memory_bytes=max(0, min(memory_bytes, 1 << 60)),
                        token=bool(running.plan.token),
                        statsd=running.plan.statsd.to,
                    )
                )
            case WorkerFailed(message=reason):
                running.reason = cut(reason, _REASON_CHARS)
            case _:
                pass  # what it tells of its life is a worker's, and concerns no pool

    def _leave_channel(self, running: _Running) -> None:
        if running.watched:
            running.watched = False
            self._selector.unregister(running.channel)
            running.channel.close()

    # ---- end

    def _tell_to_end(self, running: _Running, now: float) -> None:
        running.kill_at = now + GRACE_S
        _signal(running.pid, signal.SIGTERM)

    def _kill(self, running: _Running, fault: AdminFault, after_s: float = 0.0, detail: str = "") -> None:
        self._recorder.write(AdminKilled(pid=running.pid, fault=fault, after_s=after_s, detail=detail))
        running.failed = running.kill_at is None
        running.kill_at = running.kill_at or time.monotonic()
        running.killed = True
        _signal(running.pid, signal.SIGKILL)

    def _ended(self, running: _Running, status: int) -> None:
        if running.watched:
            self._hears(running, lives=False)  # its last words
        self._leave_channel(running)
        self._running.remove(running)
        if self._board is not None:
            self._board.release(running.record)
        if running.kill_at is None or running.failed:
            self._failed(time.monotonic(), running.pid, running.reason, status)

    def _failed(self, now: float, pid: int, reason: str, status: int = 0) -> None:
        wait_s = min(BACKOFF_MIN_S * 2.0 ** min(self._failures, _DOUBLINGS_MAX), BACKOFF_MAX_S)
        self._failures += 1
        self._next_try_at = now + wait_s
        self._recorder.write(AdminEnded(pid=pid, reason=reason, status=status, retry_s=wait_s))

    def close_in_child(self) -> None:
        """In a new worker: close the master's ends of its channels, and its records."""
        for each in self._running:
            each.channel.close()
        self._running.clear()
        if self._board is not None:
            self._board.close()
            self._board = None

    def end(self) -> None:
        """At the master's end: have it end, too, and wait for that. Its control connection is closed."""
        self._plan = None
        for pid in self.snapshot():
            wait_s = LAST_S
            for signum in (signal.SIGTERM, signal.SIGKILL):
                if _has_ended(pid, wait_s):
                    break
                _signal(pid, signum)
                wait_s = 1.0
            else:
                _has_ended(pid, wait_s)
        self._running.clear()
        self._former.clear()


def _signal(pid: int, signum: int) -> None:
    """It has not been reaped: the number is its own."""
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


def _has_ended(pid: int, within_s: float) -> bool:
    """Wait for a child of ours, and reap it."""
    until = time.monotonic() + within_s
    with _watched(pid) as fd:
        if fd >= 0:
            waiting = select.poll()
            waiting.register(fd, select.POLLIN)
            waiting.poll(within_s * 1000)
        while True:
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    return True
            except ChildProcessError:
                return True
            if fd >= 0 or time.monotonic() >= until:
                return False
            time.sleep(_POLL_S)


@contextmanager
def _watched(pid: int) -> Iterator[int]:
    """Yield a descriptor that says when a process has ended; -1 where there is none to be had."""
    try:
        fd = os.pidfd_open(pid)
    except (OSError, AttributeError):
        yield -1
        return
    try:
        yield fd
    finally:
        os.close(fd)
