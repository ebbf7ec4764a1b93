"""Atomic switches, kept generations and rollbacks in the simulated world, and fleets that get them wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from gwctl.supervisor.core import kept, reconcile, reload
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.pool import View
from tests.sim.keeping import keeping_episode

pytestmark = pytest.mark.timeout(600)  # on a machine that does ten other things as well

EPISODES = 60
Patch = pytest.MonkeyPatch


def test_no_rule_is_broken_and_what_is_meant_to_happen_does() -> None:
    seen: Counter[str] = Counter()
    for seed in range(EPISODES):
        seen.update(keeping_episode(seed).seen)
    for what in ("ReleaseClients", "Restore", "Release", "Adopt", "Abandon", "crash"):
        assert seen[what] > 0, what


def serves_before_the_others_are_parked(patch: Patch) -> None:
    patch.setattr(reload, "SWITCH_S", 1e-9)


def makes_up_for_new_ones_with_old_ones(patch: Patch) -> None:
    patch.setattr(reconcile, "_old_to_keep", lambda view, serving: max(0, view.pool.size - serving))


def forgets_heirs_when_it_switches(patch: Patch) -> None:
    patch.setattr(View, "to_release", View.old_ready)


def keeps_for_ever(patch: Patch) -> None:
    patch.setattr(kept, "review", lambda fleet, turn: False)


@pytest.mark.parametrize(
    ("mutant", "first_seed"),
    [
        (serves_before_the_others_are_parked, 0),
        (makes_up_for_new_ones_with_old_ones, 0),
        (forgets_heirs_when_it_switches, 232),
        (keeps_for_ever, 0),
    ],
)
def test_a_broken_fleet_is_caught(
    mutant: Callable[[Patch], None], first_seed: int, monkeypatch: Patch
) -> None:
    """By the rules of the world, not by the fleet's own check. ``first_seed``: where it was caught last."""
    monkeypatch.setattr(Fleet, "check", lambda fleet: None)
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        for seed in (first_seed, *range(EPISODES * 5)):
            keeping_episode(seed)
