"""A fleet as facts: nothing is forgotten, and what is not understood is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gwctl.supervisor.core.snapshot import FactsError, facts_of, fleet_from
from tests.sim.world import World
from tests.support.core_story import CoreStory


def story_facts() -> Any:
    return msgspec.json.decode(msgspec.json.encode(facts_of(CoreStory(web=2).serves().fleet)))


def test_what_is_handed_over_has_the_names_of_0_2_0() -> None:
    """A master of that version reads and writes these, whatever the fields are called by now."""
    known = facts_of(CoreStory(web=2).serves().fleet)
    assert set(known["turn"]) == {"now", "_last_id"}
    assert {name for name in known["fleet"] if name.startswith("_")} == {
        "_queue",
        "_numbered",
        "_began_at",
        "_begun",
        "_served",
        "_dirty",
        "_next",
    }


@pytest.mark.parametrize("seed", range(6))
def test_at_any_moment_the_facts_make_a_fleet_with_the_same_facts(seed: int) -> None:
    """Also in the middle of a reload or a stop, where no upgrade happens; and the rules hold afterwards."""
    world = World(seed)
    for _ in range(150):
        if world.finish is not None:
            break
        world.turn()
        before = msgspec.json.encode(facts_of(world.fleet))
        world.fleet = fleet_from(msgspec.json.decode(before))
        assert msgspec.json.encode(facts_of(world.fleet)) == before


def test_facts_of_another_version_are_understood() -> None:
    """What is unknown is ignored; what is missing and has a default is as it is by default."""
    known = story_facts()
    known["workers"][0]["from_the_future"] = known["fleet"]["from_the_future"] = 1
    del known["workers"][0]["luck"]
    del known["fleet"]["away"]
    fleet = fleet_from(known)
    assert fleet.state.pools["web"].workers[0].luck == 0.0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda known: known.pop("workers"),
        lambda known: known["workers"][0].pop("pid") and known["workers"][0].pop("slot"),
        lambda known: known["workers"][0].update(state="asleep"),
        lambda known: known["workers"][0].update(pool="nowhere"),
        lambda known: known["fleet"].update(generation="two"),
        lambda known: known.update(pools=7),
    ],
)
def test_nonsense_is_refused(spoil: Any) -> None:
    known = story_facts()
    spoil(known)
    with pytest.raises(FactsError):
        fleet_from(known)
