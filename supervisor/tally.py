"""What happened how often, since the master was started: counters made of its records.

Records are bounded in number and go; these stay, over upgrades too, and never run backwards. A reason is one
of a few words, whatever a worker may have said: it becomes a label of a metric.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gwctl.control.metrics import Summary
from gwctl.records import AnyRecord
from gwctl.records import reloads as of_reloads
from gwctl.records import workers as of_workers

EXITS: Final = (
    "crashed",
    "out_of_memory",
    "left",
    "boot_failed",
    "killed",
    "ended_early",
    "recycled",
    "stuck",
)
"""Why workers ended, or were replaced, outside of reloads, scaling and stops."""


class PoolTally(msgspec.Struct):
    exits: dict[str, int] = {}
    boots: Summary = Summary()
    """From the fork until ready."""


class Tally(msgspec.Struct):
    """Of one master; its snapshot is itself."""

    pools: dict[str, PoolTally] = {}
    reloads: dict[str, int] = {}
    reload_seconds: Summary = Summary()
    """Of those that were adopted."""
    upgrades: dict[str, int] = {}

    def of(self, pool: str) -> PoolTally:
        return self.pools.setdefault(pool, PoolTally())

    def count(self, record: AnyRecord) -> None:
        """Take note of what happened."""
        match record:
            case of_workers.WorkerReady(boot_s=boot_s):
                mine = self.of(record.process.pool)
                mine.boots = _plus(mine.boots, boot_s)
            case of_reloads.ReloadAdopted(restart=True):
                _count(self.reloads, "restarted")
            case of_reloads.ReloadAdopted(took_s=took_s, rollback=rollback):
                _count(self.reloads, "rolled_back" if rollback else "adopted")
                self.reload_seconds = _plus(self.reload_seconds, took_s)
            case of_reloads.ReloadRefused() | of_reloads.RollbackRefused() | of_reloads.RestartRefused():
                _count(self.reloads, "refused")
            case of_reloads.MasterUpgraded():
                _count(self.upgrades, "done")
            case of_reloads.UpgradeRefused() | of_reloads.UpgradeFailed():
                _count(self.upgrades, "failed")
            case _:
                self._count_exit(record)

    def _count_exit(self, record: AnyRecord) -> None:
        match record:
            case of_workers.WorkerDied(process=process, death=death):
                why = "out_of_memory" if death.cause else "crashed"
            case of_workers.WorkerFailed(process=process) | of_workers.SpawnFailed(process=process):
                why = "boot_failed"
            case of_workers.WorkerLeft(process=process) | of_workers.WorkerDrains(process=process):
                why = "left"
            case of_workers.WorkerKilled(process=process) | of_workers.WorkerEndedUnasked(process=process):
                why = "killed"
            case of_workers.WorkerEndedEarly(process=process):
                why = "ended_early"
            case of_workers.WorkerReplaced(process=process, stuck=stuck):
                why = "stuck" if stuck else "recycled"
            case _:
                return
        _count(self.of(process.pool).exits, why)


def _count(counters: dict[str, int], name: str) -> None:
    counters[name] = counters.get(name, 0) + 1


def _plus(summary: Summary, seconds: float) -> Summary:
    return Summary(summary.count + 1, summary.seconds + max(0.0, seconds))
