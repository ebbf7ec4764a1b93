"""How long a slot waits after failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.slot import Slot, backoff
from gwctl.supervisor.core.wording import waits

POLICY = PoolPolicy(size=1, backoff_min_s=0.5, backoff_max_s=60.0, healthy_after_s=30.0)


def test_the_first_failure_is_replaced_at_once_then_the_wait_doubles_up_to_the_most() -> None:
    slot = Slot()
    waits = [slot.failed(float(n), POLICY, 0.0) for n in range(11)]
    assert waits == [0, 0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert slot.next_try_at == 10 + 60
    assert slot.failing_since == 0


def test_a_fork_that_fails_always_waits() -> None:
    slot = Slot()
    assert [slot.failed(0.0, POLICY, 0.0, at_once=False) for _ in range(3)] == [0.5, 1, 2]


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_luck_takes_off_up_to_a_quarter(doublings: int, jitter: float) -> None:
    longest = backoff(doublings, POLICY, 0.0)
    assert 0.75 * longest <= backoff(doublings, POLICY, jitter) <= longest <= POLICY.backoff_max_s


@pytest.mark.parametrize(("healthy_s", "then"), [(29.9, 0.5), (30.0, 0.0)])
def test_a_healthy_life_clears_the_record(healthy_s: float, then: float) -> None:
    slot = Slot()
    slot.failed(0.0, POLICY, 0.0)
    slot.lived(healthy_s, POLICY)
    assert slot.failed(50.0, POLICY, 0.0) == then


def test_leaving_is_no_failure_but_leaving_again_and_again_is() -> None:
    """An application that ends its process with status 0 must not be respawned without a pause."""
    slot = Slot()

    def left(at: float) -> float:
        return slot.left(at, POLICY, 0.0, others_serve=True)

    assert left(0.0) == 0
    assert slot.failures == 0
    assert left(40.0) == 0  # long after: a person
    assert slot.failures == 0
    assert [left(41.0 + n) for n in range(3)] == [0, 0.5, 1]


def test_after_some_deaths_in_a_row_the_wait_is_that_of_the_breaker_and_a_healthy_life_ends_it() -> None:
    slot = Slot()
    waits = [slot.died(float(n), POLICY, 0.0, others_serve=True) for n in range(6)]
    assert waits == [0, 0.5, 1, 2, 60, 60]
    assert slot.next_try_at == 5 + 60
    assert slot.open
    slot.lived(30.0, POLICY)
    assert not slot.open
    assert slot.died(100.0, POLICY, 0.0, others_serve=True) == 0


def test_the_breaker_stays_closed_while_nobody_else_serves_and_for_forks_that_fail() -> None:
    """It would make an outage longer; and what never started does not keep dying."""
    slot = Slot()
    assert [slot.died(0.0, POLICY, 0.0, others_serve=False) for _ in range(7)] == [0, 0.5, 1, 2, 4, 8, 16]
    assert not slot.open
    assert slot.died(0.0, POLICY, 0.0, others_serve=True) == 60
    slot = Slot()
    for _ in range(9):
        slot.failed(0.0, POLICY, 0.0, at_once=False)
    assert not slot.open
    assert waits(slot) == "could not be started"
