"""One process of the master's, and what its record on the scoreboard says of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gwctl import scoreboard
from gwctl.channel import Channel, WorkerReady
from gwctl.config.request_limits import RequestLimits
from gwctl.config.settings import PoolSettings
from gwctl.supervisor.core import events
from gwctl.supervisor.inquest import DumpFile, Inquest
from gwctl.supervisor.memory import resident_bytes


@dataclass(slots=True)
class Child:
    """One process of ours, from fork to reaping."""

    worker: events.WorkerId
    pool: str
    slot: int
    generation: int
    settings: PoolSettings
    channel: Channel
    record: scoreboard.Record
    spawned_at: float
    pid: int = 0
    pidfd: int = -1
    ready: WorkerReady | None = None
    cut: int | None = None
    """Requests it said it could not finish; None: it said nothing."""
    rate: float = 0.0
    """Requests a second since the last but one look at the scoreboard."""
    sampled_requests: int = field(default=0, repr=False)
    dump: DumpFile = field(default_factory=DumpFile)
    protocol: int = 0
    """Of its channel; 0: it has not said hello."""
    limits: RequestLimits = field(init=False)
    inquest: Inquest | None = None
    """Its stacks were asked for."""

    def __post_init__(self) -> None:
        self.limits = RequestLimits(self.settings.timeouts, "sync")  # others judge their requests themselves

    @property
    def subject(self) -> str:
        return f"{self.pool}.{self.slot} g{self.generation}"

    @property
    def serving(self) -> str:
        """The request a sync worker is at; empty when idle or unknown."""
        return self.record.request_line if self.record.floats[scoreboard.BUSY_SINCE] else ""

    @property
    def unfinished(self) -> int:
        """Requests that its end leaves undone: as it said, or else as the scoreboard has it."""
        return self.active if self.cut is None else self.cut

    @property
    def active(self) -> int:
        """Requests in the application now."""
        busy = bool(self.record.floats[scoreboard.BUSY_SINCE])
        return max(int(busy), self.record.words[scoreboard.ACTIVE])

    def observed(self, luck: float) -> events.Observed:
        """What its record says now, for the core."""
        floats, words = self.record.floats, self.record.words
        limit_s, due_at = self._request_limit()
        return events.Observed(
            self.worker,
            luck,
            requests=words[scoreboard.REQUESTS],
            active=self.active,
            memory_bytes=resident_bytes(self.pid) or words[scoreboard.MEMORY_BYTES],
            heartbeat_at=floats[scoreboard.HEARTBEAT_AT],
            busy_since=floats[scoreboard.BUSY_SINCE],
            serving=self.serving,
            request_limit_s=limit_s,
            request_due_at=due_at,
        )

    def _request_limit(self) -> tuple[float, float]:
        """How long the request that a sync worker is at may take, and until when; 0.0: none."""
        floats = self.record.floats
        busy_since = floats[scoreboard.BUSY_SINCE]
        if not busy_since:
            return 0.0, 0.0
        limit_s = self.limits.of(self.record.request_line.partition(" ")[2])
        due_at = busy_since + limit_s
        if floats[scoreboard.EXTENDED_REQUEST] == busy_since:
            due_at = max(due_at, floats[scoreboard.EXTENDED_UNTIL])
        return (limit_s, due_at) if limit_s else (0.0, 0.0)

    def sample(self, elapsed_s: float) -> None:
        """Note the request rate since the last sample."""
        requests = self.record.words[scoreboard.REQUESTS]
        self.rate = max(0, requests - self.sampled_requests) / max(elapsed_s, 0.001)
        self.sampled_requests = requests
