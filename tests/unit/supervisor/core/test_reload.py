"""A reload is a transaction: told as short stories."""

from __future__ import annotations

from msgspec.structs import replace

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.state import Phase
from gwctl.supervisor.core.worker import DRAIN_MARGIN_S
from tests.support.core_story import POLICY, CoreStory


def test_a_reload_that_works() -> None:
    """Canary, settle, then one old worker parked for each new one that serves, settle, commit."""
    story = CoreStory(web=3).serves()
    assert story.happens(ev.ReloadAsked(7, "gwctl reload")) == ["prepare g2"]
    assert story.fleet.state.phase is Phase.RELOADING
    assert story.happens(ev.Prepared(2, story.policies)) == ["spawn 4 web.0 g2"]
    assert story.boots(4, after=0.44) == []
    assert story.passes(0.49) == []
    assert story.passes(0.01) == ["serve 4"]
    assert story.passes(1.4) == []
    assert story.passes(0.1) == ["park 1", "spawn 5 web.1 g2"]
    assert story.boots(5, after=0.5) == ["serve 5", "park 2", "spawn 6 web.2 g2"]
    assert story.boots(6, after=0.5) == ["serve 6", "park 3"]
    assert story.passes(1.9) == []
    assert story.fleet.state.generation == 1
    assert story.passes(0.1) == ["adopt g2", "answer 7 yes", "drain 1", "drain 2", "drain 3"]
    assert story.fleet.state.generation == 2
    assert story.fleet.state.phase is Phase.SERVING
    assert story.answers[0].text == "adopted generation 2 in 5.4 s"
    assert story.answers[0].result == {"generation": 2, "previous": 1, "took_s": 5.44, "pools": ["web"]}
    assert story.progress == [
        "7: validate g1 -> g2",
        "7: web validate ok",
        "7: web boot",
        "7: web boot ok 0.44 s",
        "7: web settle",
        "7: web settle ok 2 s",
        "7: web roll 1/3",
        "7: web roll 2/3",
        "7: web roll ok 3/3",
        "7: web commit",
        "7: web commit ok",
    ]
    for worker in (1, 2, 3):
        assert story.dies(worker, 0) == []
    assert story.states() == ["0 g2 ready", "1 g2 ready", "2 g2 ready"]
    assert story.rests


def test_warnings_reach_whoever_asked() -> None:
    """Who deploys an expired certificate looks at the answer, not at the log."""
    story = CoreStory(web=1).serves()
    story.happens(ev.ReloadAsked(7, "gwctl reload"))
    story.happens(ev.Prepared(2, story.policies, ("shop.pem expired on 2026-11-18",)))
    story.boots(2)
    story.passes(4)
    assert story.answers[0].text.splitlines()[1:] == ["warning: shop.pem expired on 2026-11-18"]


def test_a_reload_by_signal_is_answered_to_nobody() -> None:
    story = CoreStory(web=1).serves()
    story.reloads(0)
    story.boots(2)
    assert story.passes(4) == ["serve 2", "park 1", "adopt g2", "drain 1"]
    assert story.answers == []
    assert story.progress == []


def test_wrong_settings_change_nothing() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ev.ReloadAsked(7, "gwctl reload"))
    assert story.happens(ev.PrepareFailed(2, "gw.toml:7: no such setting")) == ["answer 7 no"]
    assert story.answers[0].text == (
        "generation 2 was not adopted: gw.toml:7: no such setting\n\n"
        "generation 1 serves as before (web 1/1 ready)."
    )
    assert story.fleet.state.degraded == ""
    assert story.progress[-1] == "7: validate FAILED gw.toml:7: no such setting"
    assert story.happens(ev.ReloadAsked(8, "gwctl reload")) == ["prepare g2"]


def test_a_failure_in_the_roll_undoes_everything_at_once() -> None:
    """Parked ones serve again before the new ones drain; one that still boots is ended quickly."""
    story = CoreStory(web=4, policy=replace(POLICY, surge=2)).serves()
    assert story.reloads() == ["spawn 5 web.0 g2"]
    story.boots(5)
    assert story.passes(2) == ["serve 5", "park 1", "spawn 6 web.1 g2", "spawn 7 web.2 g2"]
    assert story.boots(6) == ["serve 6", "park 2", "spawn 8 web.3 g2"]
    story.happens(ev.Spawned(8, 18))
    undone = story.fails_to_boot(7)
    assert undone[:4] == ["abandon g2", "answer 7 no", "serve 1", "serve 2"]
    assert undone[4:] == ["drain 5", "drain 6", "quit 8"]
    assert story.fleet.state.pools["web"].ready == 4
    for worker in (5, 6, 7, 8):
        assert story.dies(worker, 0) == []
    assert story.states() == [f"{slot} g1 ready" for slot in range(4)]


def test_a_failure_while_the_complete_generation_settles() -> None:
    story = CoreStory(web=2).serves()
    story.reloads()
    story.boots(3)
    story.passes(2)
    assert story.boots(4) == ["serve 4", "park 2"]
    assert story.dies(4, after=1.9) == ["abandon g2", "answer 7 no", "serve 1", "serve 2", "drain 3"]


def test_parking_waits_for_room() -> None:
    """The last generation still drains, and no more than ``draining_max`` may be left over."""
    story = CoreStory(web=2, policy=replace(POLICY, draining_max=2, settle_s=0.5)).serves()
    story.reloads()
    story.boots(3)
    story.passes(0.5)
    story.boots(4)
    assert story.passes(0.5) == ["adopt g2", "answer 7 yes", "drain 1", "drain 2"]
    story.reloads()
    story.boots(5)
    assert story.passes(0.5) == ["serve 5"]
    assert story.dies(1, 0) == ["park 3", "spawn 6 web.1 g3"]
    assert story.boots(6) == ["serve 6"]
    assert story.passes(5) == []
    assert story.dies(2, 0) == ["park 4"]
    assert story.passes(0.5) == ["adopt g3", "answer 7 yes", "drain 3", "drain 4"]


def test_a_reload_that_cannot_go_on_is_given_up() -> None:
    """Parked workers do not wait for ever: the reload has a deadline of its own."""
    policy = replace(POLICY, draining_max=1, settle_s=0.5)
    story = CoreStory(web=1, policy=policy).serves()
    story.reloads()
    story.boots(2)
    story.passes(1)
    story.reloads()
    story.boots(3)
    lines = story.passes(30 + DRAIN_MARGIN_S) + story.passes(1)  # worker 1 never ends, and is never reaped
    assert lines[:3] == [
        "serve 3",
        "dump 1: did not finish within 30 s of draining",
        "kill 1: did not finish within 30 s of draining",
    ]
    assert story.passes(200)[:2] == ["abandon g3", "answer 7 no"]
    assert "made no progress for" in story.answers[-1].text
    assert story.fleet.state.pools["web"].ready == 1


def test_old_workers_that_crash_are_not_replaced_while_the_reload_is_undecided() -> None:
    """A respawn would run what is on disk now, which is what the reload is trying out."""
    story = CoreStory(web=3).serves()
    story.reloads()
    story.happens(ev.Spawned(4, 14))
    assert story.dies(2) == []
    assert "Replaced when the reload is decided" in story.notes[-1]
    assert story.fails_to_boot(4) == ["abandon g2", "answer 7 no", "spawn 5 web.1 g1"]
    story.happens(ev.SpawnFailed(5, "no further process is allowed", 0.0))
    assert not any("started while degraded" in note for note in story.notes)
    story.passes(1.0)
    story.happens(ev.Spawned(6, 16))
    assert "started while degraded (disk differs from what runs)" in story.notes[-1]


def test_but_a_pool_without_a_serving_worker_gets_one() -> None:
    story = CoreStory(web=2).serves()
    story.reloads()
    assert story.dies(1) == []
    assert story.dies(2) == ["spawn 4 web.0 g1"]
    assert story.boots(4) == ["serve 4"]
    assert story.boots(3) == []
    assert story.passes(2) == ["serve 3", "spawn 5 web.1 g2"]  # two serve: nothing to park for it yet


def test_the_last_serving_worker_outlives_its_abandoned_generation() -> None:
    """Better served by what was refused than by nobody."""
    story = CoreStory(web=2).serves()
    story.reloads()
    story.boots(3)
    story.passes(2)
    story.dies(1)
    story.dies(2)
    assert story.fails_to_boot(4) == ["abandon g2", "answer 7 no", "spawn 5 web.0 g1", "spawn 6 web.1 g1"]
    assert story.fleet.state.pools["web"].ready == 1
    assert story.boots(5) == ["serve 5", "drain 3"]


def test_a_new_worker_that_lost_its_channel_is_made_up_for_until_it_is_judged() -> None:
    story = CoreStory(web=1).serves()
    story.reloads()
    story.boots(2)
    assert story.passes(2) == ["serve 2", "park 1"]
    assert story.happens(ev.ChannelClosed(2)) == ["serve 1"]
    assert story.dies(2, -9) == ["abandon g2", "answer 7 no"]


def test_a_new_worker_that_is_told_to_drain_by_somebody_else_ends_the_reload() -> None:
    story = CoreStory(web=1).serves()
    story.reloads()
    story.boots(2)
    assert story.happens(ev.DrainStarted(2)) == ["abandon g2", "answer 7 no"]
    assert story.dies(2, 0) == []


def test_sizes_follow_the_new_settings() -> None:
    story = CoreStory(web=2).serves()
    story.reloads(web=1)
    story.boots(3)
    assert story.passes(4) == [
        "serve 3",
        "park 1",
        "park 2",
        "adopt g2",
        "answer 7 yes",
        "drain 1",
        "drain 2",
    ]
    story.dies(1, 0)
    story.dies(2, 0)
    assert story.reloads(web=3) == ["spawn 4 web.0 g3"]
    story.boots(4)
    assert story.passes(2) == ["serve 4", "park 3", "spawn 5 web.1 g3", "spawn 6 web.2 g3"]
    story.boots(5, 6)
    story.passes(2)
    story.dies(3, 0)
    assert story.states() == ["0 g3 ready", "1 g3 ready", "2 g3 ready"]


def test_a_size_set_by_hand_stays_until_the_settings_change_theirs() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ev.ScaleAsked(0, "web", size=2))
    story.boots(2)
    story.reloads(web=1)
    assert story.fleet.state.size_of("web", 2) == 2
    story.fails_to_boot(3)
    story.reloads(web=3)
    assert story.fleet.state.size_of("web", 3) == 3


def test_a_new_pool_is_part_of_the_transaction() -> None:
    story = CoreStory(web=1).serves()
    assert story.reloads(web=1, live=2) == ["spawn 2 live.0 g2", "spawn 3 web.0 g2"]
    assert story.boots(2, 3) == ["serve 2"]  # nobody else serves the new one
    assert story.passes(2) == ["serve 3", "spawn 4 live.1 g2", "park 1"]
    assert story.passes(5) == []
    story.boots(4)
    assert story.passes(2) == ["adopt g2", "answer 7 yes", "drain 1"]
    assert story.fleet.state.pools["live"].size == 2


def test_a_new_pool_goes_with_the_generation_that_failed() -> None:
    story = CoreStory(web=1).serves()
    story.reloads(web=1, live=1)
    story.boots(2)
    assert story.fails_to_boot(3) == ["abandon g2", "answer 7 no", "drain 2 and sweep"]
    story.dies(2, 0)
    story.dies(3, 4)
    assert list(story.fleet.state.pools) == ["web"]


def test_a_removed_pool_serves_until_the_commit() -> None:
    """Then it accepts what waits in its backlog, since nobody else will."""
    story = CoreStory(live=1, web=1).serves()
    assert story.reloads(web=1) == ["spawn 3 web.0 g2"]
    story.boots(3)
    assert story.passes(4) == [
        "serve 3",
        "park 2",
        "adopt g2",
        "answer 7 yes",
        "drain 1 and sweep",
        "drain 2",
    ]
    story.dies(1, 0)
    assert list(story.fleet.state.pools) == ["web"]


def test_all_who_ask_meanwhile_get_one_more_reload() -> None:
    story = CoreStory(web=1).serves()
    story.reloads(7)
    assert story.happens(ev.ReloadAsked(8, "gwctl reload"), ev.ReloadAsked(0, "SIGHUP")) == []
    assert story.happens(ev.ReloadAsked(9, "gwctl reload")) == []
    assert story.fleet.state.reload_waits
    assert story.fails_to_boot(2) == ["abandon g2", "answer 7 no", "prepare g3"]
    story.dies(2, 4)
    story.happens(ev.Prepared(3, story.policies))
    story.boots(3)
    assert story.passes(4) == ["serve 3", "park 1", "adopt g3", "answer 8 yes", "answer 9 yes", "drain 1"]


def test_degraded_until_a_reload_is_adopted() -> None:
    story = CoreStory(web=1).serves()
    story.reloads()
    story.fails_to_boot(2)
    story.dies(2, 4)
    assert story.dies(1) == ["spawn 3 web.0 g1"]
    story.happens(ev.Spawned(3, 13))
    assert "started while degraded" in story.notes[-1]
    assert story.fails_to_boot(3) == []  # the code on disk is broken: backoff, and no more than that
    assert story.dies(3, 4) == []
    story.passes(1)
    story.boots(4)
    story.reloads()
    story.boots(5)
    assert story.fleet.state.degraded
    story.passes(4)
    assert story.fleet.state.degraded == ""


def test_a_reload_asked_for_during_the_first_start() -> None:
    """Old workers that get ready late are parked without ever serving, or serve as needed."""
    story = CoreStory(web=1)
    story.begins()
    story.happens(ev.Spawned(1, 11))
    story.reloads()
    story.boots(2)
    assert story.passes(2) == []
    assert story.fleet.state.phase is not Phase.STOPPING
    assert story.happens(ev.Ready(1)) == ["park 1"]


def test_since_when_reloads_are_refused_until_one_is_adopted() -> None:
    """In whatever phase; a stop, which ends one, refuses nothing."""
    story = CoreStory(web=1).serves()
    assert story.fleet.state.refused_at is None
    story.happens(ev.ReloadAsked(0, "SIGHUP"), after=5)
    story.happens(ev.PrepareFailed(2, "gw.toml:7: no such setting"))
    first = story.now
    assert (story.fleet.state.refused_at, story.fleet.state.degraded) == (first, "")
    story.passes(10)
    story.reloads(request=1)
    story.fails_to_boot(2)
    assert (story.fleet.state.refused_at, bool(story.fleet.state.degraded)) == (first, True)
    story.dies(2, 0)
    story.reloads(request=2)
    story.boots(3)
    story.passes(10)
    assert story.fleet.state.generation > 1
    assert story.fleet.state.refused_at is None
    story.happens(ev.ReloadAsked(0, "SIGHUP"))
    story.happens(ev.StopAsked(0, "SIGTERM"))
    assert story.fleet.state.refused_at is None
