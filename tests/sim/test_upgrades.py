"""Fields that an upgrade forgets are noticed by the simulation: what is carried is what is needed."""

from __future__ import annotations

from typing import Any

import pytest

from gwctl.supervisor.core import snapshot
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.policy import PoolPolicy
from tests.sim import upgrades
from tests.sim.episodes import episode

EPISODES_MAX = 400

FORGOTTEN = (
    ("workers", "told", None),
    ("workers", "leaving", False),
    ("workers", "deadline", None),
    ("workers", "ready_at", None),
    ("workers", "replace_reason", ""),
    ("turn", "_last_id", 0),
    ("fleet", "_numbered", 0),
    ("pools", "differs_since", None),
    ("fleet", "look_at", "inf"),
    ("pools", "slots", {}),
    ("pools", "size", 1),
)


@pytest.mark.parametrize(("table", "name", "instead"), FORGOTTEN)
def test_a_forgotten_fact_is_noticed(
    table: str, name: str, instead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fleet, "check", lambda fleet: None)

    def forgetful(fleet: Fleet) -> dict[str, Any]:
        known = snapshot.snapshot_of(fleet)
        for each in tables(known, table):
            each[name] = instead
        return known

    fleet = Fleet({"web": PoolPolicy(size=1)})
    fleet.step(0.0, [])
    assert all(name in each for each in tables(snapshot.snapshot_of(fleet), table)), "there is such a field"
    monkeypatch.setattr(upgrades, "snapshot_of", forgetful)
    with pytest.raises(Exception):  # noqa: B017 - by whatever is the first to stumble
        for seed in range(EPISODES_MAX):
            episode(seed)


def tables(known: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return known[name] if isinstance(known[name], list) else [known[name]]
