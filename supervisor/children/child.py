"""One process of the master's, and what its record on the scoreboard says of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gwctl.config.model.request_limits import RequestLimits
from gwctl.config.model.settings import PoolSettings
from gwctl.config.model.worker_class import SYNC, WORKER_CLASSES
from gwctl.ipc import scoreboard
from gwctl.ipc.channel import Channel, ChannelSnapshot, Message, RequestReport, RequestUnderWay, WorkerReady
from gwctl.masking import shower
from gwctl.records.base import TEMPLATE, Process
from gwctl.records.report import ProcessReport
from gwctl.supervisor.children.incident_report import (
    DumpFile,
    IncidentReport,
    Inspection,
    KernelReport,
    fault_frames,
    kernel_report,
)
from gwctl.supervisor.children.peer_limits import Allowance
from gwctl.supervisor.children.procfs import resident_bytes
from gwctl.supervisor.children.record_reader import Reader
from gwctl.supervisor.core import events
from gwctl.wording import seconds

SIGNALS_OUT_MAX: Final = 2
"""One that it is about to answer, and one that came meanwhile: more that come together are one."""


class ChildSnapshot(msgspec.Struct, frozen=True):
    """One worker's process. ``settings`` and ``board`` are indices into those of `ChildrenSnapshot`."""

    worker: int
    pool: str
    slot: int
    generation: int
    settings: int
    channel: ChannelSnapshot
    board: int
    record: int
    spawned_at: float
    pid: int
    pidfd: int = -1
    ready: WorkerReady | None = None
    cut: int | None = None
    rate: float = 0.0
    sampled_requests: int = 0
    dump_fd: int = 2
    protocol: int = 0
    incident: IncidentReport | None = msgspec.field(default=None, name="inquest")
    killed: bool = False
    template: bool = False
    log_level: int = 0
    log_format: str = "text"


def _made_of_others() -> Any:
    """For fields that `Child.__post_init__` makes of the others."""


class Child(msgspec.Struct):
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
    """0: its template has not yet said."""
    pidfd: int = -1
    ready: WorkerReady | None = None
    cut: int | None = None
    """Requests it said it could not finish; None: it said nothing."""
    rate: float = 0.0
    """Requests a second since the last but one look at the scoreboard."""
    sampled_requests: int = 0
    dump: DumpFile = msgspec.field(default_factory=DumpFile)
    template: bool = False
    protocol: int = 0
    """Of its channel; 0: it has not said hello."""
    limits: RequestLimits = msgspec.field(default_factory=_made_of_others)
    log_level: int = 0
    """What it was told last; 0: not known."""
    log_format: str = "text"
    killed: bool = False
    """We sent SIGKILL."""
    incident: IncidentReport | None = None
    """Its stacks were asked for, as it is to be killed."""
    inspected: Inspection | None = None
    """A person has asked what it is at."""
    tell_out: bool = False
    """It was asked by a `Tell`, and has not answered."""
    signals_out: int = 0
    """So often it was asked by INSPECT_SIGNAL, and may answer yet."""
    reader: Reader = msgspec.field(default_factory=_made_of_others)
    """Of ``record``, which nothing else reads."""
    shown: Callable[[str], str] = msgspec.field(default_factory=_made_of_others)
    """Requests as its pool shows them."""
    allowance: Allowance = msgspec.field(default_factory=Allowance)
    """What it may yet say."""

    def __post_init__(self) -> None:
        self.reader = Reader(self.spawned_at)
        self.shown = shower(log_queries=self.settings.log_queries)
        # Those of other classes judge their requests themselves.
        self.limits = RequestLimits(self.settings.timeouts, SYNC, self.settings.root_path)

    @property
    def process(self) -> Process:
        """Who a record is about."""
        return Process(self.pool, TEMPLATE if self.template else self.slot, self.generation, self.pid)

    def trusted_record(self, now: float) -> scoreboard.Record:
        """What can be believed of its record now: a copy."""
        return self.reader.read(self.record, self.pid, now, serves_many=self.serves_many)

    def killed_by_others(self, status: int) -> bool:
        return status == -signal.SIGKILL and not self.killed

    @property
    def serves_many(self) -> bool:
        """It says only once a second what it is at: its requests are many at once."""
        return self.ready is not None and not WORKER_CLASSES[self.ready.worker_class].holds_loop

    @property
    def slots(self) -> int:
        """How many requests it can be at, at once; 0: any number, or not known yet."""
        if self.ready is None:
            return 0
        kind = WORKER_CLASSES[self.ready.worker_class]
        return 1 if kind.holds_loop else self.settings.threads if kind.has_threads else 0

    def last_words(self, record: scoreboard.Record, now: float) -> str:
        """What it was serving when it ended, as far as the scoreboard knows; empty when nothing."""
        floats = record.floats
        since, noted_at = floats[scoreboard.LONGEST_SINCE], floats[scoreboard.HEARTBEAT_AT]
        if not self.serves_many or not since:
            return self.shown(record.request_line) if record.floats[scoreboard.BUSY_SINCE] else ""
        count = record.words[scoreboard.ACTIVE]
        several = f"{count} requests, the longest " if count > 1 else ""
        age, ago = seconds(max(0.0, noted_at - since)), seconds(max(0.0, now - noted_at))
        return f"{several}{self.shown(record.request_line)} for {age} (as of {ago} before)"

    def unfinished(self, record: scoreboard.Record) -> int:
        """Requests that its end leaves undone: as it said, or else as the scoreboard has it."""
        return active(record) if self.cut is None else self.cut

    # ---- handed over in an upgrade

    def snapshot(self, settings: int, board: int) -> ChildSnapshot:
        """With the numbers of its settings and its scoreboard."""
        return ChildSnapshot(
            worker=self.worker,
            pool=self.pool,
            slot=self.slot,
            generation=self.generation,
            settings=settings,
            channel=self.channel.snapshot(),
            board=board,
            record=self.record.index,
            spawned_at=self.spawned_at,
            pid=self.pid,
            pidfd=self.pidfd,
            ready=self.ready,
            cut=self.cut,
            rate=self.rate,
            sampled_requests=self.sampled_requests,
            dump_fd=self.dump.fd,
            protocol=self.protocol,
            incident=self.incident,
            killed=self.killed,
            template=self.template,
            log_level=self.log_level,
            log_format=self.log_format,
        )

    @classmethod
    def from_snapshot(
        cls, snapshot: ChildSnapshot, settings: PoolSettings, record: scoreboard.Record
    ) -> Child:
        return cls(
            worker=snapshot.worker,
            pool=snapshot.pool,
            slot=snapshot.slot,
            generation=snapshot.generation,
            settings=settings,
            channel=Channel.resumed(snapshot.channel),
            record=record,
            spawned_at=snapshot.spawned_at,
            pid=snapshot.pid,
            pidfd=snapshot.pidfd,
            ready=snapshot.ready,
            cut=snapshot.cut,
            rate=snapshot.rate,
            sampled_requests=snapshot.sampled_requests,
            dump=DumpFile(snapshot.dump_fd),
            protocol=snapshot.protocol,
            incident=snapshot.incident,
            killed=snapshot.killed,
            template=snapshot.template,
            log_level=snapshot.log_level,
            log_format=snapshot.log_format,
        )

    # ---- what is written down of it when it has to be killed

    def begin_report(self, reason: str, now: float) -> None:
        """Take down what is known: it is about to be asked for the rest."""
        self.incident = self._what_is_known(reason, now)
        self.dump.empty()

    def begin_inspection(self, now: float, *, stacks: bool) -> None:
        """The same, of one that lives on."""
        self.inspected = Inspection(self._what_is_known("", now), stacks, now)

    def _what_is_known(self, reason: str, now: float) -> IncidentReport:
        incident = IncidentReport(self.pid, reason)
        record = self.trusted_record(now)
        if since := record.floats[scoreboard.BUSY_SINCE]:
            incident.request = self.shown(record.request_line)
            incident.request_s = max(0.0, now - since)
        return incident

    def end_report(self, now: float) -> tuple[str, ProcessReport] | None:
        """Return why it was asked for, and what is known; None: it was not."""
        incident, self.incident = self.incident, None
        return None if incident is None else (incident.reason, self._report(incident, now))

    def inspection_report(self, now: float) -> ProcessReport | None:
        """Return what is known to a person who asked; None: nobody did."""
        if self.inspected is None:
            return None
        known = self.inspected.known
        kernel = kernel_report(self.pid)
        if known.told is not None:  # that would be of the moment in which it answered
            kernel = KernelReport(memory_bytes=kernel.memory_bytes)
        stacks = known.told.stacks if known.told is not None else ""
        return known.report(self.trusted_record(now), max(0.0, now - self.spawned_at), stacks, kernel)

    def under_way(self, now: float) -> tuple[tuple[RequestUnderWay, ...], int]:
        """The requests that it has said to serve, the longest first, and how many more there are.

        Of one that has not said it what the scoreboard has: under ``sync`` that is all.
        """
        told = self.inspected.known.told if self.inspected is not None else None
        if told is not None and self.serves_many:
            return told.requests, told.more_requests
        record = self.trusted_record(now)
        words, floats = record.words, record.floats
        since = floats[scoreboard.LONGEST_SINCE if self.serves_many else scoreboard.BUSY_SINCE]
        if not since:
            return (), 0
        one = RequestUnderWay(self.shown(record.request_line), max(0.0, now - since))
        return (one,), max(0, words[scoreboard.ACTIVE] - 1) if self.serves_many else 0

    def end_inspection(self) -> None:
        self.inspected = None

    def owes(self, message: Message) -> bool:
        """It was asked for this: that it answers does not count as something that it has to say."""
        if not isinstance(message, RequestReport) or not (self.tell_out or self.signals_out):
            return False
        if self.signals_out:
            self.signals_out -= 1
        else:
            self.tell_out = False
        return True

    def take_report(self, message: RequestReport) -> None:
        """It has said what is under way: whoever asked is told."""
        if self.incident is not None:
            self.incident.told = message
        if self.inspected is not None and not self.inspected.has_said:
            self.inspected.known.told = message

    def _report(self, incident: IncidentReport, now: float) -> ProcessReport:
        up_s = max(0.0, now - self.spawned_at)
        return incident.report(self.trusted_record(now), up_s, self.dump.read(), kernel_report(self.pid))

    def fault_frames(self, status: int) -> str:
        """Where it stood when it died of a fault of its own; empty if it did not, or nothing is known."""
        return fault_frames(status, self.dump.read())

    # ---- for the core

    def observed(self, jitter: float, now: float) -> events.Observed:
        """What its record says now, for the core."""
        record = self.trusted_record(now)
        words = record.words
        busy_since, line, limit_s, due_at = self._request(record)
        held_bytes = resident_bytes(self.pid) or words[scoreboard.MEMORY_BYTES]
        return events.Observed(
            self.worker,
            jitter,
            requests=words[scoreboard.REQUESTS],
            active=active(record),
            connections=words[scoreboard.CONNECTIONS],
            memory_bytes=held_bytes,
            private_bytes=min(held_bytes, words[scoreboard.PRIVATE_BYTES]),
            heartbeat_at=record.floats[scoreboard.HEARTBEAT_AT],
            busy_since=busy_since,
            serving=line,
            request_limit_s=limit_s,
            request_due_at=due_at,
        )

    def _request(self, record: scoreboard.Record) -> tuple[float, str, float, float]:
        """The request that a sync worker is at: since when, its line, its limit, and when that is over.

        It may end, and the next begin, while the copy is made. Then nothing is said of a limit: a limit of
        the one and the age of the other would kill a worker that is well.
        """
        floats = record.floats
        busy_since = floats[scoreboard.BUSY_SINCE]
        if not busy_since:
            return 0.0, "", 0.0, 0.0
        line = record.request_line
        extended = floats[scoreboard.EXTENDED_REQUEST] == busy_since
        extended_until = floats[scoreboard.EXTENDED_UNTIL] if extended else 0.0
        limit_s = self.limits.of(line.partition(" ")[2])
        line = self.shown(line)
        if not limit_s or self.record.copy().floats[scoreboard.BUSY_SINCE] != busy_since:
            return busy_since, line, 0.0, 0.0
        return busy_since, line, limit_s, max(busy_since + limit_s, extended_until)

    def figures(self, now: float) -> events.Figures:
        """What it has counted, for the core."""
        record = self.trusted_record(now)
        words = record.words
        return events.Figures(words[scoreboard.REQUESTS], words[scoreboard.ERRORS], tuple(record.durations()))

    def sample(self, elapsed_s: float, now: float) -> None:
        """Note the request rate since the last sample."""
        requests = self.trusted_record(now).words[scoreboard.REQUESTS]
        self.rate = max(0, requests - self.sampled_requests) / max(elapsed_s, 0.001)
        self.sampled_requests = requests


def active(record: scoreboard.Record) -> int:
    """Requests in the application now."""
    busy = bool(record.floats[scoreboard.BUSY_SINCE])
    return max(int(busy), record.words[scoreboard.ACTIVE])
