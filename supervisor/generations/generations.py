"""What each generation runs with: its settings, policies and listeners.

There is one plan in force; while a reload runs, one that is being tried; and perhaps that of a
generation which is kept for a rollback. Preparing reads the settings again and binds what is new
before anything is closed; adopting closes what only the previous plan had; abandoning closes what
only the new one had. A plan is kept only if all that it serves is served by the one in force
(`missing`), so that it holds no listener of its own. Settings of the
master itself apply at adoption where they can, and are named where they need a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from gwctl.config.addresses import TLS, bare
from gwctl.config.load import Loaded
from gwctl.config.model.request_limits import RequestLimits
from gwctl.config.model.settings import MasterSettings, PoolSettings
from gwctl.errors import GwctlError
from gwctl.ipc.assignment import Listener
from gwctl.supervisor.core.policy import PoolPolicy, RecyclePolicy
from gwctl.supervisor.generations.access_logs import AccessLogs
from gwctl.supervisor.generations.capacity import Capacity, measure
from gwctl.supervisor.listeners.listener_set import ListenerSet

if TYPE_CHECKING:
    from ssl import SSLContext

FIXED_UNTIL_RESTART = ("name", "pidfile", "control")
"""Settings of [master] that a reload cannot apply."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One reading of the settings."""

    loaded: Loaded
    policies: dict[str, PoolPolicy]
    capacity: Capacity

    def pool(self, name: str) -> PoolSettings:
        return self.loaded.settings.pool[name]

    def threads_given(self, name: str) -> bool:
        """Somebody set the number of threads: with ``worker = "auto"``, WSGI then runs in threads."""
        return f"pool.{name}.threads" in self.loaded.sources

    def tls(self, name: str) -> SSLContext | None:
        """What the pool's TLS listeners serve with: made once, from the files as they were then."""
        identity = self.loaded.identities.get(name)
        return identity.context if identity is not None else None

    def unservable(self, name: str) -> str:
        """Why no worker of the pool can be started: it speaks TLS and has nothing to speak it with."""
        speaks = any(address.startswith(TLS) for address in self.pool(name).bind)
        if speaks and name not in self.loaded.identities:
            return "its certificate could not be read when this program took over: mend it and reload"
        return ""

    @property
    def access_logs(self) -> list[str]:
        return [pool.access_log for pool in self.loaded.settings.pool.values()]


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

    def plan(self, generation: int) -> Plan:
        """The plan of a generation; that in force when the generation has been let go."""
        return self._plans.get(generation) or self._plans[self.adopted]

    @property
    def current(self) -> Plan:
        return self._plans[self.adopted]

    def listeners_of(self, generation: int, pool: str) -> tuple[Listener, ...]:
        """The open listeners of a pool, each with how it is spoken to in this generation."""
        return tuple(
            _spoken(listener, address)
            for address in self.plan(generation).pool(pool).bind
            for listener in self.listeners.get(bare(address))
        )

    @property
    def plans(self) -> Mapping[int, Plan]:
        return self._plans

    @property
    def removed(self) -> Mapping[str, set[int]]:
        """By pool, the generations that have listeners which the one in force has not: see `are_last`."""
        return self._removed

    def resume(
        self,
        plans: Mapping[int, Plan],
        adopted: int,
        logs: Mapping[str, int],
        removed: Mapping[str, set[int]],
    ) -> None:
        """Go on where another program was; the listeners have been resumed."""
        self._removed.update(removed)
        self._plans.update(plans)
        self.adopted = adopted
        self.kept = next((number for number in plans if number != adopted), 0)  # no reload is under way
        self.logs = AccessLogs(logs)

    def start(self, loaded: Loaded, generation: int) -> Plan:
        """Make the first plan: open its logs and listeners.

        Raises:
            GwctlError: What could not be opened.
        """
        plan = make_plan(loaded)
        self.logs.open(plan.access_logs)
        self.listeners.open(loaded.settings.pool)
        self.listeners.commit()
        self._plans[generation] = plan
        self.adopted = generation
        return plan

    def prepare(self, generation: int) -> Plan:
        """Read the settings again and open what is new.

        Raises:
            GwctlError: Nothing was changed.
        """
        plan = make_plan(self._load())
        self.logs.open(plan.access_logs)
        try:
            self.listeners.open(plan.loaded.settings.pool)
        except GwctlError:
            self._trim_logs()
            raise
        self._plans[generation] = plan
        return plan

    def restore(self, generation: int) -> Plan:
        """Have the listeners as the kept generation had them: their modes, owners and backlogs.

        Raises:
            GwctlError: Nothing was changed.
        """
        plan = self._plans[generation]
        self.listeners.open(plan.loaded.settings.pool)
        return plan

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
        before = self.current.loaded.settings.master
        previous, self.adopted, self.kept = self.adopted, generation, kept
        self._plans = {number: plan for number, plan in self._plans.items() if number in {generation, kept}}
        for pool in self.listeners.commit():
            self._removed.setdefault(pool, set()).add(previous)
        self._trim_logs()
        return _needing_restart(before, self.current.loaded.settings.master)

    def are_last(self, pool: str, generation: int) -> bool:
        """The workers of that generation are the last that accept on some listener, since removed."""
        return generation in self._removed.get(pool, ())

    def close_in_child(self, pool: str, generation: int) -> None:
        """In a new child of ``pool``: close the listeners and log files of all others."""
        settings = self.plan(generation).pool(pool)
        self.listeners.close_in_child({bare(address) for address in settings.bind})
        self.logs.keep_only([settings.access_log])

    def abandon(self, generation: int) -> None:
        """Forget the tried plan; that of a kept generation stays."""
        if generation in self._plans and generation != self.adopted:
            self.listeners.abandon()
            self._forget(generation, unless=self.kept)

    def release(self, generation: int) -> None:
        """Forget the plan of a generation that is kept no more."""
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
    return replace(listener, url=url, tls=True)


def make_plan(loaded: Loaded) -> Plan:
    """Turn settings into what the core decides by."""
    capacity = measure()
    policies = {name: make_policy(pool, capacity) for name, pool in loaded.settings.pool.items()}
    return Plan(loaded, policies, capacity)


def make_policy(pool: PoolSettings, capacity: Capacity) -> PoolPolicy:
    """The numbers of one pool; ``processes = "auto"`` is resolved here."""
    return PoolPolicy(
        size=capacity.processes if pool.processes == "auto" else pool.processes,
        boot_timeout_s=pool.timeouts.boot_timeout_s,
        drain_timeout_s=pool.timeouts.drain_timeout_s,
        heartbeat_timeout_s=pool.timeouts.heartbeat_timeout_s,
        request_timeout_s=_judged_limit(pool),
        settle_s=pool.reload.settle_s,
        surge=pool.reload.surge if isinstance(pool.reload.surge, int) else 1,
        surge_percent=0 if isinstance(pool.reload.surge, int) else int(pool.reload.surge.rstrip("%")),
        atomic=pool.reload.strategy == "atomic",
        draining_max=pool.reload.draining_max,
        backoff_min_s=pool.crash.backoff_min_s,
        backoff_max_s=pool.crash.backoff_max_s,
        healthy_after_s=pool.crash.healthy_after_s,
        breaker_failures=pool.crash.breaker_failures,
        breaker_retry_s=pool.crash.breaker_retry_s,
        preload=pool.preload,
        recycle=RecyclePolicy(**msgspec.structs.asdict(pool.recycle)),
    )


def _judged_limit(pool: PoolSettings) -> float:
    """The shortest limit of a request that the master judges: under ``sync``, which ``auto`` may become."""
    return RequestLimits(pool.timeouts, "sync").shortest_s if pool.worker in {"auto", "sync"} else 0.0


def _needing_restart(before: MasterSettings, after: MasterSettings) -> list[str]:
    return [f"master.{name}" for name in FIXED_UNTIL_RESTART if getattr(before, name) != getattr(after, name)]
