"""The core's part of a takeover, of both masters: who serves when, and what a failure at each step leaves."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.snapshot import fleet_from, snapshot_of
from gwctl.supervisor.core.state import Phase, TakingOver
from tests.support.core_story import POLICY, CoreStory

PROGRAM = "gwctl 0.2.0, Python 3.12.1"
ASKED = ev.TakeoverAsked(9, "gwctl start --takeover, pid 12", 150.0)


def successor(**sizes: int) -> CoreStory:
    story = CoreStory(**sizes)
    story.fleet.state.taking_over = TakingOver(11, PROGRAM)
    story.begins()
    return story


# ---- the new master


def test_nobody_serves_before_all_are_ready_and_the_place_is_claimed_when_they_have_settled() -> None:
    story = successor(web=2, api=1)
    assert story.boots(1) == []
    assert story.boots(2) == []
    assert story.boots(3) == ["serve 1", "serve 2", "serve 3"]
    assert story.fleet.state.phase is Phase.STARTING
    assert story.passes(1.9) == []
    assert story.passes(0.2) == ["Claim"]
    assert story.happens(ev.Succeeded()) == ["Settle"]
    assert story.fleet.state.phase is Phase.SERVING
    assert story.notes[-2:] == [
        f"info: took the place of pid 11 ({PROGRAM}) in 2.1 s; that one finishes what it has, and ends",
        "info: serving: web 2/2 ready, api 1/1 ready in 2.1 s",
    ]


def test_a_worker_that_cannot_boot_ends_it_before_anybody_was_let_in() -> None:
    story = successor(web=2)
    story.boots(1)
    assert story.fails_to_boot(2) == ["Desist", "CloseListeners", "quit 1"]
    assert story.dies(1, 0) + story.dies(2, 0) == ["finish 4"]
    assert story.finish is not None
    assert "not taken over: cannot import shop. The master that runs (pid 11) serves on" in str(
        story.finish.record
    )


@pytest.mark.parametrize("claimed", [False, True])
def test_a_worker_that_dies_while_all_settle_ends_it_and_later_it_is_a_death_like_any(claimed: bool) -> None:
    story = successor(web=2)
    story.boots(1, 2)
    if claimed:
        assert story.passes(2) == ["Claim"]
        assert story.dies(1) == ["spawn 3 web.0 g1"]
        return
    assert story.dies(1) == ["Desist", "CloseListeners", "drain 2 and sweep"]
    assert story.dies(2, 0) == ["finish 3"]


def test_a_fork_that_fails_ends_it_too() -> None:
    story = successor(web=1)
    assert story.cannot_fork(1) == ["Desist", "CloseListeners", "finish 3"]


@pytest.mark.parametrize("asked", [False, True])
def test_if_the_other_ends_early_it_is_a_start_like_any(asked: bool) -> None:
    story = successor(web=2)
    story.boots(1)
    assert story.happens(ev.Succeeded(asked=asked)) == ["Settle", "serve 1"]
    assert "before this one was ready" in story.notes[-1]
    assert story.boots(2) == ["serve 2"]
    assert story.notes[-1].startswith("info: serving: web 2/2")


def test_it_ends_if_the_place_is_denied_and_finishes_what_it_has_begun() -> None:
    story = successor(web=1)
    story.boots(1)
    assert story.happens(ev.TakeoverDenied("it was not ready within 150 s")) == [
        "Desist",
        "CloseListeners",
        "drain 1 and sweep",
    ]
    assert story.dies(1, 0) == ["finish 1"]


def test_a_stop_is_a_stop_and_says_so_to_the_other() -> None:
    story = successor(web=1)
    actions = story.fleet.step(story.now, [ev.StopAsked(0, "SIGTERM")])
    assert act.Desist("it was told to stop") in actions
    assert story.happens(ev.Succeeded(asked=False)) == [], "late news"


def test_a_reload_and_an_upgrade_wait_or_are_refused_until_then() -> None:
    story = successor(web=1)
    assert story.happens(ev.ReloadAsked(0, "SIGHUP"), ev.UpgradeAsked(3, "SIGUSR2")) == ["answer 3 no"]
    story.boots(1)
    story.passes(2)
    assert story.happens(ev.Succeeded()) == ["Settle", "prepare g2"]


def test_it_can_be_told_of_in_a_snapshot() -> None:
    story = successor(web=1)
    assert snapshot_of(fleet_from(snapshot_of(story.fleet))) == snapshot_of(story.fleet)


# ---- the master that runs


def test_the_one_that_runs_serves_until_the_other_is_ready_then_hands_over_and_drains() -> None:
    story = CoreStory(web=1).serves()
    assert story.happens(ASKED) == ["OfferListeners"]
    assert story.fleet.state.phase is Phase.SERVING
    assert story.happens(ev.SuccessorReady()) == ["HandOver", "CloseListeners", "drain 1 and sweep"]
    assert "stopping (gwctl start --takeover, pid 12)" in story.notes[-1]
    assert story.dies(1, 0) == ["finish 0"]


def test_if_the_other_ends_it_serves_on_and_does_what_was_asked_meanwhile() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ASKED)
    assert story.dies(1) == ["spawn 2 web.0 g1"]
    for refused in (
        ev.TakeoverAsked(4, "gwctl start --takeover, pid 13", 150.0),
        ev.RollbackAsked(4, "gwctl rollback"),
        ev.RestartAsked(4, "gwctl restart"),
        ev.UpgradeAsked(4, "gwctl upgrade"),
    ):
        assert story.happens(refused) == ["answer 4 no"]
        assert "a takeover is under way" in story.answers[-1].text
    assert story.happens(ev.ReloadAsked(3, "gwctl reload")) == []
    assert story.happens(ev.SuccessorEnded("it ended before it was ready")) == ["Withdraw", "prepare g2"]
    assert any("and serves on: it ended before it was ready" in x for x in story.notes)
    assert story.happens(ev.SuccessorReady()) == [], "late news"


def test_it_loses_patience() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ASKED)
    assert story.passes(149) == []
    assert story.passes(2) == ["Withdraw"]
    assert any("it was not ready within 2 m" in each for each in story.notes), story.notes


def test_however_it_ends_the_other_has_the_place() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ASKED)
    assert story.happens(ev.StopAsked(0, "SIGINT", quick=True)) == ["HandOver", "CloseListeners", "quit 1"]


def test_it_is_not_taken_over_in_the_middle_of_something_else() -> None:
    story = CoreStory(policy=replace(POLICY, settle_s=9.0), web=1).serves()
    story.reloads()
    assert story.happens(ASKED) == ["answer 9 no"]
    assert story.answers[-1].text.startswith("the master that runs is not taken over: a reload is under way")
    story.happens(ev.StopAsked(0, "SIGTERM"))
    assert story.happens(ASKED) == ["answer 9 no"]
    assert "the fleet is stopping" in story.answers[-1].text
