"""Scaling, stopping, and what happens when the core itself is broken: told as short stories."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gwctl.errors import InvariantViolation
from gwctl.records.sentences import sentence
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.actions import Spawn
from gwctl.supervisor.core.state import Phase
from tests.support.core_story import POLICY, CoreStory

# ---- scale


def test_up() -> None:
    story = CoreStory(web=1).serves()
    asked = ev.ScaleAsked(5, "web", size=3)
    assert story.happens(asked) == ["answer 5 yes", "spawn 2 web.1 g1", "spawn 3 web.2 g1"]
    assert story.boots(2, 3) == ["serve 2", "serve 3"]
    assert story.answers[0].text == "web: 1 -> 3 workers"
    assert story.answers[0].result == {"pool": "web", "size": 3, "was": 1}


def test_down_retires_the_highest_slots() -> None:
    story = CoreStory(web=4).serves()
    assert story.happens(ev.ScaleAsked(5, "web", delta=-2)) == ["answer 5 yes", "drain 4", "drain 3"]
    story.dies(3, 0)
    story.dies(4, 0)
    assert story.states() == ["0 g1 ready", "1 g1 ready"]


def test_never_below_one_and_the_answer_says_so() -> None:
    story = CoreStory(web=2).serves()
    assert story.happens(ev.ScaleAsked(5, "web", size=0)) == ["answer 5 yes", "drain 2"]
    assert story.answers[0].text == "web: 2 -> 1 worker: a pool has at least one"
    assert story.happens(ev.ScaleAsked(6, "web", delta=-1)) == ["answer 6 yes"]
    assert story.answers[1].text == "web: 1 -> 1 worker: a pool has at least one"


def test_never_above_the_bound_of_the_settings_not_in_steps_either() -> None:
    story = CoreStory(web=2).serves()
    assert story.happens(ev.ScaleAsked(5, "web", size=1020, delta=5)) == ["answer 5 no"]
    assert story.happens(ev.ScaleAsked(6, "web", delta=1023)) == ["answer 6 no"]
    assert story.answers[1].text == "a pool has at most 1024 workers"


def test_by_signal_every_pool() -> None:
    story = CoreStory(live=1, web=1).serves()
    assert story.happens(ev.ScaleAsked(0, "", delta=1)) == ["spawn 3 live.1 g1", "spawn 4 web.1 g1"]
    assert story.happens(ev.ScaleAsked(0, "", delta=-1)) == []
    assert story.happens(ev.Spawned(3, 13), ev.Spawned(4, 14)) == ["quit 3", "quit 4"]


def test_of_a_pool_that_is_not_there() -> None:
    story = CoreStory(web=1).serves()
    assert story.happens(ev.ScaleAsked(5, "wbe", size=2)) == ["answer 5 no"]
    assert story.answers[0].text == "no pool named 'wbe'; there is: web"


def test_scaling_down_waits_for_room() -> None:
    story = CoreStory(web=4, policy=replace(POLICY, draining_max=1)).serves()
    assert story.happens(ev.ScaleAsked(0, "web", size=2)) == ["drain 4", "drain 3"]
    story = CoreStory(web=4, policy=replace(POLICY, draining_max=1)).serves()
    assert story.happens(ev.ScaleAsked(0, "web", size=1)) == ["drain 4"]
    assert story.dies(4, 0) == ["drain 3"]
    assert story.dies(3, 0) == ["drain 2"]


def test_scaling_down_does_not_take_the_last_that_serves() -> None:
    story = CoreStory(web=2).serves()
    story.dies(1)
    assert story.happens(ev.ScaleAsked(0, "web", size=1)) == []
    assert story.boots(3) == ["serve 3", "drain 2"]


def test_during_a_reload_both_generations_follow() -> None:
    """Down: the old surplus drains, the new generation is as small. Up: the new one grows at once."""
    story = CoreStory(web=3).serves()
    story.reloads()
    story.boots(4)
    assert story.happens(ev.ScaleAsked(0, "web", size=2)) == ["drain 3"]
    assert story.fleet.state.size_of("web", 1) == story.fleet.state.size_of("web", 2) == 2
    assert story.passes(2) == ["serve 4", "park 1", "spawn 5 web.1 g2"]
    assert story.boots(5) == ["serve 5", "park 2"]
    assert story.happens(ev.ScaleAsked(0, "web", size=3)) == ["serve 1", "spawn 6 web.2 g2"]
    assert story.boots(6) == ["serve 6", "park 1"]
    story.passes(2)
    assert story.fleet.state.generation == 2
    assert story.fleet.state.pools["web"].size == 3


def test_scaling_up_during_a_reload_that_fails_is_made_up_for() -> None:
    story = CoreStory(web=1).serves()
    story.reloads()
    assert story.happens(ev.ScaleAsked(0, "web", size=2)) == []
    assert story.fails_to_boot(2) == ["abandon g2", "answer 7 no", "spawn 3 web.1 g1"]


# ---- stop


def test_no_worker_is_left_to_finish() -> None:
    story = CoreStory(web=1).serves()
    story.dies(1)
    story.dies(2)  # and is tried again after its backoff
    story.happens(ev.StopAsked(0, "SIGTERM"))
    assert story.notes[-1] == "info: stopping (SIGTERM): no worker has anything to finish"


def test_graceful() -> None:
    story = CoreStory(web=2).serves()
    assert story.happens(ev.StopAsked(0, "SIGTERM")) == [
        "CloseListeners",
        "drain 1 and sweep",
        "drain 2 and sweep",
    ]
    assert story.fleet.state.phase is Phase.STOPPING
    assert story.notes[-1] == (
        "info: stopping (SIGTERM): 2 workers finish, at most 30 s, and are gone within 34 s. "
        "Asked again: ends them at once"
    )
    assert story.dies(1, 0, after=1.0) == []
    assert story.happens(ev.Exited(2, 0, 0.0, cut=2), after=1.9) == ["finish 0"]
    assert story.finish is not None
    assert sentence(story.finish.record) == "stopped in 2.9 s; 2 requests cut"
    assert story.fleet.next_deadline() is None


def test_whoever_asked_is_answered_at_the_end() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ev.StopAsked(5, "gwctl stop"))
    assert story.dies(1, 0, after=0.5) == ["answer 5 yes", "finish 0"]
    assert story.answers[0].text == "stopped in 0.50 s; 0 requests cut"


def test_a_worker_that_does_not_finish_is_dumped_and_killed() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ev.StopAsked(0, "SIGTERM"))
    reason = "did not finish within 30 s of draining"
    assert "1 worker finishes, at most 30 s, and is gone within 34 s" in story.notes[-1]
    assert story.passes(33.9) == [f"dump 1: {reason}"]
    assert story.passes(0.2) == [f"kill 1: {reason}"]
    story.passes(5.9)
    assert story.notes[2:4] == [
        "info: waiting for web.0: no connection left, pid 1001 shuts down for 1 s",
        "info: waiting for web.0: no connection left, pid 1001 shuts down for 6 s",
    ]
    story.dies(1, -9)
    assert story.finish is not None
    assert sentence(story.finish.record) == "stopped in 40 s; 0 requests cut; 1 worker had to be killed"


def test_each_further_request_escalates() -> None:
    story = CoreStory(web=2).serves()
    story.happens(ev.StopAsked(0, "SIGTERM"))
    assert story.happens(ev.StopAsked(0, "SIGTERM"), after=0.5) == ["quit 1", "quit 2"]
    reason = "the fleet stops at once"
    assert story.happens(ev.StopAsked(0, "SIGTERM"), after=0.5) == [f"kill 1: {reason}", f"kill 2: {reason}"]
    assert story.happens(ev.StopAsked(0, "SIGTERM"), after=0.5) == []
    story.dies(1, -9)
    assert story.dies(2, -9) == ["finish 0"]


def test_an_echo_does_not_escalate() -> None:
    """timeout(1) and others signal a process and then its group: requests would be cut for nothing."""
    story = CoreStory(web=1).serves()
    story.happens(ev.StopAsked(0, "SIGTERM"))
    assert story.happens(ev.StopAsked(0, "SIGTERM"), after=0.01) == []
    assert story.happens(ev.StopAsked(6, "SIGTERM"), after=0.01) == []
    assert sum("stopping" in note for note in story.notes) == 1
    assert story.happens(ev.StopAsked(0, "SIGTERM", quick=True), after=0.01) == ["quit 1"]
    assert story.dies(1, 0) == ["answer 6 yes", "finish 0"]


def test_quick() -> None:
    story = CoreStory(web=2).serves()
    assert story.happens(ev.StopAsked(0, "SIGINT", quick=True)) == ["CloseListeners", "quit 1", "quit 2"]
    assert story.notes[-1] == (
        "info: stopping (SIGINT): ending 2 workers at once, within 3 s. Asked again: kills them"
    )
    assert story.passes(3) == [f"kill {n}: did not end within 3 s" for n in (1, 2)]


def test_of_a_fleet_that_boots() -> None:
    """A worker whose fork is answered late is ended like the others."""
    story = CoreStory(web=2)
    story.begins()
    story.happens(ev.Spawned(1, 11))
    assert story.happens(ev.StopAsked(0, "SIGTERM")) == ["CloseListeners", "quit 1"]
    assert story.happens(ev.Spawned(2, 12)) == ["quit 2"]
    story.dies(1, 0)
    assert story.dies(2, 0) == ["finish 0"]


def test_what_is_waited_for_is_said_after_a_second_and_then_every_five() -> None:
    """By what was observed right before: the worker with the longest request comes first."""
    story = CoreStory(web=4).serves()
    story.happens(ev.StopAsked(0, "SIGTERM"))
    story.passes(0.95)
    assert story.samples == [pytest.approx(101.4)]
    story.happens(
        ev.Observed(1, 0.5, active=2, connections=12),
        ev.Observed(2, 0.5, connections=1),
        ev.Observed(3, 0.5, active=1, connections=1, busy_since=60.5, serving="GET /export"),
    )
    story.passes(15)
    waits = [note for note in story.notes if "waiting for" in note]
    assert waits[0] == (
        "info: waiting for web.2: GET /export, 41 s so far; web.0: 2 requests on 12 connections; "
        "web.1: 1 connection; web.3: no connection left, pid 1004 shuts down for 1 s"
    )
    assert len(waits) == 3
    busy = ev.Observed(2, 0.5, active=2, connections=3, busy_since=60.5, serving="GET /slow")
    story.happens(busy)
    story.happens(ev.StopAsked(0, "SIGTERM", quick=True))
    story.passes(5)
    assert "web.1: pid 1002 is quitting for" in story.notes[-1] or "killed" in story.notes[-1]


def test_the_longest_of_several_requests() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ev.StopAsked(0, "SIGTERM"))
    story.happens(ev.Observed(1, 0.5, active=3, connections=9, busy_since=100.5, serving="GET /slow"))
    story.passes(1)
    assert story.notes[-1] == "info: waiting for web.0: GET /slow, 1 s so far, of 3 requests on 9 connections"


# ---- a stop with a delay


def test_a_delayed_stop_serves_on_and_then_drains() -> None:
    """Whoever asks for something else meanwhile is told that the fleet stops."""
    story = CoreStory(web=2).serves()
    assert story.happens(ev.StopAsked(0, "SIGTERM", delay_s=5)) == []
    assert story.fleet.state.phase is Phase.STOPPING
    assert story.notes[-1] == (
        "info: stopping (SIGTERM): accepting for 5 s more, then 2 workers finish, at most 30 s, "
        "and are gone within 34 s. "
        "Asked again: that begins now"
    )
    assert story.happens(ev.ReloadAsked(9, "gwctl reload"), ev.ScaleAsked(10, "web", size=5)) == [
        "answer 9 no",
        "answer 10 no",
    ]
    story.happens(ev.ReloadAsked(0, "SIGHUP"))
    assert story.notes[-1] == "info: no reload (SIGHUP): the fleet is stopping"
    assert story.passes(4.9) == []
    assert story.passes(0.2) == ["CloseListeners", "drain 1 and sweep", "drain 2 and sweep"]
    assert story.notes[-1] == (
        "info: accepting no more: 2 workers finish, at most 30 s, and are gone within 34 s. "
        "Asked again: ends them at once"
    )
    story.dies(1, 0)
    assert story.dies(2, 0) == ["finish 0"]


def test_a_worker_that_dies_in_the_delay_is_replaced() -> None:
    """Else nobody would accept. What it had in hand is the crash's, not the stop's."""
    story = CoreStory(web=1).serves()
    story.happens(ev.StopAsked(0, "SIGTERM", delay_s=5))
    assert story.happens(ev.Exited(1, -11, 0.0, cut=1), after=1.0) == ["spawn 2 web.0 g1"]
    assert story.boots(2) == ["serve 2"]
    assert story.passes(4.5) == ["CloseListeners", "drain 2 and sweep"]
    story.dies(2, 0)
    assert story.finish is not None
    assert "; 0 requests cut" in sentence(story.finish.record)


@pytest.mark.parametrize(("quick", "order"), [(False, "drain 1 and sweep"), (True, "quit 1")])
def test_asked_again_the_delay_is_over(quick, order) -> None:
    story = CoreStory(web=1).serves()
    story.happens(ev.StopAsked(0, "SIGTERM", delay_s=5))
    assert story.happens(ev.StopAsked(0, "SIGTERM", delay_s=5)) == [], "an echo"
    again = ev.StopAsked(0, "SIGTERM", quick=quick, delay_s=5)
    assert story.happens(again, after=0.5) == ["CloseListeners", order]


def test_nothing_is_delayed_when_nobody_serves() -> None:
    story = CoreStory(web=1)
    story.begins()
    story.happens(ev.Spawned(1, 11))
    assert story.happens(ev.StopAsked(0, "SIGTERM", delay_s=5)) == ["CloseListeners", "quit 1"]


def test_a_delayed_stop_undoes_a_reload_first() -> None:
    """The old workers serve through the delay, parked ones too; the new ones go at once."""
    story = CoreStory(web=2).serves()
    story.reloads()
    story.boots(3)
    story.passes(2)
    story.boots(4)
    assert "0 g1 parked" in story.states()
    stopped = story.happens(ev.StopAsked(0, "SIGTERM", delay_s=5))
    assert stopped[:2] == ["abandon g2", "answer 7 no"]
    assert "serve 1" in stopped
    assert story.states()[0] == "0 g1 ready"
    assert story.fleet.state.degraded == ""


def test_during_a_reload() -> None:
    """It is given up first and everybody who waits is told; parked workers drain like the others."""
    story = CoreStory(web=2).serves()
    story.reloads()
    story.happens(ev.ReloadAsked(8, "gwctl reload"))
    story.boots(3)
    story.passes(2)
    story.happens(ev.Spawned(4, 14))
    assert story.happens(ev.StopAsked(0, "SIGTERM")) == [
        "abandon g2",
        "answer 7 no",
        "answer 8 no",
        "CloseListeners",
        "drain 1 and sweep",
        "drain 2 and sweep",
        "drain 3 and sweep",
        "quit 4",
    ]
    assert story.answers[0].text == "generation 2 was not adopted: the fleet stops"
    assert not [note for note in story.notes if note.startswith("error")], "nothing went wrong"
    assert story.happens(ev.ReloadAsked(9, "gwctl reload"), ev.ScaleAsked(10, "web", size=5)) == [
        "answer 9 no",
        "answer 10 no",
    ]


def test_while_the_settings_are_read() -> None:
    """What was opened for the new generation is given back when the answer comes."""
    story = CoreStory(web=1).serves()
    story.happens(ev.ReloadAsked(7, "gwctl reload"))
    assert story.happens(ev.StopAsked(0, "SIGTERM"))[0] == "answer 7 no"
    assert story.happens(ev.Prepared(2, story.policies)) == ["abandon g2"]


# ---- a bug of ours


def test_a_broken_invariant_is_raised_once_and_stopping_still_works() -> None:
    """The actions of that step are not lost: their intent is recorded, so they must be carried out."""
    story = CoreStory(web=2).serves()
    story.fleet.state.pools["web"].members[2].slot = 0  # nobody decided that
    with pytest.raises(InvariantViolation, match="two workers hold slot 0 of web g1"):
        story.happens(ev.ScaleAsked(0, "web", size=2))
    assert story.fleet.state.broken
    assert any(isinstance(action, Spawn) for action in story.fleet.salvaged)
    assert story.happens(ev.ReloadAsked(7, "gwctl reload"), ev.Spawned(3, 13)) == ["answer 7 no"]
    assert story.dies(1) == []  # nothing is spawned any more
    assert story.fleet.next_deadline() is not None
    assert story.happens(ev.StopAsked(0, "SIGTERM"))[-2:] == ["drain 2 and sweep", "quit 3"]
    story.dies(2, 0)
    assert story.dies(3, 0) == ["finish 0"]
