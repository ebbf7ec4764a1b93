"""First start, crashes, backoff: told as short stories."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gwctl.records.sentences import sentence
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.state import Phase
from tests.support.core_story import POLICY, CoreStory

# ---- first start


def test_all_pools_start_and_it_is_said_once_when_they_serve() -> None:
    story = CoreStory(web=2, live=1)
    assert story.begins() == ["spawn 1 live.0 g1", "spawn 2 web.0 g1", "spawn 3 web.1 g1"]
    assert story.fleet.state.phase is Phase.STARTING
    assert story.boots(1, 2, after=0.4) == ["serve 1", "serve 2"]
    assert story.fleet.state.phase is Phase.STARTING
    assert story.boots(3, after=0.05) == ["serve 3"]
    assert story.fleet.state.phase is Phase.SERVING
    assert story.notes == ["info: serving: web 2/2 ready, live 1/1 ready in 0.45 s"]
    assert story.rests


@pytest.mark.parametrize(("kind", "status"), [("import", 4), ("lifespan", 3), ("boot", 3)])
def test_an_application_that_cannot_boot_ends_the_first_start(kind: str, status: int) -> None:
    """The others are ended first; the master's exit status says what it was."""
    story = CoreStory(web=3)
    story.begins()
    story.happens(ev.Spawned(1, 11), ev.Spawned(2, 12))
    assert story.fails_to_boot(2, kind) == ["CloseListeners", "quit 1"]
    assert story.fleet.state.phase is Phase.STOPPING
    assert story.happens(ev.Spawned(3, 13)) == ["quit 3"]
    assert story.dies(2, 4) == []
    assert story.happens(ev.Exited(1, 0, 0.0), ev.Exited(3, 0, 0.0)) == [f"finish {status}"]
    assert story.finish is not None
    assert sentence(story.finish.record) == "cannot import shop\nFile shop.py, line 1"
    assert story.happens(ev.ReloadAsked(1, "gwctl reload")) == []


def test_nobody_is_said_to_be_replaced_when_the_start_is_given_up() -> None:
    """All news in one turn, as of workers that find the same limit too low."""
    story = CoreStory(web=2)
    story.begins()
    low = "it may have 24 open files"
    news = [
        one
        for worker in (1, 2)
        for one in (ev.BootFailed(worker, "boot", low, ""), ev.Exited(worker, 3, 0.0))
    ]
    story.happens(ev.Spawned(1, 11), ev.Spawned(2, 12), *news)
    assert story.finish is not None
    assert (story.finish.status, sentence(story.finish.record)) == (3, low)
    assert not [note for note in story.notes if "Replaced" in note or low in note]


def test_an_application_that_ends_its_process_in_a_request_has_lost_that() -> None:
    story = CoreStory(web=1).serves()
    assert story.happens(ev.Exited(1, 0, 0.0, "GET /leave"), after=1.0) == ["spawn 2 web.0 g1"]
    assert story.notes[-1].startswith(
        "warning: pid 1001 left by itself (exit status 0), while serving GET /leave"
    )


def test_an_exit_before_ready_ends_the_first_start() -> None:
    story = CoreStory(web=1, live=1)
    story.begins()
    story.happens(ev.Spawned(1, 11), ev.Spawned(2, 12))
    assert story.dies(2, 0) == ["CloseListeners", "quit 1"]
    assert story.dies(1, 0) == ["finish 3"]
    assert story.finish is not None
    assert sentence(story.finish.record) == "web: pid 12 died: exit status 0, before it was ready"


def test_a_boot_that_hangs_is_dumped_killed_and_ends_the_first_start() -> None:
    story = CoreStory(web=2)
    story.begins()
    story.happens(ev.Spawned(1, 11), ev.Spawned(2, 12))
    assert story.passes(60) == [
        "dump 1: was not ready within 60 s",
        "CloseListeners",
        "dump 2: was not ready within 60 s",
    ]
    assert story.passes(1) == ["kill 1: was not ready within 60 s", "kill 2: was not ready within 60 s"]
    story.dies(1, -9)
    assert story.dies(2, -9) == ["finish 3"]


def test_a_boot_failure_after_any_worker_was_ready_costs_its_own_slot_only() -> None:
    story = CoreStory(web=2)
    story.begins()
    story.boots(1)
    assert story.fails_to_boot(2) == []
    assert story.dies(2, 4) == ["spawn 3 web.1 g1"]
    assert story.notes == ["error: pid 1002: cannot import shop. Replaced at once\nFile shop.py, line 1\n"]
    assert story.fails_to_boot(3, after=1.0) == []
    assert story.dies(3, 4) == []
    assert story.notes[1] == "error: pid 1003: cannot import shop. 2nd time in 1 s; next try in 0.50 s"
    assert story.passes(0.5) == ["spawn 4 web.1 g1"]


def test_a_fork_that_fails_at_first_start_is_tried_again() -> None:
    story = CoreStory(web=1)
    story.begins()
    assert story.happens(ev.SpawnFailed(1, "out of memory", 0.0)) == []
    assert story.notes == ["error: could not be started: out of memory. Next try in 0.50 s"]
    assert story.passes(0.5) == ["spawn 2 web.0 g1"]
    assert story.happens(ev.SpawnFailed(2, "out of memory", 0.0)) == []
    assert story.passes(0.9) == []
    assert story.passes(0.1) == ["spawn 3 web.0 g1"]


# ---- crashes


def test_a_healthy_worker_that_crashes_is_replaced_at_once_and_not_counted() -> None:
    story = CoreStory(web=2).serves()
    for worker, replacement in ((1, 3), (3, 4), (4, 5)):
        assert story.dies(worker, after=31.0) == [f"spawn {replacement} web.0 g1"]
        story.boots(replacement)
    assert all("Replaced at once" in note for note in story.notes[1:])


def test_a_slot_that_keeps_dying_waits_longer_and_longer() -> None:
    """And its sibling is left alone."""
    story = CoreStory(policy=replace(POLICY, breaker_failures=0), web=2).serves()
    assert story.happens(ev.Exited(1, -11, 0.0, "GET /resize"), after=0.8) == ["spawn 3 web.0 g1"]
    assert story.notes[-1] == (
        "error: pid 1001 died: signal 11 (SIGSEGV), 0.80 s after it was ready, while serving GET /resize. "
        "Replaced at once"
    )
    waits = []
    for worker in (3, 4, 5, 6):
        story.boots(worker)
        assert story.dies(worker, after=0.5) == []
        retry_at = story.fleet.state.pools["web"].retry_at
        assert retry_at is not None
        waits.append(retry_at - story.now)
        assert story.passes(waits[-1]) == [f"spawn {worker + 1} web.0 g1"]
    assert waits == [0.5, 1, 2, 4]
    assert story.notes[-1].endswith("5th time in 5.5 s; next try in 4 s")
    assert story.fleet.state.pools["web"].ready == 1


def test_out_of_memory_is_suspected_of_a_kill_that_was_not_ours() -> None:
    story = CoreStory(web=1).serves()
    story.dies(1, -9)
    assert "signal 9 (SIGKILL), 0.00 s after it was ready, not sent by gwctl" in story.notes[-1]


def test_a_worker_that_somebody_sends_a_term_is_replaced_at_once_and_not_counted() -> None:
    """With or without its word that it drains."""
    story = CoreStory(web=2).serves()
    assert story.happens(ev.DrainStarted(1)) == ["spawn 3 web.0 g1"]
    assert story.dies(1, 0, after=5.0) == []
    assert story.dies(2, 0) == ["spawn 4 web.1 g1"]
    assert all(note.startswith(("info", "debug")) for note in story.notes)
    assert story.fleet.state.pools["web"].slot(1).failures == 0


def test_two_deaths_in_one_turn() -> None:
    story = CoreStory(web=3).serves()
    news = [ev.Exited(1, -11, 0.0), ev.Exited(3, -11, 0.0)]
    assert story.happens(*news) == ["spawn 4 web.0 g1", "spawn 5 web.2 g1"]


# ---- news in any order


def test_readiness_read_after_the_exit_is_nothing() -> None:
    story = CoreStory(web=2).serves()
    story.dies(1)
    assert story.happens(ev.Ready(1), ev.ChannelClosed(1), ev.BootFailed(1, "import", "late", "")) == []


def test_an_exit_before_the_fork_is_known() -> None:
    story = CoreStory(web=2)
    story.begins()
    story.boots(1)
    assert story.dies(2) == ["spawn 3 web.1 g1"]
    assert story.happens(ev.Spawned(2, 12)) == []


def test_a_ready_worker_is_told_to_serve_before_its_fork_is_known() -> None:
    story = CoreStory(web=1)
    story.begins()
    assert story.happens(ev.Ready(1)) == ["serve 1"]
    assert story.happens(ev.Spawned(1, 11)) == []
    assert story.fleet.state.pools["web"].workers[0].pid == 11


def test_a_worker_that_closed_its_channel_and_lives_drains_and_is_replaced_at_once() -> None:
    """It has a moment to end: a channel ends with its process. Then it has a drain's time, as its clients do."""
    story = CoreStory(web=2).serves()
    assert story.happens(ev.ChannelClosed(1)) == []
    assert story.passes(0.9) == []
    assert story.passes(0.1) == ["drain 1", "spawn 3 web.0 g1"]
    assert story.notes[-2:] == [
        ("error: pid 1001 lives on without its channel to the master: something in its process closed it"),
        "info: pid 1001 drains, as its channel is closed. Replaced at once",
    ]
    assert story.boots(3) == ["serve 3"]
    reason = "did not finish within 30 s of draining"
    assert story.passes(33) == [f"dump 1: {reason}"]
    assert story.passes(1) == [f"kill 1: {reason}"]
    assert story.dies(1, -9) == []


def test_one_whose_exit_follows_the_end_of_its_channel_has_died_of_that() -> None:
    story = CoreStory(web=2).serves()
    story.happens(ev.ChannelClosed(1))
    assert story.dies(1, after=0.5) == ["spawn 3 web.0 g1"]
    assert "error: pid 1001 died: signal 11 (SIGSEGV)" in story.notes[-1]


def test_one_that_closed_its_channel_before_it_was_ready_has_no_clients_and_is_killed() -> None:
    story = CoreStory(web=2)
    story.begins()
    story.boots(2)
    story.happens(ev.Spawned(1, 11), ev.ChannelClosed(1))
    reason = "lost its channel to the master and did not end within 1 s"
    assert story.passes(1) == [f"dump 1: {reason}"]
    assert story.passes(1) == [f"kill 1: {reason}"]


def test_a_stop_waits_for_one_that_closed_its_channel() -> None:
    story = CoreStory(web=1).serves()
    story.happens(ev.ChannelClosed(1))
    story.happens(ev.StopAsked(0, "SIGTERM"))
    assert story.passes(1) == ["drain 1"]
    assert [note for note in story.notes if "error" in note] == []
    assert story.dies(1, 0) == ["finish 0"]


# ---- deadlines


def test_a_killed_process_that_stays_is_spoken_of_and_its_slot_given_away() -> None:
    story = CoreStory(web=2)
    story.begins()
    story.boots(1)
    story.happens(ev.Spawned(2, 12))
    assert story.passes(61) == ["dump 2: was not ready within 60 s", "kill 2: was not ready within 60 s"]
    assert story.passes(10) == ["spawn 3 web.1 g1"]
    assert "pid 12 was killed 10 s ago and is still there: it hangs in the kernel" in story.notes[-1]
    story.boots(3)
    assert story.passes(20) == []
    assert story.dies(2, -9) == []


def test_a_fork_that_is_not_answered_is_spoken_of() -> None:
    story = CoreStory(web=1)
    story.begins()
    assert story.passes(60) == []
    assert story.notes == ["error: its fork was asked for 60 s ago and has not been answered"]


def test_when_the_master_itself_did_not_run_everyone_gets_the_time_again() -> None:
    """A suspended machine: nobody is killed for having slept."""
    story = CoreStory(web=2)
    story.begins()
    story.boots(1)
    story.happens(ev.Spawned(2, 12))
    assert story.happens(after=3600) == []
    assert story.happens(after=0.9) == []
    assert story.boots(2) == ["serve 2"]


def test_a_turn_that_is_a_little_late_is_not_forgiven() -> None:
    story = CoreStory(web=2)
    story.begins()
    story.boots(1)
    story.happens(ev.Spawned(2, 12))
    story.passes(59.0)
    assert story.happens(after=1.9) == ["dump 2: was not ready within 60 s"]


def test_news_are_read_before_deadlines_are_judged() -> None:
    story = CoreStory(web=2)
    story.begins()
    story.boots(1)
    story.happens(ev.Spawned(2, 12))
    assert story.happens(ev.Ready(2), after=60.0) == ["serve 2"]


def test_spawning_stays_within_the_surge_when_a_pool_is_too_big() -> None:
    """Scaled down from 4 to 1 with no room to drain: a crash is replaced when there is room again."""
    story = CoreStory(web=4, policy=replace(POLICY, draining_max=1)).serves()
    assert story.happens(ev.ScaleAsked(1, "web", size=1)) == ["answer 1 yes", "drain 4"]
    assert story.dies(1) == []
    assert story.dies(4, 0) == ["drain 3", "spawn 5 web.0 g1"]
    assert story.boots(5) == ["serve 5"]
    assert story.dies(3, 0) == ["drain 2"]
    assert story.states() == ["0 g1 ready", "1 g1 draining"]


def test_a_worker_whose_channel_is_given_up_drains_and_is_replaced_at_once() -> None:
    """One that soon does the same again costs its slot a backoff; one that does not end is killed."""
    story = CoreStory(web=1).serves()
    given_up = [ev.DrainStarted(1, "as its channel is given up"), ev.ChannelClosed(1)]
    assert story.happens(*given_up) == ["spawn 2 web.0 g1"]
    assert story.notes[-1] == "info: pid 1001 drains, as its channel is given up. Replaced at once"
    for number in (2, 3):
        story.boots(number)
        story.happens(ev.DrainStarted(number, "as its channel is given up"), ev.ChannelClosed(number))
    assert "time in 0.00 s; next try in 0.50 s" in story.notes[-1]
    orders = [line.partition(":")[0] for line in story.passes(40)]
    assert [order for order in orders if order.endswith(" 1")] == ["dump 1", "kill 1"]
