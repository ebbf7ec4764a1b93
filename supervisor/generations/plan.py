"""A plan: one reading of the settings, and what the core decides by for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gwctl.config.addresses import TLS
from gwctl.config.load import Loaded
from gwctl.config.model.request_limits import RequestLimits
from gwctl.config.model.scaling import Scaling
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.config.model.worker_class import SYNC, chosen
from gwctl.supervisor.core.policy import PoolPolicy, RecyclePolicy, ScalePolicy, WatchPolicy
from gwctl.supervisor.core.snapshot import plain, table_from
from gwctl.supervisor.generations.capacity import Capacity, measure
from gwctl.supervisor.generations.known_settings import struct_from

if TYPE_CHECKING:
    from ssl import SSLContext

    from gwctl.config.certificates import Identity


class PlanSnapshot(msgspec.Struct, frozen=True):
    """One reading of the settings. Certificates are not in it: they are read again."""

    settings: dict[str, Any]
    sources: dict[str, str]
    path: str | None
    policies: dict[str, dict[str, Any]]
    processes: int
    why: str
    begun: dict[str, int] = {}
    """Empty: a program that reloaded all pools or none."""


class Plan(msgspec.Struct, frozen=True):
    """The settings of one generation: one reading of them; of a reload of some pools what was read of these,
    and all else as it was in force.
    """

    loaded: Loaded
    policies: dict[str, PoolPolicy]
    capacity: Capacity
    begun: dict[str, int] = {}
    """By pool, the generation that its settings began with, which is that of its workers."""

    def of_generation(self, generation: int) -> Plan:
        """This reading as that of a generation."""
        return msgspec.structs.replace(self, begun=dict.fromkeys(self.policies, generation))

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

    def snapshot(self) -> PlanSnapshot:
        loaded = self.loaded
        return PlanSnapshot(
            settings=msgspec.to_builtins(loaded.settings),
            sources=dict(loaded.sources),
            path=str(loaded.path) if loaded.path is not None else None,
            policies={name: plain(policy) for name, policy in self.policies.items()},
            processes=self.capacity.processes,
            why=self.capacity.why,
            begun=self.begun,
        )

    @classmethod
    def from_snapshot(cls, snapshot: PlanSnapshot, generation: int, problems: list[str]) -> Plan:
        """Make that of a generation again. ``problems`` takes what its new workers lack: certificates.

        The file may say something else by now, or nothing at all: what runs goes on by what it was started
        with until a reload is adopted. Certificates are read again, as neither keys nor contexts can be
        handed over.

        Raises:
            UpgradeError: The settings cannot be understood.
        """
        settings = struct_from(Settings, snapshot.settings)
        identities = {}
        for name, pool in settings.pool.items():
            if any(address.startswith(TLS) for address in pool.bind):
                identity = _identity(name, pool, problems)
                if identity is not None:
                    identities[name] = identity
        path = Path(snapshot.path) if snapshot.path is not None else None
        policies = {name: table_from(PoolPolicy, policy) for name, policy in snapshot.policies.items()}
        loaded = Loaded(settings, snapshot.sources, path, identities)
        begun = snapshot.begun or dict.fromkeys(policies, generation)
        return cls(loaded, policies, Capacity(snapshot.processes, snapshot.why), begun)


def make_plan(loaded: Loaded) -> Plan:
    """Turn settings into what the core decides by."""
    capacity = measure()
    policies = {name: make_policy(pool, capacity) for name, pool in loaded.settings.pool.items()}
    return Plan(loaded, policies, capacity)


def make_policy(pool: PoolSettings, capacity: Capacity) -> PoolPolicy:
    """The numbers of one pool; ``processes = "auto"`` is resolved here."""
    return PoolPolicy(
        size=_size(pool, capacity),
        boot_timeout_s=pool.timeouts.boot_timeout_s,
        drain_timeout_s=pool.timeouts.drain_timeout_s,
        heartbeat_timeout_s=pool.timeouts.heartbeat_timeout_s,
        request_timeout_s=_judged_limit(pool),
        settle_s=pool.reload.settle_s,
        surge=_count(pool.reload.surge),
        surge_percent=_percent(pool.reload.surge),
        canaries=_count(pool.reload.canaries),
        canaries_percent=_percent(pool.reload.canaries),
        watch=WatchPolicy(
            watch_s=pool.reload.watch_s,
            errors_max=_times(pool.reload.errors_max),
            latency_max=_times(pool.reload.latency_max),
            requests_min=pool.reload.requests_min,
        ),
        atomic=pool.reload.strategy == "atomic",
        draining_max=pool.reload.draining_max,
        backoff_min_s=pool.crash.backoff_min_s,
        backoff_max_s=pool.crash.backoff_max_s,
        healthy_after_s=pool.crash.healthy_after_s,
        breaker_failures=pool.crash.breaker_failures,
        breaker_retry_s=pool.crash.breaker_retry_s,
        preload=pool.preload,
        recycle=RecyclePolicy(**msgspec.structs.asdict(pool.recycle)),
        scale=_scale(pool, capacity),
        by_capacity=pool.follows_capacity,
    )


def _size(pool: PoolSettings, capacity: Capacity) -> int:
    """What the pool begins with."""
    if isinstance(pool.processes, Scaling):
        return pool.processes.min
    return capacity.processes if pool.processes == "auto" else pool.processes


def _scale(pool: PoolSettings, capacity: Capacity) -> ScalePolicy | None:
    scaling = pool.processes
    if not isinstance(scaling, Scaling):
        return None
    most = capacity.processes if scaling.max == "auto" else scaling.max
    return ScalePolicy(
        min=scaling.min,
        max=max(scaling.min, most),
        busy=scaling.busy,
        shrink_after_s=scaling.shrink_after_s,
        cpus=capacity.cpus,
    )


def _count(some: int | str) -> int:
    return some if isinstance(some, int) else 1


def _percent(some: int | str) -> int:
    return 0 if isinstance(some, int) else int(some.rstrip("%"))


def _times(text: str) -> float:
    """``2x`` is 2.0, ``off`` 0.0."""
    return 0.0 if text == "off" else float(text.rstrip("x"))


def _judged_limit(pool: PoolSettings) -> float:
    """The shortest limit of a request that the master judges: under ``sync``, which ``auto`` may become."""
    return RequestLimits(pool.timeouts, SYNC).shortest_s if SYNC in chosen(pool.worker) else 0.0


def _identity(name: str, pool: PoolSettings, problems: list[str]) -> Identity | None:
    from gwctl.config import certificates  # noqa: PLC0415 - ssl takes 5 MiB, of a master without TLS too

    try:
        return certificates.load(pool.tls)
    except certificates.TlsError as error:
        place = ".".join(str(part) for part in error.place if isinstance(part, str))
        problems.append(f"pool.{name}.tls.{place}: {error}")
        return None
