"""The life of one worker: a table of state x event, one of state x order, one of deadlines.

Theory of operation
    A worker begins as an intent (REQUESTED) and ends reaped (DEAD). *Events* are what the shell
    observed and may come in any order: readiness is read from a channel, exits from a pidfd,
    and nothing orders the two. So every state has an answer to every event, and none of them
    is an error. *Orders* are what the policy decides; one that makes no sense in a state (a
    second drain, a signal after the exit) is a bug here and raises.

    What a worker *is* (its state) is kept apart from what is *wanted* of it: `Worker.leaving`
    says that its end is planned, so that its exit is no crash and its slot is free for the
    next. A worker that fails without being asked keeps its slot until it is dead; only then
    is a replacement considered, so a slot never runs away.

    Every state but READY has a deadline, or, for PARKED, that of the reload which parked it or of
    the generation that is kept.
    Reaching one is never ignored: `AT_DEADLINE` names the order that follows.

      REQUESTED  the fork was asked for, nothing was heard of a process
      STARTING   it boots
      READY      booted; accepts as soon as it was told to serve (`Worker.serving`)
      PARKED     told to accept no more and stay alive, so that a reload can be undone; told to
                 release its clients, it also has them leave
      LOST       its channel is at end of file, and its exit should follow; if it does not, it is told
                 to drain by a signal, as it can be told nothing else
      DRAINING   finishes what it has, then exits
      QUITTING   ends at once: by SIGQUIT, or by itself after it said why it cannot boot
      DUMPED     asked for its stacks; killed next, unless it hung and no longer does
      KILLED     SIGKILL was sent; nothing more can be done
      DEAD       reaped, or never spawned
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, assert_never

from msgspec import Struct

from gwctl.errors import InvariantViolation
from gwctl.records.base import TEMPLATE, Process
from gwctl.supervisor.core.events import Observed
from gwctl.supervisor.core.policy import PoolPolicy

LINK_GRACE_S: Final = 1.0
"""From end of file on a worker's channel to when it is plain that its process lives on."""

DRAIN_MARGIN_S: Final = 3.0
"""The worker itself cuts what is left at ``drain_timeout_s``, and ends, for which it has its farewell of 2 s;
this much later the master acts."""

FORK_ANSWER_S: Final = 10.0
"""In which a template that was asked for a worker shall have said how that went."""

UNREAPED_S: Final = 10.0
"""A killed process that is not reaped after this long is spoken of, and its slot is given away."""


class State(Enum):
    REQUESTED = "requested"
    STARTING = "starting"
    READY = "ready"
    PARKED = "parked"
    LOST = "lost"
    DRAINING = "draining"
    QUITTING = "quitting"
    DUMPED = "dumped"
    KILLED = "killed"
    DEAD = "dead"

    __hash__ = object.__hash__  # Enum's own hashes the name each time: the tables are read at every event


class LifeEvent(Enum):
    SPAWNED = "spawned"
    SPAWN_FAILED = "spawn failed"
    READY = "ready"
    BOOT_FAILED = "boot failed"
    DRAIN_STARTED = "drain started"
    CHANNEL_CLOSED = "channel closed"
    EXITED = "exited"

    __hash__ = object.__hash__


class Order(Enum):
    SERVE = "serve"
    PARK = "park"
    RELEASE_CLIENTS = "shed"
    DRAIN = "drain"
    QUIT = "quit"
    DUMP = "dump"
    KILL = "kill"
    SPARE = "spare"

    __hash__ = object.__hash__


def _row(stay: State, **changes: State) -> dict[LifeEvent, State]:
    """All events leave ``stay`` as it is, but for ``changes``; an exit is always the end."""
    row = dict.fromkeys(LifeEvent, stay)
    row[LifeEvent.EXITED] = State.DEAD
    row.update({LifeEvent[name.upper()]: state for name, state in changes.items()})
    return row


AFTER_EVENT: Final[Mapping[State, Mapping[LifeEvent, State]]] = {
    # Ready, failed and end of file say that a process exists, even before Spawned is read.
    State.REQUESTED: _row(
        State.REQUESTED,
        spawned=State.STARTING,
        spawn_failed=State.DEAD,
        ready=State.READY,
        boot_failed=State.QUITTING,
        channel_closed=State.LOST,
    ),
    State.STARTING: _row(
        State.STARTING,
        ready=State.READY,
        boot_failed=State.QUITTING,
        channel_closed=State.LOST,
    ),
    # It drains unasked after a TERM from someone else.
    State.READY: _row(State.READY, drain_started=State.DRAINING, channel_closed=State.LOST),
    State.PARKED: _row(State.PARKED, drain_started=State.DRAINING, channel_closed=State.LOST),
    # What was written before the end of file may be read after it.
    State.LOST: _row(State.LOST, boot_failed=State.QUITTING, drain_started=State.DRAINING),
    # From here on it is on its way out and only the exit matters.
    State.DRAINING: _row(State.DRAINING),
    State.QUITTING: _row(State.QUITTING),
    State.DUMPED: _row(State.DUMPED),
    State.KILLED: _row(State.KILLED),
    State.DEAD: _row(State.DEAD),
}

AFTER_ORDER: Final[Mapping[State, Mapping[Order, State]]] = {
    # Without a process there is nobody to tell; with one that boots, only signals reach it.
    State.REQUESTED: {},
    State.STARTING: {Order.QUIT: State.QUITTING, Order.DUMP: State.DUMPED, Order.KILL: State.KILLED},
    State.READY: {
        Order.SERVE: State.READY,
        Order.PARK: State.PARKED,
        Order.RELEASE_CLIENTS: State.PARKED,
        Order.DRAIN: State.DRAINING,
        Order.QUIT: State.QUITTING,
        Order.DUMP: State.DUMPED,
        Order.KILL: State.KILLED,
    },
    State.PARKED: {
        Order.SERVE: State.READY,
        Order.RELEASE_CLIENTS: State.PARKED,
        Order.DRAIN: State.DRAINING,
        Order.QUIT: State.QUITTING,
        Order.DUMP: State.DUMPED,
        Order.KILL: State.KILLED,
    },
    State.LOST: {
        Order.DRAIN: State.DRAINING,
        Order.QUIT: State.QUITTING,
        Order.DUMP: State.DUMPED,
        Order.KILL: State.KILLED,
    },
    State.DRAINING: {Order.QUIT: State.QUITTING, Order.DUMP: State.DUMPED, Order.KILL: State.KILLED},
    # A dump takes a moment, and a process that does not end on SIGQUIT knows no other word.
    State.QUITTING: {Order.KILL: State.KILLED},
    # One that hung and turns again: what it is told next follows from what is wanted of it.
    State.DUMPED: {Order.KILL: State.KILLED, Order.SPARE: State.READY},
    State.KILLED: {},
    State.DEAD: {},
}
"""A missing cell is an order that must never be given."""

AT_DEADLINE: Final[Mapping[State, Order | None]] = {
    State.REQUESTED: None,  # the shell owes an answer; there is nothing to signal
    State.STARTING: Order.DUMP,
    State.READY: None,
    State.PARKED: None,  # bounded by the reload, or by how long its generation is kept
    State.LOST: Order.DRAIN,
    State.DRAINING: Order.DUMP,
    State.QUITTING: Order.KILL,
    State.DUMPED: Order.KILL,
    State.KILLED: None,  # said again, in case somebody can help
    State.DEAD: None,
}


class Failure(Struct, frozen=True):
    """Why a worker failed, as far as it is known. ``kind`` is import, lifespan, boot, spawn or exit."""

    kind: str
    message: str
    traceback: str = ""
    dumped: int = 0
    """The pid of a process whose stacks are being taken: they will be in the record of its kill."""


class Worker(Struct, eq=False):
    """What the core knows of one worker. Read it freely; only `apply` and `order` change its state."""

    id: int
    pool: str
    slot: int
    generation: int
    policy: PoolPolicy
    requested_at: float
    """When it was asked for."""
    state: State = State.REQUESTED
    told: Order | None = None
    """The last order it was given."""
    confirmed: bool = False
    """It said that it has carried out the last order to serve, park or release its clients."""
    pid: int = 0
    """0 until Spawned was read."""
    since: float = 0.0
    """When it entered its state."""
    ready_at: float | None = None
    deadline: float | None = None
    leaving: bool = False
    """Its end is planned: it holds no slot, and its exit is no crash."""
    failure: Failure | None = None
    reason: str = ""
    """Why it is dumped or killed."""
    observed: Observed | None = None
    """What was last observed of it."""
    young_bytes: int = 0
    """Its memory when it was first observed after it was ready; 0: it was not yet."""
    still_since: float = 0.0
    """Since when it was seen idle with a loop that stands still beyond its limit; 0.0: not when last seen."""
    busy_at: float = 0.0
    """When it was last seen with a call under way, which keeps its loop from turning."""
    jitter: float = 0.0
    """A random number of its own, by which its limits differ from its siblings'."""
    replace_reason: str = ""
    """Why another worker shall take its place, begun before it ends; empty: none shall."""
    from_disk: bool = False
    """It was begun while what is on disk is not what its siblings run: it may be other code."""
    succession_told: bool = False
    """That was said when a successor was first begun."""
    ends_first: bool = False
    """There is no room for its successor beside it: that is begun when it has ended."""
    stuck: bool = False
    """It abandoned a request: that is a reason to replace it, whatever its age or what is on disk."""
    hangs: bool = False
    """It was dumped because it was seen to hang."""
    last_sample: bool = False
    """It is looked at once more before it is killed for that."""
    channel_closed: bool = False
    """Its channel is at end of file."""
    unreaped: bool = False
    """It was killed long ago, and the kernel does not let go of it: it runs nothing any more."""
    successor: bool = False
    """It was begun to take the place of another, which still has it."""
    template: int | None = None
    """The number of the template that it is forked from; None: the master forks it."""

    def __post_init__(self) -> None:
        self.since = self.requested_at
        self.rearm(self.requested_at)

    @property
    def serving(self) -> bool:
        """It accepts connections."""
        return self.state is State.READY and self.told is Order.SERVE

    @property
    def is_template(self) -> bool:
        return self.slot == TEMPLATE

    @property
    def process(self) -> Process:
        """Who a record is about."""
        return Process(self.pool, self.slot, self.generation, self.pid)

    def apply(self, event: LifeEvent, now: float) -> bool:
        """Take in what was observed; true when it changed the state."""
        after = AFTER_EVENT[self.state][event]
        if after is self.state:
            return False
        self._enter(after, now)
        if after is State.READY:
            self.ready_at = now
        return True

    def order(self, order: Order, now: float) -> None:
        """Record an order, before it is carried out.

        Raises:
            InvariantViolation: The order must never be given in this state, or was given already.
        """
        after = AFTER_ORDER[self.state].get(order)
        if after is None or (order is self.told and order in _ONCE):
            raise InvariantViolation(f"worker {self.id} is {self.state.value}: cannot {order.value} it")
        self.told = order
        self.confirmed = False
        if after is not self.state:
            self._enter(after, now)

    def rearm(self, now: float) -> None:
        """Wait as long again, after a deadline at which nothing could be done."""
        forks = self.state is State.REQUESTED and self.template is not None
        self.deadline = now + (FORK_ANSWER_S if forks else time_limit(self.state, self.policy))

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        self.since = now
        untimed = state in _UNTIMED
        self.deadline = None if untimed else now + time_limit(state, self.policy)


_ONCE: Final = frozenset({Order.SERVE, Order.RELEASE_CLIENTS})
"""Orders that leave the state as it is."""

_UNTIMED: Final = frozenset({State.READY, State.PARKED, State.DEAD})


def time_limit(state: State, policy: PoolPolicy) -> float:
    """How many seconds a worker may spend in ``state``.

    Raises:
        InvariantViolation: The state has no limit of its own.
    """
    match state:
        case State.REQUESTED | State.STARTING:
            return policy.boot_timeout_s
        case State.LOST:
            return LINK_GRACE_S
        case State.DRAINING:
            return policy.drain_timeout_s + DRAIN_MARGIN_S
        case State.QUITTING:
            return policy.quit_grace_s
        case State.DUMPED:
            return policy.dump_grace_s
        case State.KILLED:
            return UNREAPED_S
        case State.READY | State.PARKED | State.DEAD:
            raise InvariantViolation(f"{state.value} has no time limit of its own")
        case _:
            assert_never(state)


def end_limit(state: State, policy: PoolPolicy) -> float:
    """How many seconds after the order that brings it into ``state`` a worker has been killed at the latest.

    Raises:
        InvariantViolation: The state has no limit of its own.
    """
    dumped = AT_DEADLINE[state] is Order.DUMP
    return time_limit(state, policy) + (time_limit(State.DUMPED, policy) if dumped else 0.0)
