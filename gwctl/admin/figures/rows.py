"""Where the value of a family comes from: functions from the master's figures to rows of labels and a value.

Labels have few values each: pools, slots, methods, classes of status, states, and what the master's own
tables have of reasons and outcomes. Nothing that a client sends becomes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from operator import attrgetter
from typing import Final, NamedTuple

from gwctl.admin.figures.own import OwnFigures
from gwctl.admin.figures.samples import busy, in_slots
from gwctl.control.latency import bound_s
from gwctl.control.metrics import STATUS_CLASSES, Durations, Exemplar, MasterMetrics, Summary
from gwctl.json_text import readable

PHASES: Final = ("starting", "serving", "reloading", "upgrading", "stopping")
HEALTH: Final = ("healthy", "overloaded", "degraded", "down", "starting", "stopping")
STATES: Final = (
    "requested",
    "starting",
    "ready",
    "parked",
    "lost",
    "draining",
    "quitting",
    "dumped",
    "killed",
)
"""Of workers that live (docs/glossary.md); each is there also with 0."""
OUTCOMES: Final = ("adopted", "refused", "rolled_back", "restarted")

BOUNDS: Final = tuple(range(2, 21))
"""Those buckets whose ends become an ``le``: from 0.4 ms to 105 s, each twice the one before."""


class Buckets(NamedTuple):
    """A histogram: ``le`` and how many were below it, the last one ``+Inf``."""

    counts: tuple[tuple[str, float], ...]
    sum: float
    exemplars: Mapping[str, Exemplar] = {}
    """By their ``le``."""


Value = float | Summary | Buckets | Mapping[str, str] | Mapping[str, bool]
Row = tuple[tuple[str, ...], Value]
Rows = Callable[[MasterMetrics], Iterator[Row]]


def of_master(field: str) -> Rows:
    """The one value in ``field``."""
    read = attrgetter(field)

    def rows(metrics: MasterMetrics) -> Iterator[Row]:
        yield (), read(metrics)

    return rows


def one_of(field: str, known: tuple[str, ...]) -> Rows:
    """Which of the ``known`` words is in ``field``."""
    read = attrgetter(field)

    def rows(metrics: MasterMetrics) -> Iterator[Row]:
        word = read(metrics)
        yield (), {each: each == word for each in dict.fromkeys((*known, word)) if each}

    return rows


def counted(field: str, known: tuple[str, ...] = ()) -> Rows:
    """A table of counters by one label; those ``known`` begin at 0 before the first is counted."""
    read = attrgetter(field)

    def rows(metrics: MasterMetrics) -> Iterator[Row]:
        for label, count in (dict.fromkeys(known, 0) | read(metrics)).items():
            yield (_text(label),), count

    return rows


def build(metrics: MasterMetrics) -> Iterator[Row]:
    yield (), {"version": _text(metrics.version), "name": _text(metrics.name)}


def of_pool(field: str) -> Rows:
    """The value in ``field`` of each pool, of those that know it."""
    read = attrgetter(field)

    def rows(metrics: MasterMetrics) -> Iterator[Row]:
        for pool in metrics.pools:
            value = read(pool)
            if value is not None:
                yield (_text(pool.name),), value

    return rows


def counted_in_pool(field: str) -> Rows:
    read = attrgetter(field)

    def rows(metrics: MasterMetrics) -> Iterator[Row]:
        for pool in metrics.pools:
            for label, count in (read(pool) or {}).items():
                yield (_text(pool.name), _text(label)), count

    return rows


def worker_class(metrics: MasterMetrics) -> Iterator[Row]:
    for pool in metrics.pools:
        yield (_text(pool.name),), {"worker": _text(pool.worker)}


def by_state(metrics: MasterMetrics) -> Iterator[Row]:
    for pool in metrics.pools:
        counts = dict.fromkeys(STATES, 0)
        for worker in pool.workers:
            counts[worker.state] = counts.get(worker.state, 0) + 1
        for state, count in counts.items():
            yield (_text(pool.name), _text(state)), count


def requests(metrics: MasterMetrics) -> Iterator[Row]:
    """All classes of status of a method that was seen: the first error is an increase from 0."""
    for pool in metrics.pools:
        for method, classes in pool.requests.items():
            for status, count in (dict.fromkeys(STATUS_CLASSES, 0) | classes).items():
                yield (_text(pool.name), _text(method), _text(status)), count


def busy_share(metrics: MasterMetrics) -> Iterator[Row]:
    for pool in metrics.pools:
        share = busy(pool)
        if share is not None:
            yield (_text(pool.name),), share


def durations(metrics: MasterMetrics) -> Iterator[Row]:
    for pool in metrics.pools:
        yield (_text(pool.name),), buckets(pool.durations)


def buckets(found: Durations) -> Buckets:
    """Add up what took less than each bound. What the last bucket counts took any longer."""
    below = [0, *accumulate(found.counts[:-1])]
    ends = [(str(bound_s(index)), float(below[min(index + 1, len(below) - 1)])) for index in BOUNDS]
    exemplars = {_le(each.seconds): each for each in found.exemplars}
    return Buckets((*ends, ("+Inf", float(sum(found.counts)))), found.seconds, exemplars)


def _le(seconds: float) -> str:
    """The bucket in which a duration is counted first."""
    return next((str(bound_s(index)) for index in BOUNDS if seconds < bound_s(index)), "+Inf")


def of_worker(field: str) -> Rows:
    """The value in ``field`` of each slot's worker."""
    read = attrgetter(field)

    def rows(metrics: MasterMetrics) -> Iterator[Row]:
        for pool in metrics.pools:
            for slot, worker in in_slots(pool.workers).items():
                yield (_text(pool.name), str(slot)), read(worker)

    return rows


def proportional_memory(own: OwnFigures) -> Iterator[Row]:
    for (pool, slot), value in own.proportional_memory.items():
        yield (_text(pool), str(slot)), value


def statsd_packets(own: OwnFigures) -> Iterator[Row]:
    for outcome, count in own.statsd_packets.items():
        yield (outcome,), count


def application_series(own: OwnFigures) -> Iterator[Row]:
    for pool, count in own.application_series.items():
        yield (_text(pool),), count


def application_left_out(own: OwnFigures) -> Iterator[Row]:
    for pool, reasons in own.application_left_out.items():
        for reason, count in reasons.items():
            yield (_text(pool), _text(reason)), count


def _text(word: str) -> str:
    """A label's value: always text."""
    return readable(word)
