"""The life of one worker: every cell of its tables."""

from __future__ import annotations

import pytest

from gwctl.errors import InvariantViolation
from gwctl.ipc.assignment import EXIT_GRACE_S
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.worker import (
    AFTER_EVENT,
    AFTER_ORDER,
    AT_DEADLINE,
    DRAIN_MARGIN_S,
    LINK_GRACE_S,
    UNREAPED_S,
    LifeEvent,
    Order,
    State,
    Worker,
    time_limit,
)

POLICY = PoolPolicy(size=1)

# A dot: it stays as it is.
EVENT_TABLE = """
state      spawned   spawn_failed  ready  boot_failed  drain_started  channel_closed  exited
requested  starting  dead          ready  quitting     .              lost            dead
starting   .         .             ready  quitting     .              lost            dead
ready      .         .             .      .            draining       lost            dead
parked     .         .             .      .            draining       lost            dead
lost       .         .             .      quitting     draining       .               dead
draining   .         .             .      .            .              .               dead
quitting   .         .             .      .            .              .               dead
dumped     .         .             .      .            .              .               dead
killed     .         .             .      .            .              .               dead
dead       .         .             .      .            .              .               .
"""

# A dash: the order must never be given.
ORDER_TABLE = """
state      serve  park    release_clients  drain     quit      dump    kill    spare
requested  -      -       -                -         -         -       -       -
starting   -      -       -                -         quitting  dumped  killed  -
ready      ready  parked  parked           draining  quitting  dumped  killed  -
parked     ready  -       parked           draining  quitting  dumped  killed  -
lost       -      -       -                draining  quitting  dumped  killed  -
draining   -      -       -                -         quitting  dumped  killed  -
quitting   -      -       -                -         -         -       killed  -
dumped     -      -       -                -         -         -       killed  ready
killed     -      -       -                -         -         -       -       -
dead       -      -       -                -         -         -       -       -
"""

DEADLINES = {
    State.REQUESTED: (60.0, None),
    State.STARTING: (60.0, Order.DUMP),
    State.LOST: (LINK_GRACE_S, Order.DRAIN),
    State.DRAINING: (30.0 + DRAIN_MARGIN_S, Order.DUMP),
    State.QUITTING: (3.0, Order.KILL),
    State.DUMPED: (1.0, Order.KILL),
    State.KILLED: (UNREAPED_S, None),
}


def test_the_master_waits_for_a_worker_s_farewell() -> None:
    assert DRAIN_MARGIN_S >= EXIT_GRACE_S + 1
    assert POLICY.quit_grace_s >= EXIT_GRACE_S + 1


def cells(table: str) -> list[tuple[State, str, str]]:
    head, *rows = [line.split() for line in table.strip().splitlines()]
    return [
        (State(row[0]), column, cell) for row in rows for column, cell in zip(head[1:], row[1:], strict=True)
    ]


def worker_in(state: State) -> Worker:
    worker = Worker(1, "web", 0, 1, POLICY, 100.0)
    worker._enter(state, 100.0)
    return worker


def test_the_tables_above_are_complete() -> None:
    assert {(state, LifeEvent[name.upper()]) for state, name, _ in cells(EVENT_TABLE)} == {
        (state, event) for state in State for event in LifeEvent
    }
    assert {(state, Order[name.upper()]) for state, name, _ in cells(ORDER_TABLE)} == {
        (state, order) for state in State for order in Order
    }
    assert set(AFTER_EVENT) == set(AFTER_ORDER) == set(AT_DEADLINE) == set(State)


@pytest.mark.parametrize(("state", "event", "after"), cells(EVENT_TABLE))
def test_events(state: State, event: str, after: str) -> None:
    """Every state has an answer to all events: they come in any order."""
    worker = worker_in(state)
    expected = state if after == "." else State(after)
    assert worker.apply(LifeEvent[event.upper()], 105.0) is (expected is not state)
    assert worker.state is expected
    assert worker.since == (100.0 if expected is state else 105.0)


@pytest.mark.parametrize(("state", "order", "after"), cells(ORDER_TABLE))
def test_orders(state: State, order: str, after: str) -> None:
    """An order that makes no sense is a bug of ours and says so."""
    worker = worker_in(state)
    if after == "-":
        with pytest.raises(InvariantViolation, match=state.value):
            worker.order(Order[order.upper()], 105.0)
        assert worker.state is state
        assert worker.told is None
    else:
        worker.order(Order[order.upper()], 105.0)
        assert worker.state is State(after)
        assert worker.told is Order[order.upper()]


@pytest.mark.parametrize("state", State)
def test_deadlines(state: State) -> None:
    """Whoever is not ready has one, or (parked) its reload has."""
    worker = worker_in(state)
    if state in DEADLINES:
        limit, order = DEADLINES[state]
        assert worker.deadline == 100.0 + limit
        assert AT_DEADLINE[state] is order
    else:
        assert worker.deadline is None
        with pytest.raises(InvariantViolation):
            time_limit(state, POLICY)


def test_serve_is_told_once() -> None:
    worker = worker_in(State.READY)
    assert not worker.serving
    worker.order(Order.SERVE, 101.0)
    assert worker.serving
    with pytest.raises(InvariantViolation):
        worker.order(Order.SERVE, 102.0)
    worker.order(Order.PARK, 103.0)
    assert not worker.serving
    worker.order(Order.SERVE, 104.0)
    assert worker.serving


def test_news_that_change_nothing_do_not_move_the_deadline() -> None:
    worker = worker_in(State.STARTING)
    worker.apply(LifeEvent.SPAWNED, 130.0)
    assert worker.deadline == 160.0
    assert worker.apply(LifeEvent.READY, 131.0)
    assert worker.ready_at == 131.0
