"""Two readings of the figures as lines of statsd: counters as what came in between. Pure.

Names are those of Prometheus (`gwctl.admin.figures.families`) with dots: ``gwctl_requests_total`` is
``gwctl.requests``. Left out are the figures of each slot, and those that are words.

A counter that is lower than before counts as unchanged, so nothing that is sent is negative; what has not
changed is not sent. A gauge is sent each time: an agent forgets what it does not hear of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from gwctl.admin.figures.families import MASTER, SERVING, WORKERS, Family
from gwctl.admin.figures.rows import Buckets
from gwctl.control.latency import bound_s, percentile_ms
from gwctl.control.metrics import Durations, MasterMetrics, PoolMetrics, Summary

FAMILIES: Final = tuple(
    family for family in (*MASTER, *SERVING, *WORKERS) if family.kind not in {"info", "stateset"}
)
PERCENTILES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
LOG_LEVELS: Final = {"warning": "warning", "error": "error"}
"""Levels of events that gunicorn counts, too, and its words for them."""
_ODD: Final = re.compile(r"[^A-Za-z0-9_.:/-]")
_DECIMALS: Final = 6
_RATE_DECIMALS: Final = 12

Tags = tuple[tuple[str, str], ...]


class Reading(msgspec.Struct, frozen=True):
    """The figures, and how many events there were of each level."""

    metrics: MasterMetrics
    levels: Mapping[str, int] = {}


class Writer(msgspec.Struct, frozen=True):
    """How lines look."""

    prefix: str = ""
    tags: tuple[str, ...] = ()
    """Of each line."""
    tagged: bool = True
    """Labels are tags; else they are parts of the name."""

    def line(self, name: str, labels: Tags, value: float, kind: str) -> str:
        start = f"{self.prefix}." if self.prefix else ""
        said = [(label, _ODD.sub("_", text)) for label, text in labels]
        if not self.tagged:
            parts = "".join(f".{text.replace('.', '_').replace(':', '_')}" for _, text in said)
            return f"{start}{name}{parts}:{number(value)}|{kind}"
        tags = ",".join((*(f"{label}:{text}" for label, text in said), *self.tags))
        return f"{start}{name}:{number(value)}|{kind}" + (f"|#{tags}" if tags else "")


def number(value: float) -> str:
    """Without an exponent, which not everybody reads."""
    return f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")


def name_of(family: Family[MasterMetrics]) -> str:
    return family.name.removesuffix("_total").replace("gwctl_", "gwctl.", 1)


def lines(before: Reading, after: Reading, writer: Writer, *, gunicorn_names: bool = False) -> Iterator[str]:
    """All that is to be sent at the time of ``after``."""
    known = dict(_counters(before.metrics))
    for (name, labels), value in _counters(after.metrics):
        more = value - known.get((name, labels), 0.0)
        if more > 0:
            yield writer.line(name, labels, more, "c")
    for name, labels, value in _gauges(after.metrics):
        yield writer.line(name, labels, value, "g")
    pools = {pool.name: pool for pool in before.metrics.pools}
    for pool in after.metrics.pools:
        yield from _percentiles(pools.get(pool.name), pool, writer)
    if gunicorn_names:
        yield from _as_gunicorn(pools, after.metrics.pools, writer)
        for level, word in LOG_LEVELS.items():
            more = after.levels.get(level, 0) - before.levels.get(level, 0)
            if more > 0:
                yield writer.line(f"gunicorn.log.{word}", (), more, "c")


def _counters(metrics: MasterMetrics) -> Iterator[tuple[tuple[str, Tags], float]]:
    for family in FAMILIES:
        for texts, value in family.rows(metrics):
            name, labels = name_of(family), tuple(zip(family.labels, texts, strict=True))
            match value:
                case Summary():
                    yield (f"{name}.count", labels), value.count
                    yield (f"{name}.sum", labels), value.seconds
                case Buckets():
                    yield (f"{name}.count", labels), value.counts[-1][1]
                    yield (f"{name}.sum", labels), value.sum
                case int() | float() if family.kind == "counter":
                    yield (name, labels), value


def _gauges(metrics: MasterMetrics) -> Iterator[tuple[str, Tags, float]]:
    for family in FAMILIES:
        if family.kind == "gauge":
            for texts, value in family.rows(metrics):
                if isinstance(value, int | float):
                    yield name_of(family), tuple(zip(family.labels, texts, strict=True)), value


def _latency(before: Durations | None, after: Durations) -> list[int]:
    """By bucket, the requests of the time in between."""
    was = before.counts if before is not None else ()
    padded = was + (0,) * (len(after.counts) - len(was))
    return [max(0, count - then) for then, count in zip(padded, after.counts, strict=False)]


def _percentiles(before: PoolMetrics | None, after: PoolMetrics, writer: Writer) -> Iterator[str]:
    latency = _latency(before.durations if before is not None else None, after.durations)
    for name, part in PERCENTILES.items():
        found = percentile_ms(latency, part)
        if found is not None:
            labels = (("pool", after.name),)
            yield writer.line(f"gwctl.request_duration_seconds.{name}", labels, found / 1000, "g")


# ---- as gunicorn has it


class _Sum(msgspec.Struct):
    """What gunicorn would say of one pool; without tags, of all of them."""

    requests: int = 0
    statuses: dict[str, int] = {}
    latency: list[int] = []
    workers: int = 0
    backlog: int | None = None

    def add(self, before: PoolMetrics | None, after: PoolMetrics) -> None:
        was = before.requests if before is not None else {}
        for method, classes in after.requests.items():
            for status, count in classes.items():
                more = max(0, count - was.get(method, {}).get(status, 0))
                self.requests += more
                self.statuses[status] = self.statuses.get(status, 0) + more
        latency = _latency(before.durations if before is not None else None, after.durations)
        width = max(len(latency), len(self.latency))
        mine, theirs = (row + [0] * (width - len(row)) for row in (self.latency, latency))
        self.latency = [one + other for one, other in zip(mine, theirs, strict=True)]
        self.workers += len(after.workers)
        if after.backlog is not None:
            self.backlog = (self.backlog or 0) + after.backlog


def _as_gunicorn(
    before: Mapping[str, PoolMetrics], pools: tuple[PoolMetrics, ...], writer: Writer
) -> Iterator[str]:
    sums: dict[Tags, _Sum] = {}
    for pool in pools:
        tags: Tags = (("pool", pool.name),) if writer.tagged else ()
        sums.setdefault(tags, _Sum()).add(before.get(pool.name), pool)
    for tags, each in sums.items():
        if each.requests:
            yield writer.line("gunicorn.requests", tags, each.requests, "c")
        for status, count in each.statuses.items():
            if count and status != "none":
                yield writer.line(f"gunicorn.request.status.{status}", tags, count, "c")
        for index, count in enumerate(each.latency):
            if count:  # as many requests as one time stands for, in the way of sampled ones
                rate = f"{1 / count:.{_RATE_DECIMALS}f}".rstrip("0").rstrip(".")
                yield writer.line("gunicorn.request.duration", tags, _middle_ms(index), f"ms|@{rate}")
        yield writer.line("gunicorn.workers", tags, each.workers, "g")
        if each.backlog is not None:
            yield writer.line("gunicorn.backlog", tags, each.backlog, "g")


def _middle_ms(index: int) -> float:
    """Of a bucket of durations: no request in it is further from this than a third."""
    return 1000 * bound_s(index) * (0.75 if index else 0.5)
