"""A reload of some pools: only they have a new generation, and the others go on as if there were none."""

from __future__ import annotations

from msgspec.structs import replace

from gwctl.supervisor.core.events import (
    Prepared,
    PrepareFailed,
    RecycleAsked,
    ReloadAsked,
    RollbackAsked,
    UpgradeAsked,
    UpgradeChecked,
    Upgraded,
)
from gwctl.supervisor.core.kept import living
from gwctl.supervisor.core.snapshot import fleet_from, snapshot_of
from tests.support.core_story import POLICY, CoreStory

KEEP_S = 300.0


def serving(**more: float) -> CoreStory:
    """Pool chat has worker 1, pool web has 2 and 3."""
    story = CoreStory(chat=1, web=2).serves()
    story.keep_s = more.get("keep_s", 0.0)
    return story


def asks(story: CoreStory, *pools: str, request: int = 7) -> int:
    lines = story.happens(ReloadAsked(request, f"gwctl reload {' '.join(pools)}", pools))
    return int(lines[-1].removeprefix("prepare g"))


def adopts(story: CoreStory, *pools: str, lost: tuple[str, ...] = ()) -> list[str]:
    """A reload of these that goes well; returns all that is done for it."""
    number = asks(story, *pools)
    found = Prepared(number, story.policies, keep_s=story.keep_s, lost=lost, left=("pool x (1 setting)",))
    lines = story.happens(found)
    done = list(lines)
    while not any(line.startswith("adopt") for line in lines):
        begun = [int(line.split()[1]) for line in lines if line.startswith("spawn")]
        lines = story.boots(*begun) + story.passes(2)
        done += lines
    return done


def test_only_its_pools_change() -> None:
    story = serving()
    done = adopts(story, "web")
    assert [line for line in done if line.startswith("spawn")] == ["spawn 4 web.0 g2", "spawn 5 web.1 g2"]
    assert {"drain 2", "drain 3"} <= {*done}
    assert not any(line.endswith(" 1") for line in done)
    assert story.states("chat") == ["0 g1 ready"]
    assert story.fleet.state.generation == 2
    assert {name: pool.generation for name, pool in story.fleet.state.pools.items()} == {"web": 2, "chat": 1}


def test_the_answer_names_them_and_what_was_not_applied() -> None:
    story = serving()
    adopts(story, "web")
    (answer,) = story.answers
    first, last = answer.text.splitlines()
    assert first.startswith("adopted generation 2 of web in ")
    assert last == "not applied: pool x (1 setting): use gwctl reload"
    assert answer.result["pools"] == ["web"]
    assert answer.result["not_applied"] == ("pool x (1 setting)",)
    assert "info: reload of web (gwctl reload web): generation 1 -> 2" in story.notes
    assert not any(line.startswith("7: chat") for line in story.progress)


def test_the_others_are_served_as_if_there_were_none() -> None:
    """A worker of theirs that dies meanwhile is replaced at once, and one can be recycled."""
    story = serving()
    story.happens(Prepared(asks(story, "web"), story.policies))
    assert story.dies(1, after=1) == ["spawn 5 chat.0 g1"]
    story.boots(5)
    assert story.happens(RecycleAsked(9, "chat")) == ["answer 9 yes", "spawn 6 chat.0 g1"]
    assert story.happens(RecycleAsked(9, "web")) == ["answer 9 no"]


def test_the_next_worker_of_the_others_is_of_their_generation() -> None:
    story = serving()
    adopts(story, "web")
    assert story.dies(1) == ["spawn 6 chat.0 g1"]
    assert story.boots(6) == ["serve 6"]
    assert story.dies(4) == ["spawn 7 web.0 g2"]


def test_a_full_reload_brings_all_to_one_generation() -> None:
    story = serving()
    adopts(story, "web")
    assert adopts(story)[0] == "spawn 6 chat.0 g3"
    assert {pool.generation for pool in story.fleet.state.pools.values()} == {3}


def test_when_it_is_refused_only_its_pools_run_other_code_than_is_on_disk() -> None:
    story = serving()
    story.happens(Prepared(asks(story, "web"), story.policies))
    story.fails_to_boot(4)
    pools = story.fleet.state.pools
    assert pools["web"].degraded
    assert not pools["chat"].degraded


def test_a_refusal_is_forgotten_when_what_it_was_of_is_reloaded_and_not_before() -> None:
    story = serving()
    story.happens(Prepared(asks(story, "chat"), story.policies))
    story.fails_to_boot(4)
    adopts(story, "web")
    assert story.fleet.state.refused_at is not None
    assert story.fleet.state.degraded
    adopts(story, "chat")
    assert story.fleet.state.refused_at is None
    assert not story.fleet.state.degraded


def test_a_pool_that_is_not_known_is_no_sign_of_trouble() -> None:
    story = serving()
    number = asks(story, "wbe")
    story.happens(PrepareFailed(number, "no pool named 'wbe'; there is: web, chat", unknown=True))
    assert not story.answers[-1].ok
    assert story.fleet.state.refused_at is None
    assert not any(note.startswith("error") for note in story.notes)
    assert asks(story, "web") == number


def test_a_rollback_takes_only_those_back() -> None:
    story = serving(keep_s=KEEP_S)
    adopts(story, "web")
    kept = story.fleet.state.kept
    assert kept is not None
    assert living(story.fleet.state, kept) == {"web": 2}
    assert story.happens(RollbackAsked(8, "gwctl rollback")) == ["restore g1"]
    lines = story.happens(Prepared(1, story.policies, keep_s=KEEP_S))
    assert lines == ["release_clients 4", "release_clients 5"]
    assert story.obey(4, 5) == ["serve 2", "serve 3"]
    assert story.dies(1) == ["spawn 6 chat.0 g1"]
    story.boots(6)
    story.obey(2, 3)
    assert story.passes(2)[0] == "adopt g1, keep g2"
    assert story.fleet.state.degraded == "disk differs from what runs (rolled back from generation 2)"
    assert not story.fleet.state.pools["chat"].degraded
    assert story.dies(6, after=40) == ["spawn 7 chat.0 g1"]
    assert story.dies(2) == []  # its code is on no disk


def test_what_was_rolled_back_stays_so_while_others_are_reloaded() -> None:
    story = serving(keep_s=KEEP_S)
    adopts(story, "web")
    story.rolls_back()
    story.obey(4, 5)
    story.obey(2, 3)
    story.passes(2)
    adopts(story, "chat")
    assert story.fleet.state.degraded == "disk differs from what runs (rolled back from generation 2)"
    assert story.dies(2) == []
    kept = story.fleet.state.kept
    assert kept is not None
    assert living(story.fleet.state, kept) == {"chat": 1}


def test_a_rollback_across_pools_of_several_generations() -> None:
    """web has 2 and chat 3: to go back to generation 2 is to bring chat back to 1."""
    story = serving(keep_s=KEEP_S)
    adopts(story, "web")
    adopts(story, "chat")
    lines = story.happens(RollbackAsked(8, "gwctl rollback"))
    assert lines == ["restore g2"]
    assert story.happens(Prepared(2, story.policies, keep_s=KEEP_S)) == ["release_clients 6"]
    assert story.obey(6) == ["serve 1"]
    story.obey(1)
    story.passes(2)
    assert {name: pool.generation for name, pool in story.fleet.state.pools.items()} == {"web": 2, "chat": 1}
    assert story.fleet.state.generation == 2


def test_a_new_pool_can_be_named_to_come() -> None:
    story = serving()
    story.policies = {**story.policies, "jobs": POLICY}
    assert adopts(story, "jobs")[0] == "spawn 4 jobs.0 g2"
    assert story.fleet.state.pools["jobs"].generation == 2
    assert story.states("web") == ["0 g1 ready", "1 g1 ready"]


def test_a_pool_that_is_gone_can_be_named_to_go() -> None:
    story = serving()
    story.policies = {"web": story.policies["web"]}
    done = adopts(story, "chat", lost=("pool chat",))
    assert done[-1] == "drain 1 and sweep"
    assert "chat is no longer served" in story.answers[-1].text
    assert story.states("web") == ["0 g1 ready", "1 g1 ready"]


def test_a_new_pool_that_nobody_named_does_not_come() -> None:
    story = serving()
    story.policies = {**story.policies, "jobs": POLICY}
    adopts(story, "web")
    assert "jobs" not in story.fleet.state.pools


def test_reloads_that_wait_become_one_of_all_that_was_named() -> None:
    story = serving()
    asks(story)
    story.happens(
        ReloadAsked(8, "gwctl reload web", ("web",)), ReloadAsked(9, "gwctl reload chat", ("chat",))
    )
    assert story.fleet.state.queue.pools == ("web", "chat")
    story.happens(ReloadAsked(10, "SIGHUP"))
    assert story.fleet.state.queue.pools == ()
    story.happens(ReloadAsked(11, "gwctl reload web", ("web",)))
    assert story.fleet.state.queue.pools == ()


def test_the_reload_after_an_upgrade_is_of_all() -> None:
    story = serving()
    story.happens(UpgradeAsked(8, "gwctl upgrade"), UpgradeChecked("gwctl 2"))
    story.happens(ReloadAsked(9, "gwctl reload web", ("web",)))
    lines = story.happens(UpgradeChecked("gwctl 2"), Upgraded("gwctl 1", "gwctl 2", 0.3))
    assert lines[-1] == "prepare g2"
    assert story.fleet.state.reload is not None
    assert not story.fleet.state.reload.untouched


def test_generations_of_pools_go_over_an_upgrade() -> None:
    story = serving(keep_s=KEEP_S)
    adopts(story, "web")
    fleet = fleet_from(snapshot_of(story.fleet))
    assert {name: pool.generation for name, pool in fleet.state.pools.items()} == {"web": 2, "chat": 1}
    assert fleet.state.kept is not None
    assert living(fleet.state, fleet.state.kept) == {"web": 2}


def test_a_master_that_reloaded_all_or_none_hands_over_one_generation_for_all() -> None:
    story = serving()
    adopts(story)
    snapshot = snapshot_of(story.fleet)
    for pool in snapshot["pools"]:
        del pool["generation"], pool["rolled_back"]
    snapshot["fleet"]["rolled_back"] = 5
    fleet = fleet_from(snapshot)
    assert {(pool.generation, pool.rolled_back) for pool in fleet.state.pools.values()} == {(2, 5)}


def test_a_size_set_by_hand_stays_in_pools_that_are_not_reloaded() -> None:
    story = serving()
    story.policies = {"web": story.policies["web"], "chat": replace(POLICY, size=4)}
    adopts(story, "web")
    assert story.fleet.state.pools["chat"].size == 1
