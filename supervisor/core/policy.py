"""The numbers by which the core decides about one pool; made from the settings by the shell."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace


class RecyclePolicy(Struct, frozen=True):
    """When a worker is replaced that works. 0: not for this reason."""

    requests_max: int = 0
    age_max_s: float = 0.0
    jitter_percent: int = 10
    memory_soft_bytes: int = 0
    memory_hard_bytes: int = 0
    memory_group_percent: int = 0
    """Of the limit of the control group."""
    at_once: int = 1


class WatchPolicy(Struct, frozen=True):
    """How a reload watches what it has let in: see `watch`."""

    watch_s: float = 0.0
    """0: it does not."""
    errors_max: float = 2.0
    """How many times the old generation's share of failed requests; 0: any."""
    latency_max: float = 2.0
    """How many times its 95th percentile; 0: any."""
    requests_min: int = 50


class ScalePolicy(Struct, frozen=True):
    """How a pool finds its size itself: see `autoscale`."""

    min: int
    max: int
    busy: float = 0.7
    """So much of its workers shall be in use."""
    shrink_after_s: float = 60.0
    cpus: float = 0.0
    """Processors that the machine and the control group let it use; 0: not known."""

    def clamp(self, size: int) -> int:
        """The nearest size that is allowed."""
        return max(self.min, min(self.max, size))


class PoolPolicy(Struct, frozen=True):
    """All durations in seconds. See docs/configuration.md for the meaning of each."""

    size: int
    """What it begins with."""
    boot_timeout_s: float = 60.0
    drain_timeout_s: float = 30.0
    heartbeat_timeout_s: float = 60.0
    """0: none."""
    request_timeout_s: float = 0.0
    """The shortest that the master judges, of any path; 0: none. It comes with what is observed."""
    settle_s: float = 2.0
    surge: int = 1
    surge_percent: int = 0
    """Of the size, instead of ``surge``; 0: as ``surge`` says."""
    canaries: int = 1
    canaries_percent: int = 0
    """Of the size, instead of ``canaries``; 0: as ``canaries`` says."""
    watch: WatchPolicy = WatchPolicy()
    atomic: bool = False
    """A reload has all workers take over at one instant."""
    draining_max: int = 0
    """0: twice the size."""
    backoff_min_s: float = 0.5
    backoff_max_s: float = 60.0
    healthy_after_s: float = 30.0
    breaker_failures: int = 5
    """Deaths in a row after which a slot is tried only every `breaker_retry_s`; 0: never."""
    breaker_retry_s: float = 60.0
    dump_grace_s: float = 1.0
    """Between Dump and Kill."""
    quit_grace_s: float = 3.0
    """Between Quit and Kill."""
    recycle: RecyclePolicy = RecyclePolicy()
    preload: bool = False
    """Workers are forked from a template."""
    scale: ScalePolicy | None = None
    """None: the size is fixed."""
    by_capacity: bool = False
    """The size, or the most that `scale` allows, is what machine and control groups allow (``auto``)."""

    @property
    def size_max(self) -> int:
        """How many workers it may come to by itself."""
        return self.scale.max if self.scale is not None else self.size

    def sized_as(self, other: PoolPolicy) -> bool:
        """Both have the same size, or the same bounds. What is allowed is no difference between settings."""
        mine, theirs = self.scale, other.scale
        follows = self.by_capacity and other.by_capacity
        if mine is None or theirs is None:
            return mine is theirs and (follows or self.size == other.size)
        return mine.min == theirs.min and (follows or mine.max == theirs.max)

    def allowed(self, processes: int, cpus: float) -> PoolPolicy:
        """This policy where so much is allowed."""
        scale = self.scale
        if scale is None:
            return replace(self, size=processes) if self.by_capacity else self
        most = max(scale.min, processes) if self.by_capacity else scale.max
        return replace(self, scale=replace(scale, max=most, cpus=cpus))

    def surge_of(self, size: int) -> int:
        """How many workers beyond ``size`` there may be while they are replaced."""
        percent = -(-size * self.surge_percent // 100)
        return max(1, percent if self.surge_percent else self.surge)

    def canaries_of(self, size: int) -> int:
        """How many of ``size`` new workers are tried before the others are begun."""
        percent = -(-size * self.canaries_percent // 100)
        return max(1, min(size, percent if self.canaries_percent else self.canaries))
