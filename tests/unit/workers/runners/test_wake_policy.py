"""How many threads are woken: what calls have taken, and who is held by one, decides."""

from __future__ import annotations

import pytest

from gwctl.workers.runners.wake_policy import SLOW_S, WEIGHT, WakePolicy

FAST_S = SLOW_S / 10


class Calls:
    """What a policy has learned, as it learns it: in sums."""

    def __init__(self) -> None:
        self.policy = WakePolicy()
        self._calls = 0
        self._seconds = 0.0

    def end(self, count: int, seconds: float) -> WakePolicy:
        """So many more have ended, each of which took so long."""
        self._calls += count
        self._seconds += count * seconds
        self.policy.learn(self._calls, self._seconds)
        return self.policy


def fast() -> Calls:
    calls = Calls()
    calls.end(100 * WEIGHT, FAST_S)
    assert not calls.policy.slow
    return calls


def test_calls_that_nobody_knows_count_as_slow() -> None:
    assert WakePolicy().slow
    assert WakePolicy().wakes(awake=7)


def test_calls_become_fast_and_slow_again() -> None:
    calls = Calls()
    assert calls.end(10, FAST_S).slow
    assert not calls.end(10 * WEIGHT, FAST_S).slow
    assert not calls.end(1, SLOW_S).slow
    assert calls.end(WEIGHT * 10, 1.1 * SLOW_S).slow
    assert calls.policy.average_s == pytest.approx(1.1 * SLOW_S, rel=0.1)


def test_one_call_that_waits_makes_the_average_slow_for_the_next_hundreds() -> None:
    calls = fast()
    assert calls.end(1, 1.0).slow
    assert calls.end(99, FAST_S).slow
    for _ in range(10):
        calls.end(100, FAST_S)
    assert not calls.policy.slow


def test_how_often_it_learns_matters_little() -> None:
    often, seldom = fast(), fast()
    for _ in range(50):
        often.end(1, 0.001)
    seldom.end(50, 0.001)
    assert often.policy.average_s == pytest.approx(seldom.policy.average_s, rel=0.3)


def test_sums_that_are_read_while_threads_count_do_no_harm() -> None:
    policy = fast().policy
    before = policy.average_s
    policy.learn(0, 0.0)
    policy.learn(100 * WEIGHT, 1.0)
    assert policy.average_s == before
    policy.learn(100 * WEIGHT + 1, 0.0)
    assert 0.0 <= policy.average_s < before


def test_a_fast_call_wakes_a_thread_only_where_none_comes_anyway() -> None:
    policy = fast().policy
    assert policy.wakes(awake=0)
    assert not policy.wakes(awake=1)
    policy.check(waiting=3, idle=6, awake=2, held=2)
    assert policy.wakes(awake=2)
    assert not policy.wakes(awake=3)


def test_a_slow_call_always_wakes_one() -> None:
    policy = fast()
    policy.end(1, 1.0)
    assert policy.policy.wakes(awake=7)


@pytest.mark.parametrize(
    ("waiting", "idle", "awake", "held", "woken"),
    [(5, 7, 1, 0, 0), (5, 7, 1, 1, 5), (9, 5, 3, 3, 5), (9, 5, 3, 2, 0), (1, 8, 0, 0, 1)],
)
def test_a_check_wakes_for_all_that_wait_where_all_that_are_awake_are_held(
    waiting: int, idle: int, awake: int, held: int, woken: int
) -> None:
    assert fast().policy.check(waiting, idle, awake, held) == woken


def test_a_check_wakes_one_where_calls_are_slow() -> None:
    assert WakePolicy().check(waiting=5, idle=7, awake=1, held=0) == 1
