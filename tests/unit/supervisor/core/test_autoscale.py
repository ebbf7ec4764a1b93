"""How many workers a pool needs: the figures, the rules, and what holds whatever the figures are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gwctl.config.model.types import WORKERS_MAX
from gwctl.records.scaling import Obstacle
from gwctl.supervisor.core.autoscale import (
    FULL,
    HOLD_S,
    PATIENCE_MAX,
    Changed,
    Held,
    Scaling,
    Standing,
)
from gwctl.supervisor.core.events import LoadObserved
from gwctl.supervisor.core.policy import ScalePolicy

POLICY = ScalePolicy(2, 16)
MIB = 1 << 20


def load(busy: float, *, workers: int = 16, seconds: float = 1.0, **more: float | None) -> LoadObserved:
    return LoadObserved("web", seconds, workers, busy, **more)  # type: ignore[arg-type]


@dataclass
class Pool:
    """A pool that boots at once, and the clock; `changes` has each change with its time."""

    size: int = 2
    policy: ScalePolicy = POLICY
    now: float = 1000.0
    scaling: Scaling = field(default_factory=Scaling)
    changes: list[tuple[float, int, int]] = field(default_factory=list)

    def sees(
        self, figures: LoadObserved, *, ready: int | None = None, fails: bool = False
    ) -> Changed | Held | None:
        """One sample, after as long as it says, and what follows."""
        self.now += figures.seconds
        if not self.scaling.observe(figures, self.policy, self.now):
            return None
        standing = Standing(self.size, self.size if ready is None else ready, fails)
        found = self.scaling.decide(standing, figures, self.policy, self.now)
        if isinstance(found, Changed):
            self.scaling.changed(self.size, found.size, self.policy, self.now)
            self.changes.append((self.now, self.size, found.size))
            self.size = found.size
        return found

    def lasts(self, seconds: float, busy: float, **more: float | None) -> list[int]:
        """The same for so many seconds; returns the sizes that it came to."""
        before = len(self.changes)
        for _ in range(int(seconds)):
            self.sees(load(min(busy, self.size), workers=self.size, **more))
        return [size for _, _, size in self.changes[before:]]


# ---- up


def test_busy_workers_get_more_at_once_as_many_as_are_needed() -> None:
    pool = Pool(4)
    assert pool.sees(load(4.0)) == Changed(6, "busy"), "4 of 6 in use are less than 70 %"


def test_seven_tenths_of_a_worker_are_one_worker() -> None:
    assert Pool(3).sees(load(2.1)) is None


def test_at_most_twice_as_many() -> None:
    pool = Pool(2, replace(POLICY, busy=0.1))
    assert pool.sees(load(2.0)) == Changed(4, "busy")
    assert pool.sees(load(4.0)) == Changed(8, "busy")


def test_no_more_before_all_serve() -> None:
    pool = Pool(4)
    assert pool.sees(load(4.0), ready=3) is None
    assert pool.sees(load(4.0), ready=4) == Changed(6, "busy")


def test_what_waits_counts_by_how_long_it_takes() -> None:
    """Forty requests of a tenth of a second are four workers, for a second; forty of a millisecond are none."""
    for request_s, size in ((0.1, 8), (0.001, 4)):
        pool = Pool(4)
        waits = load(2.0, waiting=40, request_s=request_s)
        assert pool.sees(waits) is None, "once is no queue"
        assert pool.sees(waits) == (Changed(size, "waits") if size > 4 else None)


def test_a_request_that_waits_needs_one_worker_however_long_it_takes() -> None:
    pool = Pool(4)
    for _ in range(2):
        found = pool.sees(load(2.0, waiting=1, request_s=60.0))
    assert found == Changed(5, "waits")


def test_full_workers_do_not_show_what_there_is_to_do() -> None:
    """Clients that wait for their answer before they ask again never make a long queue."""
    pool = Pool(8, replace(POLICY, busy=0.95))
    assert pool.sees(load(8.0, workers=8)) == Changed(9, "busy")
    pool = Pool(8, replace(POLICY, busy=0.95))
    pool.sees(load(7.0, workers=8, waiting=2, request_s=0.01))
    assert pool.sees(load(8.0, workers=8, waiting=2, request_s=0.01)) == Changed(12, "waits")


def test_a_moment_of_work_is_not_enough() -> None:
    pool = Pool(4)
    pool.lasts(60, 1.0)
    assert pool.sees(load(4.0)) is None
    assert pool.lasts(3, 4.0), "but seconds of it are"


# ---- what is in the way


def test_never_above_its_bound_and_it_says_so_once() -> None:
    pool = Pool(14)
    assert pool.sees(load(14.0)) == Changed(16, "busy")
    found = pool.sees(load(16.0))
    assert found == Held("max")
    assert pool.scaling.tells(found, POLICY, pool.now)
    assert not pool.scaling.tells(found, POLICY, pool.now + 1)
    assert not pool.scaling.tells(None, POLICY, pool.now + 30), "it may come again"
    assert not pool.scaling.tells(found, POLICY, pool.now + 45)
    assert not pool.scaling.tells(None, POLICY, pool.now + 106)
    assert pool.scaling.tells(found, POLICY, pool.now + 107), "it had enough for a while"
    assert pool.scaling.tells(Held("cpu"), POLICY, pool.now + 108)


def test_obstacles_that_take_turns_are_told_once_each() -> None:
    scaling = Scaling()
    obstacles: tuple[Obstacle, Obstacle] = ("cpu", "memory")
    told = [scaling.tells(Held(obstacles[second % 2]), POLICY, 1000.0 + second) for second in range(60)]
    assert told == [True, True] + 58 * [False]
    assert scaling.held == "memory", "that of the last sample"
    scaling.shift(3600.0)
    assert not scaling.tells(None, POLICY, 4660.0)
    assert not scaling.tells(Held("cpu"), POLICY, 4661.0), "time in which nobody ran is no time of enough"
    assert not scaling.tells(None, POLICY, 4661.0 + POLICY.shrink_after_s)
    assert [scaling.tells(Held(each), POLICY, 4800.0) for each in obstacles] == [True, True]


def test_a_pool_that_fails_gets_no_more() -> None:
    assert Pool(4).sees(load(4.0), fails=True) == Held("fails")


def test_whoever_uses_all_processors_has_no_use_for_more_workers() -> None:
    policy = replace(POLICY, cpus=4.0)
    assert Pool(4, policy).sees(load(4.0, cpus=3.7)) == Held("cpu")
    assert Pool(4, policy).sees(load(4.0, cpus=3.5)) == Changed(6, "busy")
    assert Pool(4).sees(load(4.0, cpus=64.0)) == Changed(6, "busy"), "nobody knows how many there are"


@pytest.mark.parametrize(
    ("free_bytes", "found"),
    [
        (199 * MIB, Held("memory")),
        (200 * MIB, Changed(5, "busy")),
        (300 * MIB, Changed(6, "busy")),
        (0, Held("memory")),
        (None, Changed(6, "busy")),
    ],
)
def test_as_many_as_there_is_memory_for_and_one_worker_s_stays_free(
    free_bytes: int | None, found: Changed | Held
) -> None:
    assert Pool(4).sees(load(4.0, free_bytes=free_bytes, worker_bytes=100 * MIB)) == found


def test_without_a_measure_of_a_worker_memory_is_in_nobody_s_way() -> None:
    assert Pool(4).sees(load(4.0, free_bytes=1)) == Changed(6, "busy")


# ---- down


def test_down_one_by_one_when_fewer_were_enough_for_long() -> None:
    pool = Pool(5)
    assert pool.lasts(60, 0.5) == []
    assert pool.lasts(1, 0.5) == [4]
    assert pool.lasts(9, 0.5) == []
    assert pool.lasts(60, 0.5) == [3, 2], "each a sixth of that time later"


def test_only_with_room_to_spare() -> None:
    """2.0 busy are 3 workers at 70 %, but 4 at four fifths of that."""
    assert Pool(4).lasts(300, 2.0) == []
    assert Pool(5).lasts(300, 2.0) == [4]


def test_one_busy_moment_begins_the_wait_anew() -> None:
    pool = Pool(5)
    pool.lasts(50, 0.5)
    assert pool.lasts(3, 3.3) == []
    assert pool.lasts(55, 0.5) == []
    assert pool.lasts(10, 0.5) == [4]


def test_as_long_after_growing() -> None:
    pool = Pool(4)
    pool.lasts(300, 2.0)
    assert pool.lasts(5, 4.0)
    grown_at, _, size = pool.changes[-1]
    pool.lasts(200, 0.1)
    at, was, then = next(change for change in pool.changes if change[0] > grown_at)
    assert at - grown_at >= POLICY.shrink_after_s
    assert (was, then) == (size, size - 1)


def test_after_shrinking_being_busy_makes_it_grow_later_and_being_overloaded_at_once() -> None:
    def shrunk() -> Pool:
        pool = Pool(5)
        assert pool.lasts(61, 0.1) == [4]
        return pool

    pool = shrunk()
    assert pool.lasts(HOLD_S - 1, 3.5) == [], "it may be a moment"
    assert pool.lasts(1, 3.5) == [5]
    pool = shrunk()
    assert pool.lasts(1, 4.0) == [], "once is no overload"
    assert pool.lasts(2, 0.1) == []
    assert pool.lasts(4, 4.0) == [5], (
        "all of each worker twice in a row is: event loops have no queue to be seen"
    )
    pool = shrunk()
    assert pool.lasts(2, 4.0, waiting=20, request_s=0.5) == [8]


def test_who_shrank_in_vain_waits_longer_the_next_time_and_forgets_it() -> None:
    pool = Pool(5)
    waits = []
    for _ in range(6):
        begun = pool.now
        while not pool.lasts(1, 0.5):
            pass
        waits.append(round(pool.now - begun, -1))
        pool.lasts(2, 5.0, waiting=20, request_s=0.5)
        pool.size = 5
    assert waits == [60, 120, 240, 480, 480, 480]
    assert pool.scaling.patience == PATIENCE_MAX
    pool.lasts(2000, 0.5)
    pool.lasts(10, 5.0)
    assert pool.scaling.patience == 1


# ---- bounds that were changed


def test_what_is_outside_of_its_bounds_is_brought_back() -> None:
    assert Pool(20).sees(load(1.0)) == Changed(16, "bounds")
    assert Pool(1).sees(load(0.0)) == Changed(2, "bounds")


# ---- rest


def test_a_small_idle_pool_rests_and_others_do_not() -> None:
    pool = Pool(2)
    pool.sees(load(0.1))
    assert pool.scaling.rests(POLICY, 2)
    assert not pool.scaling.rests(POLICY, 3), "it may shrink"
    pool.lasts(10, 1.5)
    assert not pool.scaling.rests(POLICY, 2), "it may grow"
    pool.lasts(30, 0.0, waiting=1, request_s=0.1)
    assert not pool.scaling.rests(POLICY, 2), "somebody waits"


def test_nobody_serves_nothing_is_known() -> None:
    pool = Pool(2)
    assert pool.sees(load(9.0, workers=0)) is None
    assert pool.scaling.since is None
    assert pool.sees(load(9.0, seconds=0.0)) is None


# ---- whatever the figures are

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0.0, 20.0)
SAMPLES = st.builds(
    LoadObserved,
    st.just("web"),
    seconds=st.sampled_from((0.0, 0.3, 1.0, 1.0, 1.0, 5.0)),
    workers=st.integers(0, 20),
    busy=NUMBERS,
    waiting=st.integers(0, 1 << 60) | st.integers(0, 3),
    request_s=NUMBERS,
    cpus=NUMBERS,
    free_bytes=st.none() | st.integers(0, 1 << 60),
    worker_bytes=st.integers(0, 1 << 60),
)
POLICIES = st.builds(
    lambda least, more, busy, after_s, cpus: ScalePolicy(least, least + more, busy, after_s, cpus),
    st.integers(1, 5),
    st.integers(0, 30),
    st.floats(0.1, 0.95),
    st.sampled_from((1.0, 10.0, 60.0)),
    st.sampled_from((0.0, 2.0)),
)


def _swings() -> Iterator[LoadObserved]:
    """The worst for a pool that flaps: all or nothing, second by second."""
    while True:
        yield load(16.0)
        yield load(0.0)


@given(POLICIES, st.lists(st.tuples(SAMPLES, st.integers(1, 90)), max_size=12))
def test_bounds_hold_and_nothing_flaps(policy: ScalePolicy, episodes: list[tuple[LoadObserved, int]]) -> None:
    _plays(policy, (sample for sample, times in episodes for _ in range(times)))


def test_bounds_hold_and_nothing_flaps_at_the_worst() -> None:
    swings = _swings()
    _plays(POLICY, (next(swings) for _ in range(5000)))


def _plays(policy: ScalePolicy, samples: Iterable[LoadObserved]) -> None:
    pool = Pool(policy.min, policy)
    waited, full = False, 0
    grown_at, shrunk_at = -inf, -inf
    for sample in samples:
        was = pool.size
        found = pool.sees(sample)
        waited = sample.waiting > 0
        if sample.workers > 0 and sample.seconds > 0.0:
            full = full + 1 if sample.busy >= FULL * sample.workers else 0
        assert policy.min <= pool.size <= policy.max
        assert 1 <= pool.scaling.need <= WORKERS_MAX or pool.scaling.since is None
        assert len(pool.scaling.peaks) <= WORKERS_MAX
        if isinstance(found, Held):
            assert pool.size == was
        if pool.size > was:
            assert pool.size <= 2 * was
            assert waited or full > 1 or pool.now - shrunk_at >= HOLD_S, "it grew again without need"
            grown_at = pool.now
        elif pool.size < was:
            assert pool.size == was - 1
            assert pool.now - grown_at >= policy.shrink_after_s, "it changed its direction too soon"
            shrunk_at = pool.now


@given(SAMPLES, SAMPLES)
def test_no_figures_break_it(one: LoadObserved, other: LoadObserved) -> None:
    pool = Pool(4)
    for sample in (one, other, one):
        pool.sees(sample)
    assert 0.0 <= pool.scaling.busy <= 20.0
    assert pool.scaling.busy == pool.scaling.busy, "not a number"


def test_what_is_no_number_is_nothing() -> None:
    pool = Pool(4)
    pool.sees(load(nan, waiting=5, request_s=nan, cpus=nan))
    assert (pool.scaling.busy, pool.scaling.waits, pool.scaling.need) == (0.0, 0.0, 1)


def test_the_master_was_away() -> None:
    """Time in which nobody looked is no quiet time."""
    pool = Pool(5)
    pool.lasts(50, 0.5)
    pool.now += 1000
    pool.scaling.shift(1000)
    assert pool.lasts(10, 0.5) == []
    assert pool.lasts(2, 0.5) == [4]
