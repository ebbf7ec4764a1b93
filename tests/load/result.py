"""What a load run found: counts, failures by class, latencies."""

from __future__ import annotations

import dataclasses
import json
from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

SAMPLES_MAX = 20
INCIDENTS_MAX = 10_000
BODIES_MAX = 64


class Failure(StrEnum):
    """Every way in which a request can fail, from the client's side. They exclude each other."""

    REFUSED = "refused"  # the connection was not established
    RESET_FRESH = "reset_fresh"  # closed without an answer to the first request on a connection
    RESET_REUSED = "reset_reused"  # the same on a kept-alive connection that looked open when sending
    TRUNCATED = "truncated"  # part of a response, then the end
    WRONG_STATUS = "wrong_status"
    WRONG_BODY = "wrong_body"  # also: bytes after the end of a response
    MALFORMED = "malformed"  # not HTTP
    TIMEOUT = "timeout"
    CUT = "cut"  # a WebSocket that ended without a close frame, or with another code than 1012


@dataclass(frozen=True)
class Incident:
    """One failed request, with all that the client knows of it. Times are of the monotonic clock."""

    label: str
    failure: str
    detail: str
    connection: int
    request: int
    """Which one of its connection, from 1; 0: there was no connection."""
    port: int
    """The client's own; 0: there was none."""
    worker: str
    """Who answered before on this connection, or began to answer, as the response said; empty: nobody."""
    began_at: float
    failed_at: float
    idle_s: float = 0.0
    """For how long nothing was said on the connection before this request."""

    def __str__(self) -> str:
        where = f"connection {self.connection}, its request {self.request}, at {self.failed_at:.3f}"
        return f"{self.failure}: {where}: {self.detail}"


@dataclass
class Result:
    """Times in seconds. ``requests`` counts all that were begun, failed ones included."""

    label: str = ""
    requests: int = 0
    connections: int = 0
    closes_obeyed: int = 0
    """Responses with ``Connection: close`` after which the client opened a new connection."""
    closed_idle: int = 0
    """Kept-alive connections that the server had visibly closed before the next request: no failure."""
    duration_s: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
    """The first failures: when, which request of which connection, what."""
    incidents: list[Incident] = field(default_factory=list)
    """All failures, but for those beyond `INCIDENTS_MAX`."""
    bodies: dict[str, int] = field(default_factory=dict)
    """Bodies seen (their first 80 characters), to tell who answered; at most `BODIES_MAX` distinct ones."""
    p50_s: float = 0.0
    p99_s: float = 0.0
    p999_s: float = 0.0
    max_s: float = 0.0

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Result:
        fields = json.loads(text)
        fields["incidents"] = [Incident(**each) for each in fields["incidents"]]
        return cls(**fields)

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {name}" for name, count in sorted(self.failures.items())) or "none"
        lines = [
            f"{self.requests} requests on {self.connections} connections in {self.duration_s:.1f} s; failed: {failures}",
            (
                f"p50 {self.p50_s * 1e3:.1f} ms  p99 {self.p99_s * 1e3:.1f} ms  "
                f"p99.9 {self.p999_s * 1e3:.1f} ms  longest {self.max_s * 1e3:.1f} ms"
            ),
            f"connections: {self.closes_obeyed} closed as told, {self.closed_idle} found closed while idle",
            *self.samples,
        ]
        return "\n".join(lines)


class Recorder:
    """Collects while the load runs; `result` sums up."""

    def __init__(self, label: str = "") -> None:
        self._label = label
        self.requests = 0
        self.connections = 0
        self.closes_obeyed = 0
        self.closed_idle = 0
        self.failures: Counter[str] = Counter()
        self._incidents: list[Incident] = []
        self._bodies: Counter[str] = Counter()
        self._latencies = array("d")

    def answered(self, latency_s: float, body: bytes) -> None:
        self._latencies.append(latency_s)
        text = body[:80].decode("utf-8", "replace")
        if text in self._bodies or len(self._bodies) < BODIES_MAX:
            self._bodies[text] += 1

    def failed(self, incident: Incident) -> None:
        self.failures[incident.failure] += 1
        if len(self._incidents) < INCIDENTS_MAX:
            self._incidents.append(incident)

    def result(self, duration_s: float) -> Result:
        ordered = sorted(self._latencies)
        return Result(
            label=self._label,
            requests=self.requests,
            connections=self.connections,
            closes_obeyed=self.closes_obeyed,
            closed_idle=self.closed_idle,
            duration_s=duration_s,
            failures=dict(self.failures),
            samples=[str(incident) for incident in self._incidents[:SAMPLES_MAX]],
            incidents=self._incidents,
            bodies=dict(self._bodies),
            p50_s=percentile(ordered, 0.5),
            p99_s=percentile(ordered, 0.99),
            p999_s=percentile(ordered, 0.999),
            max_s=ordered[-1] if ordered else 0.0,
        )


def percentile(ordered: list[float], share: float) -> float:
    """Nearest rank: the least value that ``share`` of all do not exceed. 0 for none."""
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * share // 1)
    return ordered[max(0, int(rank) - 1)]
