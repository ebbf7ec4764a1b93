"""How many workers ``auto`` is, by what a worker was seen to take."""

from __future__ import annotations

from msgspec.structs import replace

from gwctl.config.model.types import WORKERS_MAX
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.scaling import differs
from gwctl.supervisor.core.sizing import FORGET_S, Footprint
from gwctl.supervisor.core.snapshot import fleet_from, snapshot_of
from tests.support.core_story import POLICY, CoreStory

MIB = 1 << 20
AUTO = replace(POLICY, size=2, by_capacity=True)


def measured(*own: int, held: int = 0, now: float = 100.0) -> Footprint:
    footprint = Footprint()
    footprint.observe([(each * MIB, (held or each) * MIB) for each in own], now)
    return footprint


# ---- how many fit


def test_before_any_worker_is_measured_it_is_taken_to_be_of_a_usual_size() -> None:
    assert Footprint().fits(1024 * MIB, 20 * MIB) == 7
    assert Footprint().why(1024 * MIB, 7) == "memory allows 7"


def test_then_what_it_has_written_itself_counts_and_what_it_shares_counts_once() -> None:
    """With room for one more, as a successor is begun before its worker goes."""
    footprint = measured(100, held=180)
    assert footprint.fits(1000 * MIB, 20 * MIB) == (1000 - 20 - 80) // 100 - 1
    assert footprint.why(1000 * MIB, 8) == "memory allows 8 of 100 MiB each"


def test_never_less_than_one_and_no_bound_where_no_memory_is_known() -> None:
    assert measured(900).fits(512 * MIB, 20 * MIB) == 1
    assert measured(1, held=600).fits(512 * MIB, 20 * MIB) == 1
    assert measured(900).fits(0, 20 * MIB) == WORKERS_MAX
    assert measured(900).why(0, 0) == ""


def test_one_that_has_grown_out_of_proportion_changes_nothing() -> None:
    assert measured(100, 100, 900).own_bytes == 100 * MIB


def test_growth_counts_at_once_and_less_when_it_has_been_less_for_long() -> None:
    footprint = measured(100, now=0.0)
    footprint.observe([(150 * MIB, 150 * MIB)], 5.0)
    assert footprint.own_bytes == 150 * MIB
    footprint.observe([(140 * MIB, 140 * MIB)], 500.0)
    footprint.observe([(100 * MIB, 100 * MIB)], 500.0 + FORGET_S - 1)
    assert footprint.own_bytes == 150 * MIB
    footprint.observe([(100 * MIB, 100 * MIB)], 500.0 + FORGET_S)
    assert footprint.own_bytes == 100 * MIB


# ---- in a fleet


def sizes(*own: int) -> list[ev.Observed]:
    """What is observed of workers 1, 2, ..., each of which shares 50 MiB."""
    return [
        ev.Observed(worker, 0.0, memory_bytes=(each + 50) * MIB, private_bytes=each * MIB)
        for worker, each in enumerate(own, 1)
    ]


def machine(processes: int = 8, mib: int = 1024) -> ev.CapacityMeasured:
    return ev.CapacityMeasured(processes, float(processes), f"{processes} CPUs", mib * MIB, 24 * MIB)


def test_a_pool_follows_what_its_workers_take() -> None:
    story = CoreStory(policy=AUTO, web=2).serves()
    assert story.happens(*sizes(150, 150)) == []
    assert story.happens(machine()) == ["spawn 3 web.2 g1", "spawn 4 web.3 g1", "spawn 5 web.4 g1"]
    assert story.notes[-1] == "info: 2 -> 5 workers (8 CPUs, memory allows 5 of 150 MiB each)"
    assert story.fleet.state.pools["web"].allowed_as == "8 CPUs, memory allows 5 of 150 MiB each"
    for worker in (3, 4, 5):
        story.boots(worker)
    story.passes(31.0)
    story.happens(*sizes(300, 300, 300, 300, 300))
    assert story.happens(machine()) == ["drain 5", "drain 4", "drain 3"]


def test_what_is_young_does_not_count_beside_what_has_lived() -> None:
    story = CoreStory(policy=AUTO, web=2).serves()
    story.passes(31.0)
    story.happens(machine(3))
    story.boots(3)
    story.happens(*sizes(200, 200, 20))
    assert story.fleet.state.pools["web"].footprint.own_bytes == 200 * MIB


def test_nobody_is_let_go_by_a_guess() -> None:
    """Before a worker of this code was measured; processors that are taken away count all the same."""
    story = CoreStory(policy=AUTO, web=3).serves()
    assert story.happens(machine(8, mib=256)) == []
    assert story.happens(machine(2, mib=256)) == ["drain 3"]
    story.dies(3, 0)
    story.happens(*sizes(20, 20))
    story.happens(machine(2))
    story.fleet.state.pools["web"].adopt(1, story.fleet.state.pools["web"].policy, 2)
    assert story.happens(machine(8, mib=64)) == [], "that was other code"
    assert story.happens(machine(8, mib=4096)) == []
    story.happens(*sizes(20, 20))
    assert len(story.happens(machine(8, mib=4096))) == 6


def test_a_fixed_pool_is_not_measured() -> None:
    story = CoreStory(web=2).serves()
    story.happens(*sizes(150, 150))
    assert story.fleet.state.pools["web"].footprint.own_bytes == 0
    assert not differs(story.fleet.state, machine())


def test_a_reload_keeps_the_size_and_measures_what_is_new() -> None:
    """Whatever the settings would have it begin with: before a worker was measured."""
    story = CoreStory(policy=AUTO, web=2).serves()
    story.happens(*sizes(150, 150))
    story.happens(machine(2))
    story.reloads(web=7)
    assert story.fleet.state.reload is not None
    assert story.fleet.state.reload.sizes == {"web": 2}
    pool = story.fleet.state.pools["web"]
    pool.adopt(2, replace(AUTO, size=7), 2)
    assert pool.footprint.own_bytes == 150 * MIB, "until one of the new ones is"
    pool.footprint.observe([(60 * MIB, 100 * MIB)], 0.0)
    assert pool.footprint.own_bytes == 60 * MIB


def test_it_goes_over_an_upgrade() -> None:
    story = CoreStory(policy=AUTO, web=2).serves()
    story.happens(*sizes(150, 150))
    story.happens(machine(2))
    found = fleet_from(snapshot_of(story.fleet)).state.pools["web"]
    assert found.footprint.own_bytes == 150 * MIB
    assert found.allowed_as.startswith("2 CPUs")
