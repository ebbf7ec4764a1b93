"""Workers that have grown are replaced before the control group's memory is at its end."""

from __future__ import annotations

from itertools import pairwise

from msgspec.structs import replace

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.budget import WAIT_MAX_S, WELL_S
from gwctl.supervisor.core.policy import RecyclePolicy
from gwctl.supervisor.core.snapshot import fleet_from, snapshot_of
from gwctl.supervisor.core.state import FIRST_WAIT_S
from tests.support.core_story import POLICY, CoreStory

MIB = 1 << 20
LIMIT = 1000
POLICY_90 = replace(POLICY, recycle=RecyclePolicy(memory_group_percent=90))


def a_story(web: int = 3, percent: int = 90) -> CoreStory:
    """All workers have served for a minute, and were first seen at 100 MiB."""
    policy = replace(POLICY, recycle=RecyclePolicy(memory_group_percent=percent))
    story = CoreStory(policy=policy, web=web).serves()
    story.happens(*sizes(*[100] * web))
    story.passes(59.7)
    return story


def sizes(*mib: int) -> list[ev.Observed]:
    return [ev.Observed(worker, 0.0, 7, memory_bytes=each * MIB) for worker, each in enumerate(mib, 1)]


def group(used: int, limit: int = LIMIT) -> ev.GroupMemoryObserved:
    return ev.GroupMemoryObserved(limit * MIB, used * MIB)


def near(story: CoreStory, *observed: ev.Event, used: int = 870) -> list[str]:
    """The group is seen to be near its limit twice, a second apart."""
    first = story.happens(*observed, group(used))
    return [*first, *story.happens(*observed, group(used), after=1.0)]


def test_the_largest_that_has_grown_is_replaced_and_serves_until_its_successor_does() -> None:
    story = a_story()
    assert near(story, *sizes(300, 400, 200)) == ["spawn 4 web.1 g1"]
    assert story.notes[-1] == (
        "info: pid 1002 is recycled: it is the largest of 3 workers that have grown, and the control group holds "
        "870 MiB (limit 1000 MiB); 7 requests in 60.7 s, 400 MiB"
    )
    assert story.boots(4) == ["serve 4", "drain 2"]


def test_not_before_a_good_part_of_it_is_held_however_large_they_are() -> None:
    story = CoreStory(policy=POLICY_90, web=2).serves()
    story.happens(*sizes(300, 300))
    story.passes(59.7)
    assert near(story, *sizes(400, 400), used=700) == []
    assert near(story, *sizes(400, 400), used=701) == ["drain 1"]


def test_one_look_is_none_and_the_next_comes_soon() -> None:
    story = a_story()
    samples = len(story.samples)
    assert story.happens(*sizes(300, 400, 200), group(950)) == []
    story.passes(1.1)
    assert len(story.samples) == samples + 1
    assert story.happens(*sizes(300, 400, 200), group(800)) == []
    assert story.happens(*sizes(300, 400, 200), group(950), after=1.0) == [], "not in a row"


def test_below_its_part_of_the_limit_nobody_is() -> None:
    """Or above 98 % of it less a worker and a quarter, which is room for a successor."""
    assert near(a_story(), *sizes(300, 300, 200), used=855) == []
    assert near(a_story(), *sizes(300, 300, 200), used=856) != []
    assert near(a_story(percent=0), *sizes(300, 300, 300), used=999) == []


def replacements(story: CoreStory, seconds: float, mib: int = 300, used: int = 870) -> list[float]:
    """When workers were replaced, where all of them, and the group, are always as large."""
    began, times = story.now, []
    while story.now < began + seconds:
        living = story.fleet.state.pools["web"].workers
        news: list[ev.Event] = [ev.Observed(each.id, 0.0, memory_bytes=mib * MIB) for each in living]
        story.passes(5.0)
        for line in story.happens(*news, group(used)):
            _, worker, *rest = line.split()
            if rest:
                times.append(story.now - began)
                story.boots(int(worker), after=1.0)
                story.happens(ev.Observed(int(worker), 0.0, memory_bytes=100 * MIB))
                (outgoing,) = [each.id for each in living if each.leaving]
                story.dies(outgoing, 0, after=1.0)
    return times


def test_after_each_there_is_a_wait_that_grows() -> None:
    """What always lives at the limit is not replaced in a circle."""
    times = replacements(a_story(web=2), 4 * 3600.0)
    waits = [later - before for before, later in pairwise(times)]
    assert FIRST_WAIT_S <= waits[0] < FIRST_WAIT_S + 20
    assert all(later > 1.5 * before for before, later in pairwise(waits[:6]))
    assert all(WAIT_MAX_S / 2 < wait < WAIT_MAX_S + 20 for wait in waits[7:])
    assert len(times) < 12


def test_once_it_was_well_for_long_the_wait_is_short_again() -> None:
    story = a_story(web=2)
    replacements(story, 600.0)
    assert story.fleet.state.budget.wait_s > 4 * FIRST_WAIT_S
    replacements(story, WELL_S, used=500)
    assert story.fleet.state.budget.wait_s > 4 * FIRST_WAIT_S
    replacements(story, 15.0, used=500)
    assert story.fleet.state.budget.wait_s == FIRST_WAIT_S


def test_who_was_always_as_large_is_left_alone_and_it_is_said_once() -> None:
    story = a_story()
    assert near(story, *sizes(100, 110, 119), used=950) == []
    assert replacements(story, 300.0, mib=119, used=950) == []
    said = [note for note in story.notes if "the control group" in note]
    text = "warning: the control group holds 950 MiB of its 1000 MiB of memory, and the workers no more than 329 MiB"
    assert said == [f"{text}: others need more memory"]


def test_so_it_is_where_the_workers_hold_most() -> None:
    story = CoreStory(policy=POLICY_90, web=3).serves()
    story.happens(*sizes(300, 300, 300))
    story.passes(59.7)
    assert near(story, *sizes(300, 301, 310), used=950) == []
    assert "no worker has grown since it was ready" in story.notes[-1]


def test_where_others_hold_most_nothing_would_be_won() -> None:
    story = a_story()
    assert near(story, *sizes(200, 110, 100), used=950) == []
    assert "others need more memory" in story.notes[-1]


def test_nobody_before_it_has_lived() -> None:
    story = CoreStory(policy=POLICY_90, web=2).serves()
    story.happens(*sizes(100, 100))
    assert near(story, *sizes(400, 400)) == []


def test_not_during_a_reload_nor_after_one_that_was_refused() -> None:
    story = a_story()
    story.happens(ev.ReloadAsked(7, "gwctl reload"))
    assert near(story, *sizes(300, 400, 200)) == []
    story.happens(ev.PrepareFailed(2, "gw.toml:7: no such setting"))
    assert near(story, *sizes(300, 400, 200)) == ["spawn 4 web.1 g1"], "no code is on disk that differs"
    story = a_story()
    story.reloads()
    story.fails_to_boot(4)
    story.dies(4, 1)
    assert near(story, *sizes(300, 400, 200)) == []


def test_not_while_somebody_is_replaced_for_another_reason() -> None:
    story = a_story()
    story.happens(ev.RecycleAsked(0, "web", 0))
    assert near(story, *sizes(300, 400, 200)) == []


def test_not_when_it_stops() -> None:
    story = a_story()
    story.happens(ev.StopAsked(0, "SIGTERM", delay_s=60.0))
    assert near(story, *sizes(300, 400, 200)) == []


def test_what_is_remembered_goes_over_an_upgrade() -> None:
    story = a_story()
    near(story, *sizes(300, 400, 200))
    found = fleet_from(snapshot_of(story.fleet)).state
    assert found.budget.replaced == 2
    assert found.pools["web"].members[1].young_bytes == 100 * MIB


# ---- where there is no room for both


def test_without_room_for_a_successor_it_ends_first_and_its_slot_waits_for_that() -> None:
    story = a_story()
    assert near(story, *sizes(300, 400, 200), used=970) == ["drain 2"]
    assert "which has no room for another beside it" in story.notes[-1]
    assert story.happens_to_pool("web") == []
    assert story.dies(2, 0) == ["spawn 4 web.1 g1"]


def test_unless_nobody_else_serves_any_more() -> None:
    story = a_story(web=2)
    near(story, *sizes(300, 400), used=970)
    assert story.dies(1) == ["spawn 3 web.0 g1", "spawn 4 web.1 g1"]


def test_who_alone_serves_by_then_has_its_successor_beside_it() -> None:
    """It was marked when others served, and could not be told at once."""
    story = a_story(web=1)
    worker = story.fleet.state.pools["web"].members[1]
    worker.replace_reason, worker.ends_first = "has grown", True
    assert story.happens_to_pool("web") == ["spawn 2 web.0 g1"]
    assert story.boots(2) == ["serve 2", "drain 1"]


def test_a_worker_that_alone_serves_is_replaced_as_long_as_there_is_room_for_two() -> None:
    """100 MiB when it is new, of 1,000: from 855 MiB on, and no more beyond 880."""
    assert near(a_story(web=1), *sizes(850), used=854) == []
    story = a_story(web=1)
    assert near(story, *sizes(850), used=860) == ["spawn 2 web.0 g1"]
    assert story.boots(2) == ["serve 2", "drain 1"]
    story = a_story(web=1)
    assert near(story, *sizes(950), used=950) == []
    assert "the control group holds 950 MiB" in story.notes[-1]


def test_what_it_shares_its_successor_would_share() -> None:
    """As with `preload`."""
    story = a_story(web=2)
    shared = [ev.Observed(worker, 0.0, memory_bytes=400 * MIB, private_bytes=310 * MIB) for worker in (1, 2)]
    assert near(story, *shared, used=960) == ["spawn 3 web.0 g1"]
