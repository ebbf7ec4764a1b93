"""A pool that sets its size itself, in a fleet where other things happen: told as short stories."""

from __future__ import annotations

from msgspec.structs import replace

from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import deadlines
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.autoscale import SAMPLE_S
from gwctl.supervisor.core.policy import PoolPolicy, ScalePolicy
from gwctl.supervisor.core.scaling import differs, paused
from gwctl.supervisor.core.snapshot import fleet_from, snapshot_of
from tests.support.core_story import POLICY, CoreStory

SCALES = replace(POLICY, scale=ScalePolicy(2, 6, shrink_after_s=10.0))
BUSY = ev.LoadObserved("web", 1.0, 2, 2.0, waiting=3, request_s=0.2)
IDLE = ev.LoadObserved("web", 1.0, 2, 0.0)


def begun(policy: PoolPolicy = SCALES, **sizes: int) -> CoreStory:
    return CoreStory(policy=policy, **(sizes or {"web": 2})).serves()


def size(story: CoreStory) -> int:
    return story.fleet.state.pools["web"].size


def idles(story: CoreStory, seconds: int) -> list[str]:
    """Nobody asks it for anything; workers that are let go die."""
    lines = []
    for _ in range(seconds):
        for line in story.happens(IDLE, after=1.0):
            lines.append(line)
            if line.startswith("drain"):
                story.dies(int(line.split()[1]), 0)
    return lines


# ---- up and down


def test_it_grows_and_says_why() -> None:
    story = begun()
    assert story.happens(BUSY, after=1.0) == ["spawn 3 web.2 g1"]
    assert story.notes[-1] == "info: 2 -> 3 workers (autoscale): 3 requests wait, 2.0 of 2 in use"
    assert story.happens(replace(BUSY, busy=3.0, workers=3), after=1.0) == [], "not before that one serves"


def test_it_shrinks_by_draining_the_highest_slot() -> None:
    story = begun()
    story.happens(BUSY, after=1.0)
    story.boots(3)
    assert idles(story, 9) == []
    assert idles(story, 10) == ["drain 3"]
    assert story.notes[-2].startswith("info: 3 -> 2 workers (autoscale): fewer were enough for long, 0.")
    assert idles(story, 60) == []


def test_a_pool_of_a_fixed_size_takes_no_notice() -> None:
    story = begun(POLICY)
    assert story.happens(BUSY, BUSY, after=1.0) == []
    assert story.happens(replace(BUSY, pool="gone")) == []


def test_what_it_needs_and_does_not_get_is_told_once() -> None:
    story = begun(replace(SCALES, scale=ScalePolicy(2, 2)))
    for _ in range(5):
        assert story.happens(BUSY, after=1.0) == []
    held = [note for note in story.notes if note.startswith("warning")]
    assert held == [
        (
            "warning: 3 workers are needed (2.0 of 2 in use, 3 requests wait), and it stays at 2: "
            "more than max = 2 are not allowed"
        )
    ]


# ---- samples


def observes(story: CoreStory, seconds: float) -> list[act.Observe]:
    """What the shell is told to look at in that time, with nobody answering."""
    found = []
    until = story.now + seconds
    while (at := story.fleet.next_deadline()) is not None and at <= until:
        story.now = at
        found += [each for each in story.fleet.step(at, []) if isinstance(each, act.Observe)]
    story.now = until
    return found


def test_only_pools_that_set_their_size_themselves_are_measured() -> None:
    story = begun(web=2, live=1)
    story.policies["live"] = replace(story.policies["live"], scale=None)
    story.fleet.state.pools["live"].policy = story.policies["live"]
    (one,) = observes(story, deadlines.SAMPLE_S)
    assert one.load_of == ("web",)
    story.happens(ev.ScaleAsked(0, "web", size=2))
    assert {each.load_of for each in observes(story, 20.0)} == {()}


def test_a_pool_at_rest_is_looked_at_as_seldom_as_any_other() -> None:
    story = begun()
    story.happens(IDLE, after=1.0)
    assert len(observes(story, 60.0)) == 60 / deadlines.SAMPLE_S
    story.happens(BUSY)
    assert len(observes(story, SAMPLE_S)) == 1
    story.happens(replace(IDLE, workers=0))
    assert len(observes(story, SAMPLE_S)) == 1, "nothing is known of it yet"


def test_a_pool_that_a_commit_removes_when_a_sample_is_due_is_not_measured() -> None:
    """None of its workers lives, so that it is gone at once, and nobody knows it when the shell looks."""
    story = begun(replace(SCALES, backoff_min_s=60.0), live=1, web=2)
    story.dies(1)
    story.fails_to_boot(4)
    story.dies(4, 4)
    del story.policies["live"]
    story.reloads()
    story.boots(5)
    story.passes(SCALES.settle_s)
    story.boots(6)
    reload, state = story.fleet.state.reload, story.fleet.state
    assert reload is not None
    assert reload.settled_at is not None
    state.sample_at = story.now = reload.settled_at
    actions = story.fleet.step(story.now, [])
    assert (state.generation, set(state.pools)) == (2, {"web"})
    assert [each.load_of for each in actions if isinstance(each, act.Observe)] == [("web",)]


# ---- not now


def test_not_before_the_fleet_has_served() -> None:
    story = CoreStory(policy=SCALES, web=2)
    story.begins()
    story.boots(1)
    assert story.happens(BUSY, BUSY) == []
    assert paused(story.fleet.state, story.fleet.state.pools["web"]) == "the fleet is starting"


def test_never_during_a_reload_nor_for_it() -> None:
    story = begun()
    story.reloads()
    assert [line for line in story.happens(BUSY, BUSY, after=1.0) if "web.2" in line] == []
    assert paused(story.fleet.state, story.fleet.state.pools["web"]) == "the fleet is reloading"
    story.happens(ev.BootFailed(3, "import", "no", ""))
    assert size(story) == 2


def test_not_while_a_reload_waits_for_its_turn() -> None:
    story = begun()
    assert story.happens(ev.UpgradeAsked(0, "SIGUSR2")) == ["CheckUpgrade"]
    assert story.happens(ev.ReloadAsked(0, "SIGHUP"), BUSY, BUSY) == []
    assert size(story) == 2


def test_not_after_a_refused_reload_as_who_comes_or_goes_would_not_come_back() -> None:
    story = begun()
    story.reloads()
    story.fails_to_boot(3)
    story.dies(3, 1)
    assert story.happens(BUSY, BUSY, after=1.0) == []
    assert paused(story.fleet.state, story.fleet.state.pools["web"]) == "disk differs from what runs"


def test_not_while_it_stops() -> None:
    story = begun()
    story.happens(ev.StopAsked(0, "SIGTERM", delay_s=30.0))
    assert story.happens(BUSY, BUSY) == []
    assert {each.load_of for each in observes(story, 20.0)} == {()}


def test_a_pool_whose_workers_keep_dying_gets_no_more_before_one_has_proved_itself() -> None:
    story = begun()
    story.dies(2)
    story.boots(3)
    story.dies(3)
    story.passes(SCALES.backoff_min_s)
    story.boots(4)
    assert story.happens(BUSY, BUSY, after=1.0) == []
    assert "workers of it keep failing" in story.notes[-1]
    story.passes(SCALES.healthy_after_s)
    assert story.happens(BUSY, after=1.0) != []


def test_a_single_death_is_in_nobody_s_way() -> None:
    story = begun()
    story.dies(2)
    assert story.happens(BUSY, BUSY, after=1.0) == [], "not before its successor serves"
    story.boots(3)
    assert story.happens(BUSY, after=1.0) != []


# ---- by hand


def test_a_size_set_by_hand_stays_until_it_is_given_back() -> None:
    story = begun()
    assert story.happens(ev.ScaleAsked(5, "web", size=4, source="gwctl scale by eve")) == [
        "answer 5 yes",
        "spawn 3 web.2 g1",
        "spawn 4 web.3 g1",
    ]
    assert story.answers[-1].text == "web: 2 -> 4 workers. It stays so until `gwctl scale web auto`"
    assert story.notes[-1].startswith("info: 2 -> 4 workers (gwctl scale by eve). It stays so")
    story.boots(3, 4)
    pool = story.fleet.state.pools["web"]
    assert paused(story.fleet.state, pool) == "its size was set by gwctl scale by eve"
    assert idles(story, 60) == []
    assert story.happens(ev.ScaleAsked(6, "web", auto=True, source="gwctl scale")) == ["answer 6 yes"]
    assert story.answers[-1].text == "web: stays at 4 workers, from now on 2 to 6 by load"
    assert idles(story, 60) == ["drain 4", "drain 3"]


def test_given_back_it_is_within_its_bounds_at_once() -> None:
    story = begun()
    story.happens(ev.ScaleAsked(5, "web", size=9))
    story.boots(*range(3, 10))
    assert story.happens(ev.ScaleAsked(6, "web", auto=True))[0] == "answer 6 yes"
    assert size(story) == 6


def test_signals_are_hands_too() -> None:
    story = begun()
    story.happens(ev.ScaleAsked(0, "", delta=1, source="SIGTTIN"))
    assert story.fleet.state.pools["web"].scaling.by_hand == "SIGTTIN"


def test_auto_of_a_fixed_size_is_the_size_of_the_settings() -> None:
    story = begun(POLICY, web=2)
    story.happens(ev.ScaleAsked(5, "web", size=3))
    story.boots(3)
    assert story.happens(ev.ScaleAsked(6, "web", auto=True)) == ["answer 6 yes", "drain 3"]
    assert story.answers[-1].text == "web: 3 -> 2 workers"


# ---- reloads that bring other bounds


def adopted(story: CoreStory, policy: PoolPolicy) -> int:
    """The size after a reload to ``policy`` that goes well."""
    story.happens(ev.ReloadAsked(7, "gwctl reload"))
    generation = story.fleet.state.numbered
    lines = story.happens(ev.Prepared(generation, {"web": policy}))
    while story.fleet.state.reload is not None:
        new = [line.split()[1] for line in lines if line.startswith("spawn")]
        lines = story.boots(*map(int, new)) + story.passes(1.0)
    for worker in [each for each in story.fleet.turn.workers.values() if each.leaving]:
        story.dies(worker.id, 0)
    return size(story)


def test_the_size_it_has_found_outlives_a_reload() -> None:
    story = begun()
    story.happens(BUSY, after=1.0)
    story.boots(3)
    assert adopted(story, replace(SCALES, size=2)) == 3


def test_other_bounds_hold_from_the_reload_on() -> None:
    story = begun(web=2)
    assert adopted(story, replace(SCALES, size=4, scale=ScalePolicy(4, 8))) == 4
    lines = story.happens(ev.ScaleAsked(5, "web", size=6))
    story.boots(*(int(line.split()[1]) for line in lines if line.startswith("spawn")))
    assert adopted(story, replace(SCALES, size=4, scale=ScalePolicy(4, 8))) == 6, "by hand, and nothing new"
    assert story.fleet.state.pools["web"].scaling.by_hand
    assert adopted(story, replace(SCALES, size=1, scale=ScalePolicy(1, 5))) == 5
    assert not story.fleet.state.pools["web"].scaling.by_hand


def test_from_a_fixed_size_to_bounds_and_back() -> None:
    story = begun(POLICY, web=3)
    assert adopted(story, replace(SCALES, size=2)) == 3
    assert adopted(story, replace(POLICY, size=1)) == 1


def test_workers_are_told_that_they_are_not_alone() -> None:
    """``wsgi.multiprocess``: a pool of one may have a second worker in a moment."""
    story = begun(replace(SCALES, scale=ScalePolicy(1, 6)), web=1)
    assert story.fleet.state.size_of("web", 1) == 6


# ---- upgrades


def test_an_upgrade_hands_over_what_is_known() -> None:
    story = begun()
    story.happens(BUSY, after=1.0)
    story.boots(3)
    idles(story, 4)
    story.fleet = fleet_from(snapshot_of(story.fleet))
    assert idles(story, 6) == []
    assert idles(story, 5) == ["drain 3"]


def test_time_in_which_the_master_did_not_run_is_no_quiet_time() -> None:
    story = begun()
    story.happens(BUSY, after=1.0)
    story.boots(3)
    idles(story, 5)
    story.happens(after=3600.0)
    assert idles(story, 2) == []
    assert idles(story, 6) == ["drain 3"]


# ---- what the machine allows changes


AUTO = replace(POLICY, size=2, by_capacity=True)
AUTO_SCALES = replace(SCALES, by_capacity=True)


def allowed(processes: int, cpus: float = 0.0) -> ev.CapacityMeasured:
    return ev.CapacityMeasured(processes, cpus, f"quota {cpus}")


def test_auto_follows_what_is_allowed() -> None:
    story = begun(AUTO)
    assert differs(story.fleet.state, allowed(3, 3.0))
    assert story.happens(allowed(3, 3.0)) == ["spawn 3 web.2 g1"]
    assert story.notes[-1] == "info: 2 -> 3 workers (quota 3.0)"
    assert not differs(story.fleet.state, allowed(3, 3.0))
    assert story.happens(allowed(3, 3.0)) == []
    story.boots(3)
    assert story.happens(allowed(1, 1.0)) == ["drain 3", "drain 2"]


def test_a_fixed_size_does_not() -> None:
    story = begun(POLICY)
    assert not differs(story.fleet.state, allowed(9, 9.0))
    assert story.happens(allowed(9, 9.0)) == []
    assert size(story) == 2


def test_bounds_by_what_is_allowed() -> None:
    """The load decides within them; processors that it may use count for all pools that set their size."""
    story = begun(AUTO_SCALES)
    assert story.happens(allowed(9, 4.0)) == []
    assert story.fleet.state.pools["web"].policy.scale == replace(SCALES.scale, max=9, cpus=4.0)
    assert story.happens(allowed(1, 1.0)) == [], "never below its own min"
    assert size(story) == 2
    fixed = begun(SCALES)
    fixed.happens(allowed(1, 1.0))
    assert fixed.fleet.state.pools["web"].policy.scale == replace(SCALES.scale, cpus=1.0)


def test_what_was_set_by_hand_stays_whatever_is_allowed() -> None:
    story = begun(AUTO)
    story.happens(ev.ScaleAsked(7, "web", 4, 0, "gwctl scale"))
    story.happens(allowed(1, 1.0))
    assert size(story) == 4
    story.happens(ev.ScaleAsked(8, "web", None, 0, "gwctl scale", auto=True))
    assert size(story) == 1, "auto is what is allowed now"


def test_not_while_something_else_decides() -> None:
    story = begun(AUTO)
    story.happens(ev.ReloadAsked(7, "gwctl reload"))
    assert not differs(story.fleet.state, allowed(3, 3.0))
    assert story.happens(allowed(3, 3.0)) == []
    assert size(story) == 2
