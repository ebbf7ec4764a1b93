"""Merged values as families that can be told to Prometheus. What can't is left out, and counted. Pure.

Each series gets a label ``pool``. An application's own label of that name becomes ``exported_pool``, as
Prometheus would call it. Names are those that Prometheus has always taken: what else prometheus_client allows
could not be told to all who ask.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from gwctl.admin.application.left_out import LeftOut, Reason
from gwctl.admin.application.values import Timed, Values, combined

RESERVED: Final = "gwctl_"
POOL: Final = "pool"
_EXPORTED: Final = "exported_"
_PROCESS: Final = "pid"
_LE: Final = "le"
_FAMILY: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_SUFFIXES: Final = {
    "counter": ("_total",),
    "gauge": ("",),
    "summary": ("_count", "_sum"),
    "histogram": ("_bucket", "_sum"),
}
_SUM: Final = "sum"
_ALL: Final = "all"

Labels = tuple[tuple[str, str], ...]
_key = msgspec.json.Decoder(tuple[str, str, dict[str, str], str])


class _UnusableError(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass(slots=True)
class _Family:
    kind: str
    mode: str
    help: str
    series: dict[tuple[Labels, str], Timed] = field(default_factory=dict)
    """By labels and name."""


def families(pools: Mapping[str, Values], left_out: Mapping[str, LeftOut]) -> list[Metric]:
    """All families of all pools. ``left_out`` is by pool, and is added to."""
    found: dict[str, _Family] = {}
    for pool, values in pools.items():
        for kind, mode, process, key, value in _all_of(values):
            try:
                _enter(found, pool, kind, mode, process, key, value)
            except _UnusableError as error:
                left_out[pool][error.reason] += 1
    return [_metric(name, family) for name, family in found.items()]


def _all_of(values: Values) -> Iterator[tuple[str, str, str, bytes, Timed]]:
    for kind, sums in values.sums.items():
        for key, value in sums.items():
            yield kind, "", "", key, (value, 0.0)
    for mode, gauges in values.gauges.items():
        for key, timed in gauges.items():
            yield "gauge", mode, "", key, timed
    for mode, processes in values.each.items():
        for process, own in processes.items():
            for key, value in own.items():
                yield "gauge", mode, process, key, (value, 0.0)


def _enter(
    found: dict[str, _Family], pool: str, kind: str, mode: str, process: str, key: bytes, value: Timed
) -> None:
    try:
        name, sample, labels, text = _key.decode(key)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _UnusableError("malformed") from None
    if name.startswith(RESERVED) or sample.startswith(RESERVED):
        raise _UnusableError("reserved")
    if not _FAMILY.fullmatch(name) or not all(map(_LABEL.fullmatch, labels)):
        raise _UnusableError("name")
    _check_sample(kind, name, sample, labels)
    if mode.endswith("mostrecent") and not value[1] > 0:
        return  # it was never set
    family = found.get(name)
    if family is None:
        family = found[name] = _Family(kind, mode, text)
    elif (family.kind, family.mode) != (kind, mode):
        raise _UnusableError("conflict")
    place = _labels(labels, pool, process), sample
    before = family.series.get(place)
    # The same series may come under several keys: its help has changed with a reload.
    if before is not None and not mode.endswith(_ALL):
        value = combined(mode or _SUM, before, value)
    family.series[place] = value


def _check_sample(kind: str, name: str, sample: str, labels: Mapping[str, str]) -> None:
    if sample.removeprefix(name) not in _SUFFIXES[kind] or not sample.startswith(name):
        raise _UnusableError("malformed")
    if kind != "histogram":
        return
    bound = labels.get(_LE)
    if (bound is not None) != sample.endswith("_bucket"):
        raise _UnusableError("malformed")
    if bound is not None and _bound(bound) is None:
        raise _UnusableError("malformed")


def _bound(text: str) -> float | None:
    try:
        bound = float(text)
    except ValueError:
        return None
    return None if math.isnan(bound) else bound


def _labels(labels: dict[str, str], pool: str, process: str) -> Labels:
    if process:
        labels[_PROCESS] = process
    if POOL in labels:
        name = _EXPORTED + POOL
        while name in labels:
            name = _EXPORTED + name
        labels[name] = labels.pop(POOL)
    labels[POOL] = pool
    return tuple(sorted(labels.items()))


def _metric(name: str, family: _Family) -> Metric:
    metric = Metric(name, family.help, family.kind)
    if family.kind == "histogram":
        _add_histogram(metric, family)
    else:
        for (labels, sample), (value, _) in sorted(family.series.items()):
            metric.add_sample(sample, dict(labels), value)
    return metric


def _add_histogram(metric: Metric, family: _Family) -> None:
    """Buckets are kept by themselves, and told as what is in them and below."""
    buckets: dict[Labels, dict[float, float]] = {}
    sums: dict[Labels, float] = {}
    for (labels, sample), (value, _) in family.series.items():
        if sample.endswith("_bucket"):
            bounds = buckets.setdefault(tuple(each for each in labels if each[0] != _LE), {})
            bound = float(dict(labels)[_LE])
            bounds[bound] = bounds.get(bound, 0.0) + value
        else:
            sums[labels] = value
    for labels, bounds in sorted(buckets.items()):
        below = 0.0
        for bound, value in sorted(bounds.items()):
            below += value
            metric.add_sample(f"{metric.name}_bucket", {**dict(labels), _LE: floatToGoString(bound)}, below)  # type: ignore[no-untyped-call]
        metric.add_sample(f"{metric.name}_count", dict(labels), below)
        if labels in sums:
            metric.add_sample(f"{metric.name}_sum", dict(labels), sums[labels])
