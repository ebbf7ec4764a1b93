"""From the scoreboard's figures to the status document."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gwctl.control.latency import percentile_ms
from gwctl.control.status import WorkerStatus
from gwctl.ipc import scoreboard
from gwctl.ipc.scoreboard import LATENCY, LATENCY_BUCKETS, Scoreboard
from gwctl.supervisor.children.totals import Totals
from gwctl.supervisor.control.status import pool_status, worker_status
from tests.support.invented_status import MIB, worker


def test_record_to_worker() -> None:
    board = Scoreboard(2)
    record = board.allocate()
    board.close_descriptor()
    assert record is not None
    record.words[scoreboard.REQUESTS] = 10
    record.words[scoreboard.CONNECTIONS] = 3
    record.words[scoreboard.MEMORY_BYTES] = 5 * MIB
    scoreboard.note_request(record.request, 0, 98.5, b"GET / HTTP/1.1")
    facts = {"slot": 1, "state": "ready", "generation": 2, "pid": 7, "started_at": 40.0, "now": 100.0}
    found = worker_status(record, **facts, requests_per_s=2.004, slots=1)  # type: ignore[arg-type]
    assert found == WorkerStatus(
        slot=1,
        pid=7,
        state="ready",
        generation=2,
        up_s=60.0,
        requests=10,
        requests_per_s=2.0,
        active=1,
        request="GET /",
        request_s=1.5,
        connections=3,
        memory_bytes=5 * MIB,
    )
    record.floats[scoreboard.BUSY_SINCE] = 0.0
    idle = worker_status(record, **facts, requests_per_s=0.0, slots=1)  # type: ignore[arg-type]
    assert (idle.active, idle.request) == (0, ""), "the line of the last request is not what it serves now"


def test_pool_sums() -> None:
    totals = Totals(requests=7, errors=1, bytes_out=9, accepted=3)
    summed = pool_status(
        totals,
        [
            worker(1, requests_per_s=1.5, active=8),
            worker(0, requests_per_s=0.25, active=4),
            worker(0, state="draining", active=8),
        ],
        name="web",
        worker="threads",
        threads=8,
        size=2,
        ready=2,
        urls=[],
    )
    assert (summed.requests, summed.errors, summed.bytes_out, summed.accepted) == (7, 1, 9, 3)
    assert summed.requests_per_s == 1.75
    assert summed.busy == 0.75, "draining workers are no room for requests"
    assert [each.slot for each in summed.workers] == [0, 0, 1]


@pytest.mark.parametrize(
    ("buckets", "p50", "p99"),
    [
        ({}, None, None),
        ({0: 10}, 0.05, 0.099),
        ({3: 100}, 0.6, 0.796),
        ({1: 99, 10: 1}, 0.151, 0.2),
        ({LATENCY_BUCKETS - 1: 1}, 629145.6, 834666.496),
    ],
)
def test_percentiles(buckets: dict[int, int], p50: float | None, p99: float | None) -> None:
    latency = [buckets.get(index, 0) for index in range(LATENCY_BUCKETS)]
    assert percentile_ms(latency, 0.5) == p50
    assert percentile_ms(latency, 0.99) == p99


def test_totals_of_a_record_have_its_latency() -> None:
    board = Scoreboard(1)
    record = board.allocate()
    board.close_descriptor()
    assert record is not None
    record.words[LATENCY + 3] = 5
    totals = Totals()
    totals.fold(record)
    assert replace(totals).latency[3] == 5
