"""The statistics of a watch: exact probabilities are never above the bound, and what is worse is found."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gwctl.durations import PLACES, begin_s, place_of
from gwctl.supervisor.core.comparison import (
    ERRORS_FLOOR,
    LATENCY_FLOOR_S,
    Allowed,
    Counted,
    excess,
    judge,
    since,
    surprise,
    too_slow_from,
)

ALLOWED = Allowed(2.0, 2.0, 50)
NEEDED = 7.0


def tail(bad: int, total: int, share: float) -> float:
    """The probability of so many or more, summed up."""
    return sum(
        math.comb(total, each) * share**each * (1 - share) ** (total - each) for each in range(bad, total + 1)
    )


@given(st.integers(1, 200), st.floats(0.0001, 0.99), st.data())
def test_nothing_is_likelier_than_its_surprise_says(total: int, share: float, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, total))
    assert tail(bad, total, share) <= math.exp(-surprise(bad, total, share)) + 1e-9


@example(0, 1, (1 << 54) - 1, 1 << 54)
@example(0, 1, (1 << 56) + 3, (1 << 56) + 7)
@given(st.integers(0, 1 << 60), st.integers(0, 1 << 60), st.integers(0, 1 << 60), st.integers(0, 1 << 60))
def test_any_numbers_are_judged(old_bad: int, old: int, bad: int, total: int) -> None:
    """As hostile workers write them."""
    found = excess((min(old_bad, old), old), (min(bad, total), total), 2.0, ERRORS_FLOOR)
    assert found >= 0.0
    assert math.isfinite(found)


@pytest.mark.parametrize(
    ("old", "new", "surprising"),
    [
        ((0, 0), (50, 50), False),  # nothing to compare with
        ((5, 100), (0, 0), False),
        ((1, 1000), (20, 400), True),
        ((1, 1000), (4, 1000), False),  # under the floor
        ((100, 1000), (45, 250), False),  # less than twice as often
        ((100, 1000), (120, 250), True),
        ((0, 20), (3, 20), False),  # too few to tell
        ((600, 1000), (1000, 1000), False),  # twice as often cannot be
    ],
)
def test_what_is_surprising(old: tuple[int, int], new: tuple[int, int], surprising: bool) -> None:
    assert (excess(old, new, 2.0, ERRORS_FLOOR) >= NEEDED) is surprising


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.3])
def test_a_generation_at_the_limit_is_seldom_found_worse(share: float) -> None:
    """Not more often than the needed surprise says, also for shares that are not small."""
    rng, needed, runs = random.Random(7), math.log(20), 1500
    found = 0
    for _ in range(runs):
        total, old_total = rng.choice((60, 200)), rng.choice((60, 200))
        bad = sum(rng.random() < 2 * share for _ in range(total))
        old = sum(rng.random() < share for _ in range(old_total))
        found += excess((old, old_total), (bad, total), 2.0, 0.0001) >= needed
    assert found / runs <= 1 / 20


def served(requests: int, errors: int = 0, *, within_s: float = 0.02, tail_s: float = 0.05) -> Counted:
    """One in twenty takes longer."""
    counts = [0] * PLACES
    counts[place_of(int(within_s * 10_000))] = requests - requests // 20
    counts[place_of(int(tail_s * 10_000))] += requests // 20
    return Counted(requests, errors, counts)


def spans(whole: Counted, checks: int = 10) -> list[Counted]:
    """The same in so many checks that are alike."""
    return [
        Counted(
            whole.requests // checks, whole.errors // checks, [each // checks for each in whole.durations]
        )
        for _ in range(checks)
    ]


OLD, LIFE = served(1000, 1), served(10_000, 10)


def test_a_generation_that_is_as_good_passes() -> None:
    assert judge(OLD, LIFE, spans(served(1000)), ALLOWED, NEEDED) is None


def test_errors_are_found() -> None:
    assert judge(OLD, LIFE, spans(served(600, 30)), ALLOWED, NEEDED) == "errors"
    assert judge(OLD, LIFE, spans(served(600, 30)), Allowed(0.0, 2.0, 50), NEEDED) is None, "off"


def test_few_errors_are_found_by_the_old_generations_life() -> None:
    """Of what it has served in the span alone one could not be sure."""
    few = spans(served(100, 10))
    assert judge(served(100), Counted(), few, ALLOWED, NEEDED) is None
    assert judge(served(100), LIFE, few, ALLOWED, NEEDED) == "errors"
    assert judge(served(100, 4), LIFE, few, ALLOWED, NEEDED) is None, "now it fails, too"


@pytest.mark.parametrize("from_ms", [3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 1000])
def test_three_times_as_slow_is_found_wherever_it_began(from_ms: float) -> None:
    """Places are narrow enough for that."""
    was = from_ms / 1000
    old = served(1000, within_s=was, tail_s=was)
    for times, found in ((1.0, None), (2.0, None), (3.0, "latency")):
        new = spans(served(400, within_s=times * was, tail_s=times * was))
        assert judge(old, LIFE, new, ALLOWED, NEEDED) == found, times
    slow = spans(served(400, within_s=3 * was, tail_s=3 * was))
    assert judge(old, LIFE, slow, Allowed(2.0, 0.0, 50), NEEDED) is None, "off"


def test_what_is_quick_enough_is_never_too_slow() -> None:
    old = served(1000, within_s=0.0005, tail_s=0.0005)
    assert begin_s(too_slow_from(old, 2.0)) >= LATENCY_FLOOR_S
    assert judge(old, LIFE, spans(served(1000, within_s=0.004, tail_s=0.004)), ALLOWED, NEEDED) is None


@pytest.mark.parametrize(("old", "new"), [(40, 400), (400, 40)])
def test_latency_is_not_judged_by_few_requests(old: int, new: int) -> None:
    """The first ones of a new worker are often slow."""
    slow = spans(served(new, within_s=2.0, tail_s=2.0))
    assert judge(served(old), LIFE, slow, ALLOWED, 1.0) is None


def test_one_bad_moment_refuses_nothing() -> None:
    new = spans(served(600))
    new[3] = Counted(60, 60, [*[0] * (PLACES - 1), 60])
    assert judge(OLD, LIFE, new, ALLOWED, NEEDED) is None
    new[4] = new[3]
    assert judge(OLD, LIFE, new, ALLOWED, NEEDED) == "errors"


def test_slower_than_anything_is_still_slower() -> None:
    old = Counted(1000, 0, [*[0] * (PLACES - 1), 1000])
    assert too_slow_from(old, 2.0) == PLACES
    assert judge(old, LIFE, spans(served(1000)), ALLOWED, NEEDED) is None


def test_counters_that_run_backwards_have_counted_nothing() -> None:
    before, now = Counted(10, 5, [10, *[0] * (PLACES - 1)]), Counted(7, 9, [3, 4, *[0] * (PLACES - 2)])
    assert since(before, now) == Counted(0, 0, [0, 4, *[0] * (PLACES - 2)])
    assert since(Counted(), Counted(3, 9)) == Counted(3, 3, [0] * PLACES), "no more failed than there were"
