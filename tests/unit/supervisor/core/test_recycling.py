"""Workers replaced although they work: when, in which order, how many, and what holds it up."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gwctl import wording
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.policy import RecyclePolicy
from tests.support.core_story import POLICY, CoreStory

MIB = 1 << 20


def a_story(*, surge: int = 1, web: int = 2, **recycle: float) -> CoreStory:
    """All workers have served for a minute."""
    policy = replace(POLICY, surge=surge, recycle=RecyclePolicy(**recycle))  # type: ignore[arg-type]
    story = CoreStory(policy=policy, web=web).serves()
    story.passes(59.7)
    return story


def seen(
    worker: int, requests: int = 0, *, mib: int = 50, jitter: float = 0.0, serving: str = ""
) -> ev.Observed:
    busy_since = 150.0 if serving else 0.0
    return ev.Observed(
        worker, jitter, requests, memory_bytes=mib * MIB, busy_since=busy_since, serving=serving, active=0
    )


# ---- when


def test_a_worker_that_has_served_enough_is_replaced_and_serves_until_its_successor_does() -> None:
    story = a_story(requests_max=1000)
    assert story.happens(seen(1, 1000), seen(2, 999)) == ["spawn 3 web.0 g1"]
    assert story.notes[-1] == (
        "info: pid 1001 is recycled: it has served 1,000 requests (limit 1,000); 1,000 requests in 59.7 s, 50 MiB"
    )
    assert story.boots(3) == ["serve 3", "drain 1"]
    assert story.dies(1, 0) == []
    assert story.states() == ["0 g1 ready", "1 g1 ready"]
    assert story.rests
    assert not any(note.startswith(("error", "warning")) for note in story.notes)


def test_jitter_is_taken_off_by_the_first_luck_that_a_worker_had() -> None:
    story = a_story(requests_max=1000, jitter_percent=50)
    assert story.happens(seen(1, 1, jitter=0.5)) == []
    assert story.happens(seen(1, 749, jitter=0.9)) == []
    assert story.happens(seen(1, 750, jitter=0.0)) == ["spawn 3 web.0 g1"]


def test_age() -> None:
    story = a_story(age_max_s=100.0, jitter_percent=0)
    assert story.happens(seen(1)) == []
    assert story.happens(seen(1), after=40.3) == ["spawn 3 web.0 g1"]
    assert "it has served for 100 s (limit 100 s); 0 requests in 100 s, 50 MiB" in story.notes[-1]


def test_soft_limit_of_memory() -> None:
    story = a_story(memory_soft_bytes=200 * MIB)
    assert story.happens(seen(1, mib=200)) == []
    assert story.happens(seen(1, 7, mib=201)) == ["spawn 3 web.0 g1"]
    assert "it holds 201 MiB (limit 200 MiB); 7 requests in 59.7 s, 201 MiB" in story.notes[-1]


def test_without_limits_nobody_is_replaced() -> None:
    assert a_story().happens(seen(1, 10**9, mib=10**6), after=10**6) == []


@pytest.mark.parametrize("limits", [{"requests_max": 1}, {"age_max_s": 0.1}, {"memory_soft_bytes": 1}])
def test_a_limit_that_is_too_low_does_not_make_the_fleet_busy_with_itself(limits: dict[str, float]) -> None:
    """Nobody is replaced before it has lived ``healthy_after_s``."""
    story = CoreStory(policy=replace(POLICY, recycle=RecyclePolicy(**limits)), web=1).serves()  # type: ignore[arg-type]
    assert story.happens(seen(1, 1000), after=29.9) == []
    assert story.happens(seen(1, 1000), after=0.2) == ["spawn 2 web.0 g1"]


# ---- how many


def test_one_at_a_time_until_the_last_of_the_process_before() -> None:
    story = a_story(requests_max=10, web=3)
    assert story.happens(seen(1, 10), seen(2, 10), seen(3, 10)) == ["spawn 4 web.0 g1"]
    assert story.boots(4) == ["serve 4", "drain 1"]
    assert story.happens(ev.DrainStarted(1)) == []
    assert story.dies(1, 0) == ["spawn 5 web.1 g1"]


def test_as_many_as_set() -> None:
    story = a_story(requests_max=10, web=4, at_once=2)
    assert story.happens(*(seen(worker, 10) for worker in (1, 2, 3, 4))) == [
        "spawn 5 web.0 g1",
        "spawn 6 web.1 g1",
    ]
    assert story.boots(6) == ["serve 6", "drain 2"]
    assert story.dies(2, 0) == ["spawn 7 web.2 g1"]


def test_never_all_at_once() -> None:
    story = a_story(requests_max=10, web=3, at_once=8)
    assert len(story.happens(*(seen(worker, 10) for worker in (1, 2, 3)))) == 2


def test_a_successor_that_alone_serves_is_not_let_go_for_a_reload() -> None:
    """Its predecessor is on its way to the end, and there is no room yet for a canary."""
    story = a_story(requests_max=10, web=1)
    assert story.happens(seen(1, 10)) == ["spawn 2 web.0 g1"]
    assert story.happens(ev.ChannelClosed(1)) == []
    assert story.boots(2) == ["serve 2"]
    assert story.reloads(web=1) == []
    assert story.dies(1) == ["spawn 3 web.0 g2"], "the successor has its place now"
    assert story.states() == ["0 g1 ready", "0 g2 requested"]


def test_nobody_is_let_go_for_a_successor_while_too_many_drain() -> None:
    """Only when one of them has ended is there room."""
    story = a_story(requests_max=10, web=6)
    assert story.happens(seen(1, 10)) == ["spawn 7 web.0 g1"]
    drained = story.happens(ev.ScaleAsked(0, "web", size=2))
    assert drained == [f"drain {worker}" for worker in (6, 5, 4, 3)]
    assert story.boots(7) == ["serve 7"]
    assert story.dies(6, 0) == ["drain 1"]


def test_a_pool_of_one_has_its_successor_too() -> None:
    story = a_story(requests_max=10, web=1)
    assert story.happens(seen(1, 10)) == ["spawn 2 web.0 g1"]
    assert story.boots(2) == ["serve 2", "drain 1"]


# ---- what goes wrong


def test_a_successor_that_cannot_boot_leaves_the_worker_serving_and_is_tried_again() -> None:
    story = a_story(requests_max=10, web=1)
    story.happens(seen(1, 10))
    assert story.fails_to_boot(2) == []
    assert story.dies(2, 1) == ["spawn 3 web.0 g1"]
    assert story.dies(3, 1) == []
    assert story.fleet.state.pools["web"].ready == 1
    assert story.passes(0.6) == ["spawn 4 web.0 g1"]
    assert sum("is recycled" in note for note in story.notes) == 1
    assert story.boots(4) == ["serve 4", "drain 1"]


def test_failures_before_a_worker_was_healthy_are_not_its_successors() -> None:
    policy = replace(POLICY, recycle=RecyclePolicy(requests_max=10))
    story = CoreStory(policy=policy, web=1).serves()
    story.dies(1)
    story.boots(2)
    story.happens(seen(2, 10), after=31.0)
    assert story.dies(3, 1) == ["spawn 4 web.0 g1"]  # the first in a row


def test_a_fork_that_fails_is_tried_again_later() -> None:
    story = a_story(requests_max=10, web=1)
    story.happens(seen(1, 10))
    assert story.happens(ev.SpawnFailed(2, "out of memory", 0.0)) == []
    assert story.passes(0.6) == ["spawn 3 web.0 g1"]


def test_when_the_worker_dies_first_its_successor_has_the_place() -> None:
    story = a_story(requests_max=10, web=1)
    story.happens(seen(1, 10))
    assert story.dies(1) == []
    assert story.boots(2) == ["serve 2"]
    assert story.states() == ["0 g1 ready"]


def test_when_the_worker_leaves_by_itself_its_successor_has_the_place() -> None:
    story = a_story(requests_max=10, web=1)
    story.happens(seen(1, 10))
    assert story.happens(ev.DrainStarted(1)) == []
    assert story.boots(2) == ["serve 2"]


def test_when_the_worker_is_out_of_reach_its_successor_serves_beside_it() -> None:
    story = a_story(requests_max=10, web=1)
    story.happens(seen(1, 10))
    assert story.happens(ev.ChannelClosed(1)) == []
    assert story.boots(2) == ["serve 2"]
    assert story.dies(1) == []
    assert story.states() == ["0 g1 ready"]


# ---- what holds it up


def test_a_reload_lets_the_successor_go_and_begins_none() -> None:
    story = a_story(requests_max=10, web=1)
    story.happens(seen(1, 10))
    story.happens(ev.Spawned(2, 1002))
    assert story.happens(ev.ReloadAsked(7, "gwctl reload")) == ["prepare g2", "quit 2"]
    assert story.dies(2, 0) == []


def test_a_reload_that_is_refused_for_its_settings_only_puts_it_off() -> None:
    story = a_story(requests_max=10, web=1)
    story.happens(seen(1, 10))
    story.happens(ev.Spawned(2, 1002))
    story.happens(ev.ReloadAsked(0, "SIGHUP"))
    assert story.happens(ev.PrepareFailed(2, "gw.toml:7: no such setting")) == ["spawn 3 web.0 g1"]
    assert sum("is recycled" in note for note in story.notes) == 1


def test_while_degraded_nobody_is_replaced_and_it_is_said_once() -> None:
    story = a_story(requests_max=10, web=1)
    story.reloads()
    story.fails_to_boot(2)
    story.dies(2, 1)
    assert story.fleet.state.degraded
    assert story.happens(seen(1, 10)) == []
    assert story.happens(seen(1, 11), after=5.0) == []
    due = [note for note in story.notes if "is due to be recycled" in note]
    text = "warning: pid 1001 is due to be recycled, as it has served 10 requests (limit 10); 10 requests in "
    assert due == [
        f"{text}59.7 s, 50 MiB. It is kept until the next good reload: disk differs from what runs"
    ]


def test_a_smaller_size_has_no_use_for_the_successor() -> None:
    story = a_story(requests_max=10)
    story.happens(seen(2, 10))
    assert story.happens(ev.Spawned(3, 1003)) == []
    assert story.happens(ev.ScaleAsked(0, "web", size=1)) == ["quit 3", "drain 2"]


def test_a_stop_ends_both() -> None:
    story = a_story(requests_max=10, web=1)
    story.happens(seen(1, 10), ev.Observed(1, 0.0))
    story.happens(ev.Spawned(2, 1002))
    assert sorted(story.happens(ev.StopAsked(0, "SIGTERM"))) == [
        "CloseListeners",
        "drain 1 and sweep",
        "quit 2",
    ]


# ---- the hard limit


def test_beyond_the_hard_limit_a_worker_is_killed_and_replaced() -> None:
    story = a_story(memory_hard_bytes=1 << 30)
    text = "it holds 1.5 GiB of memory, and memory_hard_bytes is 1 GiB"
    numbers = "12 requests in 59.7 s, 1.5 GiB, serving GET /report"
    assert story.happens(seen(1, 12, mib=1536, serving="GET /report")) == [f"kill 1: {text}; {numbers}"]
    assert story.dies(1, -9) == ["spawn 3 web.0 g1"]
    assert story.notes[-1] == "debug: pid 1001 is gone. Replaced at once"


def test_the_hard_limit_knows_no_last_worker_and_no_youth() -> None:
    story = CoreStory(policy=replace(POLICY, recycle=RecyclePolicy(memory_hard_bytes=MIB)), web=1).serves()
    assert story.happens(seen(1, mib=2), after=0.1)[0].startswith("kill 1: ")


def test_a_draining_worker_is_killed_too() -> None:
    story = a_story(memory_hard_bytes=MIB)
    story.happens(ev.ScaleAsked(0, "web", size=1))
    assert story.happens(seen(2, mib=2))[0].startswith("kill 2: ")
    assert story.dies(2, -9) == []


def test_it_is_killed_once() -> None:
    story = a_story(memory_hard_bytes=MIB)
    story.happens(seen(1, mib=2))
    assert story.happens(seen(1, mib=3)) == []


def test_who_is_reaped_in_the_same_step_is_not_killed() -> None:
    story = a_story(memory_hard_bytes=MIB)
    assert story.happens(seen(1, mib=2), ev.Exited(1, -11, 0.0)) == ["spawn 3 web.0 g1"]


def test_a_boot_that_takes_too_much_ends_the_first_start() -> None:
    story = CoreStory(policy=replace(POLICY, recycle=RecyclePolicy(memory_hard_bytes=MIB)), web=1)
    story.begins()
    story.happens(ev.Spawned(1, 1001))
    assert story.happens(seen(1, mib=2))[0].startswith("kill 1: ")
    assert story.dies(1, -9) == ["finish 3"]


def test_a_candidate_that_takes_too_much_ends_the_reload() -> None:
    story = a_story(memory_hard_bytes=MIB, web=1)
    story.reloads(web=1)
    story.fleet.state.reload.policies = story.policies  # type: ignore[union-attr]
    worker = next(w for w in story.fleet.state.pools["web"].workers if w.generation == 2)
    worker.policy = story.policies["web"]
    story.boots(worker.id)
    assert "answer 7 no" in story.happens(seen(worker.id, mib=2))
    assert story.fleet.state.generation == 1


def test_near_the_hard_limit_it_is_looked_at_every_second() -> None:
    story = a_story(memory_hard_bytes=100 * MIB)
    samples = len(story.samples)
    story.happens(seen(1, mib=80))
    story.passes(1.5)
    assert len(story.samples) <= samples + 1
    story.passes(10.0)
    samples = len(story.samples)
    for _ in range(4):
        story.happens(seen(1, mib=81))
        story.passes(1.0)
    assert len(story.samples) == samples + 4


# ---- words


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25 s"), (90, "90 s"), (119, "119 s"), (180, "3 min"), (7200, "2 h"), (95_400, "26.5 h")],
)
def test_spans(value: float, text: str) -> None:
    assert wording.span(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 MiB"), (210 * MIB, "210 MiB"), (3 << 29, "1.5 GiB")])
def test_sizes(value: int, text: str) -> None:
    assert wording.size(value) == text


# ---- because somebody says so


def asked(story: CoreStory, pool: str = "web", slot: int | None = None, request: int = 7) -> list[str]:
    return story.happens(ev.RecycleAsked(request, pool, slot))


def answer_of(story: CoreStory) -> str:
    (answer,) = [each for each in story.answers if each.request == 7]
    return f"{'ok' if answer.ok else 'no'}: {answer.text}"


def test_all_workers_of_a_pool_one_after_the_other_whatever_their_age() -> None:
    story = CoreStory(policy=POLICY, web=2).serves()
    actions = asked(story)
    assert answer_of(story) == "ok: web: 2 workers are replaced, each when its successor serves"
    assert [each for each in actions if each.startswith("spawn")] == ["spawn 3 web.0 g1"]
    assert story.notes[-1] == "info: pid 1001 is recycled: it was named by gwctl recycle"
    assert story.boots(3) == ["serve 3", "drain 1"]
    assert story.dies(1, 0) == ["spawn 4 web.1 g1"]
    assert story.boots(4) == ["serve 4", "drain 2"]
    assert story.dies(2, 0) == []
    assert story.states() == ["0 g1 ready", "1 g1 ready"]
    assert story.rests


def test_one_worker() -> None:
    story = CoreStory(policy=POLICY, web=2).serves()
    actions = asked(story, slot=1)
    assert answer_of(story) == "ok: web: 1 worker is replaced, each when its successor serves"
    assert [each for each in actions if each.startswith("spawn")] == ["spawn 3 web.1 g1"]
    assert [*story.boots(3), *story.dies(2, 0)] == ["serve 3", "drain 2"]
    assert story.rests


def test_a_successor_that_cannot_boot_costs_nobody() -> None:
    story = CoreStory(policy=POLICY, web=1).serves()
    asked(story)
    actions = [*story.dies(2, 1), *story.passes(60.0)]
    assert "spawn 3 web.0 g1" in actions, "another try follows"
    assert not any(each.startswith(("drain", "kill")) for each in actions)
    assert story.states()[0] == "0 g1 ready"
    assert story.boots(3) == ["serve 3", "drain 1"]


@pytest.mark.parametrize(
    ("pool", "slot", "text"),
    [
        ("shop", None, "no pool named 'shop'; there is: web"),
        ("web", 5, "no worker serves in web.5"),
    ],
)
def test_nobody_of_that_name(pool: str, slot: int | None, text: str) -> None:
    story = CoreStory(policy=POLICY, web=1).serves()
    asked(story, pool, slot)
    assert answer_of(story) == f"no: {text}"
    assert story.rests


def test_not_during_a_reload() -> None:
    story = CoreStory(policy=POLICY, web=1).serves()
    story.happens(ev.ReloadAsked(0, "SIGHUP"))
    asked(story)
    assert answer_of(story) == "no: a reload is under way: it replaces all workers"


def test_not_while_stopping() -> None:
    story = CoreStory(policy=POLICY, web=1).serves()
    story.happens(ev.StopAsked(0, "SIGTERM"))
    asked(story)
    assert answer_of(story) == "no: the fleet is stopping"
