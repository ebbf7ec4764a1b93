"""What became of each worker, as its own short story, without the times: to compare runs with one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import events as ev

Turn = tuple[Sequence[ev.Event], Sequence[act.Action]]

_NOT_OF_ITS_LIFE = (ev.Observed, ev.Obeyed)
"""What is seen of a worker, and that it did as it was told: neither moves it on."""
_ABOUT_FLEETS = (act.Prepare, act.Adopt, act.Abandon, act.CloseListeners, act.Finish)


def lives(turns: Iterable[Turn]) -> dict[int, list[str]]:
    """By worker: what was heard of it and what it was told, in that order. 0: what was decided about all."""
    told: dict[int, list[str]] = {}
    for events, actions in turns:
        for event in events:
            if isinstance(event, ev.WorkerEvent) and not isinstance(event, _NOT_OF_ITS_LIFE):
                told.setdefault(event.worker, []).append(type(event).__name__)
        for action in actions:
            if isinstance(action, act.Spawn):
                place = f"{action.pool}.{action.slot} g{action.generation}"
                told.setdefault(action.worker, []).append(f"Spawn {place}")
            elif isinstance(action, act.Serve | act.Park | act.Drain | act.Quit | act.Dump | act.Kill):
                told.setdefault(action.worker, []).append(type(action).__name__)
            elif isinstance(action, _ABOUT_FLEETS):
                told.setdefault(0, []).append(type(action).__name__)
    return told


def without_chance(life: Sequence[str]) -> list[str]:
    """Leave out what may or may not be read in time, or before the exit."""
    return [line for line in life if line not in {"ChannelClosed", "DrainStarted"}]


def without_place(life: Sequence[str]) -> tuple[str, ...]:
    return tuple(line.partition(" ")[0] for line in life)
