"""Workers that hang, as the core judges them: requests over their limit, loops that no longer turn."""

from __future__ import annotations

from msgspec.structs import replace
from msgspec.structs import replace as change

from gwctl.supervisor.core import deadlines
from gwctl.supervisor.core import events as ev
from tests.support.core_story import POLICY, CoreStory

REQUESTS = replace(POLICY, request_timeout_s=30.0, heartbeat_timeout_s=0.0)
LOOPS = replace(POLICY, heartbeat_timeout_s=60.0)


def busy(story: CoreStory, since: float, limit_s: float = 30.0, due_at: float = 0.0) -> ev.Observed:
    return ev.Observed(
        1,
        0.5,
        busy_since=since,
        heartbeat_at=story.now,
        serving="GET /x",
        request_limit_s=limit_s,
        request_due_at=due_at or since + limit_s,
    )


def still(heartbeat_at: float = 100.4) -> ev.Observed:
    return ev.Observed(1, 0.5, heartbeat_at=heartbeat_at)


def test_a_request_over_its_limit_has_its_worker_dumped_killed_and_replaced() -> None:
    story = CoreStory(policy=REQUESTS, web=2).serves()
    since = story.now
    story.passes(29.0)
    assert story.happens(busy(story, since)) == []
    assert story.fleet.state.sample_at <= since + 30.0, "the next look is when it is due, if not before"
    reason = "request timeout: GET /x has run 30 s (limit 30 s)"
    assert story.happens(busy(story, since), after=1.0) == [f"dump 1: {reason}"]
    assert story.passes(1.1) == [f"kill 1: {reason}"]
    assert story.dies(1, -9) == ["spawn 3 web.0 g1"]
    assert story.notes[-1] == "debug: pid 1001 is gone. Replaced at once"


def test_requests_that_time_out_again_and_again_cost_their_slot_no_backoff() -> None:
    story = CoreStory(policy=replace(REQUESTS, request_timeout_s=1.0), web=1).serves()
    for worker in (1, 2, 3, 4):
        observed = change(busy(story, story.now, 1.0), worker=worker)
        assert len(story.happens(observed, after=1.0)) == 1
        story.passes(1.0)
        assert story.dies(worker, -9) == [f"spawn {worker + 1} web.0 g1"]
        story.boots(worker + 1)


def test_a_request_has_longer_if_the_application_said_so() -> None:
    story = CoreStory(policy=REQUESTS, web=1).serves()
    since = story.now
    story.passes(60.0)
    assert story.happens(busy(story, since, due_at=since + 90.0)) == []
    story.passes(30.0)
    assert len(story.happens(busy(story, since, due_at=since + 90.0))) == 1


def test_time_in_which_the_master_did_not_run_is_given_to_the_request_as_well() -> None:
    story = CoreStory(policy=REQUESTS, web=1).serves()
    since = story.now
    story.passes(10.0)
    story.happens(busy(story, since))
    assert story.happens(busy(story, since), after=100.0) == [], "stopped, and continued"
    story.passes(10.0)
    assert story.happens(busy(story, since)) == []
    story.passes(10.0)
    assert len(story.happens(busy(story, since))) == 1


def test_a_short_limit_is_looked_at_often_enough() -> None:
    story = CoreStory(policy=replace(REQUESTS, request_timeout_s=1.0), web=1).serves()
    story.happens(still())
    assert story.fleet.state.sample_at == story.now + 0.25


def test_a_loop_that_no_longer_turns_has_its_worker_killed() -> None:
    story = CoreStory(policy=LOOPS, web=1).serves()
    stood_at = story.now
    for _ in range(11):
        assert story.happens(still(stood_at), after=5.0) == []
        assert story.fleet.state.sample_at == story.now + 5.0, "a healthy fleet is looked at no more often"
    assert story.happens(still(stood_at), after=4.9) == []
    assert story.fleet.state.sample_at == stood_at + 60.0, "when the limit is due, not five seconds later"
    story.passes(0.1)
    assert story.happens(still(stood_at)) == [], "seen once, it may be about to turn"
    assert story.fleet.state.sample_at == stood_at + 61.0
    reason = "its loop has not turned for 61 s (heartbeat_timeout_s 60 s)"
    assert story.happens(still(stood_at), after=1.0) == [f"dump 1: {reason}"]


def test_a_limit_shorter_than_the_time_between_looks_is_kept_as_well() -> None:
    story = CoreStory(policy=replace(LOOPS, heartbeat_timeout_s=2.0), web=1).serves()
    stood_at = story.now
    story.happens(still(stood_at))
    assert story.fleet.state.sample_at == stood_at + 2.0
    assert story.happens(still(stood_at), after=2.0) == []
    assert len(story.happens(still(stood_at), after=1.0)) == 1


def test_a_loop_seen_to_stand_still_too_long_but_once_is_left_alone() -> None:
    """Its call has ended this moment, or it was continued together with a master that was not late itself."""
    story = CoreStory(policy=LOOPS, web=1).serves()
    stood_at = story.now
    for _ in range(12):
        assert story.happens(change(still(stood_at), busy_since=stood_at), after=5.0) == []
    assert story.happens(still(stood_at), after=5.0) == [], "idle: its call has just ended"
    assert story.happens(change(still(stood_at), busy_since=story.now), after=1.0) == [], "and another began"
    assert story.happens(still(stood_at), after=5.0) == [], "idle again, and it has had no turn yet"
    assert story.happens(still(story.now), after=1.0) == []


def test_a_loop_that_turned_or_a_call_under_way_begins_it_anew() -> None:
    """An old heartbeat right after a long call proves nothing: the loop has not had its turn."""
    story = CoreStory(policy=LOOPS, web=1).serves()
    story.happens(still(), after=5.0)
    story.happens(still(), after=5.0)
    for _ in range(30):
        assert story.happens(change(still(), busy_since=100.5), after=5.0) == []
    assert story.happens(still(), after=5.0) == []
    assert story.happens(still(), after=5.0) == []
    assert story.happens(still(story.now), after=5.0) == []
    for _ in range(10):
        assert story.happens(still(story.now), after=5.0) == []


def test_a_master_that_did_not_run_sees_no_loop_stand_still() -> None:
    """All were stopped for a minute; from then on a loop has as long as its limit says."""
    story = CoreStory(policy=replace(LOOPS, heartbeat_timeout_s=5.0), web=1).serves()
    stood_at = story.now
    story.happens(still(stood_at), after=1.0)
    assert story.happens(still(stood_at), after=60.0) == []
    back_at = story.now
    story.passes(4.9)
    assert story.happens(still(stood_at)) == []
    assert story.fleet.state.sample_at == back_at + 5.0
    assert story.happens(still(stood_at), after=0.1) == []
    assert len(story.happens(still(stood_at), after=1.0)) == 1


def test_without_a_limit_nothing_is_judged() -> None:
    story = CoreStory(policy=replace(LOOPS, heartbeat_timeout_s=0.0), web=1).serves()
    for _ in range(50):
        assert story.happens(still(), after=5.0) == []


def test_a_master_that_forgives_nothing_would_have_killed_them(monkeypatch) -> None:
    """The broken build beside the stories above: the same times, without moving any limit."""
    monkeypatch.setattr(deadlines, "LATE_S", 1e9)
    story = CoreStory(policy=REQUESTS, web=1).serves()
    since = story.now
    story.passes(10.0)
    story.happens(busy(story, since))
    assert len(story.happens(busy(story, since), after=100.0)) == 1
    story = CoreStory(policy=LOOPS, web=1).serves()
    story.happens(still(), after=5.0)
    assert story.happens(still(), after=100.0) == []
    assert len(story.happens(still(), after=1.0)) == 1


def test_whose_request_ends_after_all_is_spared_and_goes_on() -> None:
    story = CoreStory(policy=REQUESTS, web=2).serves()
    since = story.now
    story.passes(30.0)
    assert len(story.happens(busy(story, since))) == 1
    assert story.passes(0.9) == []
    assert story.happens(still(), after=0.1) == [], "judged by a look just before the kill, not by any"
    assert story.fleet.state.sample_at <= story.now + 0.05
    assert story.happens(still(), after=0.05) == [
        "spare 1: request timeout: GET /x has run 30 s (limit 30 s)",
        "serve 1",
    ]
    assert story.states() == ["0 g1 ready", "1 g1 ready"]
    assert story.rests


def test_the_loop_of_a_spared_worker_has_its_time_from_when_it_was_last_seen_with_its_request() -> None:
    """The request held the loop until then, so that the heartbeat is as old as that."""
    both = replace(POLICY, request_timeout_s=3.0, heartbeat_timeout_s=60.0)
    story = CoreStory(policy=both, web=1).serves()
    since = story.now
    held = change(busy(story, since, 3.0), heartbeat_at=since)
    story.passes(70.0)
    assert len(story.happens(held)) == 1, "dumped: its request has run for too long"
    seen_at = story.now
    ended = still(since)
    story.passes(1.0)
    assert len(story.happens(ended)) == 2, "spared, and serves"
    while story.now < seen_at + 59.0:
        assert story.happens(ended, after=0.5) == []
    story.happens(ended, after=1.0)
    assert story.happens(ended, after=1.0) == [
        "dump 1: its loop has not turned for 131 s (heartbeat_timeout_s 60 s)"
    ]


def test_the_next_request_of_a_spared_worker_is_judged_anew() -> None:
    story = CoreStory(policy=REQUESTS, web=1).serves()
    since = story.now
    story.passes(30.0)
    story.happens(busy(story, since))
    story.passes(1.0)
    next_since = story.now
    assert story.happens(busy(story, next_since)) == [
        "spare 1: request timeout: GET /x has run 30 s (limit 30 s)",
        "serve 1",
    ]
    story.passes(30.0)
    assert len(story.happens(busy(story, next_since))) == 1


def test_a_parked_worker_that_hangs_is_found_as_well() -> None:
    """A reload that is undone would have it serve again."""
    story = CoreStory(policy=replace(LOOPS, heartbeat_timeout_s=1.0), web=1).serves()
    story.reloads(web=1)
    story.boots(2)
    story.passes(2.0)
    assert story.states() == ["0 g1 parked", "0 g2 ready"]
    story.happens(still())
    (line,) = story.happens(still(), after=1.0)
    assert line.startswith("dump 1: its loop has not turned for ")


def test_a_worker_that_gave_a_request_up_is_replaced_before_it_drains_also_when_degraded() -> None:
    story = CoreStory(web=2).serves()
    story.fleet.state.pools["web"].differs_since = story.now
    assert story.happens(ev.Stuck(1, "GET /x", 30.0)) == ["spawn 3 web.0 g1"]
    assert "pid 1001 is replaced: it cannot end a request: GET /x is stuck, 30 s" in story.notes[-1]
    assert story.boots(3) == ["serve 3", "drain 1"]
    assert any("it runs what is on disk" in note for note in story.notes)


def test_when_all_are_stuck_they_are_replaced_one_after_the_other() -> None:
    story = CoreStory(web=3).serves()
    stuck = [ev.Stuck(worker, "GET /x", 30.0) for worker in (1, 2, 3)]
    assert story.happens(*stuck) == ["spawn 4 web.0 g1"]
    assert story.boots(4) == ["serve 4", "drain 1"]
    assert story.happens(ev.Exited(1, 0, 0.0)) == ["spawn 5 web.1 g1"]
