"""Samples are of their span: rates, percentiles and loads from the differences of two readings."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gwctl.admin.figures.samples import PoolSample, Reading, in_slots, sample
from gwctl.control.metrics import Durations, MasterMetrics, PoolMetrics, WorkerMetrics


def reading(monotonic: float, *pools: PoolMetrics) -> Reading:
    metrics = MasterMetrics("shop", "1", 1, monotonic, 1, "serving", "healthy", pools=pools)
    return Reading(1764400000.0 + monotonic, monotonic, metrics)


def pool(name: str = "web", **more: Any) -> PoolMetrics:
    return PoolMetrics(**({"name": name, "worker": "threads", "size": 2, "ready": 2} | more))


def worker(slot: int, **more: Any) -> WorkerMetrics:
    facts = {"pid": 100 + slot, "state": "ready", "generation": 1, "up_s": 10.0}
    return WorkerMetrics(slot=slot, **(facts | more))


def of_web(before: PoolMetrics, after: PoolMetrics, span_s: float = 5.0) -> PoolSample:
    return sample(reading(10.0, before), reading(10.0 + span_s, after)).pools["web"]


def test_rates_are_of_the_span() -> None:
    before = pool(requests={"GET": {"2xx": 100, "5xx": 1}})
    after = pool(requests={"GET": {"2xx": 150, "5xx": 3}, "POST": {"5xx": 8}})
    found = of_web(before, after)
    assert (found.requests_per_s, found.errors_per_s) == (12.0, 2.0)


def test_percentiles_are_of_the_span() -> None:
    """Thousands of fast requests before it hide nothing of ten slow ones in it."""
    fast = Durations((0, 0, 0, 10_000, *[0] * 20), 5.0)
    slow = Durations((0, 0, 0, 10_000, *[0] * 10, 10, *[0] * 9), 15.0)
    found = of_web(pool(durations=fast), pool(durations=slow))
    assert found.p50_ms is not None
    assert found.p99_ms is not None
    assert 819.2 <= found.p50_ms <= found.p99_ms <= 1638.4


def test_without_requests_there_is_no_percentile() -> None:
    some = pool(durations=Durations((5,) * 24, 5.0))
    found = of_web(some, some)
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.requests_per_s) == (None, None, None, 0.0)


def test_a_counter_that_jumps_back_is_no_negative_rate() -> None:
    before = pool(requests={"GET": {"2xx": 100, "5xx": 7}}, durations=Durations((9,) * 24))
    after = pool(requests={"GET": {"2xx": 10}}, durations=Durations((1,) * 24))
    found = of_web(before, after)
    assert (found.requests_per_s, found.errors_per_s, found.p50_ms) == (0.0, 0.0, None)


def test_a_pool_that_is_new_began_at_0() -> None:
    found = sample(reading(10.0), reading(15.0, pool(requests={"GET": {"2xx": 10}})))
    assert found.pools["web"].requests_per_s == 2.0


def test_a_pool_that_is_gone_is_not_in_it() -> None:
    assert sample(reading(10.0, pool()), reading(15.0)).pools == {}


def test_what_is_of_the_moment_is_the_latest() -> None:
    before = pool(connections=1, backlog=9, capacity=16, active=16)
    after = pool(
        connections=31,
        backlog=0,
        capacity=16,
        active=6,
        workers=(worker(0, memory_bytes=100), worker(1, memory_bytes=20)),
    )
    found = of_web(before, after)
    assert (found.connections, found.backlog, found.busy, found.memory_bytes) == (31, 0, 0.375, 120)


def test_what_is_not_known_is_null() -> None:
    found = of_web(pool(), pool(active=5))
    assert (found.busy, found.backlog) == (None, None)


def test_more_requests_than_capacity_are_busy_to_the_full() -> None:
    found = of_web(pool(), pool(capacity=4, active=5, ready=1, workers=(worker(0, active=5),)))
    assert (found.busy, found.workers) == (1.0, {"0": 1.0})


def test_the_load_of_a_worker_is_its_part_of_the_capacity() -> None:
    workers = (worker(0, active=4), worker(1, active=8), worker(2, active=1, state="starting"))
    assert of_web(pool(), pool(capacity=16, active=13, workers=workers)).workers == {"0": 0.5, "1": 1.0}


def test_without_a_capacity_it_is_its_part_of_a_processor() -> None:
    before = pool(workers=(worker(0, cpu_s=10.0), worker(1, cpu_s=5.0)))
    after = pool(workers=(worker(0, cpu_s=11.0), worker(1, cpu_s=99.0), worker(2, cpu_s=0.5)))
    assert of_web(before, after).workers == {"0": 0.2, "1": 1.0, "2": 0.1}


def test_a_slot_has_the_load_of_who_serves_in_it() -> None:
    leaving = worker(0, state="draining", active=1, pid=7)
    coming = worker(0, state="starting", generation=2, pid=9)
    serving = worker(0, active=8)
    assert in_slots((leaving, coming, serving))[0] is serving
    assert in_slots((leaving, coming))[0] is coming
    both = (worker(0, generation=1, active=8), worker(0, generation=2, active=4, pid=9))
    assert of_web(pool(), pool(capacity=8, ready=1, workers=both)).workers == {"0": 0.5}


def test_it_is_json_as_agreed() -> None:
    found = msgspec.to_builtins(sample(reading(10.0), reading(15.0, pool(capacity=2, workers=(worker(0),)))))
    assert found == {
        "at": 1764400015.0,
        "pools": {
            "web": {
                "requests_per_s": 0.0,
                "errors_per_s": 0.0,
                "p50_ms": None,
                "p95_ms": None,
                "p99_ms": None,
                "busy": 0.0,
                "memory_bytes": 0,
                "connections": 0,
                "backlog": None,
                "workers": {"0": 0.0},
            }
        },
    }


COUNTS = st.integers(0, 1 << 62)
POOLS = st.builds(
    pool,
    size=st.integers(0, 9),
    ready=st.integers(0, 9),
    capacity=st.none() | COUNTS,
    active=COUNTS,
    requests=st.dictionaries(
        st.sampled_from(["GET", "POST"]), st.dictionaries(st.sampled_from(["2xx", "5xx"]), COUNTS)
    ),
    durations=st.builds(Durations, st.lists(COUNTS, max_size=5).map(tuple)),
    workers=st.lists(
        st.builds(
            worker,
            st.integers(0, 3),
            state=st.sampled_from(["ready", "draining"]),
            active=COUNTS,
            cpu_s=st.floats(0, 1e9),
        ),
        max_size=3,
    ).map(tuple),
)


@given(POOLS, POOLS, st.floats(-10, 1e6))
def test_nothing_is_ever_negative_or_more_than_all(
    before: PoolMetrics, after: PoolMetrics, span_s: float
) -> None:
    found = of_web(before, after, span_s)
    assert found.requests_per_s >= found.errors_per_s >= 0
    assert all(each is None or each >= 0 for each in (found.p50_ms, found.p95_ms, found.p99_ms))
    assert found.busy is None or 0 <= found.busy <= 1
    assert all(0 <= load <= 1 for load in found.workers.values())
