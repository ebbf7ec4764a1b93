"""Pools with preload: their workers are forked from a template, one for each generation."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gwctl.records.sentences import sentence
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.worker import FORK_ANSWER_S
from tests.support.core_story import POLICY, CoreStory

PRELOAD = replace(POLICY, preload=True, settle_s=1.0)


def story(size: int = 2) -> CoreStory:
    return CoreStory(policy=PRELOAD, web=size)


def serving(size: int = 2) -> CoreStory:
    """Template 1, workers 2, 3, ... of it."""
    one = story(size)
    one.begins()
    one.boots(1)
    one.boots(*range(2, size + 2), after=1.0)
    return one


def test_workers_are_asked_for_when_the_template_is_ready() -> None:
    one = story()
    assert one.begins() == ["spawn 1 web.-1 g1"]
    assert one.happens(ev.Spawned(1, 1001)) == []
    assert one.happens(ev.Ready(1)) == ["spawn 2 web.0 g1 of 1", "spawn 3 web.1 g1 of 1"]
    assert one.boots(2, 3) == ["serve 2", "serve 3"]
    assert one.states() == ["0 g1 ready", "1 g1 ready"]


def test_a_template_that_cannot_import_at_the_first_start_ends_the_fleet_with_status_4() -> None:
    one = story()
    one.begins()
    assert one.fails_to_boot(1) == ["CloseListeners"]
    assert one.dies(1, 4) == ["finish 4"]
    assert one.finish is not None
    assert sentence(one.finish.record) == "cannot import shop\nFile shop.py, line 1"


def test_a_first_worker_that_cannot_start_up_ends_the_fleet_although_the_template_was_ready() -> None:
    one = story(1)
    one.begins()
    one.boots(1)
    assert one.fails_to_boot(2, "lifespan") == ["CloseListeners", "quit 1"]


def test_a_template_that_dies_costs_nobody_anything_and_the_next_spawn_begins_another() -> None:
    one = serving()
    assert one.dies(1, -9) == []
    assert "warning: template pid 1001 died: signal 9 (SIGKILL)" in one.notes[-1]
    assert "Its workers go on" in one.notes[-1]
    assert one.dies(3) == ["spawn 4 web.-1 g1"]
    assert one.boots(4) == ["spawn 5 web.1 g1 of 4"]


def test_a_reload_begins_a_template_of_its_own_and_the_previous_one_ends_with_its_generation() -> None:
    one = serving(1)
    assert one.reloads() == ["spawn 3 web.-1 g2"]
    assert one.boots(3) == ["spawn 4 web.0 g2 of 3"]
    one.boots(4)
    assert one.passes(2) == ["serve 4", "park 2", "adopt g2", "answer 7 yes", "drain 1", "drain 2"]


def test_after_a_refused_reload_a_respawn_is_forked_from_the_template_and_nothing_is_degraded() -> None:
    one = serving(1)
    one.reloads()
    assert one.fails_to_boot(3) == ["abandon g2", "answer 7 no"]
    assert one.fleet.state.disk_differs
    assert one.fleet.state.degraded == ""
    assert "forked from its template" in one.notes[-1]
    one.dies(3, 4)
    assert one.dies(2) == ["spawn 4 web.0 g1 of 1"]
    assert not any("degraded" in note for note in one.notes)


def test_after_a_rollback_the_kept_template_fills_gaps_and_nothing_is_degraded() -> None:
    one = serving(1)
    one.keep_s = 300.0
    one.reloads()
    one.boots(3)
    one.boots(4)
    assert "adopt g2, keep g1" in one.passes(2)
    one.rolls_back()
    one.obey(4)
    one.obey(2)
    assert "adopt g1, keep g2" in one.passes(2)
    assert one.fleet.state.degraded == ""
    assert one.happens(ev.ScaleAsked(9, "web", 2)) == ["answer 9 yes", "spawn 5 web.1 g1 of 1"]
    assert one.answers[-1].text == "web: 1 -> 2 workers"
    one.dies(1, -9)
    assert one.fleet.state.degraded == "disk differs from what runs (rolled back from generation 2)"


def test_a_template_begun_after_a_refused_reload_is_of_what_is_on_disk_and_that_is_said() -> None:
    one = serving(1)
    one.reloads()
    one.fails_to_boot(3)
    one.dies(3, 4, after=1.0)
    one.dies(1, -9)
    assert one.fleet.state.degraded == "disk differs from what runs"
    assert one.dies(2) == ["spawn 4 web.-1 g1"]
    assert "it imports what is on disk" in one.notes[-1]
    assert one.boots(4) == ["spawn 5 web.0 g1 of 4"]
    one.happens(ev.Spawned(5, 15))
    assert "started while degraded" in one.notes[-1]
    assert one.fleet.state.degraded == "disk differs from what runs"


def test_a_template_that_does_not_answer_is_dumped_and_killed_and_another_one_tried() -> None:
    one = serving(1)
    assert one.dies(2) == ["spawn 3 web.0 g1 of 1"]
    reason = "template was asked to fork web.0 and did not answer within 10 s"
    assert one.passes(FORK_ANSWER_S) == [f"dump 1: {reason}"]
    assert [line.partition(":")[0] for line in one.passes(PRELOAD.dump_grace_s)] == ["kill 1"]
    gone = ev.SpawnFailed(3, "its template is gone", 0.0)
    assert one.happens(ev.Exited(1, -9, 0.0), gone) == []
    assert one.passes(1.0) == ["spawn 4 web.-1 g1"]


def test_a_template_that_hangs_in_its_import_is_dumped_at_the_boot_timeout() -> None:
    one = story(1)
    one.begins()
    one.happens(ev.Spawned(1, 1001))
    assert one.passes(PRELOAD.boot_timeout_s) == ["dump 1: was not ready within 60 s", "CloseListeners"]


def test_a_stop_has_the_template_drain_and_counts_the_workers_only() -> None:
    one = serving(1)
    assert one.happens(ev.StopAsked(0, "SIGTERM")) == [
        "CloseListeners",
        "drain 1 and sweep",
        "drain 2 and sweep",
    ]
    assert "1 worker finishes" in one.notes[-1]


@pytest.mark.parametrize(
    ("killed", "said"),
    [
        ((1,), "; 1 template had to be killed"),
        ((2,), "; 1 worker had to be killed"),
        ((1, 2), "; 1 worker and 1 template had to be killed"),
    ],
)
def test_a_stop_says_what_had_to_be_killed(killed: tuple[int, ...], said: str) -> None:
    one = serving(1)
    one.happens(ev.StopAsked(5, "gwctl stop"))
    for number in {1, 2} - set(killed):
        one.dies(number, 0)
    orders = one.passes(34)
    assert [order.partition(":")[0] for order in orders][-len(killed) :] == [f"kill {n}" for n in killed]
    for number in killed:
        one.dies(number, -9)
    assert one.finish is not None
    assert sentence(one.finish.record) == f"stopped in 34 s; 0 requests cut{said}"
    result = one.answers[-1].result
    assert (result["killed"], result.get("templates_killed", 0)) == (2 in killed, 1 in killed)


def test_a_stop_with_only_a_template_left_names_it() -> None:
    one = serving(1)
    one.happens(ev.StopAsked(0, "SIGTERM"))
    one.dies(2, 0)
    one.passes(1)
    assert one.notes[-1] == "info: waiting for web template: pid 1001 shuts down for 1 s"
    one.happens(ev.StopAsked(0, "SIGTERM"))
    assert one.notes[-1] == (
        "info: stopping (SIGTERM): ending 1 template at once, within 3 s. Asked again: kills them"
    )


def test_a_template_of_no_use_to_a_new_program_ends_quietly() -> None:
    one = serving(1)
    one.happens(ev.UpgradeAsked(0, "SIGUSR2"))
    one.happens(ev.UpgradeChecked("gwctl 0.2.0"))
    said = len(one.notes)
    assert one.happens(ev.Upgraded("gwctl 0.1.0", "gwctl 0.2.0", 0.4, outdated=(1,)))[0] == "quit 1"
    assert one.notes[said].endswith("same pid, 1 worker and 1 template kept")
    one.dies(1, 0)
    assert not [note for note in one.notes if note.startswith(("warning", "error")) or "died" in note]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0, "info: template pid 1001 left by itself (exit status 0). "),
        (-11, "warning: template pid 1001 died: "),
    ],
)
def test_a_quiet_end_of_a_template_is_no_warning(status: int, said: str) -> None:
    one = serving(1)
    one.dies(1, status)
    assert one.notes[-1].startswith(said)
    assert one.notes[-1].endswith("Its workers go on; another template is started with the next worker")
