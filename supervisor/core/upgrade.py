"""An upgrade in place: the program of the master is replaced, its process and its workers are not.

Stages
    wait      for the reload under way to be decided
    check     the new program, in a process of its own, reads the facts that it will have to restore
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

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from gwctl.supervisor.core import templates as template
from gwctl.supervisor.core.actions import AbandonUpgrade, Answer, CheckUpgrade, ExecuteUpgrade, Progress
from gwctl.supervisor.core.events import UpgradeAsked, UpgradeChecked, Upgraded
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.wording import processes, seconds

if TYPE_CHECKING:
    from gwctl.supervisor.core.commands import Queue
    from gwctl.supervisor.core.fleet import Fleet

CHECK_TIMEOUT_S: Final = 30.0
"""For the new program to be imported and to read the facts: many times what it takes."""

UPGRADE: Final = "upgrade"
"""Who asked for the reload that follows."""


class Stage(Enum):
    WAIT = "wait"
    CHECK = "check"
    EXECUTE = "execute"


@dataclass(slots=True, eq=False)
class Upgrade:
    """Where it stands. `Fleet.upgrade` shows it; only the core changes it."""

    source: str
    requests: list[int]
    """Who is answered; without the signals."""
    began_at: float
    stage: Stage = Stage.WAIT
    deadline: float | None = None
    """Of the check."""
    to: str = ""
    """What was checked, in words: ``gwctl 0.2.0, Python 3.13.1``."""

    def tell(self, turn: Turn, phase: str, outcome: str, detail: str = "") -> None:
        """Tell whoever waits."""
        turn.actions.extend(Progress(request, "", phase, outcome, detail) for request in self.requests)


def asked(fleet: Fleet, event: UpgradeAsked, turn: Turn) -> None:
    if reason := _refusal(fleet):
        _answer(turn, event.request, f"not upgraded: {reason}", reason)
        if not event.request:
            turn.note("warning", f"upgrade ({event.source}) refused: {reason}")
        return
    if fleet.upgrade is None:
        fleet.upgrade = Upgrade(event.source, [], turn.now)
        if fleet.reload is not None:
            turn.note("info", f"upgrade ({event.source}) waits for the reload under way")
    if event.request:
        fleet.upgrade.requests.append(event.request)


def _refusal(fleet: Fleet) -> str:
    if fleet.ending is not None:
        return "the fleet is stopping"
    if fleet.broken:
        return f"this master is broken ({fleet.broken}): restart it"
    return ""


def goes_first(upgrade: Upgrade, queue: Queue, turn: Turn) -> bool:
    """Whether a reload has to wait for it. No reload is under way, so it begins if it has not.

    One that was asked for anew waits for the reload after the one before.
    """
    if upgrade.stage is Stage.WAIT:
        if queue.preface:
            return False
        upgrade.stage = Stage.CHECK
        upgrade.deadline = turn.now + CHECK_TIMEOUT_S
        turn.note("info", f"upgrade ({upgrade.source}): checking the program on disk")
        upgrade.tell(turn, "check", "")
        turn.actions.append(CheckUpgrade())
    return True


def checked(fleet: Fleet, event: UpgradeChecked, turn: Turn) -> None:
    """The new program can restore this fleet. Late news of a check that was given up change nothing."""
    upgrade = fleet.upgrade
    if upgrade is None or upgrade.stage is not Stage.CHECK:
        return
    if reason := _refusal(fleet):
        failed(fleet, reason, turn)
        return
    upgrade.tell(turn, "check", "ok", event.to)
    upgrade.stage, upgrade.deadline, upgrade.to = Stage.EXECUTE, None, event.to
    upgrade.tell(turn, "execute", "")
    turn.actions.append(ExecuteUpgrade())


def overdue(fleet: Fleet, turn: Turn) -> None:
    """Give up the check if its time is over."""
    upgrade = fleet.upgrade
    if upgrade is not None and upgrade.deadline is not None and upgrade.deadline <= turn.now:
        turn.actions.append(AbandonUpgrade())
        failed(fleet, f"the check of the new program did not end within {seconds(CHECK_TIMEOUT_S)}", turn)


def failed(fleet: Fleet, reason: str, turn: Turn) -> None:
    """Everything is as it was: say why to whoever asked, and in the log."""
    upgrade, fleet.upgrade = fleet.upgrade, None
    if upgrade is None:
        return
    phase = Stage.CHECK if upgrade.stage is Stage.WAIT else upgrade.stage
    upgrade.tell(turn, phase.value, "FAILED")
    text = f"not upgraded: {reason}\nThe program that ran goes on, with all its workers"
    turn.note("error", text)
    for request in upgrade.requests:
        _answer(turn, request, text, reason)


def stopped(fleet: Fleet, turn: Turn) -> None:
    """The fleet stops: there will be nothing to upgrade."""
    upgrade, fleet.upgrade = fleet.upgrade, None
    if upgrade is None:
        return
    if upgrade.stage is Stage.CHECK:
        turn.actions.append(AbandonUpgrade())
    turn.note("info", f"upgrade ({upgrade.source}) given up: the fleet stops")
    for request in upgrade.requests:
        _answer(turn, request, "not upgraded: the fleet stops", "the fleet stops")


def upgraded(fleet: Fleet, queue: Queue, event: Upgraded, turn: Turn) -> None:
    """The new program runs, and has restored everything; a reload follows."""
    upgrade, fleet.upgrade = fleet.upgrade, None
    if upgrade is None:
        return
    for number in event.outdated:
        if (outdated := turn.workers.get(number)) is not None:
            template.give_up(outdated, turn)
    templates = sum(1 for worker in turn.workers.values() if worker.is_template)
    kept = processes(len(turn.workers) - templates, templates) or "no worker"
    upgrade.tell(turn, "execute", "ok", f"{seconds(event.took_s)}, {kept} kept")
    queue.waiting = True
    queue.source = UPGRADE
    queue.preface = f"upgraded from {event.was} to {event.to}"
    queue.requests += upgrade.requests
    turn.note("info", f"{queue.preface} in {seconds(event.took_s)} ({upgrade.source}): same pid, {kept} kept")


def _answer(turn: Turn, request: int, text: str, reason: str) -> None:
    if request:
        turn.actions.append(Answer(request, ok=False, text=text, result={"reason": reason}))
