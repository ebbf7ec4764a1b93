"""The figures in the formats that Prometheus and its kin read: text 0.0.4, and OpenMetrics 1.0.0.

Which one is asked for is said in Accept. Whoever names neither gets the first, which everything reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as text_of
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_of
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from gwctl.admin.figures.families import FAMILIES, OWN, Family, Source
from gwctl.admin.figures.own import NOTHING, OwnFigures
from gwctl.admin.figures.rows import Buckets, Value
from gwctl.control.metrics import MasterMetrics, Summary
from gwctl.json_text import readable


class Format(NamedTuple):
    """One of the formats."""

    content_type: str
    write: Callable[[CollectorRegistry], bytes]


TEXT: Final = Format("text/plain; version=0.0.4; charset=utf-8", text_of)
OPENMETRICS: Final = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", openmetrics_of)


def chosen(accept: str) -> Format:
    """The format that ``accept`` prefers."""
    text, openmetrics = 0.0, 0.0
    for part in accept.lower().split(","):
        media, *fields = (field.strip() for field in part.split(";"))
        params = {
            name.strip(): value.strip(' "') for name, _, value in (each.partition("=") for each in fields)
        }
        weight = _weight(params.get("q", "1"))
        if media == "application/openmetrics-text" and params.get("version", "1.0.0").startswith("1."):
            openmetrics = max(openmetrics, weight)
        elif media in {"text/plain", "text/*", "*/*"}:
            text = max(text, weight)
    return OPENMETRICS if openmetrics > text else TEXT


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


def exposition(
    metrics: MasterMetrics,
    form: Format,
    own: OwnFigures = NOTHING,
    others: Iterable[Metric] = (),
) -> bytes:
    """Write all families, and behind them ``others``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(metrics, own, others))
    return form.write(registry)


class _Figures(Collector):
    """What prometheus-client calls a custom collector, of one reading."""

    def __init__(self, metrics: MasterMetrics, own: OwnFigures, others: Iterable[Metric]) -> None:
        self._metrics = metrics
        self._own = own
        self._others = others

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            yield _metric(family, self._metrics)
        for each in OWN:
            found = _metric(each, self._own)
            if found.samples:
                yield found
        yield from self._others


_SUFFIXES: Final = {"counter": "_total", "info": "_info"}
"""What the library adds itself to the name of a family."""


def _metric(family: Family[Source], source: Source) -> Metric:
    name = family.name.removesuffix(_SUFFIXES.get(family.kind, ""))
    metric = Metric(name, family.help, family.kind, family.unit)
    for labels, value in family.rows(source):
        for suffix, more, number in _samples(family, value):
            series = dict(zip(family.labels, labels, strict=True)) | more
            metric.add_sample(name + suffix, series, number, exemplar=_exemplar(value, more))
    return metric


def _samples(family: Family[Any], value: Value) -> Iterator[tuple[str, dict[str, str], float]]:
    """The series of one row: suffix, further labels and number of each."""
    match value:
        case Summary():
            yield "_count", {}, value.count
            yield "_sum", {}, value.seconds
        case Buckets():
            for bound, count in value.counts:
                yield "_bucket", {"le": bound}, count
            yield "_count", {}, value.counts[-1][1]
            yield "_sum", {}, value.sum
        case Mapping() if family.kind == "info":
            yield "_info", _texts(value), 1
        case Mapping():
            for state, holds in value.items():
                yield "", {family.name: state}, float(bool(holds))
        case _:
            yield _SUFFIXES.get(family.kind, ""), {}, value


def _exemplar(value: Value, labels: Mapping[str, str]) -> Exemplar | None:
    """The slow request that a bucket of a histogram has to show. Only OpenMetrics has a place for it."""
    found = value.exemplars.get(labels.get("le", "")) if isinstance(value, Buckets) else None
    if found is None:
        return None
    return Exemplar({"request_id": readable(found.request_id)}, found.seconds, found.at)


def _texts(value: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(text) for name, text in value.items()}
