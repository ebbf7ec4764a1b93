"""An atomic reload: both generations whole, and at no time both serving."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.events import ChannelClosed, Prepared, ReloadAsked, ScaleAsked
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.reload import SWITCH_S
from tests.support.core_story import POLICY, CoreStory

ATOMIC = replace(POLICY, atomic=True)


def filled(size: int = 2) -> CoreStory:
    """All new workers but the last are ready; the next is being begun."""
    story = CoreStory(web=size, policy=ATOMIC).serves()
    story.reloads()
    story.boots(size + 1)
    story.passes(2)
    for worker in range(size + 2, 2 * size):
        story.boots(worker)
    return story


def test_new_workers_serve_when_all_old_ones_accept_no_more() -> None:
    """The canary settles without serving, and the old ones say that they are parked before anyone new serves."""
    story = CoreStory(web=2, policy=ATOMIC).serves()
    assert story.reloads() == ["spawn 3 web.0 g2"]
    assert story.boots(3) == []
    assert story.passes(1.9) == []
    assert story.passes(0.1) == ["spawn 4 web.1 g2"]
    assert story.boots(4) == ["release_clients 1", "release_clients 2"]
    assert story.obey(1) == []
    assert story.obey(2) == ["serve 3", "serve 4"]
    assert story.passes(1.9) == []
    assert story.passes(0.1) == ["adopt g2", "answer 7 yes", "drain 1", "drain 2"]
    assert [line for line in story.progress if "switch" in line or "start" in line] == [
        "7: web start 1/2",
        "7: web start ok 2/2",
        "7: web switch",
        "7: web switch ok 0.00 s",
    ]


def test_an_old_worker_that_says_nothing_is_not_waited_for_long() -> None:
    """It is in a call: it accepts nothing now either."""
    story = filled()
    assert story.boots(4) == ["release_clients 1", "release_clients 2"]
    story.obey(1)
    assert story.passes(SWITCH_S - 0.01) == []
    assert story.passes(0.01) == ["serve 3", "serve 4"]
    assert "7: web switch ok 0.25 s, 1 late" in story.progress


def test_nobody_waits_for_an_old_worker_that_died_or_lost_its_channel() -> None:
    story = filled()
    story.boots(4)
    story.dies(1)
    assert story.happens(ChannelClosed(2)) == ["serve 3", "serve 4"]


def test_as_many_boot_at_once_as_the_surge_says() -> None:
    story = CoreStory(web=8, policy=replace(ATOMIC, surge_percent=25)).serves()
    story.reloads()
    story.boots(9)
    assert len(story.passes(2)) == 2
    assert story.boots(10) == ["spawn 12 web.3 g2"]


@pytest.mark.parametrize(("size", "percent", "extra"), [(4, 25, 1), (5, 25, 2), (1, 10, 1), (8, 100, 8)])
def test_a_percentage_of_the_size_is_rounded_up(size: int, percent: int, extra: int) -> None:
    assert PoolPolicy(size, surge_percent=percent).surge_of(size) == extra


def test_a_new_worker_that_dies_before_the_switch_leaves_all_as_it_was() -> None:
    story = filled(3)
    assert story.dies(4) == ["abandon g2", "answer 7 no", "drain 5"]
    story.dies(6)  # it was begun a moment before
    assert story.fleet.state.pools["web"].ready == 3


def test_a_new_worker_that_dies_after_the_switch_brings_all_old_ones_back() -> None:
    story = filled()
    story.boots(4)
    story.obey(1, 2)
    assert story.dies(4) == ["abandon g2", "answer 7 no", "serve 1", "serve 2", "drain 3"]
    assert story.fleet.state.degraded


def test_the_two_generations_never_serve_side_by_side() -> None:
    """A new worker that is out of reach is not made up for by an old one, unless it was the last."""
    story = filled()
    story.boots(4)
    story.obey(1, 2)
    assert story.happens(ChannelClosed(3)) == []
    assert story.happens(ChannelClosed(4)) == ["serve 1", "serve 2"]


def test_all_atomic_pools_switch_together_when_the_rolling_ones_have_rolled() -> None:
    story = CoreStory(live=1, shop=1, web=1, policy=ATOMIC).serves()
    story.happens(ReloadAsked(7, "gwctl reload"))
    policies = story.policies | {"web": replace(POLICY, size=1)}
    story.happens(Prepared(2, policies))
    story.boots(4)
    assert story.boots(5, 6) == []
    assert story.passes(2) == ["serve 6", "park 3", "release_clients 1", "release_clients 2"]
    assert story.obey(1, 2) == ["serve 4", "serve 5"]


def test_the_switch_waits_until_all_old_ones_can_be_parked() -> None:
    policy = replace(ATOMIC, draining_max=2, settle_s=0.5)
    story = CoreStory(web=2, policy=policy).serves()
    for first in (3, 5):
        story.reloads()
        story.boots(first)
        story.passes(0.5)
        assert story.boots(first + 1) == (["release_clients 1", "release_clients 2"] if first == 3 else [])
        if first == 3:
            story.obey(1, 2)
            story.passes(0.5)
    assert story.dies(1, 0) == []
    assert story.dies(2, 0) == ["release_clients 3", "release_clients 4"]


def test_scaled_up_after_the_switch_the_rest_serves_as_it_comes() -> None:
    story = filled()
    story.boots(4)
    story.obey(1, 2)
    assert story.happens(ScaleAsked(0, "web", size=3)) == ["spawn 5 web.2 g2"]
    assert story.boots(5) == ["serve 5"]
    assert story.passes(2)[0] == "adopt g2"


def test_a_stop_in_the_middle_of_a_switch() -> None:
    story = filled()
    story.boots(4)
    lines = story.happens(ev.StopAsked(0, "SIGTERM"))
    assert lines[0] == "abandon g2"
    assert {f"drain {worker} and sweep" for worker in (1, 2, 3, 4)} <= set(lines)
