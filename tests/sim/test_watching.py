"""Reloads that watch, shortened: `python -m tests.sim.watching` has the whole table."""

from __future__ import annotations

import pytest

from tests.sim.watching import NORMAL, Manner, Trial, good, refused

pytestmark = pytest.mark.timeout(600)


def test_good_reloads_pass_whatever_the_load() -> None:
    assert refused(150, 3, good) == 0


@pytest.mark.parametrize(
    ("kind", "old", "new", "per_s"),
    [
        ("errors", NORMAL, Manner(0.05), 50.0),
        ("errors", NORMAL, Manner(1.0), 5.0),
        ("latency", NORMAL, Manner(median_s=0.06), 50.0),
        ("latency", Manner(spread=0.3), Manner(spread=0.3, median_s=0.06), 10.0),
    ],
)
def test_what_is_worse_is_refused(kind: str, old: Manner, new: Manner, per_s: float) -> None:
    """Of reloads with loads where the table says so."""
    found = [Trial(seed, per_s, old, new) for seed in range(12)]
    assert {trial.refused for trial in found} == {kind}


def test_what_is_as_bad_as_it_may_be_mostly_passes() -> None:
    limit = refused(40, 5, lambda _rng: (50.0, Manner(0.01), Manner(0.02)))
    slow = refused(40, 5, lambda _rng: (50.0, NORMAL, Manner(median_s=0.04)))
    assert max(limit, slow) <= 0.05


def test_when_everything_fails_it_is_over_in_seconds() -> None:
    assert Trial(1, 50.0, NORMAL, Manner(1.0)).took_s < 6.0


def test_what_fails_in_both_refuses_nothing() -> None:
    """A database is away: the old generation had never failed before."""
    bad = Manner(0.5)
    trials = [Trial(seed, 50.0, bad, bad, before=NORMAL) for seed in range(10)]
    assert {trial.refused for trial in trials} == {""}
