"""A restart: what serves ends before what is new is begun, and what follows when that cannot be had."""

from __future__ import annotations

from msgspec.structs import replace

from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core.events import (
    Killed,
    Prepared,
    PrepareFailed,
    Ready,
    ReloadAsked,
    RestartAsked,
    RollbackAsked,
    ScaleAsked,
    Spawned,
    SpawnFailed,
    StopAsked,
    UpgradeAsked,
    UpgradeChecked,
)
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.state import Phase
from gwctl.supervisor.core.worker import UNREAPED_S
from tests.support.core_story import POLICY, CoreStory


def asks(story: CoreStory, *pools: str, request: int = 7) -> list[str]:
    return story.happens(RestartAsked(request, "gwctl restart", pools))


def restarts(
    story: CoreStory, *pools: str, changed: bool = False, policies: dict[str, PoolPolicy] | None = None
) -> list[str]:
    """Ask for it, and answer Prepare."""
    (prepare,) = asks(story, *pools)
    number = int(prepare.removeprefix("prepare g"))
    return story.happens(Prepared(number, policies or story.policies, changed=changed, keep_s=60.0))


def test_what_serves_ends_before_what_is_new_is_begun() -> None:
    story = CoreStory(web=2).serves()
    assert asks(story) == ["prepare g2"]
    assert story.fleet.state.phase is Phase.RELOADING
    assert story.happens(Prepared(2, story.policies)) == ["drain 1", "drain 2"]
    assert story.dies(1, 0, after=0.3) == []
    assert story.dies(2, 0, after=0.2) == ["spawn 3 web.0 g2", "spawn 4 web.1 g2"]
    assert story.boots(3, after=0.6) == ["serve 3"]
    assert story.boots(4, after=0.1) == ["serve 4", "adopt g2", "answer 7 yes"]
    (answer,) = story.answers
    assert answer.text == "restarted as generation 2 in 1.2 s, no worker served for 1.1 s"
    assert answer.result["unserved_s"] == {"web": 1.1}
    assert story.progress == [
        "7: validate g1 -> g2",
        "7: web validate ok",
        "7: web drain",
        "7: web drain ok 0.50 s",
        "7: web start 0/2",
        "7: web start 1/2",
        "7: web start ok 2/2",
    ]
    assert story.rests


def test_nothing_has_happened_when_the_settings_are_refused() -> None:
    story = CoreStory(web=1).serves()
    asks(story)
    assert story.happens(PrepareFailed(2, "gw.toml:7: no such setting")) == ["answer 7 no"]
    assert story.states() == ["0 g1 ready"]
    assert story.answers[0].text.endswith("generation 1 serves as before (web 1/1 ready).")
    assert asks(story) == ["prepare g2"]


def test_other_pools_serve_on() -> None:
    story = CoreStory(chat=1, web=1).serves()
    assert restarts(story, "web") == ["drain 2"]
    assert story.dies(1) == ["spawn 3 chat.0 g1"]
    assert story.dies(2, 0) == ["spawn 4 web.0 g2"]


def test_several_pools_start_when_all_of_them_have_ended() -> None:
    """They may be of one application."""
    story = CoreStory(chat=1, web=1).serves()
    assert restarts(story) == ["drain 1", "drain 2"]
    assert story.dies(1, 0) == []
    assert story.dies(2, 0, after=1.0) == ["spawn 3 chat.0 g2", "spawn 4 web.0 g2"]
    story.boots(3, after=0.5)
    story.boots(4, after=0.5)
    assert story.answers[0].text == (
        "restarted as generation 2 in 2 s, no worker served for 1.5 s in chat, 2 s in web"
    )


def test_who_boots_and_who_is_only_asked_for_ends_too() -> None:
    story = CoreStory(web=3).serves()
    story.happens(ScaleAsked(0, "web", size=5))  # 4 and 5
    story.happens(Spawned(4, 1004))
    assert restarts(story) == ["drain 1", "drain 2", "drain 3", "quit 4"]
    for worker in (1, 2, 3, 4):
        assert story.dies(worker, 0) == []
    assert len(story.happens(SpawnFailed(5, "no memory", 0.0))) == 5


def test_one_that_does_not_end_is_killed_and_waited_for() -> None:
    story = CoreStory(web=1).serves()
    restarts(story)
    lines = story.passes(POLICY.drain_timeout_s + 4)
    assert lines[0].startswith("dump 1")
    assert lines[1].startswith("kill 1")
    story.happens(Killed(1, "too long"))
    assert story.dies(1, -9) == ["spawn 2 web.0 g2"]


def test_it_waits_for_what_serves_as_long_as_the_settings_of_before_let_it() -> None:
    """Also for the workers of a pool that goes, and for those that drain since a reload."""
    patient = replace(POLICY, drain_timeout_s=600.0)
    story = CoreStory(policy=patient, chat=1, web=1).serves()
    story.happens(ReloadAsked(0, "SIGHUP"))
    story.happens(Prepared(2, {"chat": patient, "web": replace(POLICY, drain_timeout_s=5.0)}))
    story.boots(3, 4)
    story.passes(10.0)
    assert story.states() == ["0 g1 draining", "0 g2 ready"]
    policies = {"web": replace(POLICY, drain_timeout_s=5.0)}
    assert restarts(story, policies=policies) == ["drain 3", "drain 4"]
    assert story.dies(4, 0) == []
    assert story.passes(580.0) == []
    assert story.dies(1, 0) == []
    assert story.dies(2, 0) == []
    assert story.dies(3, 0) == ["spawn 5 web.0 g3"]
    assert story.boots(5)[-2:] == ["adopt g3", "answer 7 yes"]


def test_one_that_the_kernel_does_not_let_go_of_holds_nobody_up_for_ever() -> None:
    story = CoreStory(web=1).serves()
    restarts(story)
    story.passes(POLICY.drain_timeout_s + 4)
    story.happens(Killed(1, "too long"))
    assert story.passes(UNREAPED_S + 1) == ["spawn 2 web.0 g2"]
    assert story.boots(2) == ["serve 2", "adopt g2", "answer 7 yes"]
    assert story.dies(1, -9) == []


def test_templates_are_renewed_and_do_not_live_side_by_side() -> None:
    story = CoreStory(policy=replace(POLICY, preload=True), web=1)
    assert story.begins() == ["spawn 1 web.-1 g1"]
    assert story.boots(1) == ["spawn 2 web.0 g1 of 1"]
    story.boots(2)
    assert restarts(story) == ["drain 1", "drain 2"]
    assert story.dies(2, 0) == []
    assert story.dies(1, 0) == ["spawn 3 web.-1 g2"]
    assert story.boots(3) == ["spawn 4 web.0 g2 of 3"]
    assert story.boots(4) == ["serve 4", "adopt g2", "answer 7 yes"]


def test_a_generation_that_is_kept_ends_as_well() -> None:
    story = CoreStory(web=1).serves()
    story.keep_s = 300.0
    story.reloads()
    story.boots(2)
    story.passes(5)
    assert story.states() == ["0 g1 parked", "0 g2 ready"]
    assert restarts(story) == ["drain 2", "drain 1", "release g1"]
    story.dies(2, 0)
    assert story.dies(1, 0) == ["spawn 3 web.0 g3"]
    story.boots(3)
    story.happens(RollbackAsked(8, "gwctl rollback"))
    assert story.answers[-1].text == "not rolled back: a restart keeps no generation"


def test_with_the_settings_of_before_it_is_adopted_and_tried_again_when_nobody_boots() -> None:
    """There is nothing to go back to."""
    story = CoreStory(web=2).serves()
    restarts(story)
    story.dies(1, 0)
    story.dies(2, 0)
    assert story.fails_to_boot(3, after=0.4) == ["adopt g2", "answer 7 no"]
    (answer,) = story.answers
    assert answer.text == (
        "restarted as generation 2 in 0.40 s, no worker served for 0.40 s so far\n"
        "a new worker of web failed: cannot import shop. It is tried again, as after a crash\n"
        "File shop.py, line 1"
    )
    assert answer.result["traceback"] == "File shop.py, line 1\n"
    assert story.notes[-1].startswith("error: restarted as generation 2")
    assert story.dies(3, 4) == ["spawn 5 web.0 g2"]
    story.fails_to_boot(5, after=0.1)
    assert story.dies(5, 4) == []
    assert story.passes(0.5) == ["spawn 6 web.0 g2"]
    assert story.boots(6) == ["serve 6"]
    assert not story.fleet.state.degraded


def test_with_other_settings_those_of_before_are_gone_back_to_without_overlap() -> None:
    story = CoreStory(web=2).serves()
    restarts(story, changed=True, policies={"web": replace(POLICY, size=1)})
    story.dies(1, 0)
    assert story.dies(2, 0) == ["spawn 3 web.0 g2"]
    assert story.fails_to_boot(3, after=0.4) == ["abandon g2", "answer 7 no"]
    assert "generation 2 was not adopted: web: cannot import shop" in story.answers[0].text
    assert "no worker served for 0.40 s so far" in story.answers[0].text
    assert "have the settings of generation 1, and the code that is on disk" in story.answers[0].text
    assert story.dies(3, 4) == ["spawn 4 web.0 g1", "spawn 5 web.1 g1"]
    assert story.boots(4, 5) == ["serve 4", "serve 5"]
    state = story.fleet.state
    assert (state.generation, state.degraded, state.refused_at) == (1, "", story.now)
    assert story.rests


def test_who_serves_already_ends_when_it_goes_back() -> None:
    story = CoreStory(chat=1, web=1).serves()
    restarts(story, changed=True)
    story.dies(1, 0)
    story.dies(2, 0)
    story.boots(3)
    assert story.fails_to_boot(4, after=0.4) == ["abandon g2", "answer 7 no", "drain 3"]
    assert "no worker served for 0.00 s in chat so far, 0.40 s in web so far" in story.answers[0].text
    assert story.dies(4, 4) == ["spawn 5 web.0 g1"]
    assert story.dies(3, 0) == ["spawn 6 chat.0 g1"]


def test_when_every_pool_is_served_a_failure_costs_its_own_slot() -> None:
    story = CoreStory(web=2).serves()
    restarts(story, changed=True)
    story.dies(1, 0)
    story.dies(2, 0)
    story.boots(3)
    assert story.fails_to_boot(4) == ["adopt g2", "answer 7 no"]
    assert story.states() == ["0 g2 ready", "1 g2 quitting"]
    assert story.dies(4, 4) == ["spawn 5 web.1 g2"]
    assert story.answers[0].text.startswith(
        "restarted as generation 2 in 0.00 s, no worker served for 0.00 s\n"
    )


def test_who_serves_no_more_counts_from_then_on() -> None:
    """It had served, died while another pool was awaited, and is tried again after a while."""
    story = CoreStory(chat=1, web=1).serves()
    restarts(story)
    story.dies(1, 0)
    story.dies(2, 0)
    story.boots(3, after=0.3)
    assert story.dies(3, after=2.0) == ["adopt g2", "answer 7 no", "spawn 5 chat.0 g2"]
    told = "no worker served for 0.30 s in chat so far, 2.3 s in web so far"
    assert told in story.answers[0].text


def test_what_is_asked_for_while_it_goes_back_waits_until_it_has() -> None:
    story = CoreStory(web=1).serves()
    restarts(story, changed=True)
    story.dies(1, 0)
    story.fails_to_boot(2)
    assert story.happens(ReloadAsked(8, "SIGHUP"), UpgradeAsked(9, "gwctl upgrade")) == []
    assert asks(story, request=10) == ["answer 10 no"]
    lines = story.dies(2, 4)
    assert lines == ["spawn 3 web.0 g1", "CheckUpgrade"]


def test_a_restart_does_not_wait_for_anything() -> None:
    story = CoreStory(web=1).serves()
    story.reloads()
    assert asks(story) == ["answer 7 no"]
    assert story.answers[-1].text == "not restarted: a reload is under way. Ask again when it has ended"
    assert "info: restart (gwctl restart) refused: a reload is under way. Ask again when it has ended" in (
        story.notes
    )


def test_a_reload_and_an_upgrade_wait_for_it() -> None:
    story = CoreStory(web=1).serves()
    restarts(story)
    assert story.happens(UpgradeAsked(8, "gwctl upgrade"), ReloadAsked(9, "SIGHUP")) == []
    story.dies(1, 0)
    assert story.boots(2) == ["serve 2", "adopt g2", "answer 7 yes", "CheckUpgrade"]
    story.happens(UpgradeChecked("gwctl 2"))


def test_a_stop_ends_it_at_any_moment() -> None:
    story = CoreStory(web=2).serves()
    restarts(story)
    story.dies(1, 0)
    lines = story.happens(StopAsked(0, "SIGTERM"))
    assert lines[:3] == ["abandon g2", "answer 7 no", "CloseListeners"]
    assert story.dies(2, 0) == ["finish 0"]


def test_a_stop_while_the_new_ones_boot() -> None:
    story = CoreStory(web=1).serves()
    restarts(story)
    story.dies(1, 0)
    lines = story.happens(Spawned(2, 1002), StopAsked(0, "SIGTERM"))
    assert "answer 7 no" in lines
    assert "quit 2" in lines
    assert story.dies(2, 0) == ["finish 0"]


def test_a_pool_that_is_gone_ends_with_the_others() -> None:
    story = CoreStory(chat=1, web=1).serves()
    assert restarts(story, policies={"web": POLICY}) == ["drain 1", "drain 2"]
    story.dies(1, 0)
    assert story.dies(2, 0) == ["spawn 3 web.0 g2"]
    assert story.boots(3)[-2:] == ["adopt g2", "answer 7 yes"]
    assert "chat is no longer served" in story.answers[0].text


def test_a_size_that_is_asked_for_meanwhile_counts() -> None:
    story = CoreStory(web=1).serves()
    restarts(story)
    story.happens(ScaleAsked(0, "web", size=2))
    assert story.dies(1, 0) == ["spawn 2 web.0 g2", "spawn 3 web.1 g2"]


def test_slots_that_kept_dying_begin_anew() -> None:
    story = CoreStory(web=1).serves()
    story.dies(1)
    story.fails_to_boot(2)
    assert story.dies(2, 4) == []
    assert restarts(story) == ["spawn 3 web.0 g2"]


def test_it_counts_as_none_of_the_reloads_that_were_told_of() -> None:
    """Its record says that it is one."""
    story = CoreStory(web=1).serves()
    restarts(story)
    story.dies(1, 0)
    story.happens(Spawned(2, 1002))
    actions = story.fleet.step(story.now, [Ready(2)])
    (record,) = [each.record for each in actions if isinstance(each, act.Note)]
    assert record.restart
    assert record.unserved[0].over
