"""Counters of workers that are gone, folded into their pool, so that sums never run backwards."""

from __future__ import annotations

from dataclasses import dataclass, field

from gwctl.ipc import scoreboard


@dataclass(slots=True)
class Totals:
    """Sums over records. Latency as in `gwctl.ipc.scoreboard.LATENCY`."""

    requests: int = 0
    errors: int = 0
    bytes_out: int = 0
    accepted: int = 0
    refused: int = 0
    evicted: int = 0
    dropped: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * scoreboard.LATENCY_BUCKETS)

    def fold(self, record: scoreboard.Record) -> None:
        """Add one record's counters."""
        words = record.words
        self.requests += words[scoreboard.REQUESTS]
        self.errors += words[scoreboard.ERRORS]
        self.bytes_out += words[scoreboard.BYTES_OUT]
        self.accepted += words[scoreboard.ACCEPTED]
        self.refused += words[scoreboard.REFUSED]
        self.evicted += words[scoreboard.EVICTED]
        self.dropped += words[scoreboard.DROPPED]
        self.latency = [mine + theirs for mine, theirs in zip(self.latency, record.latency(), strict=True)]

    def plus(self, other: Totals) -> Totals:
        """The sum of both, as a new object."""
        return Totals(
            self.requests + other.requests,
            self.errors + other.errors,
            self.bytes_out + other.bytes_out,
            self.accepted + other.accepted,
            self.refused + other.refused,
            self.evicted + other.evicted,
            self.dropped + other.dropped,
            [a + b for a, b in zip(self.latency, other.latency, strict=True)],
        )
