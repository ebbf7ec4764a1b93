"""The end of the fleet: asked for, or because nothing could be started.

It escalates: accept for some time more (if that is set), drain, then (asked again, not by an echo) quit,
then kill. While it accepts, the pools are kept as they are wanted. From then on, as in `pool`, what to do
with each worker follows from its state, so that a worker whose fork is answered late is ended like the
others. The fleet finishes when the last one is reaped.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import assert_never

from msgspec import Struct, field

from gwctl.records.master import MasterGaveUp, MasterStopped
from gwctl.supervisor.core import wording
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Order, State, Worker

SAME_S = 0.1
"""Asked again by the same within this time is the same request. A program that signals a process and then
its group (``timeout``, ``tini -g``, many supervisors) sends each signal twice; nobody means it."""
FIRST_NOTE_S = 1.0
"""Until the first line that says what a stop waits for."""
NEXT_NOTE_S = 5.0
"""From one such line to the next."""


class Mode(IntEnum):
    ACCEPT = 0
    """Nothing has changed yet but what the outside is told: time for load balancers to see it."""
    DRAIN = 1
    QUIT = 2
    KILL = 3


class Ending(Struct, eq=False):
    mode: Mode
    since: float
    status: int = 0
    text: str = ""
    """Why, when it was not asked for."""
    traceback: str = ""
    requests: list[int] = field(default_factory=list)
    cut: int = 0
    killed: int = 0
    """Workers."""
    templates_killed: int = 0
    accept_until: float = 0.0
    """When ``Mode.ACCEPT`` is over."""
    note_at: float = 0.0
    listeners_closed: bool = False
    asked_by: str = ""
    asked_at: float = 0.0

    def __post_init__(self) -> None:
        self.note_at = self.since + FIRST_NOTE_S

    @property
    def accepting(self) -> bool:
        """Connections are still accepted, and workers replaced."""
        return self.mode is Mode.ACCEPT

    @property
    def next_at(self) -> float:
        """When it has something to do by itself."""
        return self.accept_until if self.accepting else self.note_at

    def shift(self, late_s: float) -> None:
        """All deadlines move."""
        self.accept_until += late_s
        self.note_at += late_s

    def is_echo(self, source: str, now: float) -> bool:
        """Whether a request to stop repeats the one before it; one that does not is remembered."""
        if source == self.asked_by and now - self.asked_at < SAME_S:
            return True
        self.asked_by, self.asked_at = source, now
        return False

    def last_words(self, now: float) -> MasterStopped | MasterGaveUp:
        if self.text:
            return MasterGaveUp(exit_status=self.status, reason=self.text, traceback=self.traceback)
        return MasterStopped(
            took_s=now - self.since,
            cut=self.cut,
            killed=self.killed,
            templates_killed=self.templates_killed,
        )

    def count_killed(self, worker: Worker) -> None:
        if worker.is_template:
            self.templates_killed += 1
        else:
            self.killed += 1

    def enforce(self, members: Iterable[Worker], turn: Turn) -> None:
        """Order each worker to end as ``mode`` says, unless it was told already."""
        for worker in members:
            worker.leaving = True
            order = _order(self.mode, worker.state)
            if order is not None:
                turn.order(worker, order, reason=wording.STOPS_AT_ONCE, sweep=True)


def _order(mode: Mode, state: State) -> Order | None:
    match mode:
        case Mode.ACCEPT:
            return None
        case Mode.DRAIN:
            if state is State.STARTING:
                return Order.QUIT
            return Order.DRAIN if state in _CAN_DRAIN else None
        case Mode.QUIT:
            return Order.QUIT if state in _CAN_QUIT else None
        case Mode.KILL:
            return Order.KILL if state in _CAN_KILL else None
        case _:
            assert_never(mode)


_CAN_DRAIN = frozenset({State.READY, State.PARKED})
_CAN_QUIT = _CAN_DRAIN | {State.STARTING, State.DRAINING, State.LOST}
_CAN_KILL = _CAN_QUIT | {State.QUITTING, State.DUMPED}
