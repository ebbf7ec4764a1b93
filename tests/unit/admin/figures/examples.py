"""Figures of an invented master, with something in each field."""

from __future__ import annotations

from gwctl.admin.figures.own import OwnFigures
from gwctl.control.metrics import Durations, Exemplar, MasterMetrics, PoolMetrics, Summary, WorkerMetrics

ODD_NAME = 'a "b"\\c\nd\udcff'
"""Pools have plainer names; whatever theirs were, the page would have to be read."""

WORKER = WorkerMetrics(
    slot=0,
    pid=4133,
    state="ready",
    generation=5,
    up_s=840.5,
    requests=321,
    active=3,
    connections=31,
    accepted=77,
    memory_bytes=71 << 20,
    cpu_s=12.25,
    lag_s=0.004,
)
POOL = PoolMetrics(
    name="web",
    worker="threads",
    size=2,
    ready=1,
    size_min=1,
    size_max=6,
    need=3,
    ready_min=1,
    capacity=8,
    active=3,
    requests={"GET": {"2xx": 1000, "5xx": 2, "1xx": 3}, "POST": {"4xx": 5}},
    durations=Durations(
        tuple(range(1, 25)),
        99.5,
        (Exemplar(0.25, 1800000000.5, "6f1c2f0e53b4"), Exemplar(200.0, 1800000001.0, "0d7c2b6f8a11")),
    ),
    queued=Summary(1010, 4.5),
    bytes_out=123456,
    bytes_in=6543,
    tls={"full": 20, "resumed": 11, "failed": 3},
    connections=31,
    accepted=600,
    refused=7,
    evicted=8,
    dropped=9,
    websockets=4,
    backlog=2,
    backlog_max=2048,
    exits={"recycled": 3, "signal": 1},
    boots=Summary(6, 2.5),
    cpu_s=50.75,
    collections=Summary(40, 0.25),
    collection_max_s=0.02,
    workers=(
        WORKER,
        WorkerMetrics(1, 4140, "starting", 5, 0.5),
        WorkerMetrics(0, 4100, "draining", 4, 900.0),
    ),
)
BARE = PoolMetrics(name=ODD_NAME, worker="asgi", size=1, ready=0)
MASTER = MasterMetrics(
    name="shop",
    version="1.2.3",
    pid=4120,
    up_s=3661.5,
    generation=5,
    phase="reloading",
    health="degraded",
    memory_bytes=40 << 20,
    cpu_s=3.5,
    reloads={"adopted": 4, "refused": 1},
    reload_seconds=Summary(4, 12.5),
    upgrades={"adopted": 1},
    pressure={"cpu": 0.25, "io": 0.0},
    log_lines_lost=6,
    events=77,
    pools=(POOL, BARE),
)
OWN = OwnFigures(
    proportional_memory={("web", 0): 50 << 20},
    application_series={"web": 120},
    application_left_out={"web": {"name": 3}},
    statsd_packets={"sent": 12, "lost": 2},
)
