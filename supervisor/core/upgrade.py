"""An upgrade in place: the program of the master is replaced, its process and its workers are not.

Stages
    wait      for the reload under way to be decided
    check     the new program, in a process of its own, reads the snapshot that it will have to restore
    execute   the check was passed: the shell executes the new program. The answer comes from
              whoever runs then: Upgraded from the new program, UpgradeFailed from the old one

Rules
    - No reload begins meanwhile; one that was asked for follows. After an upgrade there is always
      one: new workers for the new program, and a transaction as ever.
    - Everything else goes on: crashes are answered, sizes change, until the very moment of it.
    - A stop wins: it ends an upgrade at whatever stage it is.
    - Who asks while one is under way waits for that one.
"""

from __future__ import annotations

from typing import Final

from gwctl.records.reloads import (
    MasterUpgraded,
    UpgradeChecking,
    UpgradeFailed,
    UpgradeGivenUp,
    UpgradeRefused,
    UpgradeWaits,
)
from gwctl.records.sentences import sentence
from gwctl.supervisor.core import templates, wording
from gwctl.supervisor.core.actions import AbandonUpgrade, Answer, CheckUpgrade, ExecuteUpgrade
from gwctl.supervisor.core.events import UpgradeAsked, UpgradeChecked, Upgraded
from gwctl.supervisor.core.state import FleetState, Queue, Upgrade, UpgradeStage
from gwctl.supervisor.core.turn import Turn
from gwctl.wording import processes, seconds

CHECK_TIMEOUT_S: Final = 30.0
"""For the new program to be imported and to read the snapshot: many times what it takes."""

UPGRADE: Final = "upgrade"
"""Who asked for the reload that follows."""


def asked(fleet: FleetState, event: UpgradeAsked, turn: Turn) -> None:
    if reason := _refusal(fleet):
        _answer(turn, event.request, wording.upgrade_refused(reason), reason)
        if not event.request:
            turn.note(UpgradeRefused(source=event.source, reason=reason))
        return
    if fleet.upgrade is None:
        fleet.upgrade = Upgrade(event.source, [], turn.now)
        if fleet.reload is not None:
            turn.note(UpgradeWaits(source=event.source))
    if event.request:
        fleet.upgrade.requests.append(event.request)


def _refusal(fleet: FleetState) -> str:
    if fleet.ending is not None:
        return wording.STOPPING
    if fleet.broken:
        return wording.broken(fleet.broken)
    if fleet.handing_over is not None or fleet.taking_over is not None:
        return wording.under_way(wording.TAKEOVER)
    return ""


def goes_first(upgrade: Upgrade, queue: Queue, turn: Turn) -> bool:
    """Whether a reload has to wait for it. No reload is under way, so it begins if it has not.

    One that was asked for anew waits for the reload after the one before.
    """
    if upgrade.stage is UpgradeStage.WAIT:
        if queue.preface:
            return False
        upgrade.stage = UpgradeStage.CHECK
        upgrade.deadline = turn.now + CHECK_TIMEOUT_S
        turn.note(UpgradeChecking(source=upgrade.source))
        upgrade.tell(turn, "check", "")
        turn.actions.append(CheckUpgrade())
    return True


def checked(fleet: FleetState, event: UpgradeChecked, turn: Turn) -> None:
    """The new program can restore this fleet. Late news of a check that was given up change nothing."""
    upgrade = fleet.upgrade
    if upgrade is None or upgrade.stage is not UpgradeStage.CHECK:
        return
    if reason := _refusal(fleet):
        failed(fleet, reason, turn)
        return
    upgrade.tell(turn, "check", "ok", event.to)
    upgrade.stage, upgrade.deadline, upgrade.to = UpgradeStage.EXECUTE, None, event.to
    upgrade.tell(turn, "execute", "")
    turn.actions.append(ExecuteUpgrade())


def overdue(fleet: FleetState, turn: Turn) -> None:
    """Give up the check if its time is over."""
    upgrade = fleet.upgrade
    if upgrade is not None and upgrade.deadline is not None and upgrade.deadline <= turn.now:
        turn.actions.append(AbandonUpgrade())
        failed(fleet, wording.check_timed_out(CHECK_TIMEOUT_S), turn)


def failed(fleet: FleetState, reason: str, turn: Turn) -> None:
    """Everything is as it was: say why to whoever asked, and in the log."""
    upgrade, fleet.upgrade = fleet.upgrade, None
    if upgrade is None:
        return
    phase = UpgradeStage.CHECK if upgrade.stage is UpgradeStage.WAIT else upgrade.stage
    upgrade.tell(turn, phase.value, "FAILED")
    record = UpgradeFailed(source=upgrade.source, reason=reason)
    turn.note(record)
    for request in upgrade.requests:
        _answer(turn, request, sentence(record), reason)


def stopped(fleet: FleetState, turn: Turn) -> None:
    """The fleet stops: there will be nothing to upgrade."""
    upgrade, fleet.upgrade = fleet.upgrade, None
    if upgrade is None:
        return
    if upgrade.stage is UpgradeStage.CHECK:
        turn.actions.append(AbandonUpgrade())
    turn.note(UpgradeGivenUp(source=upgrade.source))
    for request in upgrade.requests:
        _answer(turn, request, wording.upgrade_refused(wording.STOPS), wording.STOPS)


def upgraded(fleet: FleetState, event: Upgraded, turn: Turn) -> None:
    """The new program runs, and has restored everything; a reload follows."""
    upgrade, fleet.upgrade = fleet.upgrade, None
    if upgrade is None:
        return
    for number in event.outdated:
        if (outdated := turn.workers.get(number)) is not None:
            templates.give_up(outdated, turn)
    of_templates = sum(1 for worker in turn.workers.values() if worker.is_template)
    kept = processes(len(turn.workers) - of_templates, of_templates) or "no worker"
    upgrade.tell(turn, "execute", "ok", f"{seconds(event.took_s)}, {kept} kept")
    queue = fleet.queue
    queue.ask(UPGRADE)
    queue.preface = wording.upgraded(event.was, event.to)
    queue.requests += upgrade.requests
    turn.note(
        MasterUpgraded(
            source=upgrade.source,
            was=event.was,
            to=event.to,
            took_s=event.took_s,
            workers=len(turn.workers) - of_templates,
            templates=of_templates,
        )
    )


def _answer(turn: Turn, request: int, text: str, reason: str) -> None:
    if request:
        turn.actions.append(Answer(request, ok=False, text=text, result={"reason": reason}))
