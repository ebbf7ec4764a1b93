"""The new program's part of an upgrade: read what the old one was, and be it.

`check` does so in a process of its own, without the descriptors, before anything is decided. `restore`
does it for good, with all signals blocked. Whatever it raises has the old program executed again: so it
gives nothing up and changes nothing in the world until all is understood, and no descriptor is closed
by then (`gwctl.ipc.inherited_fds`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import setproctitle

from gwctl.config.model.settings import PoolSettings
from gwctl.errors import UpgradeError
from gwctl.ipc import inherited_fds, scoreboard
from gwctl.ipc.channel import Channel
from gwctl.ipc.scoreboard import Scoreboard
from gwctl.log import Level, Log
from gwctl.records.reloads import GenerationUnreadable
from gwctl.supervisor.children import stdio
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.fork import share_with_workers
from gwctl.supervisor.children.incident_report import DumpFile
from gwctl.supervisor.children.legacy_scoreboard import OlderBoard, OlderRecord
from gwctl.supervisor.children.scoreboards import Boards, is_ours
from gwctl.supervisor.control.handler import control_handler
from gwctl.supervisor.control.server import ControlServer
from gwctl.supervisor.control.status_report import Adoption
from gwctl.supervisor.core import events
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.snapshot import FactsError, fleet_from
from gwctl.supervisor.event_loop import Loop
from gwctl.supervisor.generations.connection_queues import Exchanges
from gwctl.supervisor.generations.generations import Generations, Plan
from gwctl.supervisor.listeners.listener_set import ListenerSet
from gwctl.supervisor.master import Master
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service.pidfile import Pidfile
from gwctl.supervisor.service.sd_notify import Notifier
from gwctl.supervisor.service.status import Announcer
from gwctl.supervisor.upgrade import snapshot as handed_over
from gwctl.supervisor.upgrade.execute import Verdict, this_program
from gwctl.supervisor.upgrade.plan_snapshot import plan_from, struct_from
from gwctl.supervisor.upgrade.program import Program
from gwctl.write_lock import WriteLock

if TYPE_CHECKING:
    from gwctl.config.load import Loaded
    from gwctl.supervisor.upgrade.role import Role
    from gwctl.supervisor.upgrade.snapshot import ChildFacts, State


# ---- check


def check(fd: int) -> None:
    """Read the state as `restore` would, and say on stdout what this program is.

    Raises:
        UpgradeError: It cannot be restored by this program.
    """
    state = handed_over.read(fd)
    _fleet(state).check()
    problems: list[str] = []
    plans = _plans(state, problems)
    if problems:
        raise UpgradeError("\n".join(problems))
    for each in state.settings:
        struct_from(PoolSettings, each)
    _boards(state)
    share_with_workers(plans[state.adopted].loaded.settings.pool.values())
    sys.stdout.buffer.write(msgspec.json.encode(Verdict(this_program())))
    sys.stdout.flush()


# ---- restore


def restore(role: Role, load: Callable[[], Loaded]) -> Master:
    """Make the master that the state describes. Signals are still blocked when it returns.

    Raises:
        UpgradeError: Not understood; and whatever else is wrong with this program.
    """
    state = handed_over.read(role.fd)
    for fd in (role.fd, *state.descriptors):
        os.set_inheritable(fd, False)
    stdio.hold_open()
    fleet, problems = _fleet(state), list[str]()
    plans = _plans(state, problems)
    master_settings = plans[state.adopted].loaded.settings.master
    log = Log(stdio.own_log(), Level[master_settings.log_level.upper()], lock=WriteLock.make())
    log.resume(list(state.log_lines))
    recorder = Recorder(log)
    loop = Loop()
    listeners = ListenerSet(os.environ, state.passed)
    listeners.resume(state.listeners)
    generations = Generations(load, listeners)
    generations.resume(plans, state.adopted, state.logs, state.removed)
    boards = _boards(state)
    ours = {state.boards[index].pool: each for index, each in boards.items() if isinstance(each, Scoreboard)}
    announcer = Announcer(Notifier(os.environ, recorder), state.announced)
    program = _program(state, role)
    exchanges = Exchanges(state.exchanges)
    children = [_child(state, each, boards) for each in state.children]
    master = Master(loop, generations, recorder, announcer, program, fleet, Boards(ours), exchanges)
    _adopt_children(master, state, children, boards)
    _resume_control(master, state, loop, recorder)
    if state.pidfile is not None:
        master.own_pidfile(Pidfile(Path(state.pidfile.path), state.pidfile.fd))
    master.resume(state.name, state.started_at, Adoption(state.adopted_at, state.adopted_by), state.tried_by)
    for problem in problems:
        recorder.write(GenerationUnreadable(generation=state.adopted, problem=problem))
    setproctitle.setproctitle(f"gwctl: master [{state.name}]")
    share_with_workers(plans[state.adopted].loaded.settings.pool.values())
    loop.install_signals()
    master.children.close_older()
    inherited_fds.let_go()
    os.close(role.fd)
    master.ask(_outcome(state, role, children))
    return master


def _outcome(state: State, role: Role, children: list[Child]) -> events.Event:
    if not role.failure:
        outdated = tuple(
            each.worker for each in children if each.template and isinstance(each.record, OlderRecord)
        )
        took_s = time.monotonic() - state.handed_over_at
        return events.Upgraded(state.was, this_program(), took_s, outdated)
    text = "the new program could not take over, so the one before it was executed again"
    return events.UpgradeFailed(f"{text}\n{role.failure}")


def _fleet(state: State) -> Fleet:
    try:
        return fleet_from(state.fleet)
    except FactsError as error:
        raise UpgradeError(f"the fleet that runs is not understood: {error}") from error


def _plans(state: State, problems: list[str]) -> dict[int, Plan]:
    return {generation: plan_from(facts, problems) for generation, facts in state.plans.items()}


def _program(state: State, role: Role) -> Program:
    given = state.command
    program = Program(given.path, given.arguments, given.folder, state.mask)
    if role.failure:  # this is the copy: it stays what it is until an upgrade succeeds
        program.copy_fd, program.rescue = given.copy_fd, given.rescue
    elif given.copy_fd >= 0:
        program.replaces = given.copy_fd
    return program


# ---- boards


def _boards(state: State) -> dict[int, Scoreboard | OlderBoard]:
    """All boards, by their index: those that new workers can use, and those that are only read."""
    found: dict[int, Scoreboard | OlderBoard] = {}
    for index, facts in enumerate(state.boards):
        if is_ours(facts.layout, facts.fields, facts.pool, facts.fd):
            used = {child.record for child in state.children if child.board == index}
            found[index] = Scoreboard(facts.records_max, facts.fd, used)
        else:
            found[index] = OlderBoard(facts)
    return found


# ---- children


def _child(state: State, facts: ChildFacts, boards: Mapping[int, Scoreboard | OlderBoard]) -> Child:
    if facts.board not in boards:
        raise UpgradeError(f"worker {facts.worker} has no scoreboard")
    record = boards[facts.board].record(facts.record)
    child = Child(
        worker=facts.worker,
        pool=facts.pool,
        slot=facts.slot,
        generation=facts.generation,
        settings=struct_from(PoolSettings, state.settings[facts.settings]),
        channel=Channel.resumed(facts.channel),
        record=record,
        spawned_at=facts.spawned_at,
        pid=facts.pid,
        pidfd=facts.pidfd,
        ready=facts.ready,
        cut=facts.cut,
        rate=facts.rate,
        sampled_requests=facts.sampled_requests,
        dump=DumpFile(facts.dump_fd),
        protocol=facts.protocol,
        template=facts.template,
        killed=facts.killed,
    )
    child.inquest = facts.inquest
    return child


def _adopt_children(
    master: Master, state: State, children: list[Child], boards: Mapping[int, Scoreboard | OlderBoard]
) -> None:
    master.children.resume(children, [board for board in boards.values() if isinstance(board, OlderBoard)])
    master.children.sampled_at = state.sampled_at
    master.children.totals.update(state.totals)
    for totals in state.totals.values():
        missing = scoreboard.LATENCY_BUCKETS - len(totals.latency)
        totals.latency = (totals.latency + [0] * missing)[: scoreboard.LATENCY_BUCKETS]


def _resume_control(master: Master, state: State, loop: Loop, recorder: Recorder) -> None:
    if state.control is None:
        return
    handle = control_handler(master.status, master.ask, master.ask_to_stop)
    control = ControlServer(Path(state.control.path), recorder, handle)
    control.resume(state.control, loop.selector)
    master.own_control(control)
