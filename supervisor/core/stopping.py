"""A stop, step by step: what begins it, what makes it harder, what is said meanwhile, and its end.

`ending` holds where it stands and what each worker is told for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from gwctl.records.master import StopBegun, StopDrains, StopPlan, StopWaits, WaitedFor
from gwctl.records.sentences import sentence
from gwctl.supervisor.core.actions import Answer, CloseListeners, Finish
from gwctl.supervisor.core.ending import FIRST_NOTE_S, NEXT_NOTE_S, Ending, Mode
from gwctl.supervisor.core.events import Observed, StopAsked
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import State, Worker, end_limit

NAMED_MAX: Final = 5
"""Workers that are named one by one in a record about all that are waited for."""

SAMPLE_BEFORE_S: Final = 0.1
"""The scoreboard is read this much before it is said what a stop waits for."""


def begin(event: StopAsked, turn: Turn, *, accepts: bool) -> Ending:
    """The first request to stop; ``accepts``: somebody serves, so there is something to delay."""
    gracefully = Mode.ACCEPT if accepts and event.delay_s > 0 else Mode.DRAIN
    ending = Ending(Mode.QUIT if event.quick else gracefully, turn.now, accept_until=turn.now + event.delay_s)
    ending.is_echo(_source(event), turn.now)
    return ending


def again(ending: Ending, event: StopAsked, turn: Turn) -> bool:
    """A further request: one step harder, at least quick if that was asked for; false for an echo."""
    if ending.is_echo(_source(event), turn.now):
        if event.request:
            ending.requests.append(event.request)
        return False
    harder = Mode(min(ending.mode + 1, Mode.KILL))
    ending.mode = max(harder, Mode.QUIT) if event.quick else harder
    return True


def gives_up(status: int, text: str, traceback: str, turn: Turn, mode: Mode = Mode.QUIT) -> Ending:
    """Nothing could be started: end what there is, with this exit status and these last words."""
    ending = Ending(mode, turn.now, status, text, traceback)
    _close_listeners(ending, turn)
    return ending


def tell(fleet: FleetState, ending: Ending, event: StopAsked, turn: Turn) -> None:
    """Say how the fleet ends; close the door unless it is to stay open for a moment."""
    if event.request:
        ending.requests.append(event.request)
    turn.note(StopBegun(source=event.source, plan=_plan(ending, turn)))
    if not ending.accepting:
        _shut(fleet, ending, turn)


def fire(fleet: FleetState, ending: Ending, turn: Turn) -> None:
    """Do what is due by now: end the delay, or say what is being waited for."""
    if ending.next_at > turn.now:
        return
    if ending.accepting:
        ending.mode = Mode.DRAIN
        turn.note(StopDrains(plan=_plan(ending, turn)))
        _shut(fleet, ending, turn)
        return
    turn.note(_waits_for(_serving(turn) or turn.workers.values(), turn.now))
    _note_again(fleet, ending, turn.now + NEXT_NOTE_S, turn)


def finish(ending: Ending, turn: Turn) -> None:
    record = ending.last_words(turn.now)
    result = {"took_s": round(turn.now - ending.since, 3), "cut": ending.cut, "killed": ending.killed}
    if ending.templates_killed:
        result["templates_killed"] = ending.templates_killed
    turn.actions.extend(Answer(request, True, sentence(record), result) for request in ending.requests)
    turn.actions.append(Finish(ending.status, record))


def _source(event: StopAsked) -> str:
    return f"{event.source} quick" if event.quick else event.source


def _shut(fleet: FleetState, ending: Ending, turn: Turn) -> None:
    if not ending.listeners_closed:
        _close_listeners(ending, turn)
        _note_again(fleet, ending, turn.now + FIRST_NOTE_S, turn)


def _close_listeners(ending: Ending, turn: Turn) -> None:
    ending.listeners_closed = True
    turn.actions.append(CloseListeners())


def _note_again(fleet: FleetState, ending: Ending, at: float, turn: Turn) -> None:
    ending.note_at = at
    fleet.sample_by(at - SAMPLE_BEFORE_S, turn)


def _plan(ending: Ending, turn: Turn) -> StopPlan:
    """How long the workers have for their requests, and until when the last of them is gone."""
    serving, everybody = _serving(turn), turn.workers.values()
    quick = ending.mode is Mode.QUIT
    ends_s = [
        end_limit(State.QUITTING if quick else _ends_in(worker.state), worker.policy) for worker in everybody
    ]
    return StopPlan(
        _MODES[ending.mode],
        len(serving),
        len(everybody) - len(serving),
        accept_s=ending.accept_until - turn.now if ending.accepting else 0.0,
        finish_s=max((worker.policy.drain_timeout_s for worker in serving), default=0.0),
        gone_s=max(ends_s, default=0.0),
    )


_MODES: Final[Mapping[Mode, Literal["accept", "drain", "quit", "kill"]]] = {
    Mode.ACCEPT: "accept",
    Mode.DRAIN: "drain",
    Mode.QUIT: "quit",
    Mode.KILL: "kill",
}


def _waits_for(remaining: Iterable[Worker], now: float) -> StopWaits:
    """The longest request first."""
    some = sorted(remaining, key=lambda worker: (_busy_since(worker) or now, worker.since))
    named = tuple(_waited_for(worker, now) for worker in some[:NAMED_MAX])
    return StopWaits(waits_for=named, more=len(some) - len(named))


def _waited_for(worker: Worker, now: float) -> WaitedFor:
    observed = worker.observed or Observed(worker.id, 0.0)
    return WaitedFor(
        worker.process,
        worker.state.value,
        now - worker.since,
        observed.active,
        observed.connections,
        observed.serving,
        now - observed.busy_since if observed.busy_since else 0.0,
    )


def _busy_since(worker: Worker) -> float:
    return worker.observed.busy_since if worker.observed is not None else 0.0


def _ends_in(state: State) -> State:
    """Where its end begins at a graceful stop. (A drain takes longest: what is unknown counts as one.)"""
    return State.QUITTING if state is State.STARTING else State.DRAINING


def _serving(turn: Turn) -> list[Worker]:
    """All but templates, which have nothing to finish."""
    return [worker for worker in turn.workers.values() if not worker.is_template]
