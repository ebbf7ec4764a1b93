"""From settings to a running master: a straight script, in the order that matters.

Everything that can fail is done before the first worker is forked, and fails with a line
that says what and why: signals, logs and listeners, control socket, pid file. What needs
root is opened here; workers give root up before they import anything.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import setproctitle

from gwctl import __version__, build
from gwctl.config import users
from gwctl.config.load import Loaded
from gwctl.control import paths
from gwctl.errors import BindError, ControlError, GwctlError
from gwctl.log import destination
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.log.write_lock import WriteLock
from gwctl.records.master import (
    AtOom,
    BindRetried,
    MasterStarted,
    NoControlSocket,
    NoOwnGroups,
    NothingToTakeOver,
    OwnGroups,
    PoolConfigured,
    PrivilegesGivenUp,
    StartFailed,
    TakesOver,
)
from gwctl.records.reloads import SettingsWarning
from gwctl.supervisor.children import stdio
from gwctl.supervisor.children.fork import share_with_workers
from gwctl.supervisor.children.spawn_errors import check_descriptors, check_memory
from gwctl.supervisor.control.handler import control_handler
from gwctl.supervisor.control.server import ControlServer
from gwctl.supervisor.event_loop import Loop
from gwctl.supervisor.generations.admin_settings import binding
from gwctl.supervisor.generations.generations import Generations
from gwctl.supervisor.groups.delegated import NoGroupsError, WorkerGroups
from gwctl.supervisor.history import History
from gwctl.supervisor.listeners.listener_set import ListenerSet
from gwctl.supervisor.master import Master
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service import privileges
from gwctl.supervisor.service.announcer import EXTEND_S, Announcer
from gwctl.supervisor.service.fd_store import FdStore
from gwctl.supervisor.service.log_files import put_events
from gwctl.supervisor.service.pidfile import Pidfile
from gwctl.supervisor.service.sd_notify import Notifier, extension, failure_lines
from gwctl.supervisor.starter import Starter
from gwctl.supervisor.takeover.predecessor import Predecessor, ask
from gwctl.supervisor.upgrade.program import Program

FIRST_GENERATION = 1
_RETRY_S = 0.1


class InterruptedStartError(GwctlError):
    """Somebody ended the start before anything ran."""


def main(load: Callable[[], Loaded], loaded: Loaded, *, takeover: bool = False) -> int:
    """Run a master until it is stopped; returns the exit status of the command.

    Args:
        load: Reads the settings again, for a reload; raises ConfigError.
        loaded: What it read the first time.
        takeover: Take the place of the master that runs under this name, if there is one.
    """
    program = Program.given()
    check_descriptors()
    check_memory()
    stdio.hold_open()
    master_settings = loaded.settings.master
    level, json = Level[master_settings.log_level.upper()], loaded.settings.log.format == "json"
    wanted = loaded.settings.log.to
    starter, to = Starter(wanted), destination.settled(wanted, os.environ)
    if destination.is_file(wanted):
        put_events(wanted)
    log = Log(stdio.own_log(to), level, lock=WriteLock.make(), json=json, to=to)
    recorder = Recorder(log, History.of(master_settings.name))
    recorder.starter = starter
    notifier = Notifier(os.environ, recorder)
    loop = Loop()
    loop.install_signals()
    program.let_signals_in()  # also while an address is waited for
    setproctitle.setproctitle(f"gwctl: master [{master_settings.name}]")
    try:
        master, begins = _prepare(loop, load, loaded, recorder, notifier, program, takeover=takeover)
    except GwctlError as error:
        status = int(error.exit_status)
        recorder.write(StartFailed(reason=str(error), exit_status=status))
        notifier.send(
            *failure_lines(str(error), status, error.errno if isinstance(error, BindError) else None)
        )
        log.flush()
        return status
    starter.begin()
    share_with_workers(binding(loaded.settings).values())
    if begins:
        master.begin()
    return master.go_on()


def _prepare(
    loop: Loop,
    load: Callable[[], Loaded],
    loaded: Loaded,
    recorder: Recorder,
    notifier: Notifier,
    program: Program,
    *,
    takeover: bool,
) -> tuple[Master, bool]:
    """Open everything. False beside the master: it has to take another's place before it is one."""
    recorder.write(
        MasterStarted(
            instance=loaded.settings.master.name,
            version=__version__,
            pid=os.getpid(),
            python=platform.python_version(),
            config=str(loaded.path) if loaded.path else "",
            engine=build.engine(),
        )
    )
    _give_up_privileges(loaded, recorder)
    for warning in loaded.warnings:
        recorder.write(SettingsWarning(text=warning))
    predecessor = _predecessor(loaded, recorder) if takeover else None
    offered = predecessor.listeners if predecessor is not None else None
    generations = Generations(load, ListenerSet(os.environ, offered=offered))
    generations.log_written_with = recorder.log.to
    _start(generations, loaded, loop, recorder, notifier)
    announcer, store = Announcer(notifier), FdStore(notifier, os.environ, recorder)
    store.resume(generations.listeners.stored)
    groups = _own_groups(loaded, recorder)
    master = Master(loop, generations, recorder, announcer, store, program, groups=groups)
    pidfile = loaded.settings.master.pidfile
    try:
        _open_control(master, loaded, loop, recorder, predecessor)
        if predecessor is not None:
            master.take_over(predecessor, pidfile)
        elif pidfile:
            master.held.pidfile = Pidfile.write(Path(pidfile))
    except GwctlError:
        master.close()
        groups.end()
        raise
    for name, pool in loaded.settings.pool.items():
        policy = generations.current.policies[name]
        why = generations.current.capacity.why if pool.follows_capacity else ""
        urls = tuple(listener.url for listener in generations.listeners_of(FIRST_GENERATION, name))
        most = policy.size_max if policy.scale is not None else 0
        recorder.write(PoolConfigured(pool=name, processes=policy.size, max=most, why=why, urls=urls))
    return master, predecessor is None


def _give_up_privileges(loaded: Loaded, recorder: Recorder) -> None:
    """Before anything is opened: what is missing for the settings is missed now, not at a reload.

    Raises:
        PrivilegesError: They cannot be.
    """
    if loaded.settings.master.privileges == "least":
        raises_limits = any(pool.nofile for pool in loaded.settings.pool.values())
        left = privileges.give_up(raises_limits=raises_limits)
        recorder.write(PrivilegesGivenUp(capabilities=left))


_OWN_GROUPS_LEVELS: Final[dict[AtOom, Literal["debug", "info", "warning"]]] = {
    "one": "debug",
    "taken back": "info",
    "all": "warning",
}


def _own_groups(loaded: Loaded, recorder: Recorder) -> WorkerGroups:
    if loaded.settings.master.cgroups == "off":
        return WorkerGroups()
    try:
        groups = WorkerGroups.begin()
    except NoGroupsError as error:
        recorder.write(NoOwnGroups(reason=str(error)))
        return WorkerGroups()
    level = _OWN_GROUPS_LEVELS[groups.at_oom]
    recorder.write(OwnGroups(level=level, path=str(groups.top), at_oom=groups.at_oom))
    return groups


def _predecessor(loaded: Loaded, recorder: Recorder) -> Predecessor | None:
    """The master that runs under this name, which has given us copies of its listeners; None: none runs.

    Raises:
        ControlError: It does not.
    """
    path = _control_path(loaded, recorder)
    if path is None:
        raise ControlError("--takeover asks over the control socket, and there is none: see master.control")
    found = ask(path, loaded.settings)
    if found is None:
        recorder.write(NothingToTakeOver(path=str(path)))
    else:
        recorder.write(TakesOver(from_pid=found.pid, program=found.program, listeners=found.count))
    return found


def _start(
    generations: Generations, loaded: Loaded, loop: Loop, recorder: Recorder, notifier: Notifier
) -> None:
    """Open logs and listeners; an address in use is tried again for ``bind_retry_s``.

    Raises:
        GwctlError: What could not be opened, or that a signal ended the wait.
    """
    deadline = time.monotonic() + loaded.settings.master.bind_retry_s
    told = False
    while True:
        try:
            generations.start(loaded, FIRST_GENERATION)
        except BindError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise
            if not told:
                retry_s = loaded.settings.master.bind_retry_s
                recorder.write(BindRetried(reason=str(error), retry_s=retry_s))
                notifier.send(extension(retry_s + EXTEND_S))
                told = True
        else:
            return
        loop.wait(_RETRY_S)
        ends = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}.intersection(loop.take_signals())
        if ends:
            raise InterruptedStartError(f"{signal.Signals(ends.pop()).name}: nothing was started")


def _open_control(
    master: Master, loaded: Loaded, loop: Loop, recorder: Recorder, predecessor: Predecessor | None
) -> None:
    """Listen, unless the settings or the machine have it otherwise: the admin process is served anyhow.

    While there is a ``predecessor`` its socket is the one.
    """
    path = _control_path(loaded, recorder)
    control = ControlServer(path or Path(), recorder, control_handler(master, recorder.history))
    control.allow(users.named(loaded.settings.control.allow_users))
    if path is None or predecessor is not None or not control.open(loop.selector):
        control.attach(loop.selector)
    master.held.control = control


def _control_path(loaded: Loaded, recorder: Recorder) -> Path | None:
    setting = loaded.settings.master.control
    if setting == "off":
        return None
    if setting != "auto":
        return Path(setting)
    try:
        return paths.control_path(loaded.settings.master.name, os.environ, os.geteuid())
    except paths.NoRuntimeDirectoryError as error:
        recorder.write(NoControlSocket(reason=str(error)))
        return None
