"""What statsd is told: differences, gauges, names and tags; as many in a datagram as fit."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gwctl.admin.statsd.lines import Reading, Writer, lines, number
from gwctl.admin.statsd.packets import packets
from gwctl.control.metrics import Durations, MasterMetrics, PoolMetrics, Summary, WorkerMetrics
from tests.unit.admin.figures.examples import MASTER, POOL

LINE = re.compile(r"[a-z0-9_.]+:[0-9]+(\.[0-9]+)?\|(c|g|ms\|@[0-9.]+)(\|#[A-Za-z0-9_.:/,-]+)?", re.IGNORECASE)
NO_TAGS = Writer()
PLAIN = Writer(tagged=False)


def of(pool: PoolMetrics, **more: int) -> Reading:
    return Reading(replace(MASTER, pools=(pool,)), more)


def told(before: Reading, after: Reading, writer: Writer = NO_TAGS, *, gunicorn: bool = False) -> list[str]:
    return list(lines(before, after, writer, gunicorn_names=gunicorn))


BEFORE = of(POOL, warning=1)
AFTER = of(
    replace(
        POOL,
        requests={"GET": {"2xx": 1010, "5xx": 3, "1xx": 3}, "POST": {"4xx": 5}, "PUT": {"2xx": 1}},
        durations=Durations((1, 2, 13, *range(4, 24), 26), 101.75),
        boots=Summary(7, 3.0),
        backlog=3,
    ),
    warning=3,
    error=1,
)


def test_each_line_is_one() -> None:
    for writer in (NO_TAGS, PLAIN, Writer("shop.eu", ("env:prod", "blue"))):
        found = told(BEFORE, AFTER, writer, gunicorn=True)
        assert [line for line in found if not LINE.fullmatch(line)] == []
        assert len({line.partition(":")[0] + line.partition("#")[2] for line in found}) >= len(found) - 2


def test_counters_are_what_came_in_between() -> None:
    found = told(BEFORE, AFTER)
    assert "gwctl.requests:10|c|#pool:web,method:GET,status:2xx" in found
    assert "gwctl.requests:1|c|#pool:web,method:GET,status:5xx" in found
    assert "gwctl.requests:1|c|#pool:web,method:PUT,status:2xx" in found
    assert not [line for line in found if line.startswith("gwctl.requests:") and "POST" in line]
    assert "gwctl.request_duration_seconds.count:12|c|#pool:web" in found
    assert "gwctl.request_duration_seconds.sum:2.25|c|#pool:web" in found
    assert "gwctl.worker_boot_seconds.count:1|c|#pool:web" in found


def test_gauges_are_told_each_time() -> None:
    found = told(AFTER, AFTER)
    assert "gwctl.backlog_connections:3|g|#pool:web" in found
    assert "gwctl.busy_ratio:0.375|g|#pool:web" in found
    assert "gwctl.pool_workers:1|g|#pool:web,state:ready" in found
    assert not [line for line in found if "|c" in line or "p95" in line]


def test_percentiles_are_of_the_time_in_between() -> None:
    """Ten of under 0.4 ms, and two that took minutes."""
    found = {line.partition(":")[0]: line for line in told(BEFORE, AFTER)}
    p50 = float(found["gwctl.request_duration_seconds.p50"].split(":")[1].split("|")[0])
    assert 0.0002 <= p50 <= 0.0004
    assert "gwctl.request_duration_seconds.p99" in found


def test_prefix_and_tags() -> None:
    found = told(BEFORE, AFTER, Writer("shop", ("env:prod",)))
    assert "shop.gwctl.up_seconds:3661.5|g|#env:prod" in found
    assert "shop.gwctl.pool_size:2|g|#pool:web,env:prod" in found


def test_plain_names_have_the_labels() -> None:
    found = told(BEFORE, AFTER, PLAIN)
    assert "gwctl.requests.web.GET.2xx:10|c" in found
    assert "gwctl.pool_workers.web.ready:1|g" in found


def test_by_the_names_of_gunicorn() -> None:
    found = [line for line in told(BEFORE, AFTER, gunicorn=True) if line.startswith("gunicorn.")]
    assert found == [
        "gunicorn.requests:12|c|#pool:web",
        "gunicorn.request.status.2xx:11|c|#pool:web",
        "gunicorn.request.status.5xx:1|c|#pool:web",
        "gunicorn.request.duration:0.3|ms|@0.1|#pool:web",
        "gunicorn.request.duration:629145.6|ms|@0.5|#pool:web",
        "gunicorn.workers:3|g|#pool:web",
        "gunicorn.backlog:3|g|#pool:web",
        "gunicorn.log.warning:2|c",
        "gunicorn.log.error:1|c",
    ]


def test_without_tags_pools_are_one() -> None:
    """As gunicorn has one application."""
    two = Reading(replace(MASTER, pools=(POOL, replace(POOL, name="api"))))
    found = told(Reading(replace(MASTER, pools=())), two, PLAIN, gunicorn=True)
    assert "gunicorn.requests:2020|c" in found
    assert "gunicorn.workers:6|g" in found
    assert len([line for line in found if line.startswith("gunicorn.requests")]) == 1


def test_nothing_is_negative() -> None:
    """A pool that is gone and comes again, say."""
    found = told(AFTER, BEFORE, gunicorn=True)
    assert not [line for line in found if ":-" in line]
    assert not [line for line in found if "|c" in line]


def test_a_new_pool_began_at_nothing() -> None:
    found = told(Reading(replace(MASTER, pools=())), of(POOL))
    assert "gwctl.requests:1000|c|#pool:web,method:GET,status:2xx" in found


def test_odd_names_make_no_lines_of_their_own() -> None:
    odd = replace(POOL, name="a:1|c\nb:2|g|#x,y", exits={"odd\n|#": 1})
    for writer in (NO_TAGS, PLAIN):
        assert all(
            LINE.fullmatch(line)
            for line in told(Reading(replace(MASTER, pools=())), of(odd), writer, gunicorn=True)
        )


def test_slots_are_left_out() -> None:
    crowd = replace(POOL, workers=tuple(WorkerMetrics(slot, 1, "ready", 1, 1.0) for slot in range(64)))
    assert len(told(of(crowd), of(crowd))) == len(told(BEFORE, BEFORE))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (10, "10"), (1e15, "1000000000000000"), (0.000002, "0.000002"), (1.5, "1.5")],
)
def test_numbers_have_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


@given(st.lists(st.text("abc", min_size=1, max_size=60), max_size=200), st.integers(20, 200))
def test_all_lines_arrive_in_datagrams_that_fit(some: list[str], bytes_max: int) -> None:
    found = list(packets(some, bytes_max))
    assert b"\n".join(found).decode().split("\n") == (some or [""])
    assert all(len(packet) <= bytes_max or b"\n" not in packet for packet in found)
    for one, other in pairwise(found):
        assert len(one) + 1 + len(other.partition(b"\n")[0]) > bytes_max


def test_a_whole_reading_is_a_few_datagrams() -> None:
    everything = told(Reading(MasterMetrics("x", "1", 1, 0, 1, "serving", "healthy")), AFTER, gunicorn=True)
    assert len(list(packets(everything, 1432))) <= 5
