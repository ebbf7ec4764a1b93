"""The core's part of an upgrade: when it begins, what ends it, who is told, and what follows."""

from __future__ import annotations

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.state import Phase
from tests.support.core_story import CoreStory

ASKED = ev.UpgradeAsked(9, "gwctl upgrade")
CHECKED = ev.UpgradeChecked("gwctl 0.2.0, Python 3.13.1")
UPGRADED = ev.Upgraded("gwctl 0.1.0", "gwctl 0.2.0", 0.4)


def test_it_is_checked_then_executed_then_a_reload_follows() -> None:
    story = CoreStory(web=1).serves()
    assert story.happens(ASKED) == ["CheckUpgrade"]
    assert story.fleet.state.phase is Phase.UPGRADING
    assert story.happens(CHECKED) == ["ExecuteUpgrade"]
    assert story.fleet.state.executing
    assert story.happens(UPGRADED) == ["prepare g2"]
    assert story.fleet.state.phase is Phase.RELOADING
    assert story.progress == [
        "9: check",
        "9: check ok gwctl 0.2.0, Python 3.13.1",
        "9: execute",
        "9: execute ok 0.40 s, 1 worker kept",
        "9: validate g1 -> g2",
    ]
    story.happens(ev.Prepared(2, story.policies))
    story.boots(2)
    story.passes(10)
    assert [(answer.request, answer.ok) for answer in story.answers] == [(9, True)]
    assert story.answers[0].text.startswith("upgraded from gwctl 0.1.0 to gwctl 0.2.0\nadopted generation 2")


def test_a_reload_that_fails_after_it_says_that_the_master_is_new() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ASKED)
    story.happens(CHECKED)
    story.happens(UPGRADED)
    assert story.happens(ev.PrepareFailed(2, "gw.toml:7: no such setting")) == ["answer 9 no"]
    assert story.answers[0].text.startswith(
        "upgraded from gwctl 0.1.0 to gwctl 0.2.0\n\ngeneration 2 was not"
    )


def test_it_waits_for_a_reload_and_goes_before_the_next_one() -> None:
    story = CoreStory(web=1).serves()
    story.reloads(request=1)
    assert story.happens(ASKED, ev.ReloadAsked(2, "SIGHUP")) == []
    assert "info: upgrade (gwctl upgrade) waits for the reload under way" in story.notes
    story.boots(2)
    assert "CheckUpgrade" in story.passes(10)
    assert story.happens(CHECKED) == ["ExecuteUpgrade"]
    assert story.happens(UPGRADED) == ["prepare g3"]
    story.happens(ev.Prepared(3, story.policies))
    story.boots(3)
    story.passes(10)
    assert [answer.request for answer in story.answers] == [1, 2, 9], "one reload does for both"


def test_a_reload_asked_for_meanwhile_follows_also_when_the_check_fails() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ASKED)
    assert story.happens(ev.ReloadAsked(5, "gwctl reload")) == []
    assert story.happens(ev.UpgradeFailed("SyntaxError")) == ["answer 9 no", "prepare g2"]
    assert any(note.startswith("error: not upgraded: SyntaxError") for note in story.notes)


def test_a_check_that_hangs_is_given_up() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ASKED)
    assert story.passes(29) == []
    assert story.passes(1) == ["AbandonUpgrade", "answer 9 no"]
    assert story.happens(CHECKED) == [], "late news of it"


def test_a_stop_wins_at_each_stage() -> None:
    stages: tuple[tuple[list[ev.Event], list[str]], ...] = (
        ([ASKED], ["AbandonUpgrade", "answer 9 no"]),
        ([ASKED, CHECKED], ["answer 9 no"]),
    )
    for news, ends in stages:
        story = CoreStory(web=1).serves()
        for each in news:
            story.happens(each)
        lines = story.happens(ev.StopAsked(0, "SIGTERM"))
        assert lines[: len(ends)] == ends
        assert not story.fleet.state.executing
        assert story.happens(ev.UpgradeAsked(10, "gwctl upgrade")) == ["answer 10 no"]


def test_who_asks_again_gets_the_same_answer() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ASKED)
    assert story.happens(ev.UpgradeAsked(10, "gwctl upgrade"), ev.UpgradeAsked(0, "SIGUSR2")) == []
    assert story.happens(ev.UpgradeFailed("no")) == ["answer 9 no", "answer 10 no"]


def test_a_crash_meanwhile_is_answered() -> None:
    story = CoreStory(web=2).serves()
    story.happens(ASKED)
    assert story.dies(1) == ["spawn 3 web.0 g1"]


def test_the_reload_after_one_goes_before_the_next_upgrade() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ASKED)
    story.happens(CHECKED)
    assert story.happens(UPGRADED, ev.UpgradeAsked(10, "gwctl upgrade")) == ["prepare g2"]
    assert story.happens(ev.PrepareFailed(2, "gw.toml:7")) == ["answer 9 no", "CheckUpgrade"]
