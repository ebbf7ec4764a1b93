"""Counts with prometheus_client what it is asked, and does to its metrics' folder what a hostile one would."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

IMPORTS = Counter("app_imports", "How often this was imported.")
HITS = Counter("app_hits", "Requests.", ["path"])
SECONDS = Histogram("app_seconds", "How long they took.", buckets=(0.1, 1.0))
ALIVE = Gauge("app_alive", "Workers.", multiprocess_mode="livesum")
IMPORTS.inc()


def spoil() -> None:
    """Put into the own folder what is no fun to read."""
    folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    os.mkfifo(folder / "counter_1.db")
    (folder / "counter_2.db").symlink_to("/dev/zero")
    (folder / "counter_3.db").write_bytes(struct.pack("i", 2**31 - 1) + b"x" * 100_000)
    os.truncate(folder / "counter_3.db", 1 << 33)
    Counter("gwctl_requests", "A lie.").inc(1e9)
    many = Gauge("app_many", "Many.", ["n"])
    for number in range(50_000):
        many.labels(str(number)).set(1)
    (folder / "deep").mkdir()


def application(environ, start_response):
    ALIVE.set(1)
    if environ["PATH_INFO"] == "/spoil":
        spoil()
    with SECONDS.time():
        HITS.labels(environ["PATH_INFO"]).inc()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ.get("PROMETHEUS_MULTIPROC_DIR", "").encode()]
