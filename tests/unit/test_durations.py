"""The fine histogram: no place wider than a quarter, twice as long four places further."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl import durations
from gwctl.durations import FINEST, PER_S, PLACES, STEPS, begin_s, place_of

tenths = st.integers(0, 1 << 26)


@given(tenths)
def test_a_duration_is_counted_where_it_belongs(count: int) -> None:
    place = place_of(count)
    assert round(begin_s(place) * PER_S) <= count
    if place < PLACES - 1:
        assert count < round(begin_s(place + 1) * PER_S)


def test_places_are_narrow_and_twice_as_long_is_four_further() -> None:
    begins = [begin_s(place) for place in range(PLACES)]
    assert begins == sorted(set(begins))
    for place in range(FINEST, PLACES - 1):
        assert begins[place + 1] <= 1.25 * begins[place] + 1e-12
    for place in range(STEPS, PLACES - STEPS):
        assert begins[place + STEPS] == pytest.approx(2 * begins[place])
    assert place_of(-1) == 0


@given(tenths)
def test_the_coarse_histogram_has_the_same_request(count: int) -> None:
    fine = [0] * PLACES
    fine[place_of(count)] = 1
    assert durations.doublings(fine) == [int(at == min(count.bit_length(), 23)) for at in range(24)]


@given(st.floats(0, 1000))
def test_the_place_from_which_on_nothing_is_shorter(seconds: float) -> None:
    place = durations.place_from(seconds)
    assert place == PLACES or begin_s(place) >= seconds
    assert place == 0 or begin_s(place - 1) < seconds


@given(st.lists(st.integers(0, 50), min_size=PLACES, max_size=PLACES), st.floats(0.01, 0.99))
def test_a_quantile_leaves_no_more_behind_it_than_it_may(counts: list[int], part: float) -> None:
    place = durations.quantile_place(counts, part)
    allowed = (1 - part) * sum(counts)
    assert sum(counts[place:]) <= allowed
    assert place == 0 or sum(counts[place - 1 :]) > allowed


def test_a_quantile_in_seconds() -> None:
    counts = [0] * PLACES
    assert durations.quantile_s(counts, 0.95) is None
    counts[place_of(100)] = 90  # 10 ms
    counts[place_of(1000)] = 10  # 0.1 s
    middle, tail = durations.quantile_s(counts, 0.5), durations.quantile_s(counts, 0.95)
    assert middle is not None
    assert tail is not None
    assert 0.0096 <= middle < 0.0112
    assert 0.0896 <= tail < 0.1024
    counts[-1] = 10_000
    assert (durations.quantile_s(counts, 1.0) or 0.0) > 419
