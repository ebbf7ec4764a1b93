"""Judges by what was observed of a worker whether another shall take its place, or it must end at once.

Rules
    - Requests, age and the soft limit of memory only mark the worker; `pool` begins a successor,
      and lets go of the marked one when that serves. Its process may so live on for a while.
    - Nobody is marked before it has lived ``healthy_after_s``: a limit that is too low makes
      workers short-lived, and never the fleet busy with nothing else.
    - Beyond the hard limit of memory the worker is killed, whatever it does and whoever else
      serves: what the machine has is at stake. That is a failure, with all that follows from one.
    - While what is on disk is not what runs, successors would be something else than asked for:
      who is due then stays, and it is said.
"""

from __future__ import annotations

from typing import Final

from gwctl.records.workers import RecyclingPostponed
from gwctl.supervisor.core import judgement, wording
from gwctl.supervisor.core.events import Observed
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Failure, Order, State, Worker

NEAR: Final = 0.8
"""Of the hard limit of memory: from here on the worker is looked at every `NEAR_SAMPLE_S`."""

NEAR_SAMPLE_S: Final = 1.0

_ENDING: Final = frozenset({State.REQUESTED, State.KILLED, State.DEAD})


def judge(fleet: FleetState, worker: Worker, observed: Observed, turn: Turn) -> bool:
    """Mark or kill the worker if it is time for that; true when it was."""
    limits = worker.policy.recycle
    hard = limits.memory_hard_bytes
    if hard and worker.state not in _ENDING:
        if observed.memory_bytes > hard:
            _kill(fleet, worker, observed, turn)
            return True
        if observed.memory_bytes > NEAR * hard:
            fleet.sample_by(turn.now + NEAR_SAMPLE_S, turn)
    if worker.replace_reason or worker.leaving or not worker.serving or judgement.tried(fleet, worker):
        return False
    reason = _due(worker, observed, turn.now)
    if not reason:
        return False
    worker.replace_reason = with_numbers(reason, worker, observed, turn.now)
    pool = fleet.pools[worker.pool]
    if pool.degraded:
        turn.note(RecyclingPostponed(process=worker.process, reason=worker.replace_reason))
    return True


def _due(worker: Worker, observed: Observed, now: float) -> str:
    """Why the worker is to be replaced; empty when it is not."""
    limits = worker.policy.recycle
    age_s = age(worker, now)
    if age_s < worker.policy.healthy_after_s:
        return ""
    rest = 1.0 - limits.jitter_percent / 100 * worker.jitter
    if limits.requests_max and observed.requests >= limits.requests_max * rest:
        return wording.served(observed.requests, round(limits.requests_max * rest))
    if limits.age_max_s and age_s >= limits.age_max_s * rest:
        return wording.served_for(age_s, limits.age_max_s * rest)
    if limits.memory_soft_bytes and observed.memory_bytes > limits.memory_soft_bytes:
        return wording.holds(observed.memory_bytes, limits.memory_soft_bytes)
    return ""


def _kill(fleet: FleetState, worker: Worker, observed: Observed, turn: Turn) -> None:
    limit_bytes = worker.policy.recycle.memory_hard_bytes
    reason = worker.reason = wording.holds_too_much(observed.memory_bytes, limit_bytes)
    turn.order(worker, Order.KILL, reason=with_numbers(wording.it(reason), worker, observed, turn.now))
    if not worker.leaving and worker.failure is None:
        worker.failure = Failure("memory", reason)
        judgement.judge(fleet, worker, turn)


def age(worker: Worker, now: float) -> float:
    """For how long it has been ready."""
    return 0.0 if worker.ready_at is None else now - worker.ready_at


def with_numbers(reason: str, worker: Worker, observed: Observed, now: float) -> str:
    """With what one would ask for next."""
    return wording.with_numbers(
        reason, observed.requests, age(worker, now), observed.memory_bytes, observed.serving
    )
