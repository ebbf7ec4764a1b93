"""docs/metrics.md, made from the table: ``python -m tests.unit.admin.figures.page > docs/metrics.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from gwctl.admin.application.left_out import REASONS
from gwctl.admin.figures.exposition import TEXT, exposition
from gwctl.admin.figures.families import FAMILIES, LABELS, MASTER, OWN, SERVING, SLOTS, WORKERS, Family
from gwctl.admin.figures.rows import BOUNDS
from gwctl.admin.statsd.lines import FAMILIES as STATSD
from gwctl.admin.statsd.lines import PERCENTILES, name_of
from gwctl.control.latency import bound_s
from tests.unit.admin.figures import examples

_INTRODUCTION = """\
# Metrics

Made by `make docs` from the table of all families (gwctl/admin/figures/families.py); edit that.

What the admin process tells Prometheus, and whatever else reads its formats, at `/metrics`. [Monitoring](monitoring.md) says
how to have it read, and [examples/monitoring](../examples/monitoring/README.md) has a scrape configuration, alerts and a dashboard.

    curl http://127.0.0.1:9100/metrics
    curl -H 'Accept: application/openmetrics-text' http://127.0.0.1:9100/metrics

- One process tells the figures of all: workers write theirs to memory that the master reads. No request of a client
  waits for it, and a worker that hangs is in it, too.
- Counters are over the life of the master, reloads and upgrades included, and those of a pool have its dead
  workers in them. They begin at 0 only when the master is started anew. Those of a slot begin at 0 with each new worker.
- Names, types and labels stay as they are; new ones may come. What is not known is absent, and not 0.
- Each value is also in the document of `/api/metrics`; where, is said behind each. Those of the admin process are not.
- What the application itself counts comes behind them, if that is [asked for](monitoring.md#the-applications-own-metrics).
"""
_STATSD: Final = """\
## By statsd

With [`[statsd]`](configuration.md#statsd) the same figures are sent, each `interval_s`: counters as what came since the last time, never
negative, and not at all if that is nothing; gauges each time. Several lines are in a datagram, 1,432 bytes at most over UDP and 8,192 over a Unix socket.
The figures of each slot are not sent, nor those that are words. `prefix` stands in front of each name, with a dot.
Labels are tags as DogStatsD has them (`gwctl.requests:12|c|#pool:web,method:GET,status:2xx`); with `format = "plain"` their values
follow the name, in the order given here (`gwctl.requests.web.GET.2xx:12|c`).

What cannot be sent is lost: `gwctl_statsd_packets_total` counts that, and the log tells it once. What happens between the last datagram of one admin process and the start of the next is not sent (it is replaced by an
upgrade, by a reload that changes its settings, and if it dies); Prometheus, which reads totals, misses nothing.

With `gunicorn_names = true` these are sent, too, by the names that gunicorn has. They differ in this:

- `gunicorn.requests` (counter): as gunicorn counts, but once in an interval and not once for each request.
- `gunicorn.request.status.2xx` (counter), and so on: by class. gunicorn has `gunicorn.request.status.200`.
- `gunicorn.request.duration` (timer, ms): one for each bucket of durations (below) that had requests, with the middle of the bucket as its value and a
  sample rate that makes it count as that many. So each is right within a third; gunicorn sends the exact one of each request.
- `gunicorn.workers` (gauge): worker processes that live.
- `gunicorn.backlog` (gauge): connections that wait in the kernel. Not of Unix sockets.
- `gunicorn.log.warning`, `gunicorn.log.error` (counters): events of the master at that level. gunicorn counts what its workers log as well, and has
  `.critical` and `.exception`, which are not sent.
- With tags all but the last have the tag `pool`; with `format = "plain"` they are sums over all pools.

All names, without the prefix:
"""
_GROUPS: Final = (
    ("The master", MASTER),
    ("Requests and connections", SERVING),
    ("Workers of a pool", WORKERS),
    ("Each slot", SLOTS),
    ("The admin process", OWN),
)
_KINDS: Final = {"info": "info, a gauge that is always 1", "stateset": "state set, gauges of 0 and 1"}


def page() -> str:
    """Make the whole page."""
    lines = [*_INTRODUCTION.splitlines(), "", "## Labels", ""]
    lines += [f"- `{name}`: {text}" for name, text in LABELS.items()]
    for title, families in _GROUPS:
        lines += ["", f"## {title}", ""]
        for family in families:
            lines += _family(family)
    lines += ["", "What is left out of the application's own metrics, by `reason`:", ""]
    lines += [f"- `{reason}`: {text}" for reason, text in REASONS.items()]
    ends = ", ".join(str(bound_s(index)) for index in BOUNDS)
    lines += ["", *_STATSD.splitlines(), ""]
    lines += [f"- `{name}` ({kind}){': ' + labels if labels else ''}" for name, kind, labels in _statsd()]
    lines += [
        "",
        "## Bounds of durations",
        "",
        f"`le` of `gwctl_request_duration_seconds_bucket` is one of {ends}, +Inf: each twice the one before, and exactly",
        "where the workers themselves count, so nothing is estimated.",
        "",
        "## What it looks like",
        "",
        "```",
        *_excerpt(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _statsd() -> Iterator[tuple[str, str, str]]:
    """Name, type and labels of all that is sent."""
    for family in STATSD:
        name, labels = name_of(family), ", ".join(f"`{label}`" for label in family.labels)
        if family.kind in {"summary", "histogram"}:
            yield f"{name}.count", "counter", labels
            yield f"{name}.sum", "counter, in seconds", labels
        else:
            yield name, family.kind, labels
        if family.kind == "histogram":
            for percentile in PERCENTILES:
                yield f"{name}.{percentile}", "gauge, in seconds, of the interval", labels


def _family(family: Family[Any]) -> Iterator[str]:
    kind = _KINDS.get(family.kind, family.kind)
    labels = ", ".join(f"`{label}`" for label in _labels(family))
    yield f"- **`{family.name}`** ({kind}{'; ' + labels if labels else ''}): {family.help}"
    if family.source:
        yield f"  From `{family.source}`."


def _labels(family: Family[Any]) -> tuple[str, ...]:
    """Those of its series, as they are written."""
    if family.kind == "stateset":
        return (*family.labels, family.name)
    more = {
        label: None
        for _, value in (family.rows(examples.MASTER) if family.kind == "info" else ())
        for label in dict(value)  # type: ignore[arg-type]
    }
    return (*family.labels, *more)


def _excerpt() -> list[str]:
    shown = ("gwctl_requests_total", "gwctl_busy_ratio")
    lines = exposition(examples.MASTER, TEXT).decode().splitlines()
    return [line for line in lines if any(name in line for name in shown)]


assert {*FAMILIES, *OWN} == {family for _, families in _GROUPS for family in families}

if __name__ == "__main__":
    sys.stdout.write(page())
