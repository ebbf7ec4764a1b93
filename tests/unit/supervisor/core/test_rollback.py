"""The generation before stays parked for ``keep_s``, and a rollback goes back to it."""

from __future__ import annotations

from msgspec.structs import replace

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.events import Observed, RollbackAsked, ScaleAsked, StopAsked
from gwctl.supervisor.core.reload import CONFIRM_S
from gwctl.supervisor.core.state import Phase
from tests.support.core_story import POLICY, CoreStory

KEEP_S = 300.0


def kept(size: int = 2, **sizes: int) -> CoreStory:
    """Generation 2 is in force, 1 is kept; its workers have the numbers after those of 1."""
    story = CoreStory(web=size, **sizes).serves()
    story.keep_s = KEEP_S
    adopt(story)
    return story


def adopt(story: CoreStory) -> list[str]:
    """A reload that goes well; returns what is done at the end of it."""
    lines = story.reloads()
    while not any(line.startswith("adopt") for line in lines):
        begun = [int(line.split()[1]) for line in lines if line.startswith("spawn")]
        lines = story.boots(*begun) + story.passes(2)
    return lines[next(n for n, line in enumerate(lines) if line.startswith("adopt")) :]


def test_the_clients_of_the_generation_before_are_released_and_it_is_kept() -> None:
    story = CoreStory(web=2).serves()
    story.keep_s = KEEP_S
    assert adopt(story) == ["adopt g2, keep g1", "answer 7 yes", "release_clients 1", "release_clients 2"]
    assert story.answers[-1].text.endswith("generation 1 is kept for 5 min: gwctl rollback goes to it")
    assert story.answers[-1].result["kept"] == 1
    assert story.passes(KEEP_S - 1) == []
    assert story.passes(1) == ["release g1", "drain 1", "drain 2"]
    assert "info: generation 1 is no longer kept: it was kept for 5 min" in story.notes


def test_a_rollback_switches_at_once_and_keeps_the_newer_one() -> None:
    story = kept()
    assert story.rolls_back() == ["release_clients 3", "release_clients 4"]
    assert story.fleet.state.phase is Phase.RELOADING
    assert story.obey(3, 4) == ["serve 1", "serve 2"]
    assert story.passes(1) == []
    story.obey(1, 2)
    assert story.passes(1.9) == []
    assert story.passes(0.1) == ["adopt g1, keep g2", "answer 8 yes"]
    assert story.answers[-1].text.startswith("rolled back to generation 1 in 3 s")
    assert story.fleet.state.generation == 1
    assert story.fleet.state.degraded == "disk differs from what runs (rolled back from generation 2)"


def rolled_back(size: int = 2) -> CoreStory:
    story = kept(size)
    story.rolls_back()
    story.obey(*range(size + 1, 2 * size + 1))
    story.obey(*range(1, size + 1))
    story.passes(2)
    assert story.fleet.state.generation == 1
    return story


def test_a_rollback_of_a_rollback_goes_forward() -> None:
    story = rolled_back()
    assert story.rolls_back() == ["release_clients 1", "release_clients 2"]
    assert story.obey(1, 2) == ["serve 3", "serve 4"]
    story.obey(3, 4)
    assert story.passes(2) == ["adopt g2, keep g1", "answer 8 yes"]
    assert story.fleet.state.degraded == ""
    assert story.dies(3) == ["spawn 5 web.0 g2"]


def test_the_next_reload_has_a_new_number_and_lets_the_newer_one_go() -> None:
    story = rolled_back()
    assert story.reloads() == ["spawn 5 web.0 g3"]
    story.boots(5)
    assert story.passes(2)[:4] == ["serve 5", "release g2", "drain 3", "drain 4"]
    assert story.fleet.state.degraded


def test_a_reload_that_fails_early_leaves_the_kept_one() -> None:
    """But what was changed on disk is none of its code either."""
    story = rolled_back()
    assert story.fleet.state.kept is not None
    assert story.fleet.state.kept.differs_since == {"web": None}
    story.reloads()
    story.fails_to_boot(5)
    assert story.fleet.state.kept.differs_since == {"web": story.now}


def test_with_nothing_kept_it_is_refused_and_says_why() -> None:
    story = CoreStory(web=1).serves()
    assert story.happens(RollbackAsked(9, "gwctl rollback")) == ["answer 9 no"]
    assert "Set master.keep_s" in story.answers[-1].text
    story = kept()
    story.passes(KEEP_S)
    assert story.happens(RollbackAsked(9, "gwctl rollback")) == ["answer 9 no"]
    assert "it was kept for 5 min" in story.answers[-1].text


def test_it_is_refused_while_a_reload_runs_or_the_fleet_stops() -> None:
    story = kept()
    story.reloads()
    story.happens(RollbackAsked(9, "gwctl rollback"))
    assert "a reload is under way" in story.answers[-1].text
    story.happens(StopAsked(0, "SIGTERM"))
    story.happens(RollbackAsked(9, "gwctl rollback"))
    assert "the fleet is stopping" in story.answers[-1].text


def test_what_the_new_one_does_not_serve_keeps_the_old_one_from_being_kept() -> None:
    """Clients of a removed address would wait for parked workers."""
    story = CoreStory(web=1).serves()
    story.keep_s, story.lost = KEEP_S, ("127.0.0.1:8001 of web",)
    assert adopt(story) == ["adopt g2", "answer 7 yes", "drain 1"]
    assert story.answers[-1].text.endswith("not kept for a rollback: only it serves 127.0.0.1:8001 of web")


def test_with_fewer_workers_than_wanted_it_goes_on_and_says_so() -> None:
    """Those that are missing stay missing: nothing can start their code."""
    story = kept(3)
    assert story.dies(2, -9) == []
    assert "2 of 3 are left to roll back to" in story.notes[-1]
    assert story.rolls_back() == ["release_clients 4", "release_clients 5", "release_clients 6"]
    assert story.obey(4, 5, 6) == ["serve 1", "serve 3"]
    story.obey(1, 3)
    assert story.passes(2) == ["adopt g1, keep g2", "answer 8 yes"]
    assert "2 of 3 in web: what is missing stays so until the next reload" in story.answers[-1].text
    assert story.dies(1) == []
    assert "Replaced at the next reload: disk differs from what runs" in story.notes[-1]
    assert story.happens(ScaleAsked(5, "web", size=4)) == ["answer 5 yes"]
    assert "No worker is started before the next reload" in story.answers[-1].text
    assert "disk differs" in story.answers[-1].result["held"], "a command must not wait for it"


def test_but_a_pool_that_nobody_serves_any_more_gets_a_worker() -> None:
    story = rolled_back()
    assert story.dies(1) == []
    assert story.dies(2) == ["spawn 5 web.0 g1"]
    story.boots(5)
    assert any("it runs what is on disk" in note for note in story.notes)


def test_the_kept_one_goes_when_a_pool_has_no_worker_of_it_left() -> None:
    story = kept(1, live=1)
    assert story.dies(2, -9) == ["release g1", "drain 1"]
    assert "no worker of web is left" in story.notes[-1]


def test_somebody_else_drains_a_kept_worker() -> None:
    story = kept()
    story.happens(ev.DrainStarted(1))
    assert "1 of 2 are left" in story.notes[-1]


def test_a_failed_rollback_has_the_newer_one_serve_again_and_keeps_what_is_left() -> None:
    story = kept()
    story.rolls_back()
    story.obey(3, 4)
    assert story.dies(1) == ["abandon g1", "answer 8 no", "serve 3", "serve 4", "release_clients 2"]
    assert "generation 1 was not gone back to: web: pid 1001 died" in story.answers[-1].text
    assert story.fleet.state.degraded == ""
    assert story.rolls_back() == ["release_clients 3", "release_clients 4"]


def test_a_worker_that_does_not_take_up_its_work_ends_the_rollback() -> None:
    story = kept()
    story.rolls_back()
    story.obey(3, 4)
    story.obey(1)
    assert story.passes(CONFIRM_S) == [
        "abandon g1",
        "answer 8 no",
        "serve 3",
        "serve 4",
        "release_clients 1",
        "release_clients 2",
    ]
    assert "slot 1 (pid 1002) has not said within 5 s that it serves" in story.answers[-1].text


def test_listeners_that_cannot_be_brought_back_end_it_before_it_begins() -> None:
    story = kept()
    story.happens(RollbackAsked(8, "gwctl rollback"))
    assert story.happens(ev.PrepareFailed(1, "cannot listen")) == ["answer 8 no"]
    assert story.fleet.state.kept is not None
    assert story.fleet.state.generation == 2


def test_a_pool_that_only_the_newer_one_has_goes_with_it() -> None:
    story = CoreStory(web=1).serves()
    story.keep_s = KEEP_S
    story.reloads(web=1, live=1)
    story.boots(2, 3)
    story.passes(4)
    fleet = story.fleet
    assert fleet.state.kept is not None
    story.happens(RollbackAsked(8, "gwctl rollback"))
    story.happens(ev.Prepared(1, fleet.state.kept.policies, keep_s=KEEP_S, lost=("pool live",)))
    story.obey(3)
    story.obey(1)
    assert story.passes(2) == ["adopt g1", "answer 8 yes", "drain 2 and sweep", "drain 3"]


def test_a_kept_worker_is_judged_by_its_request() -> None:
    story = CoreStory(web=1, policy=replace(POLICY, request_timeout_s=30.0)).serves()
    story.keep_s = 1000.0
    adopt(story)
    busy = Observed(
        1, 0.0, busy_since=story.now - 31, serving="GET /", request_limit_s=30.0, request_due_at=story.now - 1
    )
    assert story.happens(busy)[0] == "dump 1: request timeout: GET / has run 31 s (limit 30 s)"


def test_a_stop_drains_the_kept_ones_too() -> None:
    story = kept(1)
    assert story.happens(StopAsked(0, "SIGTERM")) == [
        "CloseListeners",
        "drain 1 and sweep",
        "drain 2 and sweep",
    ]


def test_time_in_which_the_master_did_not_run_is_added() -> None:
    story = kept(1)
    story.happens(after=3600)
    story.happens(after=1)
    assert story.fleet.state.kept is not None
