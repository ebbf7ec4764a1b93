"""The processes of the master: forked, watched through pidfds, spoken to over channels, reaped.

What the kernel and the workers say becomes events for the core, in the order observed; what
a worker wrote before it died is read before its death is told. A process is dead when its
pidfd (or SIGCHLD, where there are no pidfds) says so; end of file on a channel is only a
hint. No signal is ever sent to a number that has been reaped: by then it may be another's.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from gwctl import __version__
from gwctl.ipc import scoreboard
from gwctl.ipc.assignment import EXPLAIN_SIGNAL, INSPECT_SIGNAL, Assignment
from gwctl.ipc.channel import (
    INSPECT_PROTOCOL,
    LOG_LEVEL_PROTOCOL,
    OBEYED_PROTOCOL,
    PROTOCOL,
    TELL_PROTOCOL,
    TEMPLATE_DRAINS_PROTOCOL,
    Channel,
    ChannelError,
    Down,
    Drain,
    Hello,
    Park,
    Serve,
    SetLogLevel,
    Tell,
)
from gwctl.ipc.scoreboard import Scoreboard
from gwctl.log.event_log import format_name
from gwctl.records.workers import ChannelBroken, ScoreboardDoubted
from gwctl.supervisor.children.child import SIGNALS_OUT_MAX, Child
from gwctl.supervisor.children.children_snapshot import ChildrenSnapshot
from gwctl.supervisor.children.fork import fork_worker
from gwctl.supervisor.children.fork_requests import Templates
from gwctl.supervisor.children.legacy_scoreboard import OlderBoard, OlderRecord
from gwctl.supervisor.children.messages import MESSAGE_CHARS_MAX, handle_message
from gwctl.supervisor.children.new_process import NotOpenedError, Opened, open_for
from gwctl.supervisor.children.oom import OomWatch
from gwctl.supervisor.children.outputs import Outputs
from gwctl.supervisor.children.peer_limits import count, cut
from gwctl.supervisor.children.recent_totals import Recent
from gwctl.supervisor.children.scoreboards import Boards
from gwctl.supervisor.children.spawn_errors import why
from gwctl.supervisor.children.subreaper import adopt_orphans, is_child_of
from gwctl.supervisor.children.totals import SlotTotals, Totals
from gwctl.supervisor.children.watcher import Watching
from gwctl.supervisor.core import events
from gwctl.supervisor.core.actions import Spawn
from gwctl.supervisor.event_loop import Loop
from gwctl.supervisor.groups.delegated import WorkerGroups
from gwctl.supervisor.recorder import Recorder

SAMPLE_S: Final = 4.0  # at least, between two samples of the request rates

REAPED_AT_ONCE_MAX: Final = 256  # orphans of an application that forks without end are not all there is to do


class Children:
    """All child processes of the master, by worker id.

    ``report`` takes events for the core; ``jitter`` supplies random numbers in [0, 1);
    ``close_in_child`` closes the rest of the master's descriptors in a new child of that pool and generation.
    """

    def __init__(
        self,
        loop: Loop,
        boards: Boards,
        recorder: Recorder,
        report: Callable[[events.Event], None],
        jitter: Callable[[], float],
        close_in_child: Callable[[str, int], None],
        groups: WorkerGroups | None = None,
    ) -> None:
        self._loop = loop
        self.boards = boards
        self._recorder = recorder
        self._report = report
        self._jitter = jitter
        self._close_in_child = close_in_child
        self._by_worker: dict[events.WorkerId, Child] = {}
        self._by_pid: dict[int, Child] = {}
        self.sampled_at = 0.0
        self._oom = OomWatch()
        self.groups = groups or WorkerGroups()
        self.totals: dict[str, Totals] = {}
        """Of workers that are gone, by pool."""
        self._slots: dict[str, dict[int, SlotTotals]] = {}
        """The same by slot."""
        self._doomed: list[events.WorkerId] = []
        """Who is sent SIGKILL at the end of this turn."""
        self.recent = Recent()
        self.older: list[OlderBoard] = []
        """Boards of workers that were there before an upgrade changed the layout."""
        self.others: dict[int, Callable[[int], None]] = {}
        """Processes that are no workers: who is told of the exit status, by pid."""
        self._kept = False
        """An exit of nobody we know was left for a later `reap`."""
        self.outputs = Outputs(loop.selector, recorder)
        self._templates = Templates(self.send, self._forked, self._spawn_failed)
        self._watching = Watching(loop.selector, recorder, self._channel_event, self._given_up, self.reap)

    def __iter__(self) -> Iterator[Child]:
        return iter(self._by_worker.values())

    def get(self, worker: events.WorkerId) -> Child | None:
        return self._by_worker.get(worker)

    @property
    def owed(self) -> bool:
        """A template was asked for a worker, and has not answered yet."""
        return bool(self._templates.asked)

    # ---- spawning

    def spawn(
        self, asked: Spawn, pool_number: int, assign: Callable[[Opened], Assignment], *, captured: bool
    ) -> None:
        """Fork a worker, or have its template do it, and watch it. Reports Spawned or SpawnFailed."""
        worker, pool, template = asked.worker, asked.pool, asked.template
        try:
            opened = open_for(worker, pool, pool_number, self.boards, self.outputs, captured=captured)
        except NotOpenedError as error:
            self._report(events.SpawnFailed(worker, str(error), self._jitter()))
            return
        assignment = assign(opened)
        child = Child(
            worker=worker,
            pool=assignment.pool,
            slot=assignment.slot,
            generation=assignment.generation,
            settings=assignment.settings,
            channel=Channel(opened.ours, takes_fds=False),
            record=opened.record,
            spawned_at=time.monotonic(),
            dump=opened.dump,
            template=assignment.template,
            log_level=int(assignment.log_level),
            log_format=format_name(json=assignment.log_json),
        )
        self._by_worker[worker] = child
        if template is not None:
            self._ask(template, child, assignment, opened)
            return
        try:
            if child.template:
                adopt_orphans()
            pid = fork_worker(assignment, lambda: self._hygiene(child))
        except OSError as error:
            self._spawn_failed(child, why(error, "the fork"))
        else:
            self._spawned(child, pid)
        finally:
            opened.close_theirs()

    def _ask(self, template: events.WorkerId, child: Child, assignment: Assignment, opened: Opened) -> None:
        source = self._by_worker.get(template)
        reason = "its template has ended"
        if source is not None and not source.channel.closed:
            try:
                self._templates.ask(source, child, assignment, opened)
            except OSError as error:
                reason = f"its template cannot be asked: {error.strerror}"
            else:
                return
        opened.close_theirs()
        self._spawn_failed(child, reason)

    def _forked(self, child: Child, template: Child, pid: int) -> None:
        """A template names the pid of its worker. It runs the application, and could name anybody's."""
        known = pid in self._by_pid or pid in self.others
        if known or not is_child_of(template.pid, pid):
            self._spawn_failed(
                child, f"its template names pid {count(pid)}, which is no new process of its own"
            )
            return
        self._spawned(child, pid)

    def _spawned(self, child: Child, pid: int) -> None:
        child.pid = pid
        self.outputs.begin(child.worker, child.process)
        try:
            self._watching.begin(child)
        except OSError as error:
            self._let_go(child, why(error, "watching it"))
            return
        self._by_pid[pid] = child
        self.groups.take_in(child.worker, pid, child.settings.recycle.memory_hard_bytes)
        self._report(events.Spawned(child.worker, pid))
        self.send(child.worker, Hello(PROTOCOL, scoreboard.LAYOUT, __version__))

    def _let_go(self, child: Child, reason: str) -> None:
        """End a process that cannot be watched. What it has is given to others when it is reaped."""
        child.channel.closed = True
        self.others[child.pid] = lambda _status: self._spawn_failed(child, reason)
        self.signal(child.worker, signal.SIGKILL)

    def _spawn_failed(self, child: Child, reason: str) -> None:
        self._forget(child)
        self._report(events.SpawnFailed(child.worker, reason, self._jitter()))

    # ---- upgrade

    def snapshot(self) -> ChildrenSnapshot:
        """What `resume` needs. Nothing is changed; the descriptors are still this process's own."""
        pools = [pool for pool, _ in self.boards.items()]
        settings: dict[int, int] = {}  # they share the object of their plan
        plain: list[dict[str, Any]] = []
        children = []
        for child in self:
            if id(child.settings) not in settings:
                settings[id(child.settings)] = len(plain)
                plain.append(msgspec.to_builtins(child.settings))
            if isinstance(child.record, OlderRecord):
                board = len(pools) + self.older.index(child.record.board)
            else:
                board = pools.index(child.pool)
            children.append(child.snapshot(settings[id(child.settings)], board))
        boards = (*self.boards.snapshot(), *(older.snapshot for older in self.older))
        return ChildrenSnapshot(
            tuple(children),
            tuple(plain),
            boards,
            self.totals,
            self.sampled_at,
            self._slots,
            self.outputs.snapshot(),
        )

    def resume(self, snapshot: ChildrenSnapshot) -> None:
        """Go on with processes that another program has forked, and hears of no more.

        Raises:
            UpgradeError: They cannot be understood.
        """
        boards, children = snapshot.read()
        of_pools = zip((each.pool for each in snapshot.boards), boards, strict=True)
        self.boards = Boards({pool: each for pool, each in of_pools if isinstance(each, Scoreboard)})
        self.older.extend(board for board in boards if isinstance(board, OlderBoard))
        self.sampled_at = snapshot.sampled_at
        self._slots.update(snapshot.slots)
        for pool, totals in snapshot.totals.items():
            totals.fit()
            self.totals[pool] = totals
        for child in children:
            self.take_over(child)
        self.outputs.resume(snapshot.outputs)

    def take_over(self, child: Child) -> None:
        """Watch a process that another program has forked."""
        self._by_worker[child.worker] = child
        self._by_pid[child.pid] = child
        self.groups.resumed(child.worker)
        try:
            self._watching.begin(child)
        except OSError as error:
            self._watching.lose(child, error)

    def close_older(self) -> None:
        """Close the older boards that nobody writes to any more."""
        used = {id(child.record.board) for child in self if isinstance(child.record, OlderRecord)}
        for board in [board for board in self.older if id(board) not in used]:
            self.older.remove(board)
            board.close_descriptor()

    def _hygiene(self, mine: Child) -> None:
        """In a new worker or template: close what belongs to the master and to other workers."""
        self.close_in_child(mine)
        self._close_in_child(mine.pool, mine.generation)

    def close_in_child(self, mine: Child | None = None) -> None:
        """In a child, whatever it is: close what the master has of its children; ``mine`` is that child."""
        self._loop.close_in_child()
        self._recorder.close_in_child()
        self.outputs.close_in_child()
        for older in self.older:
            older.close_descriptor()
        self._templates.close_in_child()
        for child in self._by_worker.values():
            child.channel.close()
            if child is not mine:
                child.dump.close()
            if child.pidfd >= 0:
                os.close(child.pidfd)
        self.boards.close_in_child(mine.pool if mine is not None else "")

    # ---- channels

    def send(self, worker: events.WorkerId, message: Down, fds: tuple[int, ...] = ()) -> None:
        """Queue ``message``. To a worker that is gone it is dropped: its exit is news of its own.

        One that has only closed its channel can still be told to drain, by a signal.
        """
        child = self._by_worker.get(worker)
        if child is None:
            return
        if child.channel.closed:
            if isinstance(message, Drain):
                self.signal(worker, signal.SIGTERM)
            return
        if isinstance(message, Drain) and child.template and child.protocol < TEMPLATE_DRAINS_PROTOCOL:
            self.signal(worker, signal.SIGQUIT)
            return
        try:
            child.channel.send(message, fds)
        except OSError as error:  # no descriptor for a copy
            self._watching.leave_channel(child)
            self._watching.lose(child, error)
            return
        self._watching.want_write(child)
        if isinstance(message, Serve | Park) and child.protocol < OBEYED_PROTOCOL:  # it will not say so
            self._report(events.Obeyed(worker, isinstance(message, Serve)))

    def tell_log_level(self) -> None:
        """The log's level or format is another: workers write to it, too."""
        for child in self:
            self._tell_log_level(child)

    def _tell_log_level(self, child: Child) -> None:
        log = self._recorder.log
        level, form = int(log.level), format_name(json=log.json)
        if (child.log_level, child.log_format) != (level, form) and child.protocol >= LOG_LEVEL_PROTOCOL:
            child.log_level, child.log_format = level, form
            self.send(child.worker, SetLogLevel(level, form))

    def _channel_event(self, child: Child, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            child.channel.flush()
        if mask & selectors.EVENT_READ:
            self._read_channel(child)
        if not child.channel.closed:
            self._watching.want_write(child)
        elif self._watching.leave_channel(child):
            self._lost(child)
        if self._kept:
            self.reap()

    def _given_up(self, child: Child) -> None:
        self._send_away(child)
        self._lost(child)

    def _send_away(self, child: Child) -> None:
        """It can be told nothing more, but lives and has clients: by a signal it is told to drain.

        A template has none, and ends with its channel.
        """
        if not child.template:
            self.signal(child.worker, signal.SIGTERM)
            self._report(events.DrainStarted(child.worker, "as its channel is given up"))

    def _lost(self, child: Child) -> None:
        self._report(events.ChannelClosed(child.worker))

    def _read_channel(self, child: Child, *, lives: bool = True) -> None:
        try:
            now = time.monotonic()
            for message, _fds in child.channel.receive():
                handle_message(child, message, now, self._recorder, self._report, self._templates.answered)
            self._tell_log_level(child)
        except ChannelError as error:
            reason = cut(str(error), MESSAGE_CHARS_MAX)
            self._recorder.write(ChannelBroken(process=child.process, reason=reason))
            child.channel.hang_up()
            if lives:
                self._send_away(child)

    # ---- signals and exits

    def ask_why(self, worker: events.WorkerId, reason: str, now: float) -> None:
        """Have the process say what it is at; `kill`, `spare` or its exit reports that."""
        child = self._by_worker.get(worker)
        if child is None:
            return
        child.begin_report(reason, now)
        self.signal(worker, EXPLAIN_SIGNAL)
        self._tell(child, stacks=False)

    def inspect(self, child: Child, now: float, *, stacks: bool) -> None:
        """Have a process that is to live on say what it is at: see `inspections`."""
        child.begin_inspection(now, stacks=stacks)
        self._tell(child, stacks=stacks)

    def _tell(self, child: Child, *, stacks: bool) -> None:
        """It owes one answer at most: who does not answer would answer all of them at once."""
        if child.protocol >= TELL_PROTOCOL and not child.tell_out:
            child.tell_out = True
            self.send(child.worker, Tell(stacks))

    def inspect_by_signal(self, child: Child) -> None:
        """The same, of one whose loop does not turn; also of one that owes an answer to an earlier signal.

        That answer may be on its way, and what was sent after it not be read. Signals that come together
        are one.
        """
        if INSPECT_SIGNAL is not None and child.protocol >= INSPECT_PROTOCOL:
            child.signals_out = min(SIGNALS_OUT_MAX, child.signals_out + 1)
            self.signal(child.worker, INSPECT_SIGNAL)

    def kill(self, worker: events.WorkerId, reason: str, now: float) -> None:
        """Report what it was at. `send_kills` ends it: whoever sees that finds the record in the log."""
        child = self._by_worker.get(worker)
        if child is None:
            return
        asked_for, report = child.end_report(now) or (reason, None)
        self._report(events.Killed(worker, asked_for, report))
        child.killed = True
        self._doomed.append(worker)

    def send_kills(self) -> None:
        """Send SIGKILL to those of whom it was reported. To be called when that is in the log."""
        for worker in self._doomed:
            self.signal(worker, signal.SIGKILL)
        self._doomed.clear()

    def spare(self, worker: events.WorkerId, now: float) -> None:
        """Report what a worker was at that need not be killed after all."""
        child = self._by_worker.get(worker)
        if child is not None and (known := child.end_report(now)):
            self._report(events.Spared(worker, *known))
            child.dump.empty()  # should it die of a fault, what is written then is read from the start

    def signal(self, worker: events.WorkerId, signum: int) -> None:
        """Signal a process that has not been reaped; nothing happens to one that has."""
        child = self._by_worker.get(worker)
        if child is None or not child.pid:
            return
        try:
            if child.pidfd >= 0:
                signal.pidfd_send_signal(child.pidfd, signum)
            else:
                os.kill(child.pid, signum)
        except ProcessLookupError:
            pass  # it is a zombie: its exit is about to be read

    def reap(self) -> None:
        """Take every exit that is there: ours become events, strangers (as pid 1) just go.

        Waiting with WNOWAIT first means that noticing an exit never eats its status. A stranger
        is left alone while a template owes an answer: it may be the worker that this is about.
        """
        self._kept = False
        for _ in range(REAPED_AT_ONCE_MAX):
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None:
                return
            child = self._by_pid.get(info.si_pid) or self._named(info.si_pid)
            if child is None and self._templates.asked and info.si_pid not in self.others:
                self._kept = True  # an answer that is to come may name it
                self._reap_known()
                if self._templates.asked:
                    return
                continue
            self._take(info.si_pid, child)
        signal.raise_signal(signal.SIGCHLD)  # there may be more: in the next turn of the loop

    def _named(self, pid: int) -> Child | None:
        """The worker of that pid, if its template has said so and nobody has read it yet."""
        for worker in self._templates.asked:
            template = self._by_worker[worker]
            if not template.channel.closed:
                self._read_channel(template)
        return self._by_pid.get(pid)

    def _reap_known(self) -> None:
        for child in list(self._by_pid.values()):
            if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                self._take(child.pid, child)

    def _take(self, pid: int, child: Child | None) -> None:
        if child is not None and not child.channel.closed:
            self._read_channel(child, lives=False)
        if child is not None:
            self.outputs.end(child.worker)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if child is not None:
            self._reaped(child, status)
        elif pid in self.others:
            self.others.pop(pid)(status)

    def _reaped(self, child: Child, status: int) -> None:
        now = time.monotonic()
        record = child.trusted_record(now)
        self._tell_doubt(child)
        measured_bytes = record.words[scoreboard.MEMORY_BYTES]
        cause = self._memory_cause(child, measured_bytes) if child.killed_by_others(status) else ""
        serving = child.last_words(record, now)
        reason, report = child.end_report(now) or ("", None)
        frames = child.fault_frames(status) if report is None else ""
        exited = events.Exited(
            child.worker,
            status,
            self._jitter(),
            serving=serving,
            cut=child.unfinished(record),
            cause=cause,
            frames=frames,
            report=report,
            reason=reason,
        )
        self.totals.setdefault(child.pool, Totals()).fold(record)
        if not child.template:
            self._slots.setdefault(child.pool, {}).setdefault(child.slot, SlotTotals()).fold(record)
        self._forget(child)
        self._report(exited)
        if child.template:
            self._templates.ended(child)

    def _memory_cause(self, child: Child, held_bytes: int) -> str:
        """Say that the kernel ended it for memory; empty if that is not known."""
        own, limit = self.groups.was_killed(child.worker), self.groups.own_limit(child.worker)
        return self._oom.cause(held_bytes, own=own, own_limit=limit)

    def _forget(self, child: Child) -> None:
        self._watching.end(child)
        self.groups.let_go(child.worker)
        self.outputs.forget(child.worker)
        child.channel.close()
        child.dump.close()
        del self._by_worker[child.worker]
        if isinstance(child.record, OlderRecord):
            self.close_older()
        else:
            self.boards.release(child.pool, child.record)
        self._by_pid.pop(child.pid, None)

    def observe(self, now: float) -> None:
        """Report what the scoreboard says of each process, and note its request rate now and then."""
        self._watching.retry(self)
        self._oom.sample()
        self.groups.sweep()
        for child in self._by_worker.values():
            self._report(child.observed(self._jitter(), now))
            self._tell_doubt(child)
        if now - self.sampled_at >= SAMPLE_S:
            for child in self._by_worker.values():
                child.sample(now - max(self.sampled_at, child.spawned_at), now)
            self.sampled_at = now
            for pool in {child.pool for child in self._by_worker.values()}:
                self.recent.note(pool, self.totals_of(pool, now), now)

    def totals_of(self, pool: str, now: float) -> Totals:
        """The sums of a pool, dead workers included."""
        living = Totals()
        for child in self._by_worker.values():
            if child.pool == pool and not child.template:
                living.fold(child.trusted_record(now))
        return self.totals.get(pool, Totals()).plus(living)

    def slots_of(self, pool: str, now: float) -> dict[int, SlotTotals]:
        """The sums of each slot of a pool, dead workers included."""
        found = {slot: msgspec.structs.replace(each) for slot, each in self._slots.get(pool, {}).items()}
        for child in self._by_worker.values():
            if child.pool == pool and not child.template:
                found.setdefault(child.slot, SlotTotals()).fold(child.trusted_record(now))
        return found

    def _tell_doubt(self, child: Child) -> None:
        """Say that a record cannot be believed: once, as it may be so for good."""
        doubt = child.reader.doubt
        if doubt and not child.reader.doubt_told:
            child.reader.doubt_told = True
            self._recorder.write(ScoreboardDoubted(process=child.process, doubt=doubt))
