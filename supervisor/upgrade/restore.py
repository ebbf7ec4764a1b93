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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import setproctitle

from gwctl.config import users
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.errors import UpgradeError
from gwctl.ipc import inherited_fds
from gwctl.log import destination
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.log.write_lock import WriteLock
from gwctl.records.reloads import GenerationUnreadable
from gwctl.supervisor.children import stdio
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.fork import share_with_workers
from gwctl.supervisor.children.legacy_scoreboard import OlderRecord
from gwctl.supervisor.children.scoreboards import boards_from
from gwctl.supervisor.control.follower import Follower
from gwctl.supervisor.control.handler import control_handler
from gwctl.supervisor.control.server import ControlServer
from gwctl.supervisor.core import events
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.snapshot import SnapshotError, fleet_from
from gwctl.supervisor.event_loop import Loop
from gwctl.supervisor.generations.admin_settings import binding
from gwctl.supervisor.generations.connection_queues import ConnectionQueues
from gwctl.supervisor.generations.generations import Generations
from gwctl.supervisor.generations.known_settings import struct_from
from gwctl.supervisor.generations.plan import Plan
from gwctl.supervisor.groups.delegated import WorkerGroups
from gwctl.supervisor.history import History
from gwctl.supervisor.listeners.listener_set import ListenerSet
from gwctl.supervisor.master import Master
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service.announcer import Announcer
from gwctl.supervisor.service.fd_store import FdStore
from gwctl.supervisor.service.pidfile import Pidfile
from gwctl.supervisor.service.sd_notify import Notifier
from gwctl.supervisor.upgrade import snapshot as handed_over
from gwctl.supervisor.upgrade.execute import Verdict, this_program
from gwctl.supervisor.upgrade.program import Program

if TYPE_CHECKING:
    from gwctl.config.load import Loaded
    from gwctl.supervisor.upgrade.role import Role
    from gwctl.supervisor.upgrade.snapshot import State


# ---- check


def check(fd: int) -> None:
    """Read the state as `restore` would, and say on stdout what this program is.

    Raises:
        UpgradeError: It cannot be restored by this program.
    """
    state = handed_over.read(fd)
    _fleet(state).check()
    problems: list[str] = []
    plans = {number: Plan.from_snapshot(each, number, problems) for number, each in state.plans.items()}
    if problems:
        raise UpgradeError("\n".join(problems))
    for each in state.settings:
        struct_from(PoolSettings, each)
    boards_from(state.boards, ())
    share_with_workers(binding(plans[state.adopted].loaded.settings).values())
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
    generations = Generations(load, ListenerSet(os.environ, state.passed))
    generations.resume(state.of_generations, problems)
    settings = generations.current.loaded.settings
    level, json = Level[settings.master.log_level.upper()], settings.log.format == "json"
    to = state.log_to
    if to == destination.STDERR:
        to = destination.settled(generations.log_to, os.environ)
    generations.log_written_with = to
    log = Log(stdio.own_log(to), level, lock=WriteLock.make(), json=json, to=to)
    log.lost = state.log_lines_lost
    log.resume(list(state.log_lines), state.log_to)
    recorder, loop = Recorder(log, History.of(state.name)), Loop()
    recorder.history.resume(state.history)
    recorder.tally = state.tally
    notifier = Notifier(os.environ, recorder)
    announcer, store = Announcer(notifier, state.announced), FdStore(notifier, os.environ, recorder)
    program = Program.from_snapshot(state.command, state.mask, is_copy=bool(role.failure))
    queues = ConnectionQueues(state.exchanges)
    master = Master(
        loop, generations, recorder, announcer, store, program, fleet, queues, WorkerGroups.resume()
    )
    master.resume(state)
    _resume_control(master, state, settings, loop, recorder)
    if state.pidfile is not None:
        master.held.pidfile = Pidfile.from_snapshot(state.pidfile)
    for problem in problems:
        recorder.write(GenerationUnreadable(generation=state.adopted, problem=problem))
    setproctitle.setproctitle(f"gwctl: master [{state.name}]")
    share_with_workers(binding(settings).values())
    loop.install_signals()
    master.want_admin()
    master.children.close_older()
    inherited_fds.let_go()
    os.close(role.fd)
    master.ask(_outcome(state, role, master.children))
    return master


def _outcome(state: State, role: Role, children: Iterable[Child]) -> events.Event:
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
    except SnapshotError as error:
        raise UpgradeError(f"the fleet that runs is not understood: {error}") from error


def _resume_control(master: Master, state: State, settings: Settings, loop: Loop, recorder: Recorder) -> None:
    history, handed_over = recorder.history, state.control
    path = Path(handed_over.path) if handed_over is not None else Path()
    control = ControlServer(path, recorder, control_handler(master, history))
    if handed_over is None:
        control.attach(loop.selector)
    else:
        control.resume(handed_over, loop.selector, lambda place: Follower(history, place))
    control.allow(users.named(settings.control.allow_users))
    master.held.control = control
