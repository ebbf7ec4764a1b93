"""All that Prometheus is told, as one table: name, type, what it means, and where it comes from.

docs/metrics.md is made of it, and `exposition` writes it. Names follow Prometheus' rules: base units,
`_total` for what only grows, the unit last. A name or label that is here stays: dashboards are built on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from gwctl.admin.figures import rows
from gwctl.admin.figures.rows import Row
from gwctl.control.metrics import MasterMetrics

Kind = Literal["counter", "gauge", "histogram", "summary", "info", "stateset"]
UNITS: Final = ("seconds", "bytes", "ratio")


Source = TypeVar("Source")


@dataclass(frozen=True, slots=True)
class Family(Generic[Source]):
    """One family. ``source`` is where its values stand in the document of /api/metrics; empty: not there."""

    name: str
    kind: Kind
    help: str
    source: str
    rows: Callable[[Source], Iterator[Row]]
    labels: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The unit that the name ends with; empty for numbers of things."""
        end = self.name.removesuffix("_total").rpartition("_")[2]
        return end if end in UNITS and self.kind not in {"info", "stateset"} else ""


_POOL: Final = ("pool",)
_WORKER: Final = ("pool", "slot")


def _master(name: str, kind: Kind, field: str, text: str) -> Family[MasterMetrics]:
    return Family(name, kind, text, field, rows.of_master(field))


def _pool(name: str, kind: Kind, field: str, text: str) -> Family[MasterMetrics]:
    return Family(name, kind, text, f"pools[].{field}", rows.of_pool(field), _POOL)


def _worker(name: str, kind: Kind, field: str, text: str) -> Family[MasterMetrics]:
    return Family(name, kind, text, f"pools[].workers[].{field}", rows.of_worker(field), _WORKER)


MASTER: Final = (
    Family(
        "gwctl_build_info",
        "info",
        "Version of gwctl that the master runs, and the master's name. Always 1.",
        "version, name",
        rows.build,
    ),
    _master(
        "gwctl_up_seconds",
        "gauge",
        "up_s",
        "How long the master has run. An upgrade in place does not end that.",
    ),
    _master(
        "gwctl_generation",
        "gauge",
        "generation",
        "Generation that serves; each adopted reload has a higher one.",
    ),
    Family(
        "gwctl_phase",
        "stateset",
        "What the master does now: the series of its phase is 1, the others are 0.",
        "phase",
        rows.one_of("phase", rows.PHASES),
    ),
    Family(
        "gwctl_health",
        "stateset",
        "How the master is, in the word of gwctl status: the series of that word is 1, the others are 0.",
        "health",
        rows.one_of("health", rows.HEALTH),
    ),
    Family(
        "gwctl_reloads_total",
        "counter",
        "Reloads, rollbacks and restarts that have ended, by how: adopted, refused, rolled_back, restarted.",
        "reloads",
        rows.counted("reloads", rows.OUTCOMES),
        ("outcome",),
    ),
    _master(
        "gwctl_reload_duration_seconds",
        "summary",
        "reload_seconds",
        "How long reloads took that were adopted, from the request until the new generation was in force.",
    ),
    Family(
        "gwctl_upgrades_total",
        "counter",
        "Upgrades in place that have ended, by how.",
        "upgrades",
        rows.counted("upgrades"),
        ("outcome",),
    ),
    _master(
        "gwctl_events_total", "counter", "events", "Events that the master has told: what gwctl events shows."
    ),
    _master(
        "gwctl_log_lines_lost_total",
        "counter",
        "log_lines_lost",
        "Lines of the master's log that were thrown away because nobody took them.",
    ),
    Family(
        "gwctl_pressure_ratio",
        "gauge",
        "Part of the last ten seconds in which some work waited for it, 0 to 1 (PSI): of the control group, "
        "or of the machine where that has none.",
        "pressure",
        rows.counted("pressure"),
        ("resource",),
    ),
    _master("gwctl_master_memory_bytes", "gauge", "memory_bytes", "Resident memory of the master process."),
    _master(
        "gwctl_master_cpu_seconds_total",
        "counter",
        "cpu_s",
        "Processor time that the master process has used.",
    ),
)

SERVING: Final = (
    Family(
        "gwctl_requests_total",
        "counter",
        "Requests that were answered, by method and class of status. 1xx are handshakes of WebSockets; "
        "uncommon methods count as other.",
        "pools[].requests",
        rows.requests,
        ("pool", "method", "status"),
    ),
    Family(
        "gwctl_request_duration_seconds",
        "histogram",
        "How long requests took, from the head until the response was complete.",
        "pools[].durations",
        rows.durations,
        _POOL,
    ),
    _pool(
        "gwctl_request_queue_seconds",
        "summary",
        "queued",
        "How long requests waited in a worker before the application was called.",
    ),
    _pool("gwctl_requests_in_flight", "gauge", "active", "Requests that are being served now."),
    _pool(
        "gwctl_requests_capacity",
        "gauge",
        "capacity",
        "Requests that the ready workers can serve at once. Absent where no limit is known.",
    ),
    Family(
        "gwctl_busy_ratio",
        "gauge",
        "Part of the capacity that is in use, 0 to 1. Absent where no limit is known.",
        "pools[].active, pools[].capacity",
        rows.busy_share,
        _POOL,
    ),
    _pool("gwctl_response_bytes_total", "counter", "bytes_out", "Bytes of response bodies that were sent."),
    _pool(
        "gwctl_request_bytes_total",
        "counter",
        "bytes_in",
        "Bytes of request bodies that were received, as they came: chunks with their framing.",
    ),
    _pool("gwctl_connections", "gauge", "connections", "Connections of clients that are open now."),
    _pool(
        "gwctl_connections_accepted_total", "counter", "accepted", "Connections that workers have accepted."
    ),
    _pool(
        "gwctl_connections_evicted_total",
        "counter",
        "evicted",
        "Silent connections that were closed to make room for new ones.",
    ),
    _pool(
        "gwctl_refused_total",
        "counter",
        "refused",
        "Connections and requests that were answered with 503, because the worker had no room for more.",
    ),
    _pool(
        "gwctl_requests_dropped_total",
        "counter",
        "dropped",
        "Requests that were not begun: they had waited for too long, or their client had gone.",
    ),
    Family(
        "gwctl_tls_handshakes_total",
        "counter",
        "TLS handshakes by how they ended: full, resumed (with a session of before), failed.",
        "pools[].tls",
        rows.counted_in_pool("tls"),
        (*_POOL, "outcome"),
    ),
    _pool("gwctl_websockets", "gauge", "websockets", "WebSockets that are open now."),
    _pool(
        "gwctl_backlog_connections",
        "gauge",
        "backlog",
        "Connections that wait in the kernel to be accepted. It does not tell that of Unix sockets.",
    ),
    _pool(
        "gwctl_backlog_connections_max",
        "gauge",
        "backlog_max",
        "Connections that can wait in the kernel, which turns away those beyond. Not of Unix sockets.",
    ),
)

WORKERS: Final = (
    Family(
        "gwctl_pool_info",
        "info",
        "Worker class of the pool. Always 1.",
        "pools[].worker",
        rows.worker_class,
        _POOL,
    ),
    _pool("gwctl_pool_size", "gauge", "size", "Workers that the pool is to have."),
    _pool(
        "gwctl_pool_size_min", "gauge", "size_min", "Workers that the pool has at least, if it sets its size."
    ),
    _pool(
        "gwctl_pool_size_max", "gauge", "size_max", "Workers that the pool has at most, if it sets its size."
    ),
    _pool("gwctl_pool_needed", "gauge", "need", "Workers that the pool's load takes, if it sets its size."),
    _pool("gwctl_pool_ready", "gauge", "ready", "Workers that are ready and serve."),
    _pool(
        "gwctl_pool_ready_min", "gauge", "ready_min", "Ready workers that the pool needs to count as ready."
    ),
    Family(
        "gwctl_pool_workers",
        "gauge",
        "Worker processes that live, by state; those of other generations included.",
        "pools[].workers[].state",
        rows.by_state,
        ("pool", "state"),
    ),
    Family(
        "gwctl_worker_exits_total",
        "counter",
        "Workers that have ended, by why.",
        "pools[].exits",
        rows.counted_in_pool("exits"),
        ("pool", "reason"),
    ),
    _pool(
        "gwctl_worker_boot_seconds",
        "summary",
        "boots",
        "How long workers took from the fork until they were ready.",
    ),
    _pool(
        "gwctl_cpu_seconds_total",
        "counter",
        "cpu_s",
        "Processor time that the pool's workers have used, those that ended included.",
    ),
    _pool(
        "gwctl_gc_pause_seconds",
        "summary",
        "collections",
        "How long garbage collections of workers took. While one runs, its process does nothing else.",
    ),
    _pool(
        "gwctl_gc_pause_max_seconds",
        "gauge",
        "collection_max_s",
        "The longest garbage collection of the workers that live.",
    ),
)

SLOTS: Final = (
    _worker("gwctl_worker_up_seconds", "gauge", "up_s", "How long the slot's worker has lived."),
    _worker("gwctl_worker_generation", "gauge", "generation", "Generation of the slot's worker."),
    _worker(
        "gwctl_worker_requests_total",
        "counter",
        "requests",
        "Requests that the workers of the slot have answered.",
    ),
    _worker(
        "gwctl_worker_requests_in_flight", "gauge", "active", "Requests that the slot's worker serves now."
    ),
    _worker(
        "gwctl_worker_connections", "gauge", "connections", "Connections that the slot's worker has open."
    ),
    _worker(
        "gwctl_worker_connections_accepted_total",
        "counter",
        "accepted",
        "Connections that the workers of the slot have accepted, to see whether all get their share.",
    ),
    _worker("gwctl_worker_memory_bytes", "gauge", "memory_bytes", "Resident memory of the slot's worker."),
    _worker(
        "gwctl_worker_cpu_seconds_total",
        "counter",
        "cpu_s",
        "Processor time that the workers of the slot have used.",
    ),
    _worker(
        "gwctl_worker_loop_lag_seconds",
        "gauge",
        "lag_s",
        "How late the worker's event loop was at the last look, with a timer or what was ready to run: "
        "how long something held it up.",
    ),
)

FAMILIES: Final = (*MASTER, *SERVING, *WORKERS, *SLOTS)

OWN: Final = (
    Family(
        "gwctl_worker_memory_proportional_bytes",
        "gauge",
        "Memory of the slot's worker, shared pages by their share (PSS): up to half a minute old, or "
        "more where it takes long to find out. Absent where the admin process may not look into the worker.",
        "",
        rows.proportional_memory,
        _WORKER,
    ),
    Family(
        "gwctl_application_metrics_series",
        "gauge",
        "Series of the application's own metrics in this answer. Absent without application_metrics.",
        "",
        rows.application_series,
        _POOL,
    ),
    Family(
        "gwctl_application_metrics_left_out",
        "gauge",
        "Files and series of the application's own metrics that are not in this answer, by why.",
        "",
        rows.application_left_out,
        (*_POOL, "reason"),
    ),
    Family(
        "gwctl_statsd_packets_total",
        "counter",
        "Datagrams with figures for statsd, by what became of them: sent (and maybe lost on the way), lost.",
        "",
        rows.statsd_packets,
        ("outcome",),
    ),
)
"""What the admin process says of itself."""

LABELS: Final = {
    "pool": "name of the pool",
    "slot": "place in the pool, from 0; while a worker is replaced, that which serves is meant",
    "method": "`GET`, `HEAD`, `POST`, `PUT`, `DELETE`, `PATCH`, `OPTIONS` or `other`",
    "status": "class of the response's status: `1xx` to `5xx`",
    "state": "of a worker, as in the [glossary](glossary.md#states-of-a-worker), or how it is being ended",
    "reason": "why a worker ended, or something was left out",
    "outcome": "how it ended",
    "resource": "cpu, memory or io",
    "version": "of gwctl",
    "name": "`master.name`",
    "worker": "worker class: `sync`, `threads` or `asgi`",
}
"""What each means; the values of all of them are few."""
