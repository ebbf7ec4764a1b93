"""Files of prometheus_client's multiprocess mode, made with its own code, in folders as workers have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.registry import Collector as OneCollector

Value = tuple[str, str, Mapping[str, str], float, float]
"""Family, sample, labels, value, time."""


def write(
    folder: Path, prefix: str, process: int | str, values: Iterable[Value], text: str = "Help."
) -> Path:
    """Set ``values`` in the file that ``process`` has for ``prefix``: ``counter``, ``gauge_all`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prefix}_{process}.db"
    file = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    for family, sample, labels, value, at in values:
        file.write_value(mmap_key(family, sample, [*labels], [*labels.values()], text), value, at)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]
    return path


def count(folder: Path, value: float, process: int = 1, **labels: str) -> Path:
    """Have a counter ``hits`` in ``folder``."""
    return write(folder, "counter", process, [("hits", "hits_total", labels, value, 0.0)])


def text_of(metrics: Iterable[Metric]) -> str:
    """As Prometheus gets them."""

    class One(OneCollector):
        def collect(self) -> Iterable[Metric]:
            return metrics

    registry = CollectorRegistry(auto_describe=False)
    registry.register(One())
    return generate_latest(registry).decode()


def samples_of(metrics: Iterable[Metric]) -> dict[Any, float]:
    """Values by name and labels."""
    return {(s.name, *sorted(s.labels.items())): s.value for metric in metrics for s in metric.samples}
