"""A fleet as a snapshot: nothing is forgotten, and what is not understood is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gwctl.supervisor.core.snapshot import SnapshotError, fleet_from, snapshot_of
from tests.sim.world import World
from tests.support.core_story import CoreStory


def story_snapshot() -> Any:
    return msgspec.json.decode(msgspec.json.encode(snapshot_of(CoreStory(web=2).serves().fleet)))


def test_what_is_handed_over_has_the_names_of_0_2_0() -> None:
    """A master of that version reads and writes these, whatever the fields are called by now."""
    known = snapshot_of(CoreStory(web=2).serves().fleet)
    assert set(known["turn"]) == {"now", "_last_id"}
    assert {"luck", "heir"} <= set(known["workers"][0])
    assert {name for name in known["fleet"] if name.startswith("_")} == {
        "_queue",
        "_numbered",
        "_began_at",
        "_begun",
        "_served",
        "_dirty",
        "_next",
    }


OF_0_2_0: dict[str, Any] = msgspec.json.decode(Path(__file__).with_name("fleets-0.2.0.json").read_bytes())
"""Fleets in the middle of something, as a master of that version has written them."""


@pytest.mark.parametrize("under_way", OF_0_2_0)
def test_a_master_of_0_2_0_is_understood_and_understands(under_way: str) -> None:
    """Nothing that it says is lost, and it gets back what it would have written itself."""
    theirs = OF_0_2_0[under_way]
    fleet = fleet_from(theirs)
    assert getattr(fleet.state, under_way) is not None
    ours = msgspec.json.decode(msgspec.json.encode(snapshot_of(fleet)))
    assert everything_of(theirs) <= everything_of(ours)
    fleet.step(fleet.turn.now + 0.01, [])  # its rules hold


def everything_of(known: Any, place: str = "") -> set[tuple[str, str]]:
    """Each number and text, with where it is."""
    if isinstance(known, dict):
        parts = [everything_of(known[name], f"{place}.{name}") for name in known]
    elif isinstance(known, list):
        parts = [everything_of(each, f"{place}[{index}]") for index, each in enumerate(known)]
    else:
        return {(place, str(known))}
    return set().union(*parts)


@pytest.mark.parametrize("seed", range(6))
def test_at_any_moment_the_snapshot_makes_a_fleet_with_the_same_snapshot(seed: int) -> None:
    """Also in the middle of a reload or a stop, where no upgrade happens; and the rules hold afterwards."""
    world = World(seed)
    for _ in range(150):
        if world.finish is not None:
            break
        world.turn()
        before = msgspec.json.encode(snapshot_of(world.fleet))
        world.fleet = fleet_from(msgspec.json.decode(before))
        assert msgspec.json.encode(snapshot_of(world.fleet)) == before


def test_a_snapshot_of_another_version_is_understood() -> None:
    """What is unknown is ignored; what is missing and has a default is as it is by default."""
    known = story_snapshot()
    known["workers"][0]["from_the_future"] = known["fleet"]["from_the_future"] = 1
    del known["workers"][0]["luck"]
    del known["fleet"]["away"]
    fleet = fleet_from(known)
    assert fleet.state.pools["web"].workers[0].jitter == 0.0


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
    known = story_snapshot()
    spoil(known)
    with pytest.raises(SnapshotError):
        fleet_from(known)
