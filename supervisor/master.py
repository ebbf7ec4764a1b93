"""The master process: the shell around the pure core.

It holds what touches the kernel (loop, children, listeners, control socket, notifications)
and carries out what `Fleet.step` decides. It decides nothing itself: each turn collects what
happened as events, lets the core step, and performs the actions in order; a result comes
back as an event of a further step in the same turn. It never blocks, never starts a thread
and never imports the application.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from typing import Any, assert_never

from msgspec.structs import asdict

from gwctl.config import users
from gwctl.control.difference import Differences
from gwctl.control.status import MasterStatus, to_json_ready
from gwctl.errors import ControlError, GwctlError, InvariantViolation
from gwctl.ipc import scoreboard
from gwctl.ipc.assignment import Assignment
from gwctl.ipc.channel import Channel, Drain, Park, Serve
from gwctl.log.level import Level
from gwctl.records.base import TEMPLATE
from gwctl.records.master import InvariantBroken
from gwctl.records.reloads import RestartNeeded, SettingsWarning
from gwctl.records.sentences import sentence
from gwctl.supervisor.admin.metrics_folder import MetricsFolder
from gwctl.supervisor.admin.process import AdminProcess
from gwctl.supervisor.admin_plan import plan_of
from gwctl.supervisor.children.children import Children
from gwctl.supervisor.children.inspections import Inspections
from gwctl.supervisor.children.load import Loads
from gwctl.supervisor.children.measuring import measured
from gwctl.supervisor.children.new_process import Opened
from gwctl.supervisor.children.profiles import Profiles
from gwctl.supervisor.children.scoreboards import Boards
from gwctl.supervisor.children.slow_requests import SlowRequests
from gwctl.supervisor.control.metrics_report import health_document, metrics_document
from gwctl.supervisor.control.status_report import Adoption, master_status
from gwctl.supervisor.core import actions, events
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.snapshot import snapshot_of
from gwctl.supervisor.core.state import TakingOver
from gwctl.supervisor.event_loop import Loop, signals_blocked
from gwctl.supervisor.generations.admin_settings import pool_settings
from gwctl.supervisor.generations.capacity import CapacityWatch
from gwctl.supervisor.generations.connection_queues import ConnectionQueues
from gwctl.supervisor.generations.generations import Generations
from gwctl.supervisor.generations.partial import UnknownPoolError
from gwctl.supervisor.groups.delegated import WorkerGroups
from gwctl.supervisor.groups.memory import GroupMemory
from gwctl.supervisor.log_level import LogLevel
from gwctl.supervisor.log_reopening import reopen_logs
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service.announcer import Announcer
from gwctl.supervisor.service.fd_store import FdStore
from gwctl.supervisor.service.terminal import Terminal
from gwctl.supervisor.takeover.holdings import Holdings
from gwctl.supervisor.takeover.parties import Takeover
from gwctl.supervisor.takeover.predecessor import Predecessor
from gwctl.supervisor.upgrade.execute import Handover, this_program
from gwctl.supervisor.upgrade.program import Program
from gwctl.supervisor.upgrade.snapshot import State, complete, format_of


class Master:
    """One running master. Made when everything that can fail at the start has been opened."""

    def __init__(
        self,
        loop: Loop,
        generations: Generations,
        recorder: Recorder,
        announcer: Announcer,
        fd_store: FdStore,
        program: Program,
        fleet: Fleet | None = None,
        queues: ConnectionQueues | None = None,
        groups: WorkerGroups | None = None,
    ) -> None:
        """``fleet`` and ``queues`` are given when they were handed over by another program."""
        self._loop = loop
        self._generations = generations
        self._recorder = recorder
        self._announcer = announcer
        self._fd_store = fd_store
        self.held = Holdings(generations.listeners, fd_store, recorder)
        self._events: list[events.Event] = []
        self._finish: actions.Finish | None = None
        self._started_at = time.monotonic()
        self._adoption = Adoption(time.time(), "start")
        self._tried_by = ""
        self.name = generations.current.loaded.settings.master.name
        self._terminal = Terminal()
        self._queues = queues or ConnectionQueues()
        self.fleet = fleet or Fleet(generations.current.policies, generations.adopted)
        self.children = Children(
            loop,
            Boards(),
            recorder,
            self._events.append,
            random.random,
            self._close_in_child,
            groups,
        )
        self.log_level = LogLevel(recorder, self._tell_log_level)
        self._inspections = Inspections(self.children, self._answer)
        self._memory = GroupMemory()
        self._loads = Loads(self._memory.left)
        self._capacity = CapacityWatch(self._events.append)
        self.profiles = Profiles(self._inspections, recorder, self._answer, self._refuse_in_upgrade)
        self._slow = SlowRequests(self.children, recorder, self._inspections.inspect)
        self.admin = AdminProcess(
            loop.selector, recorder, self.children.others.__setitem__, self._connect, self._close_in_admin
        )
        self._metrics_folder = MetricsFolder(self.name, recorder)
        self._program = program
        self._handover = Handover(program, self.snapshot, loop, self.children, self._events.append)
        self._takeover = Takeover(loop.selector, self.held, this_program(), self._answer, self._events.append)

    # ---- the loop

    def go_on(self) -> int:
        """Serve until the end, and ignore signals from then on; returns the exit status."""
        self._program.let_signals_in()
        status = self.run()
        self._loop.ignore_signals()
        return status

    def run(self) -> int:
        """Serve until the core says that the end is reached; returns the exit status."""
        self._step()
        self._handover.keep_program(self._recorder)
        while self._finish is None:
            self._loop.wait(self._timeout())
            for signum in self._loop.take_signals():
                self._signalled(signum)
            self._terminal.check(time.monotonic())
            self._fd_store.turn()
            self._announcer.turn(time.monotonic())
            self.log_level.turn(time.monotonic())
            self._slow.turn(time.monotonic(), asks=not self.fleet.state.executing)
            self._inspections.turn(time.monotonic())
            self.admin.turn(time.monotonic())
            self.children.outputs.turn(time.monotonic())
            self._capacity.turn(time.monotonic(), self.fleet.state)
            if self.held.control is not None:
                self.held.control.turn(time.monotonic())
            self._step()
            if self.fleet.state.executing and not self.children.owed and not self._inspections.under_way:
                self._execute()
        return self._end(self._finish)

    def _execute(self) -> None:
        """Become the new program, unless news of the last moment speak against it."""
        with signals_blocked():
            self._loop.wait(0)
            for signum in self._loop.take_signals():
                self._signalled(signum)
            self._step()
            if not self.fleet.state.executing or self.children.owed or self._inspections.under_way:
                return
            self._events.append(events.UpgradeFailed(self._handover.execute(self._recorder.log)))
        self._step()

    def _timeout(self) -> float:
        due = min(
            self._announcer.next_at,
            self._fd_store.next_at,
            self.log_level.next_at,
            self._inspections.next_at,
            self._slow.next_at,
            self.admin.next_at,
            self.children.outputs.next_at,
        )
        if (deadline := self.fleet.next_deadline()) is not None:
            due = min(due, deadline)
        if self.held.control is not None:
            due = min(due, self.held.control.next_at)
        return max(0.0, due - time.monotonic())

    def _step(self) -> None:
        """Let the core step until it has nothing more to say about what happened."""
        while True:
            batch, self._events[:] = list(self._events), []
            for action in self._decide(batch):
                self._perform(action)
            if not self._events:
                break
        self.children.send_kills()
        self._announcer.observe(self.fleet.state, time.monotonic())
        self._recorder.log.flush()

    def _decide(self, batch: list[events.Event]) -> list[actions.Action]:
        """One step of the core. A broken invariant is logged; reaping and stopping go on."""
        try:
            return self.fleet.step(time.monotonic(), batch)
        except InvariantViolation as violation:
            self._recorder.write(InvariantBroken(rule=str(violation)))
            return self.fleet.salvaged

    def _signalled(self, signum: int) -> None:
        match signum:
            case signal.SIGCHLD:
                self.children.reap()
            case signal.SIGHUP:
                if self._terminal.was_closed(time.monotonic()):
                    self._events.append(events.StopAsked(0, "its terminal was closed"))
                else:
                    self._events.append(events.ReloadAsked(0, "SIGHUP"))
            case signal.SIGTERM:
                self.ask_to_stop(0, "SIGTERM")
            case signal.SIGINT | signal.SIGQUIT:
                self._events.append(events.StopAsked(0, signal.Signals(signum).name, quick=True))
            case signal.SIGTTIN | signal.SIGTTOU:
                delta = 1 if signum == signal.SIGTTIN else -1
                self._events.append(events.ScaleAsked(0, "", None, delta, signal.Signals(signum).name))
            case signal.SIGUSR1:
                reopen_logs(self._generations, self.children, self.admin, self._recorder)
            case signal.SIGUSR2:
                self._events.append(events.UpgradeAsked(0, "SIGUSR2"))
            case _:
                raise AssertionError(f"signal {signum} is handled but unknown")

    # ---- actions

    def _perform(self, action: actions.Action) -> None:
        if isinstance(action, actions.TakeoverAction):
            self._perform_in_takeover(action)
            return
        match action:
            case actions.Note(record=record):
                self._recorder.write(record)
            case actions.Observe(load_of=pools):
                self.children.observe(time.monotonic())
                self._events += self._loads.observe(pools, self.children, self._backlog, time.monotonic())
                if (memory := self._memory.nearest()) is not None:
                    self._events.append(memory)
                self.admin.observe(time.monotonic())
                self._generations.listeners.check(self._recorder)
            case actions.Measure(pools=pools):
                self._events.append(measured(self.children, pools, time.monotonic()))
            case actions.Progress():
                self._tell_progress(action)
            case actions.Answer(request=request, ok=ok, text=text, result=result):
                self._answer(request, ok, text, result)
            case actions.CloseListeners():
                self.held.close_listeners(for_good=self._ends_for_good)
            case actions.Finish():
                self._finish = action
            case actions.CheckUpgrade():
                self._handover.check()
            case actions.AbandonUpgrade():
                self._handover.abandon()
            case actions.ExecuteUpgrade():
                pass  # when all else is done: see `run`
            case (
                actions.Prepare()
                | actions.Restore()
                | actions.Adopt()
                | actions.Release()
                | actions.Abandon()
            ):
                self._perform_on_generation(action)
            case _:
                self._perform_on_worker(action)

    def _backlog(self, pool: str) -> int:
        return self._generations.backlog(self.fleet.state.pools[pool].generation, pool)

    def _perform_on_worker(self, action: actions.WorkerAction) -> None:
        match action:
            case actions.Spawn():
                self._spawn(action)
            case actions.Serve(worker=worker):
                self.children.send(worker, Serve())
            case actions.Park(worker=worker):
                self.children.send(worker, Park())
            case actions.ReleaseClients(worker=worker):
                self.children.send(worker, Park(release_clients=True))
            case actions.Drain(worker=worker, timeout_s=timeout_s, sweep=sweep):
                self.children.send(worker, Drain(timeout_s, sweep or self._is_last_to_accept(worker)))
            case actions.Quit(worker=worker):
                self.children.signal(worker, signal.SIGQUIT)
            case actions.Dump(worker=worker, reason=reason):
                self.children.ask_why(worker, reason, time.monotonic())
            case actions.Spare(worker=worker):
                self.children.spare(worker, time.monotonic())
            case actions.Kill(worker=worker, reason=reason):
                self.children.kill(worker, reason, time.monotonic())
            case _:
                assert_never(action)

    def _perform_on_generation(self, action: actions.GenerationAction) -> None:
        match action:
            case actions.Prepare() | actions.Restore():
                self._prepare(action)
            case actions.Adopt():
                self._adopt(action)
            case actions.Release(generation=generation):
                self._generations.release(generation)
            case actions.Abandon(generation=generation):
                self._generations.abandon(generation)
            case _:
                assert_never(action)

    def _answer(
        self, request: events.RequestId, ok: bool, text: str, result: dict[str, Any], *passed: socket.socket
    ) -> None:
        if self.held.control is not None and request:
            self.held.control.answer(request, ok, text, result, *passed)

    def _tell_progress(self, news: actions.Progress) -> None:
        if self.held.control is not None:
            self.held.control.progress(news)

    def _spawn(self, action: actions.Spawn) -> None:
        self._handover.stay_one_version(self._recorder)
        plan = self._generations.plan(action.generation, action.pool)
        settings = plan.pool(action.pool)
        if reason := plan.unservable(action.pool):
            self._events.append(events.SpawnFailed(action.worker, reason, random.random()))
            return
        template = action.slot == TEMPLATE
        admin = pool_settings(plan.loaded.settings)
        metrics_folder = self._metrics_folder.of_pool(action.pool, settings, admin)

        def assign(opened: Opened) -> Assignment:
            return Assignment(
                worker=action.worker,
                pool=action.pool,
                slot=action.slot,
                generation=action.generation,
                instance=self.name,
                settings=settings,
                processes=self.fleet.state.size_of(action.pool, action.generation),
                listeners=self._generations.listeners_of(action.generation, action.pool),
                channel=Channel(opened.theirs),
                record=opened.record,
                access_log_fd=self._generations.logs.descriptor(settings.access_log),
                log_level=self._recorder.log.level,
                log_json=self._recorder.log.json,
                log_to=self._recorder.log.to,
                master_pid=os.getpid(),
                board=self.children.boards.of(action.pool),
                queue=self._queues.get(action.pool),
                threads_given=plan.threads_given(action.pool),
                tls=plan.tls(action.pool),
                dump_fd=opened.dump.fd,
                log_lock_fd=self._recorder.log.lock.fd,
                template=template,
                metrics_folder=metrics_folder,
                output=opened.output,
            )

        number = scoreboard.FREE if template else self._queues.number(action.pool)
        self.children.spawn(action, number, assign, captured=settings.capture_output)

    def _is_last_to_accept(self, worker: events.WorkerId) -> bool:
        """It has a listener that the settings in force do not: what waits there is its to serve."""
        child = self.children.get(worker)
        return child is not None and self._generations.are_last(child.pool, child.generation)

    # ---- reload

    def _prepare(self, action: actions.Prepare | actions.Restore) -> None:
        self._tried_by = self.fleet.state.reload.source if self.fleet.state.reload is not None else ""
        try:
            if isinstance(action, actions.Restore):
                self._restored(action.generation)
            else:
                self._handover.stay_one_version(self._recorder)
                self._prepared(action)
        except GwctlError as error:
            unknown = isinstance(error, UnknownPoolError)
            self._events.append(events.PrepareFailed(action.generation, str(error), unknown))

    def _prepared(self, action: actions.Prepare) -> None:
        plan, left = self._generations.prepare(action.generation, action.pools)
        warnings = tuple(plan.loaded.warnings)
        for warning in warnings:
            self._recorder.write(SettingsWarning(text=warning))
        keep_s, lost = plan.loaded.settings.master.keep_s, self._generations.missing(plan)
        changed = self._generations.differs(plan)
        self._events.append(
            events.Prepared(action.generation, plan.policies, warnings, keep_s, lost, left, changed)
        )

    def _restored(self, generation: int) -> None:
        plan = self._generations.restore(generation)
        keep_s = self._generations.current.loaded.settings.master.keep_s
        lost = self._generations.missing(plan)
        self._events.append(events.Prepared(generation, plan.policies, keep_s=keep_s, lost=lost))

    def _adopt(self, action: actions.Adopt) -> None:
        self._adoption = Adoption(time.time(), self._tried_by)
        need_restart = self._generations.adopt(action.generation, action.kept)
        self._queues.keep_only(self._generations.current.policies)
        self.children.boards.keep(self._generations.current.policies)
        self.held.keep_listeners()
        if not action.pools:
            self._adopt_for_itself(need_restart)

    def _adopt_for_itself(self, need_restart: list[str]) -> None:
        for name in need_restart:
            self._recorder.write(RestartNeeded(setting=name))
        settings = self._generations.current.loaded.settings
        if self._recorder.log.json != (settings.log.format == "json"):
            self._recorder.log.json = not self._recorder.log.json
            self._tell_log_level()
        if self.held.control is not None:
            self.held.control.allow(users.named(settings.control.allow_users))
        self.log_level.configure(Level[settings.master.log_level.upper()])
        self.want_admin()

    @property
    def _ends_for_good(self) -> bool:
        return self.fleet.state.ending is not None and bool(self.fleet.state.ending.requests)

    def _tell_log_level(self) -> None:
        self.children.tell_log_level()
        self.admin.tell_log_level()

    def want_admin(self) -> None:
        """Have the admin listener served as the settings in force say."""
        plan = plan_of(self.name, self._generations, self._metrics_folder, self._recorder)
        self.admin.want(plan, time.monotonic())

    def _connect(self, sock: socket.socket) -> None:
        assert self.held.control is not None
        self.held.control.connect(sock)

    # ---- takeover

    def take_over(self, predecessor: Predecessor, pidfile: str) -> None:
        """Take the place of ``predecessor`` when all serve; to be called before the first step."""
        self.held.borrowed = True
        self.fleet.state.taking_over = TakingOver(predecessor.pid, predecessor.program)
        self._takeover.begin(predecessor, pidfile)

    def _perform_in_takeover(self, action: actions.TakeoverAction) -> None:
        if isinstance(action, actions.HandOver):
            self.admin.want(None, time.monotonic())
        self._takeover.perform(action)
        if isinstance(action, actions.Settle):
            self.begin()

    # ---- upgrade

    def snapshot(self) -> State:
        """Everything that this master is. Nothing is changed; the descriptors are still its own."""
        children, generations = self.children.snapshot(), self._generations.snapshot()
        return complete(
            State(
                **asdict(children),  # their fields have the names of those here
                **asdict(generations),
                format=format_of(children.outputs),
                was=this_program(),
                fleet=snapshot_of(self.fleet),
                name=self.name,
                started_at=self._started_at,
                adopted_at=self._adoption.at,
                adopted_by=self._adoption.by,
                tried_by=self._tried_by,
                handed_over_at=time.monotonic(),
                command=self._program.snapshot(),
                mask=self._program.mask,
                log_level=int(self._recorder.log.level),
                log_lines=tuple(self._recorder.log.waiting()),
                log_to=self._recorder.log.to,
                exchanges=self._queues.snapshot(),
                announced=self._announcer.snapshot(),
                fd_store=self._fd_store.snapshot(),
                control=self.held.control.snapshot() if self.held.control is not None else None,
                pidfile=self.held.pidfile.snapshot() if self.held.pidfile is not None else None,
                history=self._recorder.history.snapshot(),
                log_level_asked=self.log_level.snapshot(),
                admin=self.admin.snapshot(),
                tally=self._recorder.tally,
                log_lines_lost=self._recorder.log.lost,
                metrics_folder=self._metrics_folder.path,
            )
        )

    def resume(self, state: State) -> None:
        """Be the master that another program was; what it was made of is given to the constructor.

        Raises:
            UpgradeError: Its processes cannot be understood.
        """
        self.name = state.name
        self._started_at = state.started_at
        self._adoption = Adoption(state.adopted_at, state.adopted_by)
        self._tried_by = state.tried_by
        self.children.resume(state.of_children)
        self._fd_store.resume(state.fd_store)
        self.held.keep_listeners()
        self.log_level.resume(state.log_level_asked)
        self.admin.resume(state.admin)
        self._metrics_folder.path = state.metrics_folder

    # ---- start and end

    def begin(self) -> None:
        """Be the master of this name from now on."""
        self.held.keep_listeners()
        self.want_admin()

    def status(self) -> dict[str, Any]:
        """The document that ``gwctl status`` shows."""
        return to_json_ready(self._report())

    def _report(self) -> MasterStatus:
        return master_status(
            self.name, self._started_at, self._adoption, self.fleet.state, self.children, self._generations
        )

    def metrics(self) -> dict[str, Any]:
        """Figures for machines."""
        return metrics_document(self._report(), self.children, self._generations, self._recorder)

    def health(self) -> dict[str, Any]:
        """What probes ask for."""
        return health_document(self.fleet.state, self._generations, self._recorder)

    def diff(self) -> Differences:
        """What a reload would change, or why it would be refused."""
        self._refuse_in_upgrade()
        return self._generations.diff()

    def ask(self, event: events.Event) -> None:
        """Take a request of a control client."""
        self._events.append(event)

    def dump(self, request: events.RequestId, worker: str) -> None:
        """Have workers say what they are at."""
        self._refuse_in_upgrade()
        self._inspections.dump(request, worker, time.monotonic())

    def requests(self, request: events.RequestId, worker: str) -> None:
        """Have workers say what they serve."""
        self._refuse_in_upgrade()
        self._inspections.requests(request, worker, time.monotonic())

    def _refuse_in_upgrade(self) -> None:
        """Whoever asks again and again would hold it up: it waits for those who have asked already."""
        if self.fleet.state.executing:
            raise ControlError("an upgrade is under way: ask again in a moment")

    def ask_to_stop(self, request: events.RequestId, source: str) -> None:
        """Stop gracefully."""
        delay_s = self._generations.current.loaded.settings.master.drain_delay_s
        self._events.append(events.StopAsked(request, source, delay_s=delay_s))

    def _close_in_child(self, pool: str, generation: int) -> None:
        """In a new worker: close what belongs to the master or to other pools."""
        self._generations.close_in_child(pool, generation)
        self._queues.keep_only([pool])
        self.admin.close_in_child()
        self._close_own()

    def _close_in_admin(self) -> None:
        """In a new admin process: close what belongs to the master or to pools."""
        self.children.close_in_child()
        self._generations.close_in_admin()
        self._queues.keep_only([])
        self._close_own()

    def _close_own(self) -> None:
        self._announcer.close_in_child()
        self.profiles.close_in_child()
        self.held.close_in_child()
        self._takeover.close_in_child()
        self._program.close_in_child()
        self._handover.close_in_child()

    def close(self) -> None:
        """Give back what others can see: pid file, control socket, listeners."""
        self.held.close(for_good=self._ends_for_good)

    def _end(self, finish: actions.Finish) -> int:
        self.close()
        self.children.outputs.close()
        self._recorder.write(finish.record)
        self._announcer.end(finish.status, sentence(finish.record))
        if self.held.control is not None:
            self.held.control.close()  # who follows the events has seen the last one, too
        self.admin.end()
        self._metrics_folder.remove()
        self.children.groups.end()
        return finish.status
