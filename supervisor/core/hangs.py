"""Workers that hang: a request that takes too long, a loop that no longer turns.

Both are judged from what is observed on the scoreboard, of workers that are ready or parked: a
parked one may have to serve again. In the other states a deadline of their own is running.

Rules
    - A request (of a sync worker; the others judge theirs themselves) has as long as its limit
      says, and the time in which the master did not run besides: what stopped the master has
      probably stopped the worker too.
    - A loop has as long as its limit says, from its last heartbeat, from the last sample at which a
      call was under way, or from when the master itself came back. A heartbeat that is too old
      when it is first seen is not enough: the call that held the loop may have ended this moment,
      or all have just been continued. It must be the same `CONFIRM_S` later, with no call under way.
    - Between the dump and the kill it is looked at once more: whose request has ended meanwhile, or
      whose loop turns again, is spared.
    - It costs a slot nothing that its worker was killed for this: no backoff.
"""

from __future__ import annotations

from typing import Final

from gwctl.supervisor.core import judgement, wording
from gwctl.supervisor.core.events import Observed, Stuck
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Failure, Order, State, Worker

HANG: Final = "hang"
"""The kind of such a failure."""

_JUDGED: Final = frozenset({State.READY, State.PARKED})

LAST_SAMPLE_S: Final = 0.1
"""For the sample of the scoreboard that precedes a kill; it comes after `state.SAMPLE_MIN_S` at most."""

CONFIRM_S: Final = 1.0
"""Between the two samples that find a loop standing still; as long as a loop may go without a heartbeat."""

SAMPLES_PER_LIMIT: Final = 4
"""So often in the shortest limit a request's age is looked at."""


def judge(fleet: FleetState, worker: Worker, before: Observed | None, observed: Observed, turn: Turn) -> bool:
    """Have a worker that hangs dumped, and see to the next sample; true when it was."""
    if worker.state is State.DUMPED and worker.hangs:
        return _spare(fleet, worker, before, observed, turn)
    if worker.state not in _JUDGED:
        worker.still_since = 0.0
        return False
    sample_soon(fleet, worker, turn)
    reason = _why(fleet, worker, before, observed, turn)
    if not reason:
        return False
    worker.hangs, worker.reason = True, reason
    turn.order(worker, Order.DUMP, reason=reason)
    if not worker.leaving and worker.failure is None:
        worker.failure = Failure(HANG, reason, dumped=worker.pid)
        judgement.judge(fleet, worker, turn)
    return True


def last_sample(fleet: FleetState, worker: Worker, turn: Turn) -> bool:
    """A dumped worker is due to be killed; true when it is to be looked at once more before."""
    if not worker.hangs or worker.last_sample or worker.channel_closed:
        return False
    worker.last_sample = True
    worker.deadline = turn.now + LAST_SAMPLE_S
    fleet.sample_by(turn.now, turn)
    return True


def gave_up(fleet: FleetState, worker: Worker, news: Stuck, turn: Turn) -> None:
    """A threads worker has abandoned a request; the thread that it holds goes when the process does."""
    if worker.state not in _JUDGED or worker.leaving or worker.stuck:
        return
    worker.stuck = True
    what = wording.stuck(news.request, news.age_s)
    if judgement.tried(fleet, worker):
        worker.failure = Failure(HANG, wording.request_timeout(what))
        judgement.judge(fleet, worker, turn)
        return
    worker.replace_reason = wording.cannot_end(what)


def _spare(
    fleet: FleetState, worker: Worker, before: Observed | None, observed: Observed, turn: Turn
) -> bool:
    hangs = _why(fleet, worker, before, observed, turn)
    if hangs or worker.channel_closed or not worker.last_sample:
        return False
    turn.order(worker, Order.SPARE, reason=worker.reason)
    worker.hangs = worker.last_sample = False
    worker.failure, worker.reason, worker.still_since = None, "", 0.0
    return True


def sample_soon(fleet: FleetState, worker: Worker, turn: Turn) -> None:
    """Have the next sample early enough for the shortest limit that a request of ``worker`` may have."""
    if limit_s := worker.policy.request_timeout_s:
        fleet.sample_by(turn.now + limit_s / SAMPLES_PER_LIMIT, turn)


def _why(fleet: FleetState, worker: Worker, before: Observed | None, observed: Observed, turn: Turn) -> str:
    """Return why ``worker`` hangs; empty: it does not."""
    loop = _heartbeat(fleet, worker, before, observed, turn)  # always: it notes that a call is under way
    return _request(fleet, observed, turn) or loop


def _request(fleet: FleetState, observed: Observed, turn: Turn) -> str:
    if not observed.request_due_at:
        return ""
    due_at = observed.request_due_at + fleet.away_since(observed.busy_since)
    if turn.now < due_at:
        fleet.sample_by(due_at, turn)
        return ""
    age_s = turn.now - observed.busy_since
    return wording.request_timeout(wording.has_run(observed.serving, age_s, observed.request_limit_s))


def _back_at(fleet: FleetState) -> float:
    """When this master last began to run again; 0.0: it was never away."""
    return fleet.away[-1][0] if fleet.away else 0.0


def _heartbeat(
    fleet: FleetState, worker: Worker, before: Observed | None, observed: Observed, turn: Turn
) -> str:
    limit_s = worker.policy.heartbeat_timeout_s
    if before is None or before.heartbeat_at != observed.heartbeat_at or observed.busy_since:
        worker.still_since = 0.0
    if observed.busy_since:
        worker.busy_at = turn.now
    if observed.busy_since or not observed.heartbeat_at or not limit_s:
        return ""
    due_at = max(observed.heartbeat_at, worker.busy_at, _back_at(fleet)) + limit_s
    if turn.now >= due_at:
        worker.still_since = worker.still_since or turn.now
        due_at = worker.still_since + CONFIRM_S
    if turn.now < due_at:
        fleet.sample_by(due_at, turn)
        return ""
    return wording.stands_still(turn.now - observed.heartbeat_at, limit_s)
