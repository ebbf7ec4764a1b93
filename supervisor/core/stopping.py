"""A stop, step by step: what begins it, what makes it harder, what is said meanwhile, and its end.

`ending` holds where it stands and what each worker is told for it.
"""

from __future__ import annotations

from typing import Final

from gwctl.supervisor.core import wording
from gwctl.supervisor.core.actions import Answer, CloseListeners, Finish
from gwctl.supervisor.core.ending import FIRST_NOTE_S, NEXT_NOTE_S, Ending, Mode
from gwctl.supervisor.core.events import StopAsked
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.wording import processes
from gwctl.supervisor.core.worker import State, Worker, end_limit
from gwctl.wording import seconds, workers

LOOK_BEFORE_S: Final = 0.1
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


def gives_up(status: int, text: str, traceback: str, turn: Turn) -> Ending:
    """Nothing could be started: end what there is, with this exit status and these last words."""
    ending = Ending(Mode.QUIT, turn.now, status, text, traceback)
    _close_listeners(ending, turn)
    return ending


def tell(fleet: FleetState, ending: Ending, event: StopAsked, turn: Turn) -> None:
    """Say how the fleet ends; close the door unless it is to stay open for a moment."""
    if event.request:
        ending.requests.append(event.request)
    turn.note("info", f"stopping ({event.source}): {_how(ending, turn)}")
    if not ending.accepting:
        _shut(fleet, ending, turn)


def fire(fleet: FleetState, ending: Ending, turn: Turn) -> None:
    """Do what is due by now: end the delay, or say what is being waited for."""
    if ending.next_at > turn.now:
        return
    if ending.accepting:
        ending.mode = Mode.DRAIN
        turn.note("info", f"accepting no more: {_how(ending, turn)}")
        _shut(fleet, ending, turn)
        return
    turn.note("info", wording.waits_for(_serving(turn) or turn.workers.values(), turn.now))
    _note_again(fleet, ending, turn.now + NEXT_NOTE_S, turn)


def finish(ending: Ending, turn: Turn) -> None:
    text = ending.last_words(turn.now)
    result = {"took_s": round(turn.now - ending.since, 3), "cut": ending.cut, "killed": ending.killed}
    if ending.templates_killed:
        result["templates_killed"] = ending.templates_killed
    turn.actions.extend(Answer(request, True, text, result) for request in ending.requests)
    turn.actions.append(Finish(ending.status, text, ending.traceback))


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
    fleet.look_by(at - LOOK_BEFORE_S, turn)


def _how(ending: Ending, turn: Turn) -> str:
    templates = sum(1 for worker in turn.workers.values() if worker.is_template)
    count = processes(len(_serving(turn)), templates)
    match ending.mode:
        case Mode.ACCEPT:
            wait = seconds(ending.accept_until - turn.now)
            return f"accepting for {wait} more, then {_finishing(turn)}. Asked again: that begins now"
        case Mode.DRAIN:
            again = ". Asked again: ends them at once" if _serving(turn) else ""
            return _finishing(turn) + again
        case Mode.QUIT if not count:
            return "no worker is left to end"
        case Mode.QUIT:
            quit_s = max(end_limit(State.QUITTING, worker.policy) for worker in turn.workers.values())
            return f"ending {count} at once, within {seconds(quit_s)}. Asked again: kills them"
        case Mode.KILL:
            return f"killing {count or 'nobody: no worker is left'}"


def _finishing(turn: Turn) -> str:
    """How long the workers have for their requests, and until when the last of them is gone."""
    serving = _serving(turn)
    if not serving:
        return "no worker has anything to finish"
    longest = max(worker.policy.drain_timeout_s for worker in serving)
    end_s = max(end_limit(_ends_in(worker.state), worker.policy) for worker in turn.workers.values())
    verb, are = ("finishes", "is") if len(serving) == 1 else ("finish", "are")
    within = f"at most {seconds(longest)}, and {are} gone within {seconds(end_s)}"
    return f"{workers(len(serving))} {verb}, {within}"


def _ends_in(state: State) -> State:
    """Where its end begins at a graceful stop. (A drain takes longest: what is unknown counts as one.)"""
    return State.QUITTING if state is State.STARTING else State.DRAINING


def _serving(turn: Turn) -> list[Worker]:
    """All but templates, which have nothing to finish."""
    return [worker for worker in turn.workers.values() if not worker.is_template]
