"""The status document and its text, from invented facts."""

from __future__ import annotations

import time
from dataclasses import replace

import msgspec
import pytest

from gwctl.ipc import scoreboard
from gwctl.ipc.scoreboard import LATENCY, LATENCY_BUCKETS, Scoreboard
from gwctl.supervisor.children.totals import Totals
from gwctl.supervisor.control.status import (
    MasterStatus,
    PoolStatus,
    TemplateStatus,
    WorkerStatus,
    duration,
    from_json_ready,
    percentile_ms,
    pool_status,
    render,
    to_json_ready,
    worker_status,
)
from gwctl.wording import age

MIB = 1 << 20


def worker(slot: int = 0, **more: object) -> WorkerStatus:
    facts = {
        "pid": 4133 + slot,
        "state": "ready",
        "generation": 2,
        "up_s": 840.0,
        "slots": 8,
        "memory_bytes": 71 * MIB,
    }
    return WorkerStatus(slot=slot, **(facts | more))  # type: ignore[arg-type]


def pool(*workers: WorkerStatus, **more: object) -> PoolStatus:
    facts = {
        "name": "web",
        "worker": "threads",
        "threads": 8,
        "size": 4,
        "ready": 4,
        "urls": ("http://127.0.0.1:8000",),
    }
    return pool_status(Totals(), workers, **(facts | more))  # type: ignore[arg-type]


def master(*pools: PoolStatus, **more: object) -> MasterStatus:
    facts = {
        "name": "shop",
        "pid": 4120,
        "version": "0.1.0",
        "up_s": 273600.0,
        "generation": 2,
        "phase": "serving",
    }
    return MasterStatus(pools=pools, **(facts | more))  # type: ignore[arg-type]


def test_the_whole_text() -> None:
    """As the sketch of the user's view has it."""
    totals = Totals(requests=10_000, errors=2)
    totals.latency[5], totals.latency[9] = 9_850, 150
    workers = (
        worker(
            0, requests_per_s=54.0, active=3, request="GET /cart HTTP/1.1", request_s=0.012, connections=31
        ),
        worker(1, requests_per_s=51.0, active=2, connections=29, memory_bytes=70 * MIB),
        worker(
            2,
            state="draining",
            generation=1,
            up_s=3 * 86400.0,
            requests_per_s=1.0,
            active=1,
            request="GET /export HTTP/1.1",
            request_s=41.2,
            connections=1,
            memory_bytes=96 * MIB,
            left_s=18.8,
        ),
    )
    web = pool_status(
        totals,
        workers,
        name="web",
        worker="threads",
        threads=8,
        size=4,
        ready=4,
        urls=["http://127.0.0.1:8000"],
    )
    at = time.mktime((*time.localtime()[:3], 10, 14, 2, 0, 0, -1))
    text = render(master(web, adopted_at=at, adopted_by="SIGHUP", degraded="disk differs from what runs"))
    assert text.splitlines() == [
        "shop  pid 4120  up 3 d 4 h  generation 2 (adopted 10:14:02, by SIGHUP)  degraded: disk differs from what runs",
        "web   threads x8   4/4 ready   http://127.0.0.1:8000   106 req/s   p50 2.4 ms  p99 34 ms   5xx 0.02 %   busy 31 %",
        "  slot  pid   state     gen  up       req/s  busy  now                 conns  memory",
        "  0     4133  ready     2    14 m     54     3/8   GET /cart 12 ms     31     71 MiB",
        "  1     4134  ready     2    14 m     51     2/8                       29     70 MiB",
        "  2     4135  draining  1    3 d 0 h  1.0    1/8   GET /export 41.2 s  1      96 MiB  left to finish: 18.8 s",
    ]


def test_before_the_first_request() -> None:
    lines = render(master(pool(worker(0)), up_s=1.0)).splitlines()
    assert lines[1] == "web   threads x8   4/4 ready   http://127.0.0.1:8000   0 req/s   busy 0 %"


def test_several_pools_are_aligned() -> None:
    live = pool(worker(0, slots=0, active=120), name="live", worker="asgi", urls=("unix:/run/live.sock",))
    lines = render(master(pool(), live)).splitlines()
    assert lines[1].startswith("web    threads x8   4/4 ready")
    assert lines[2].startswith("live   asgi   4/4 ready   unix:/run/live.sock   0 req/s")
    assert "busy" not in lines[2], "asgi has no limit of requests at once"
    assert " 120 " in lines[4]


def test_phase_and_note() -> None:
    text = render(master(pool(note="slot 2 keeps dying: trying once a minute"), phase="reloading"))
    assert text.splitlines()[0].endswith("generation 2  reloading")
    assert "\n  slot 2 keeps dying: trying once a minute" in text


def test_templates_stand_below_the_workers() -> None:
    template = TemplateStatus(4130, "ready", 2, 840.0, 58 * MIB)
    text = render(master(pool(worker(), templates=(template,))))
    assert text.splitlines()[-1] == "  template of generation 2: pid 4130, ready, up 14 m, 58 MiB"


def test_a_request_line_cannot_steer_the_terminal() -> None:
    evil = worker(0, active=1, request="GET /\x1b[2J\r\nfake " + "x" * 200, request_s=1.0)
    text = render(master(pool(evil)))
    assert "\x1b" not in text
    assert "GET /?[2J??fake" in text
    assert "..." in text


def test_json_round_trip_and_unknown_fields() -> None:
    status = master(pool(worker(0, left_s=1.0)), adopted_at=5.0)
    document = msgspec.json.decode(msgspec.json.encode(to_json_ready(status)))
    assert from_json_ready(document) == status
    document["later"] = {"than": "this"}
    document["pools"][0]["workers"][0]["later"] = 1
    assert from_json_ready(document) == status


def test_an_older_master_may_say_less() -> None:
    least = {"name": "shop", "pid": 1, "version": "0", "up_s": 1, "generation": 1, "phase": "serving"}
    assert render(from_json_ready(least)) == "shop  pid 1  up 1 s  generation 1"


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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00031, "0.3 ms"),
        (0.0099, "9.9 ms"),
        (0.041, "41 ms"),
        (0.9999, "1.0 s"),
        (41.2, "41.2 s"),
        (840.0, "14 m"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0 s"), (42, "42 s"), (840, "14 m"), (7500, "2 h 5 m"), (273600, "3 d 4 h")],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text
