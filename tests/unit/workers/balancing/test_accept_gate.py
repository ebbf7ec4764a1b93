"""How many connections a worker accepts, and to whom it leaves the others."""

from __future__ import annotations

from time import monotonic

import pytest

from gwctl.ipc.scoreboard import (
    ACTIVE,
    BUSY_SINCE,
    CONNECTIONS,
    CROWDED,
    HEARTBEAT_AT,
    SERVING,
    Record,
    Scoreboard,
)
from gwctl.workers.balancing.accept_gate import BELIEVE_S, PATIENCE_S, Gate
from gwctl.workers.balancing.siblings import FRESH_S, LATE_S, Siblings

FEW = 2


class Pool:
    """A worker, its gate, and its siblings with so many connections each. Time is the test's."""

    def __init__(self, *connections: int) -> None:
        self.now = monotonic()
        board = Scoreboard(8)
        board.close_descriptor()
        self.own = allocate(board)
        self.siblings = [allocate(board) for _ in connections]
        for record, count in zip(self.siblings, connections, strict=True):
            record.words[SERVING] = 1
            record.words[CONNECTIONS] = count
            record.floats[HEARTBEAT_AT] = self.now
        self.gate = Gate(Siblings(board, self.own, 1), self.own, FEW)

    def room(self, mine: int, waiting: int = 1) -> int:
        return self.gate.room(mine, waiting, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds


def allocate(board: Scoreboard) -> Record:
    record = board.allocate()
    assert record is not None
    return record


def test_alone_a_worker_takes_a_few_at_a_time() -> None:
    assert Pool().room(100, 50) == FEW


def test_of_many_that_wait_each_takes_its_share() -> None:
    pool = Pool(0, 0, 0)
    assert pool.room(0, 64) == 16 + 1  # one more: a sixteenth of the share is not worth a wait
    pool.siblings[0].words[CONNECTIONS] = 16
    assert pool.room(0, 48) == 17


def test_a_worker_that_has_more_leaves_a_connection_to_one_that_has_fewer() -> None:
    pool = Pool(1, 2, 2)
    assert pool.room(2) == 0
    assert pool.room(1) == 1
    assert pool.gate.declined == 1


def test_requests_count_where_one_connection_brings_many() -> None:
    """As over HTTP/2: its worker is not idle because it has but one."""
    pool = Pool(10)
    assert pool.room(11) == 0
    pool.siblings[0].words[ACTIVE] = 100
    assert pool.room(11, 8) > 8
    pool.siblings[0].words[ACTIVE] = 5
    assert pool.room(11) == 0


@pytest.mark.parametrize("state", ["parked", "stopped", "in a call", "crowded", "gone"])
def test_a_sibling_that_cannot_take_any_is_not_waited_for(state: str) -> None:
    pool = Pool(0)
    sibling = pool.siblings[0]
    match state:
        case "parked":
            sibling.words[SERVING] = 0
        case "stopped":
            sibling.floats[HEARTBEAT_AT] -= FRESH_S + 0.1
        case "in a call":
            sibling.floats[BUSY_SINCE] = pool.now - LATE_S - 0.001
        case "crowded":
            sibling.words[CROWDED] = 1
        case "gone":
            sibling.words[SERVING] = 0
            sibling.floats[HEARTBEAT_AT] = 0.0
    assert pool.room(10) == FEW


def test_a_short_call_is_waited_for() -> None:
    pool = Pool(0)
    pool.siblings[0].floats[BUSY_SINCE] = pool.now - 0.001
    assert pool.room(10) == 0


def test_a_crowded_worker_leaves_everything_to_one_that_is_not() -> None:
    pool = Pool(50)
    pool.own.words[CROWDED] = 1
    assert pool.room(3) == 0
    pool.siblings[0].words[CROWDED] = 1
    pool.wait(1.0)
    assert pool.room(3) > 0


def test_a_sibling_that_does_not_move_is_not_believed_until_it_does() -> None:
    """It was stopped a moment ago: its heartbeat is still fresh, but it takes nothing."""
    pool = Pool(0)
    assert pool.room(10) == 0
    pool.wait(BELIEVE_S + 0.001)
    assert pool.room(10) == FEW
    assert pool.room(11) == FEW, "and it is not waited for again"
    pool.siblings[0].floats[HEARTBEAT_AT] = pool.now
    assert pool.room(11) == 0


def test_no_connection_is_left_to_others_for_longer_than_patience_lasts() -> None:
    """The sibling lives and works, but never takes it."""
    pool = Pool(0)
    waited = 0.0
    while pool.room(10) == 0:
        pool.wait(0.005)
        waited += 0.005
        pool.siblings[0].floats[HEARTBEAT_AT] = pool.now
        assert waited < 10
    assert PATIENCE_S <= waited <= PATIENCE_S + 0.01


def test_workers_of_another_pool_do_not_count() -> None:
    pool = Pool(0)
    board = Scoreboard(4)
    board.close_descriptor()
    own = board.allocate(1)
    other = board.allocate(2)
    assert own is not None
    assert other is not None
    other.words[SERVING] = 1
    other.floats[HEARTBEAT_AT] = pool.now
    siblings = Siblings(board, own, 1)
    assert siblings.serving(pool.now) == []
    assert not siblings.exist()
    board.release(other)
    again = board.allocate(1)
    assert again is not None
    again.words[SERVING] = 1
    again.floats[HEARTBEAT_AT] = pool.now
    assert [each.index for each in siblings.serving(pool.now + 1)] == [other.index]
