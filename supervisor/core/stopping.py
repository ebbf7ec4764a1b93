"""A stop, step by step: what begins it, what makes it harder, what is said meanwhile, and its end.

`ending` holds where it stands and what each worker is told for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gwctl.supervisor.core import wording
from gwctl.supervisor.core.actions import Answer, CloseListeners, Finish
from gwctl.supervisor.core.ending import FIRST_NOTE_S, NEXT_NOTE_S, Ending, Mode
from gwctl.supervisor.core.events import StopAsked
from gwctl.supervisor.core.turn import Desk
from gwctl.supervisor.core.wording import processes, seconds, workers
from gwctl.supervisor.core.worker import State, Worker, end_limit

if TYPE_CHECKING:
    from gwctl.supervisor.core.fleet import Fleet

LOOK_BEFORE_S: Final = 0.1
"""The scoreboard is read this much before it is said what a stop waits for."""


def begin(event: StopAsked, desk: Desk, *, accepts: bool) -> Ending:
    """The first request to stop; ``accepts``: somebody serves, so there is something to delay."""
    gracefully = Mode.ACCEPT if accepts and event.delay_s > 0 else Mode.DRAIN
    ending = Ending(Mode.QUIT if event.quick else gracefully, desk.now, accept_until=desk.now + event.delay_s)
    ending.is_echo(_source(event), desk.now)
    return ending


def again(ending: Ending, event: StopAsked, desk: Desk) -> bool:
    """A further request: one step harder, at least quick if that was asked for; false for an echo."""
    if ending.is_echo(_source(event), desk.now):
        if event.request:
            ending.requests.append(event.request)
        return False
    harder = Mode(min(ending.mode + 1, Mode.KILL))
    ending.mode = max(harder, Mode.QUIT) if event.quick else harder
    return True


def gives_up(status: int, text: str, traceback: str, desk: Desk) -> Ending:
    """Nothing could be started: end what there is, with this exit status and these last words."""
    ending = Ending(Mode.QUIT, desk.now, status, text, traceback)
    _close_listeners(ending, desk)
    return ending


def tell(fleet: Fleet, ending: Ending, event: StopAsked, desk: Desk) -> None:
    """Say how the fleet ends; close the door unless it is to stay open for a moment."""
    if event.request:
        ending.requests.append(event.request)
    desk.note("info", f"stopping ({event.source}): {_how(ending, desk)}")
    if not ending.accepting:
        _shut(fleet, ending, desk)


def fire(fleet: Fleet, ending: Ending, desk: Desk) -> None:
    """Do what is due by now: end the delay, or say what is being waited for."""
    if ending.next_at > desk.now:
        return
    if ending.accepting:
        ending.mode = Mode.DRAIN
        desk.note("info", f"accepting no more: {_how(ending, desk)}")
        _shut(fleet, ending, desk)
        return
    desk.note("info", wording.waits_for(_serving(desk) or desk.workers.values(), desk.now))
    _note_again(fleet, ending, desk.now + NEXT_NOTE_S)


def finish(ending: Ending, desk: Desk) -> None:
    text = ending.last_words(desk.now)
    result = {"took_s": round(desk.now - ending.since, 3), "cut": ending.cut, "killed": ending.killed}
    if ending.templates_killed:
        result["templates_killed"] = ending.templates_killed
    desk.actions.extend(Answer(request, True, text, result) for request in ending.requests)
    desk.actions.append(Finish(ending.status, text, ending.traceback))


def _source(event: StopAsked) -> str:
    return f"{event.source} quick" if event.quick else event.source


def _shut(fleet: Fleet, ending: Ending, desk: Desk) -> None:
    if not ending.listeners_closed:
        _close_listeners(ending, desk)
        _note_again(fleet, ending, desk.now + FIRST_NOTE_S)


def _close_listeners(ending: Ending, desk: Desk) -> None:
    ending.listeners_closed = True
    desk.actions.append(CloseListeners())


def _note_again(fleet: Fleet, ending: Ending, at: float) -> None:
    ending.note_at = at
    fleet.look_by(at - LOOK_BEFORE_S)


def _how(ending: Ending, desk: Desk) -> str:
    templates = sum(1 for worker in desk.workers.values() if worker.is_template)
    count = processes(len(_serving(desk)), templates)
    match ending.mode:
        case Mode.ACCEPT:
            wait = seconds(ending.accept_until - desk.now)
            return f"accepting for {wait} more, then {_finishing(desk)}. Asked again: that begins now"
        case Mode.DRAIN:
            again = ". Asked again: ends them at once" if _serving(desk) else ""
            return _finishing(desk) + again
        case Mode.QUIT if not count:
            return "no worker is left to end"
        case Mode.QUIT:
            quit_s = max(end_limit(State.QUITTING, worker.policy) for worker in desk.workers.values())
            return f"ending {count} at once, within {seconds(quit_s)}. Asked again: kills them"
        case Mode.KILL:
            return f"killing {count or 'nobody: no worker is left'}"


def _finishing(desk: Desk) -> str:
    """How long the workers have for their requests, and until when the last of them is gone."""
    serving = _serving(desk)
    if not serving:
        return "no worker has anything to finish"
    longest = max(worker.policy.drain_timeout_s for worker in serving)
    end_s = max(end_limit(_ends_in(worker.state), worker.policy) for worker in desk.workers.values())
    verb, are = ("finishes", "is") if len(serving) == 1 else ("finish", "are")
    within = f"at most {seconds(longest)}, and {are} gone within {seconds(end_s)}"
    return f"{workers(len(serving))} {verb}, {within}"


def _ends_in(state: State) -> State:
    """Where its end begins at a graceful stop. (A drain takes longest: what is unknown counts as one.)"""
    return State.QUITTING if state is State.STARTING else State.DRAINING


def _serving(desk: Desk) -> list[Worker]:
    """All but templates, which have nothing to finish."""
    return [worker for worker in desk.workers.values() if not worker.is_template]
