"""A takeover: a new master takes the place of one that runs, with its listening sockets.

The new master's part (`FleetState.taking_over`)
    boot      its workers are begun, and none accepts. One that fails ends the takeover
    settle    all are ready and accept, beside those of the master that runs, for `settle_s`. One that
              fails ends the takeover
    claim     the master that runs is told that it may go, and has yet to say that it does. From here on a
              failure is one as ever

The part of the master that runs (`FleetState.handing_over`)
    From the moment at which it has given copies of its listeners away until it goes, is told that the
    other one has ended, or has lost patience.

Rules
    - Until the new one claims, the one that runs serves on unchanged, whatever becomes of the other.
    - No reload, rollback, restart, upgrade or second takeover begins meanwhile; a reload that is asked for
      follows if the takeover comes to nothing.
    - However the one that runs ends meanwhile (it is told to stop, it dies), the new one has its place from
      that moment on, and starts like any master.
"""

from __future__ import annotations

from gwctl.records.master import (
    TakeoverBegun,
    TakeoverEnded,
    TakeoverRefused,
    TookOver,
)
from gwctl.supervisor.core import wording
from gwctl.supervisor.core.actions import Answer, Claim, Desist, HandOver, OfferListeners, Settle, Withdraw
from gwctl.supervisor.core.events import SuccessorEnded, TakeoverAsked
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.state import FleetState, HandingOver, TakeoverStage, TakingOver
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import State

# ---- the new master


def advance(fleet: FleetState, taking_over: TakingOver, turn: Turn) -> bool:
    """Move on; true when something changed for the pools."""
    wanted = [pool for pool in fleet.pools.values() if pool.size]
    match taking_over.stage:
        case TakeoverStage.BOOT:
            if any(_booted(pool) < pool.size for pool in wanted):
                return False
            taking_over.stage = TakeoverStage.SETTLE
            taking_over.settled_at = turn.now + max((pool.policy.settle_s for pool in wanted), default=0.0)
            return True
        case TakeoverStage.SETTLE:
            settled = turn.now >= taking_over.settled_at
            if settled and all(pool.ready >= pool.size for pool in wanted):
                taking_over.stage = TakeoverStage.CLAIM
                turn.actions.append(Claim())
        case TakeoverStage.CLAIM:
            pass
    return False


def _booted(pool: Pool) -> int:
    return sum(worker.state is State.READY for worker in pool.in_force)


def succeeded(fleet: FleetState, turn: Turn, *, asked: bool) -> None:
    """The place is ours. ``asked``: the other one has said so; else it has just ended."""
    taking_over, fleet.taking_over = fleet.taking_over, None
    if taking_over is None or fleet.ending is not None:
        return
    early = taking_over.stage is not TakeoverStage.CLAIM
    turn.note(
        TookOver(
            level="warning" if early or not asked else "info",
            from_pid=taking_over.pid,
            program=taking_over.program,
            early=early,
            died=not asked,
            took_s=turn.now - fleet.began_at,
        )
    )
    fleet.dirty.update(fleet.pools)
    turn.actions.append(Settle())


# ---- the master that runs


def asked(fleet: FleetState, event: TakeoverAsked, turn: Turn) -> None:
    """Give copies of the listeners away, or say why not. It does not wait: whoever starts it asks again."""
    if refusal := _refusal(fleet):
        turn.note(TakeoverRefused(source=event.source, reason=refusal))
        text = wording.takeover_refused(refusal)
        if event.request:
            turn.actions.append(Answer(event.request, ok=False, text=text, result={"reason": refusal}))
        return
    fleet.handing_over = HandingOver(event.source, turn.now, turn.now + event.patience_s)
    turn.note(TakeoverBegun(source=event.source))
    turn.actions.append(OfferListeners(event.request))


def _refusal(fleet: FleetState) -> str:
    if fleet.ending is not None:
        return wording.STOPPING
    if fleet.taking_over is not None or fleet.handing_over is not None:
        return wording.under_way(wording.TAKEOVER)
    if fleet.reload is not None or fleet.queue.waiting:
        return wording.under_way("reload")
    if any(pool.alone for pool in fleet.pools.values()):
        return wording.under_way("restart")
    return wording.under_way("upgrade") if fleet.upgrade is not None else ""


def successor_ended(fleet: FleetState, event: SuccessorEnded, turn: Turn) -> None:
    """It has ended without the place, or could not be given anything."""
    if fleet.handing_over is not None:
        _given_up(fleet, fleet.handing_over, event.reason, turn)


def overdue(fleet: FleetState, turn: Turn) -> None:
    """Lose patience, if it is time: a new master that is stopped by a signal would bar reloads for ever."""
    handing_over = fleet.handing_over
    if handing_over is not None and handing_over.until <= turn.now:
        reason = wording.not_ready_within(turn.now - handing_over.since)
        _given_up(fleet, handing_over, reason, turn)


def _given_up(fleet: FleetState, handing_over: HandingOver, reason: str, turn: Turn) -> None:
    fleet.handing_over = None
    fleet.dirty.update(fleet.pools)
    turn.actions.append(Withdraw(reason))
    turn.note(TakeoverEnded(source=handing_over.source, reason=reason))


def ends(fleet: FleetState, why: str, turn: Turn) -> None:
    """This fleet ends, because of the takeover or not: the new master has its place from now on.

    Or it is itself the new one, and has no use for a place.
    """
    if fleet.taking_over is not None:
        fleet.taking_over = None
        turn.actions.append(Desist(wording.TOLD_TO_STOP if why == wording.STOPS else why))
    if fleet.handing_over is not None:
        fleet.handing_over = None
        turn.actions.append(HandOver())
