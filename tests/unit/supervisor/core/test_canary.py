"""The first worker of a generation: it must become ready, live alone for a while, serve, and live on."""

from __future__ import annotations

import pytest

from gwctl.supervisor.core import events as ev
from tests.support.core_story import CoreStory


@pytest.mark.parametrize("how", ["failed", "died", "spawn", "hung"])
def test_a_canary_that_fails(how: str) -> None:
    """Nothing happened to the old workers; whoever asked learns why."""
    story = CoreStory(web=2).serves()
    story.reloads()
    if how == "failed":
        assert story.fails_to_boot(3) == ["abandon g2", "answer 7 no"]
        assert story.dies(3, 4) == []
        assert story.answers[0].text == (
            "generation 2 was not adopted: web: cannot import shop\n\nFile shop.py, line 1\n\n"
            "generation 1 serves as before (web 2/2 ready). "
            "The files on disk are newer than what runs: mend them and reload."
        )
        assert story.progress[-1] == "7: web boot FAILED cannot import shop"
    elif how == "died":
        assert story.dies(3) == ["abandon g2", "answer 7 no"]
    elif how == "spawn":
        assert story.happens(ev.SpawnFailed(3, "out of memory", 0.0)) == ["abandon g2", "answer 7 no"]
    else:
        story.happens(ev.Spawned(3, 13))
        reason = "was not ready within 60 s"
        assert story.passes(60) == [f"dump 3: {reason}", "abandon g2", "answer 7 no"]
        assert "\n\nWhere it stood follows in the log: see the record of pid 13\n" in story.answers[0].text
        assert story.passes(1) == [f"kill 3: {reason}"]
        assert story.dies(3, -9) == []
    assert story.fleet.state.degraded == "disk differs from what runs"
    assert story.states() == ["0 g1 ready", "1 g1 ready"]
    assert story.rests


def test_a_canary_that_dies_while_it_settles() -> None:
    story = CoreStory(web=2).serves()
    story.reloads()
    story.boots(3)
    assert story.dies(3, after=1.5) == ["abandon g2", "answer 7 no"]
    assert story.progress[-1].startswith("7: web settle FAILED pid 1003 died: signal 11")


def test_no_pool_is_rolled_before_all_canaries_have_passed() -> None:
    story = CoreStory(live=2, web=2).serves()
    assert story.reloads() == ["spawn 5 live.0 g2", "spawn 6 web.0 g2"]
    story.boots(5)
    assert story.passes(10) == ["serve 5"]
    story.boots(6)
    assert story.passes(1.9) == ["serve 6"]
    assert story.passes(0.1) == ["park 1", "spawn 7 live.1 g2", "park 3", "spawn 8 web.1 g2"]


def test_a_canary_that_fails_in_one_pool_spares_the_others() -> None:
    story = CoreStory(live=1, web=1).serves()
    story.reloads()
    story.boots(3)
    story.happens(ev.Spawned(4, 14))
    assert story.fails_to_boot(4) == ["abandon g2", "answer 7 no", "drain 3"]


def test_time_in_which_the_master_did_not_run_does_not_settle_a_canary() -> None:
    story = CoreStory(web=2).serves()
    story.reloads()
    story.boots(3)
    assert story.passes(0.5) == ["serve 3"]
    assert story.happens(after=3600) == []
    assert story.happens(after=0.5) == []
    assert story.happens(after=0.5) == ["park 1", "spawn 4 web.1 g2"]


def test_nor_does_it_open_one() -> None:
    story = CoreStory(web=2).serves()
    story.reloads()
    story.boots(3)
    assert story.happens(after=3600) == []
    assert story.passes(0.9) == []
    assert story.passes(0.1) == ["serve 3"]


def test_a_canary_that_dies_before_it_serves_has_had_no_client() -> None:
    story = CoreStory(web=2).serves()
    story.reloads()
    assert story.boots(3) == []
    assert story.dies(3, after=0.4) == ["abandon g2", "answer 7 no"]


def test_a_canary_serves_at_once_when_nobody_else_does() -> None:
    story = CoreStory(web=1).serves()
    story.reloads()
    story.boots(2)
    assert story.dies(1) == ["serve 2"]
