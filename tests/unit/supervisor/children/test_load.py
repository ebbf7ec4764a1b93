"""What the shell makes of the records of a pool's workers, for a pool that sets its size itself."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from socket import socketpair

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gwctl.config.model.settings import PoolSettings
from gwctl.ipc.channel import Channel, WorkerReady
from gwctl.ipc.scoreboard import (
    ACTIVE,
    BUSY_SINCE,
    CPU_S,
    DROPPED,
    HEARTBEAT_AT,
    LAG_S,
    PID,
    REFUSED,
    REQUESTS,
    SECONDS,
    SERVING,
    Scoreboard,
)
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.load import Loads
from gwctl.supervisor.core.events import LoadObserved

NOW = 1000.0
THREADS = 8


class Pool:
    """Workers that are all in this process, and a clock."""

    def __init__(self) -> None:
        self.board = Scoreboard(8)
        self.children: list[Child] = []
        self.free_bytes: int | None = None
        self.loads = Loads(lambda: self.free_bytes)
        self.now = NOW

    def worker(self, worker_class: str = "sync", pool: str = "web", *, serves: bool = True) -> Child:
        record = self.board.allocate()
        assert record is not None
        record.words[PID] = os.getpid()
        record.words[SERVING] = serves
        record.floats[HEARTBEAT_AT] = self.now
        ours, theirs = socketpair()
        theirs.close()
        settings = PoolSettings(app="shop.wsgi:application", threads=THREADS)
        child = Child(
            len(self.children),
            pool,
            0,
            1,
            settings,
            Channel(ours),
            record,
            spawned_at=NOW - 60,
            pid=os.getpid(),
        )
        child.ready = WorkerReady(
            worker_class=worker_class, boot_s=0.1, import_s=0.1, memory_bytes=0, parser="C", loop="uvloop"
        )
        self.children.append(child)
        return child

    def sample(self, *, after: float = 1.0, backlog: int = 0) -> LoadObserved:
        self.now += after
        (found,) = self.loads.observe(["web"], self.children, lambda _pool: backlog, self.now)
        return found

    def close(self) -> None:
        for child in self.children:
            child.channel.close()
            child.record.close()
        self.board.close()


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.close()


def test_of_whoever_was_not_seen_before_nothing_is_known(pool: Pool) -> None:
    pool.worker()
    assert pool.sample() == LoadObserved("web", 0.0, 0, 0.0)
    found = pool.sample()
    assert found.worker_bytes > 1 << 20, "that of this very process"
    assert replace(found, worker_bytes=0) == LoadObserved("web", 1.0, 1, 0.0, worker_bytes=0)


def test_only_workers_of_the_pool_that_serve_count(pool: Pool) -> None:
    pool.worker()
    pool.worker(pool="live")
    pool.worker(serves=False)
    booting = pool.worker()
    booting.ready = None
    pool.sample()
    assert pool.sample().workers == 1


def test_a_pool_that_was_not_asked_for_is_measured_anew(pool: Pool) -> None:
    """Its size was set by hand meanwhile: what it did in that time is no sample."""
    pool.worker()
    pool.sample()
    assert pool.sample().workers == 1
    assert list(pool.loads.observe([], pool.children, lambda _pool: 0, pool.now + 1)) == []
    assert pool.sample(after=3600.0).workers == 0
    assert pool.sample().seconds == 1.0


# ---- sync


def test_sync_is_in_use_while_a_request_runs(pool: Pool) -> None:
    """Exactly: what ended since the last sample, and what is under way now and was then."""
    child = pool.worker()
    pool.sample()
    child.record.floats[SECONDS] = 0.25
    child.record.words[REQUESTS] = 5
    found = pool.sample()
    assert (found.busy, found.request_s, found.waiting) == (0.25, 0.05, 0)
    child.record.floats[BUSY_SINCE] = pool.now + 0.5
    assert pool.sample().busy == 0.5
    assert pool.sample(after=3.0).busy == 1.0
    child.record.floats[BUSY_SINCE], child.record.floats[SECONDS] = 0.0, 0.25 + 3.75
    assert pool.sample().busy == pytest.approx(0.25)


def test_a_request_that_does_not_end_takes_as_long_as_it_has(pool: Pool) -> None:
    child = pool.worker()
    child.record.floats[BUSY_SINCE] = NOW - 10
    child.record.words[ACTIVE] = 3
    pool.sample()
    found = pool.sample()
    assert (found.busy, found.request_s) == (1.0, 1.0)
    assert found.waiting == 2, "who stands in its line"


def test_what_waits_was_refused_or_given_up(pool: Pool) -> None:
    child = pool.worker()
    child.record.words[REFUSED] = 100
    pool.sample()
    child.record.words[REFUSED] += 4
    child.record.words[DROPPED] += 2
    assert pool.sample(backlog=7).waiting == 13
    assert pool.sample().waiting == 0, "since the last sample"


# ---- threads


def test_threads_are_in_use_by_how_many_of_them_are(pool: Pool) -> None:
    child = pool.worker("threads")
    pool.sample()
    child.record.words[ACTIVE] = 2
    found = pool.sample()
    assert (found.busy, found.waiting) == (2 / THREADS, 0)
    child.record.words[ACTIVE] = THREADS + 3
    found = pool.sample()
    assert (found.busy, found.waiting) == (1.0, 3)
    child.record.words[ACTIVE] = 0
    child.record.floats[SECONDS] += 4.0
    child.record.words[REQUESTS] += 400
    found = pool.sample()
    assert (found.busy, found.request_s) == (0.5, 0.5 / 400)


def test_threads_share_a_processor(pool: Pool) -> None:
    """Two of eight threads compute: no other would get its turn sooner."""
    child = pool.worker("threads")
    pool.sample(after=0.0)
    child.record.words[ACTIVE] = 2
    child.record.floats[CPU_S], child.record.floats[HEARTBEAT_AT] = 0.97, pool.now + 0.97
    found = pool.sample()
    assert (found.busy, found.cpus) == pytest.approx((1.0, 1.0))


# ---- asgi


def test_asgi_is_in_use_by_its_processor_time(pool: Pool) -> None:
    """However many requests wait for something else in it."""
    child = pool.worker("asgi")
    child.record.words[ACTIVE] = 500
    pool.sample(after=0.0)
    child.record.floats[CPU_S], child.record.floats[HEARTBEAT_AT] = 0.5, pool.now + 1.0
    child.record.words[REQUESTS] = 100
    found = pool.sample()
    assert (found.busy, found.cpus, found.waiting) == (0.5, 0.5, 0)
    assert found.request_s == 0.5 / 500
    assert pool.sample(after=0.5).busy == 0.5, "no later figure is there yet"


def test_a_loop_that_is_late_is_full(pool: Pool) -> None:
    """Somebody calls what blocks: little processor time, and nobody is answered."""
    child = pool.worker("asgi")
    pool.sample()
    child.record.floats[HEARTBEAT_AT] = pool.now + 1.0
    assert pool.sample().busy == 0.0
    child.record.floats[LAG_S], child.record.floats[HEARTBEAT_AT] = 0.3, pool.now + 1.0
    assert pool.sample().busy == 1.0
    child.record.floats[LAG_S] = 0.0
    assert pool.sample(after=5.0).busy == 1.0, "no heartbeat"


# ---- memory


def test_memory_is_that_of_the_largest(pool: Pool) -> None:
    pool.worker()
    pool.sample()
    pool.free_bytes = 5
    found = pool.sample()
    assert found.free_bytes == 5
    assert found.worker_bytes > 1 << 20


# ---- whatever stands there

WORDS = st.integers(0, (1 << 64) - 1)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(st.dictionaries(st.sampled_from((ACTIVE, REQUESTS, REFUSED, DROPPED)), WORDS), max_size=4),
    st.lists(
        st.dictionaries(st.sampled_from((SECONDS, CPU_S, HEARTBEAT_AT, LAG_S, BUSY_SINCE)), FLOATS),
        max_size=4,
    ),
    st.sampled_from(("sync", "threads", "asgi")),
)
def test_no_record_makes_more_of_a_worker_than_it_can_be(
    words: list[Mapping[int, int]], floats: list[Mapping[int, float]], worker_class: str
) -> None:
    pool = Pool()
    child = pool.worker(worker_class)
    pool.sample()
    lies: list[Callable[[], None]] = [
        *(
            (lambda each=each: [child.record.words.__setitem__(*item) for item in each.items()])
            for each in words
        ),
        *(
            (lambda each=each: [child.record.floats.__setitem__(*item) for item in each.items()])
            for each in floats
        ),
    ]
    for lie in lies:
        lie()
        found = pool.sample()
        assert found.workers == 1
        assert 0.0 <= found.busy <= 1.0
        assert 0.0 <= found.cpus <= 1.0
        assert found.waiting >= 0
        assert 0.0 <= found.request_s < math.inf
    pool.close()
