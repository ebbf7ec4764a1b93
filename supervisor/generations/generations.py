"""What each generation runs with: its settings, policies and listeners.

There is one plan in force; while a reload runs, one that is being tried; and perhaps that of a
generation which is kept for a rollback. Preparing reads the settings again and binds what is new
before anything is closed; adopting closes what only the previous plan had; abandoning closes what
only the new one had. A plan is kept only if all that it serves is served by the one in force
(`missing`), so that it holds no listener of its own. Settings of the
master itself apply at adoption where they can, and are named where they need a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gwctl.config.addresses import TLS, bare
from gwctl.config.load import Loaded
from gwctl.config.model.log import LogSettings
from gwctl.config.model.settings import MasterSettings, Settings
from gwctl.config.problems import ConfigError
from gwctl.control.difference import Differences
from gwctl.errors import GwctlError
from gwctl.ipc.assignment import Listener
from gwctl.json_text import readable
from gwctl.log import destination
from gwctl.supervisor.generations.access_logs import AccessLogs
from gwctl.supervisor.generations.admin_settings import binding
from gwctl.supervisor.generations.differences import differences, needing_restart
from gwctl.supervisor.generations.known_settings import struct_from
from gwctl.supervisor.generations.partial import merged, not_applied
from gwctl.supervisor.generations.plan import Plan, PlanSnapshot, make_plan
from gwctl.supervisor.listeners.backlog import waiting
from gwctl.supervisor.listeners.listener_set import ListenerSet, ListenerSnapshot


class GenerationsSnapshot(msgspec.Struct, frozen=True):
    plans: dict[int, PlanSnapshot]
    adopted: int
    removed: dict[str, set[int]]
    """By pool, the generations that have listeners which the one in force has not: see `are_last`."""
    logs: dict[str, int]
    listeners: tuple[ListenerSnapshot, ...]
    passed: dict[str, tuple[int, ...]]
    """What systemd passed, by name."""
    begun: dict[str, Any] | None = None
    """[master] as it was when the master was started; None: a program that did not keep it."""
    begun_log: dict[str, Any] | None = None
    """The same of [log]."""


class Generations:
    """The plan in force and the one being tried, with the resources they hold.

    Rules: listeners and log files of a plan are open from `prepare` until the plan is
    neither in force nor being tried nor kept.
    """

    def __init__(self, load: Callable[[], Loaded], listeners: ListenerSet) -> None:
        self._load = load
        self.listeners = listeners
        self.logs = AccessLogs()
        self._plans: dict[int, Plan] = {}
        self._removed: dict[str, set[int]] = {}
        self.adopted = 0
        self.kept = 0
        """The generation that is kept; 0: none."""
        self._begun = Settings(pool={})
        """What the master was started with."""
        self.log_written_with = destination.STDERR
        """As `gwctl.log.destination.settled` has it: what the event log is written with, if not to a file."""

    def plan(self, generation: int, pool: str) -> Plan:
        """By which workers of a pool were begun in a generation; that in force when it has been let go."""
        for plan in self._plans.values():
            if plan.begun.get(pool) == generation:
                return plan
        return self.current

    @property
    def current(self) -> Plan:
        return self._plans[self.adopted]

    def listeners_of(self, generation: int, pool: str) -> tuple[Listener, ...]:
        """The open listeners of a pool, each with how it is spoken to in this generation."""
        return tuple(
            _spoken(listener, address)
            for address in self.plan(generation, pool).pool(pool).bind
            for listener in self.listeners.get(bare(address))
        )

    def backlog(self, generation: int, pool: str) -> int:
        """Connections that wait to be accepted at the listeners of a pool, as far as the kernel says."""
        found = (waiting(listener.sock) for listener in self.listeners_of(generation, pool))
        return sum(each[0] for each in found if each is not None)

    @property
    def admin_listeners(self) -> tuple[Listener, ...]:
        """Those of the admin listener in force."""
        bind = self.current.loaded.settings.admin.bind
        return tuple(listener for address in bind for listener in self.listeners.get(address))

    def snapshot(self) -> GenerationsSnapshot:
        """What `resume` needs; the descriptors are still this process's own."""
        listeners, passed = self.listeners.snapshot()
        plans = {number: plan.snapshot() for number, plan in self._plans.items()}
        return GenerationsSnapshot(
            plans,
            self.adopted,
            dict(self._removed),
            self.logs.files,
            listeners,
            passed,
            msgspec.to_builtins(self._begun.master),
            msgspec.to_builtins(self._begun.log),
        )

    def resume(self, snapshot: GenerationsSnapshot, problems: list[str]) -> None:
        """Go on where another program was. ``problems`` takes what is missing for new workers.

        Raises:
            UpgradeError: The settings cannot be understood.
        """
        for number, plan in snapshot.plans.items():
            self._plans[number] = Plan.from_snapshot(plan, number, problems)
        self.listeners.resume(snapshot.listeners)
        self._removed.update(snapshot.removed)
        self.adopted = snapshot.adopted
        self.kept = next((number for number in self._plans if number != self.adopted), 0)  # no reload runs
        self.logs = AccessLogs(snapshot.logs)
        self._begun = self.current.loaded.settings
        if snapshot.begun is not None:
            master = struct_from(MasterSettings, snapshot.begun)
            self._begun = msgspec.structs.replace(self._begun, master=master)
        if snapshot.begun_log is not None:
            log = struct_from(LogSettings, snapshot.begun_log)
            self._begun = msgspec.structs.replace(self._begun, log=log)

    def start(self, loaded: Loaded, generation: int) -> Plan:
        """Make the first plan: open its logs and listeners.

        Raises:
            GwctlError: What could not be opened.
        """
        plan = make_plan(loaded).of_generation(generation)
        self.logs.open(plan.access_logs)
        self.listeners.open(binding(loaded.settings))
        self.listeners.commit()
        self._plans[generation] = plan
        self.adopted = generation
        self._begun = loaded.settings
        return plan

    def prepare(self, generation: int, pools: Sequence[str] = ()) -> tuple[Plan, tuple[str, ...]]:
        """Read the settings again and open what is new: all of it, or only what is of ``pools``.

        Returns the plan, and what differs in the settings and is not in it, in words.

        Raises:
            UnknownPoolError: One of ``pools`` is in neither the settings nor the plan in force.
            GwctlError: Nothing was changed.
        """
        disk = make_plan(self._load()).of_generation(generation)
        plan = merged(self.current, disk, pools) if pools else disk
        bound = binding(plan.loaded.settings)
        self.logs.open(plan.access_logs)
        try:
            self.listeners.open(bound, bound.keys() - pools if pools else ())
        except GwctlError:
            self._trim_logs()
            raise
        self._plans[generation] = plan
        return plan, not_applied(differences(plan, disk, self._begun)) if pools else ()

    @property
    def log_place(self) -> str:
        """Where it goes in fact: a file, or what it is written with."""
        return self.log_to if destination.is_file(self.log_to) else self.log_written_with

    @property
    def log_to(self) -> str:
        """Where the event log goes: the setting ``log.to`` that the master was started with."""
        return self._begun.log.to

    def diff(self) -> Differences:
        """Read the settings again, and say what differs from those in force; nothing is opened or kept."""
        running = self.current
        name, config = self._begun.master.name, running.loaded.path
        shown = readable(str(config)) if config is not None else ""
        try:
            disk = make_plan(self._load())
        except ConfigError as error:
            problems = tuple(str(problem) for problem in error.problems)
            return Differences(name, self.adopted, shown, problems=problems)
        found = tuple(differences(running, disk, self._begun))
        return Differences(name, self.adopted, shown, found, warnings=tuple(disk.loaded.warnings))

    def restore(self, generation: int) -> Plan:
        """Have the listeners as the kept generation had them: their modes, owners and backlogs.

        Raises:
            GwctlError: Nothing was changed.
        """
        plan = self._plans[generation]
        self.listeners.open(binding(plan.loaded.settings))
        return plan

    def differs(self, plan: Plan) -> bool:
        """The settings of its pools are not those in force."""
        running = self.current
        return (plan.loaded.settings.pool, plan.policies) != (running.loaded.settings.pool, running.policies)

    def missing(self, plan: Plan) -> tuple[str, ...]:
        """What the plan in force serves and ``plan`` does not, in words."""
        lost = []
        for name, pool in self.current.loaded.settings.pool.items():
            other = plan.loaded.settings.pool.get(name)
            if other is None:
                lost.append(f"pool {name}")
            else:
                left = {bare(address) for address in pool.bind} - {bare(address) for address in other.bind}
                lost += [f"{address} of {name}" for address in sorted(left)]
                renewed = self.listeners.renewed & {bare(address) for address in pool.bind} - left
                lost += [f"{address} of {name}, bound anew" for address in sorted(renewed)]
        return tuple(lost)

    def adopt(self, generation: int, kept: int = 0) -> list[str]:
        """Put the tried plan in force. Returns the names of changed settings that need a restart."""
        before, self.adopted, self.kept = self.current, generation, kept
        self._plans = {number: plan for number, plan in self._plans.items() if number in {generation, kept}}
        for pool in self.listeners.commit():
            self._removed.setdefault(pool, set()).add(before.begun.get(pool, 0))
        self._trim_logs()
        return needing_restart(self._begun, self.current.loaded.settings)

    def are_last(self, pool: str, generation: int) -> bool:
        """The workers of that generation are the last that accept on some listener, since removed."""
        return generation in self._removed.get(pool, ())

    def close_in_child(self, pool: str, generation: int) -> None:
        """In a new child of ``pool``: close the listeners and log files of all others."""
        settings = self.plan(generation, pool).pool(pool)
        self.listeners.close_in_child({bare(address) for address in settings.bind})
        self.logs.keep_only([settings.access_log])

    def close_in_admin(self) -> None:
        """In a new admin process: close the listeners and log files of all pools."""
        self.listeners.close_in_child(self.current.loaded.settings.admin.bind)
        self.logs.keep_only([])

    def abandon(self, generation: int) -> None:
        """Forget the tried plan; that of a kept generation stays."""
        if generation in self._plans and generation != self.adopted:
            self.listeners.abandon()
            self._forget(generation, unless=self.kept)

    def release(self, generation: int) -> None:
        """Forget the plan of a generation that is no longer kept."""
        self.kept = 0
        self._forget(generation, unless=self.adopted)

    def _forget(self, generation: int, *, unless: int) -> None:
        if generation != unless:
            self._plans.pop(generation, None)
            self._trim_logs()

    def _trim_logs(self) -> None:
        self.logs.keep_only([log for plan in self._plans.values() for log in plan.access_logs])


def _spoken(listener: Listener, address: str) -> Listener:
    """The same socket may be plain in one generation and speak TLS in the next."""
    if not address.startswith(TLS):
        return listener
    url = listener.url
    url = f"https{url.removeprefix('http')}" if url.startswith("http:") else TLS + url
    return msgspec.structs.replace(listener, url=url, tls=True)
