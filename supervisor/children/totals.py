"""Counters of workers that are gone, folded into their pool, so that sums never run backwards."""

from __future__ import annotations

from msgspec import Struct, field

from gwctl.ipc import scoreboard


class Totals(Struct):
    """Sums over records, of the words that `gwctl.ipc.scoreboard` calls so."""

    requests: int = 0
    errors: int = 0
    bytes_out: int = 0
    accepted: int = 0
    refused: int = 0
    evicted: int = 0
    dropped: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * scoreboard.LATENCY_BUCKETS)
    answers: list[int] = field(default_factory=lambda: [0] * scoreboard.ANSWER_WORDS)
    seconds: float = 0.0
    waited_s: float = 0.0
    cpu_s: float = 0.0
    collections: int = 0
    collected_s: float = 0.0
    bytes_in: int = 0
    tls_handshakes: int = 0
    tls_resumed: int = 0
    tls_failed: int = 0

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
        self.answers = [mine + theirs for mine, theirs in zip(self.answers, record.answers(), strict=True)]
        self.collections += words[scoreboard.COLLECTIONS]
        self.bytes_in += words[scoreboard.BYTES_IN]
        self.tls_handshakes += words[scoreboard.TLS_HANDSHAKES]
        self.tls_resumed += words[scoreboard.TLS_RESUMED]
        self.tls_failed += words[scoreboard.TLS_FAILED]
        floats = record.floats
        self.seconds += floats[scoreboard.SECONDS]
        self.waited_s += floats[scoreboard.WAITED_S]
        self.cpu_s += floats[scoreboard.CPU_S]
        self.collected_s += floats[scoreboard.COLLECTED_S]

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
            [a + b for a, b in zip(self.answers, other.answers, strict=True)],
            self.seconds + other.seconds,
            self.waited_s + other.waited_s,
            self.cpu_s + other.cpu_s,
            self.collections + other.collections,
            self.collected_s + other.collected_s,
            bytes_in=self.bytes_in + other.bytes_in,
            tls_handshakes=self.tls_handshakes + other.tls_handshakes,
            tls_resumed=self.tls_resumed + other.tls_resumed,
            tls_failed=self.tls_failed + other.tls_failed,
        )

    def fit(self) -> None:
        """Have as many words of each kind as this version: another one may have counted them."""
        self.latency = _fitted(self.latency, scoreboard.LATENCY_BUCKETS)
        self.answers = _fitted(self.answers, scoreboard.ANSWER_WORDS)


class SlotTotals(Struct):
    """Sums over the workers that a slot has had: counters of a slot do not begin anew with each of them."""

    requests: int = 0
    accepted: int = 0
    cpu_s: float = 0.0

    def fold(self, record: scoreboard.Record) -> None:
        """Add one record's counters."""
        self.requests += record.words[scoreboard.REQUESTS]
        self.accepted += record.words[scoreboard.ACCEPTED]
        self.cpu_s += record.floats[scoreboard.CPU_S]


def _fitted(words: list[int], count: int) -> list[int]:
    return (words + [0] * count)[:count]
