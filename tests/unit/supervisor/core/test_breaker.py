"""The breaker: a slot that keeps dying is tried slowly, and its siblings know nothing of it."""

from __future__ import annotations

from msgspec.structs import replace

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.policy import PoolPolicy, RecyclePolicy
from tests.support.core_story import CoreStory

POLICY = PoolPolicy(size=1, breaker_failures=3, breaker_retry_s=60.0)


def dies_three_times(story: CoreStory) -> None:
    """Slot 1 of two: its worker, then the next two."""
    story.dies(2)
    story.fails_to_boot(3)
    story.dies(3, 1)
    story.passes(0.5)
    story.fails_to_boot(4)
    story.dies(4, 1)


def test_a_slot_that_keeps_dying_is_tried_once_a_minute_and_told_of_once() -> None:
    story = CoreStory(policy=POLICY, web=2).serves()
    dies_three_times(story)
    assert story.notes[-1] == (
        "error: slot 1 keeps dying (3 times in 0.50 s): trying every 60 s now; 1/2 workers serve"
    )
    assert story.passes(59.0) == []
    assert story.passes(1.0) == ["spawn 5 web.1 g1"]
    story.fails_to_boot(5)
    story.dies(5, 1)
    assert "keeps dying" not in story.notes[-1]
    assert "next try in 60 s" in story.notes[-1]
    assert story.states() == ["0 g1 ready"]


def test_it_closes_and_says_so_when_a_worker_has_proved_itself() -> None:
    story = CoreStory(policy=POLICY, web=2).serves()
    dies_three_times(story)
    story.passes(60.0)
    story.boots(5)
    story.passes(29.0)
    assert "has recovered" not in story.notes[-1]
    story.passes(1.0)
    assert story.notes[-1] == "info: slot 1 has recovered (ready for 30 s); 2/2 workers serve"
    assert story.rests
    assert story.dies(5) == ["spawn 6 web.1 g1"], "with a clear record"


def test_without_a_sibling_that_serves_backoff_alone_decides() -> None:
    story = CoreStory(policy=POLICY, web=1).serves()
    for worker in range(1, 6):
        story.passes(60.0 if worker > 1 else 0.0)
        story.dies(worker)
    assert not any("keeps dying" in note for note in story.notes)


def test_a_fork_that_fails_never_keeps_dying() -> None:
    story = CoreStory(policy=POLICY, web=2).serves()
    story.dies(2)
    for worker in range(3, 8):
        story.cannot_fork(worker)
        story.passes(60.0)
    assert not any("keeps dying" in note for note in story.notes)


def test_a_successor_that_keeps_dying_does_not_clear_the_record_by_the_one_that_lives() -> None:
    """The worker to be replaced is healthy; it is its successors that die."""
    story = CoreStory(policy=POLICY, web=1).serves()
    (worker,) = story.fleet.state.pools["web"].workers
    story.passes(40.0)
    worker.replace_reason = "is old"
    assert story.happens_to_pool("web") == ["spawn 2 web.0 g1"]
    for successor in (2, 3, 4):
        story.fails_to_boot(successor)
        story.dies(successor, 1)
        story.passes(1.0)
    assert [note for note in story.notes if "has recovered" in note] == []
    assert "keeps dying" in story.notes[-1]


def test_the_traceback_of_each_failure_is_told_once() -> None:
    """A worker that was killed, then code that cannot be imported, then other code that cannot."""
    story = CoreStory(policy=PoolPolicy(size=1, breaker_failures=0), web=2).serves()
    story.dies(1, -9)
    told = []
    for worker, line in ((3, 1), (4, 1), (5, 7), (6, 7), (7, 1)):
        story.passes(10.0)
        failed = ev.BootFailed(worker, "import", "cannot import shop", f'  File "shop.py", line {line}\n')
        story.happens(ev.Spawned(worker, 1000 + worker), failed)
        story.dies(worker, 1)
        told.append('File "shop.py"' in "".join(story.notes[-2:]))
        story.notes.clear()
    assert told == [True, False, True, False, True]


def is_to_be_replaced(story: CoreStory, number: int, after_s: float) -> None:
    story.passes(after_s)
    story.fleet.state.pools["web"].members[number].replace_reason = "is stuck"
    story.fleet.state.pools["web"].members[number].stuck = True
    assert story.happens_to_pool("web") == ["spawn 3 web.0 g1"]


def successors_die(story: CoreStory) -> None:
    for successor in (3, 4, 5):
        story.fails_to_boot(successor)
        story.dies(successor, 1)
        story.passes(1.0)


def test_a_slot_that_is_given_away_waits_as_long_as_it_would_have_anyway() -> None:
    """Its worker is killed and does not end, after successors beside it died and the breaker opened."""
    policy = replace(POLICY, recycle=RecyclePolicy(memory_hard_bytes=100))
    story = CoreStory(policy=policy, web=2).serves()
    is_to_be_replaced(story, 1, after_s=40.0)
    successors_die(story)
    opened_at = story.fleet.state.pools["web"].slot(0).next_try_at - 60.0
    assert "keeps dying" in story.notes[-1]
    assert any(line.startswith("kill 1") for line in story.happens(ev.Observed(1, 0.0, 5, memory_bytes=101)))
    story.passes(11.0)
    assert "hangs in the kernel" in story.notes[-1]
    assert story.passes(opened_at + 59.9 - story.now) == []
    assert story.passes(0.2) == ["spawn 6 web.0 g1"]


def test_a_worker_that_is_replaced_when_young_does_not_clear_the_record() -> None:
    """As one may that is stuck: it has proved nothing."""
    for after_s, failures in ((1.0, 2), (40.0, 1)):
        story = CoreStory(policy=POLICY, web=2)
        story.begins()
        story.boots(2)
        story.fails_to_boot(1)
        story.dies(1, 1)
        story.boots(3)
        story.passes(after_s)
        worker = story.fleet.state.pools["web"].members[3]
        worker.replace_reason, worker.stuck = "is stuck", True
        assert story.happens_to_pool("web") == ["spawn 4 web.0 g1"]
        story.fails_to_boot(4)
        story.dies(4, 1)
        assert story.fleet.state.pools["web"].slot(0).failures == failures
