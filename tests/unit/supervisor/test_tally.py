"""What the records of a master add up to, for its metrics."""

from __future__ import annotations

import pytest

from gwctl.control import metrics
from gwctl.control.metrics import Summary
from gwctl.ipc import scoreboard
from gwctl.records import AnyRecord
from gwctl.records import reloads as of_reloads
from gwctl.records import workers as of_workers
from gwctl.records.base import Process
from gwctl.records.master import InvariantBroken
from gwctl.supervisor.tally import EXITS, Tally

WHO = Process("web", 2, 1, 4711)
RETRY = of_workers.Retry()


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (of_workers.WorkerDied(process=WHO, death=of_workers.Death(-11), retry=RETRY), "crashed"),
        (
            of_workers.WorkerDied(process=WHO, death=of_workers.Death(-9, "out of memory"), retry=RETRY),
            "out_of_memory",
        ),
        (of_workers.WorkerFailed(process=WHO, kind="import", reason="no", retry=RETRY), "boot_failed"),
        (of_workers.SpawnFailed(process=WHO, reason="EAGAIN", retry=RETRY), "boot_failed"),
        (of_workers.WorkerLeft(process=WHO, retry=RETRY), "left"),
        (of_workers.WorkerDrains(process=WHO, reason="SIGTERM", retry=RETRY), "left"),
        (of_workers.WorkerKilled(process=WHO, reason="request timeout"), "killed"),
        (of_workers.WorkerEndedEarly(process=WHO, status=1, state="parked", took_s=1.0), "ended_early"),
        (of_workers.WorkerReplaced(process=WHO, reason="10,000 requests"), "recycled"),
        (of_workers.WorkerReplaced(process=WHO, reason="it is stuck", stuck=True), "stuck"),
    ],
)
def test_ends_are_counted_by_a_few_words(record: AnyRecord, why: str) -> None:
    tally = Tally()
    for _ in range(3):
        tally.count(record)
    assert tally.pools["web"].exits == {why: 3}
    assert why in EXITS


def test_planned_ends_are_not_counted() -> None:
    tally = Tally()
    tally.count(of_workers.WorkerFinished(process=WHO, took_s=0.1))
    tally.count(InvariantBroken(rule="none"))
    assert tally == Tally()


def test_boots_reloads_and_upgrades() -> None:
    tally = Tally()
    for boot_s in (0.5, 0.25):
        tally.count(
            of_workers.WorkerReady(
                process=WHO, worker_class="sync", boot_s=boot_s, import_s=0.1, memory_bytes=1, parser="C"
            )
        )
    adopted = of_reloads.ReloadAdopted(source="SIGHUP", generation=2, previous=1, took_s=1.5, pools=())
    back = of_reloads.ReloadAdopted(
        source="gwctl rollback", generation=1, previous=2, took_s=0.5, pools=(), rollback=True
    )
    refused = of_reloads.ReloadRefused(
        source="SIGHUP", generation=3, phase="boot", kind="import", reason="no such module"
    )
    for record in (adopted, refused, back, refused):
        tally.count(record)
    tally.count(of_reloads.MasterUpgraded(source="SIGUSR2", was="1", to="2", took_s=0.1, workers=4))
    tally.count(of_reloads.UpgradeFailed(source="SIGUSR2", reason="no"))
    assert tally.pools["web"].boots == Summary(2, 0.75)
    assert tally.reloads == {"adopted": 1, "refused": 2, "rolled_back": 1}
    assert tally.reload_seconds == Summary(2, 2.0)
    assert tally.upgrades == {"done": 1, "failed": 1}


def test_metrics_name_what_the_scoreboard_counts() -> None:
    assert (metrics.METHODS, metrics.STATUS_CLASSES) == (scoreboard.METHODS, scoreboard.STATUS_CLASSES)
