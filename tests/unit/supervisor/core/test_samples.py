"""Samples of the scoreboard: one every five seconds, earlier when something asks for it."""

from __future__ import annotations

import pytest

from gwctl.supervisor.core import events as ev
from tests.support.core_story import CoreStory


def test_the_first_sample_is_five_seconds_after_the_start_and_so_are_the_next() -> None:
    story = CoreStory(web=2).serves()
    story.passes(21.0)
    assert story.samples == [105.0, 110.0, 115.0, 120.0]


def test_a_sample_by_itself_is_all_that_wakes_an_idle_fleet() -> None:
    story = CoreStory(web=1).serves()
    assert story.rests
    assert story.passes(60.0) == []
    assert len(story.samples) == 12


def test_a_sample_can_be_had_earlier_and_the_next_is_five_seconds_after_that() -> None:
    story = CoreStory(web=1).serves()
    story.fleet.state.sample_by(102.0, story.fleet.turn)
    story.happens(ev.Observed(1, 0.0))  # any news has the shell ask again how long it may sleep
    story.passes(7.0)
    assert story.samples == [102.0, 107.0]


def test_a_later_sample_than_the_next_changes_nothing() -> None:
    story = CoreStory(web=1).serves()
    story.fleet.state.sample_by(109.0, story.fleet.turn)
    story.passes(5.0)
    assert story.samples == [105.0]


def test_a_sample_asked_for_in_the_past_is_had_a_moment_later() -> None:
    """Not at once: whoever asks when news is read would make the master spin."""
    story = CoreStory(web=1).serves()
    story.fleet.state.sample_by(50.0, story.fleet.turn)
    story.happens(ev.Observed(1, 0.0))
    story.passes(0.1)
    assert story.samples == [pytest.approx(100.55)]


def test_what_was_observed_is_kept_with_the_worker_and_is_no_reason_to_act() -> None:
    story = CoreStory(web=1).serves()
    observed = ev.Observed(1, 0.5, requests=7, memory_bytes=1 << 20, heartbeat_at=100.4, busy_since=100.3)
    assert story.happens(observed) == []
    assert story.fleet.state.pools["web"].workers[0].observed is observed


def test_what_was_observed_of_a_worker_that_is_reaped_is_late_news() -> None:
    story = CoreStory(web=1).serves()
    story.dies(1)
    assert story.happens(ev.Observed(1, 0.5)) == []


def test_a_master_that_was_away_gives_its_workers_a_moment_before_it_samples() -> None:
    story = CoreStory(web=1).serves()
    assert story.happens(after=60.0) == []
    assert story.samples == []
    story.passes(1.1)
    assert story.samples == [pytest.approx(161.5)]


def test_the_last_sample_is_before_the_end() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ev.StopAsked(0, "SIGTERM"))
    story.passes(5.0)
    assert story.samples == [pytest.approx(101.4)], "right before it is said what is waited for"
    story.dies(1, 0)
    assert story.fleet.next_deadline() is None
