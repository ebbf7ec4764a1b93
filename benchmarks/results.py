"""What a run found: samples, their medians and spreads, and what is missing or fails.

`Results` is what the JSON file holds (`as_json`); tables and plot are made from it.
"""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contenders import everybody
from benchmarks.measure import Sample

DISTURBED = 0.05
"""More of either core than this taken by others: the table says so."""


@dataclass(frozen=True)
class Summary:
    """Medians of one contender's rounds; ``low`` and ``high`` are the extremes."""

    requests_per_s: float
    low: float
    high: float
    requests_per_cpu_s: float
    p50_ms: float
    p99_ms: float
    failures: int
    server_share: float
    others: float

    @property
    def spread(self) -> float:
        """From the lowest to the highest round, as a share of the median."""
        return (self.high - self.low) / self.requests_per_s if self.requests_per_s else 0.0

    @property
    def disturbed(self) -> bool:
        return self.others > DISTURBED


def summarise(samples: list[Sample]) -> Summary:
    rates = [sample.requests_per_s for sample in samples]

    def median(name: str) -> float:
        return float(statistics.median(getattr(sample, name) for sample in samples))

    return Summary(
        requests_per_s=statistics.median(rates),
        low=min(rates),
        high=max(rates),
        requests_per_cpu_s=median("requests_per_cpu_s"),
        p50_ms=median("p50_ms"),
        p99_ms=median("p99_ms"),
        failures=sum(sample.failures for sample in samples),
        server_share=median("server_share"),
        others=median("others"),
    )


@dataclass
class Results:
    """Everything keyed by the workload's name, then the contender's."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    failing: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, workload: str, contender: str, sample: Sample) -> None:
        self.samples.setdefault(workload, {}).setdefault(contender, []).append(sample)

    def miss(self, workload: str, contender: str, why: str) -> None:
        self.missing.setdefault(workload, {})[contender] = why

    def fail(self, workload: str, contender: str, why: str) -> None:
        """It answers wrongly or not at all: figures that it may have from other rounds are void."""
        self.failing.setdefault(workload, {})[contender] = why
        self.samples.get(workload, {}).pop(contender, None)

    def fails(self, workload: str, contender: str) -> bool:
        return contender in self.failing.get(workload, {})

    def tried(self, workload: str, contender: str) -> bool:
        return any(contender in found.get(workload, {}) for found in (self.samples, self.failing))

    def summaries(self, workload: str) -> dict[str, Summary]:
        """The fastest first."""
        found = {name: summarise(runs) for name, runs in self.samples.get(workload, {}).items()}
        return dict(sorted(found.items(), key=lambda item: -item[1].requests_per_s))

    def rate(self, workload: str, contender: str) -> float | None:
        runs = self.samples.get(workload, {}).get(contender)
        return summarise(runs).requests_per_s if runs else None

    def cpu_rate(self, workload: str, contender: str) -> float | None:
        runs = self.samples.get(workload, {}).get(contender)
        return summarise(runs).requests_per_cpu_s if runs else None

    def ratios(self, workload: str) -> dict[str, dict[str, float]]:
        """Each of ours over each peer of its class, and over the limit."""
        rates = {name: summary.requests_per_s for name, summary in self.summaries(workload).items()}
        known = everybody()
        return {
            ours: {
                name: rates[ours] / rate
                for name, rate in rates.items()
                if not known[name].ours and rate and known[name].kind in {known[ours].kind, "limit"}
            }
            for ours in rates
            if known[ours].ours
        }

    def as_json(self) -> dict[str, Any]:
        return {
            workload: {
                "contenders": {
                    name: {
                        "kind": everybody()[name].kind,
                        "median": dataclasses.asdict(summary),
                        "samples": [dataclasses.asdict(s) for s in self.samples[workload][name]],
                    }
                    for name, summary in self.summaries(workload).items()
                },
                "ratios": self.ratios(workload),
                "missing": self.missing.get(workload, {}),
                "failing": self.failing.get(workload, {}),
            }
            for workload in {**self.samples, **self.missing, **self.failing}
        }
