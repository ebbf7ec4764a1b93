"""Figures from samples: rates, percentiles, errors, and what is known of the first one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gwctl.cli.top.model import HISTORY, History, percentile_ms, sample
from gwctl.control.requests import RequestUnderWay
from gwctl.control.status import MinuteStatus, PoolStatus, ReloadStatus, to_json_ready
from gwctl.errors import ControlError
from tests.support.invented_status import master, pool, worker
from tests.unit.cli.top.invented import answers, first


def counting(requests: int, errors: int) -> PoolStatus:
    return replace(pool(worker(0)), requests=requests, errors=errors)


def test_rates_are_between_two_samples() -> None:
    """By the master's own clock, whenever its answers arrive."""
    history = History()
    before = pool(worker(0, requests=1000, requests_per_s=7.0))
    after = pool(worker(0, requests=1053, requests_per_s=7.0), worker(1, requests=3, requests_per_s=1.5))
    history.add(answers(100.0, before))
    found = history.add(answers(102.0, after))
    assert [each.requests_per_s for each in found.pools[0].workers] == [26.5, 1.5], "a new one says its own"


def test_counters_of_a_pool() -> None:
    """They contain the dead: a worker that is gone makes no rate negative."""
    history = History()
    history.add(answers(100.0, counting(1000, 10)))
    found = history.add(answers(102.0, counting(1100, 15)))
    assert (found.requests_per_s, found.pools[0].requests_per_s, found.errors) == (50.0, 50.0, 0.05)


def test_percentiles_are_of_the_requests_since_the_oldest_sample() -> None:
    history = History()
    history.add(answers(100.0, pool(), counts=(1000, 0, 0)))
    found = history.add(answers(102.0, pool(), counts=(1000, 0, 100)))
    assert found.p99_ms == found.pools[0].p99_ms == pytest.approx(0.398)
    for up_s in range(104, 120, 2):
        found = history.add(answers(up_s, pool(), counts=(1000, 0, 100)))
    assert found.p99_ms is None, "nothing ended in the last ten seconds"


def test_the_first_sample_has_the_figures_of_status() -> None:
    minute = MinuteStatus(60.0, 100, 5, 1.7, 3.0, 41.0)
    found = first(master(replace(pool(worker(0)), minute=minute), health="healthy"))
    assert (found.p99_ms, found.errors, found.pools[0].p99_ms) == (41.0, 0.05, 41.0)
    assert first(master(pool(worker(0)))).errors is None


def test_a_reload_says_where_it_is() -> None:
    reload = ReloadStatus(3, "SIGHUP", 2.0, False, {"web": "watch", "live": "watch"})
    assert first(master(pool(), phase="reloading", reload=reload)).phase == "reloading: watch"
    assert first(master(pool(), phase="reloading")).phase == "reloading"


def test_processors_in_use() -> None:
    history = History()
    history.add(answers(100.0, pool(worker(0)), cpu={4133: 1.0}))
    found = history.add(answers(102.0, pool(worker(0), worker(1)), cpu={4133: 1.5, 4134: 9.0}))
    assert [each.cpu for each in found.pools[0].workers] == [0.25, None]


def test_another_master_begins_anew() -> None:
    history = History()
    history.add(answers(100.0, counting(1000, 0)))
    found = history.add(answers(2.0, counting(4, 0)))
    assert (found.requests_per_s, len(found.pools[0].load)) == (0.0, 1)
    found = history.add(answers(4.0, counting(8, 0), pid=5000))
    assert len(found.pools[0].load) == 1


def test_load_is_that_of_the_last_samples() -> None:
    history = History()
    for up_s in range(HISTORY + 9):
        found = history.add(answers(up_s, pool(worker(0, active=4))))
    assert found.pools[0].load == (0.5,) * HISTORY


def test_load_where_there_is_no_limit_is_measured_by_the_most_there_was() -> None:
    history = History()
    history.add(answers(1, pool(worker(0, slots=0, active=10))))
    found = history.add(answers(2, pool(worker(0, slots=0, active=40))))
    assert found.pools[0].load == (0.25, 1.0)


def test_what_is_served() -> None:
    """By `requests`; by the status of a worker that says nothing; the longest first."""
    told = {
        "workers": [
            {
                "pool": "web",
                "slot": 0,
                "generation": 1,
                "pid": 4133,
                "requests": [{"request": "GET /a", "age_s": 0.1}, {"request": "GET /b", "age_s": 2.00049}],
            }
        ]
    }
    both = pool(worker(0, active=1), worker(1, active=1, request="GET /c", request_s=3.0))
    found = first(master(both), requests=told).pools[0].workers
    assert found[0].served == (RequestUnderWay("GET /b", 2.0), RequestUnderWay("GET /a", 0.1))
    assert found[0].active == 2, "as many as it said a moment later"
    assert found[1].served == (RequestUnderWay("GET /c", 3.0),)


def test_a_master_that_says_less_or_something_else() -> None:
    least = {"name": "shop", "pid": 1, "version": "0", "up_s": 1, "generation": 1, "phase": "serving"}
    found = History().add(sample(least))
    assert (found.health, found.pools) == ("serving", ())
    for broken in ({"name": 1}, to_json_ready(master()) | {"pools": 7}):
        with pytest.raises(ControlError, match="not understood"):
            sample(broken)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((), None), ((0, 0), None), ((100,), 0.099), ((99, 0, 0, 1), 0.1), ((0, 0, 0, 4), 0.796)],
)
def test_percentiles(counts: tuple[int, ...], expected: float | None) -> None:
    assert percentile_ms(counts, 0.99) == expected
