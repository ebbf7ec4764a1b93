"""Workers that hang: a request that takes too long, a loop that no longer turns.

Both are judged from what is observed on the scoreboard, and only of workers that are ready:
in the other states a deadline of their own is running.

Rules
    - A request (of a sync worker; the others judge theirs themselves) has as long as its limit
      says, and the time in which the master did not run besides: what stopped the master has
      probably stopped the worker too.
    - A loop is judged by what this master has seen: no turn between looks over the whole limit,
      and at each of them no call under way. A heartbeat that is old when it is first seen is
      not enough: the call that held the loop may have ended this moment.
    - It costs a slot nothing that its worker was killed for this: no backoff.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gwctl.supervisor.core.desk import Desk
from gwctl.supervisor.core.life import Failure, Order, State, Worker
from gwctl.supervisor.core.notes import seconds

if TYPE_CHECKING:
    from gwctl.supervisor.core.events import Observed
    from gwctl.supervisor.core.fleet import Fleet

HANG: Final = "hang"
"""The kind of such a failure."""

LOOK_PART: Final = 4
"""So often in the shortest limit a request's age is looked at."""


def judge(fleet: Fleet, worker: Worker, before: Observed | None, facts: Observed, desk: Desk) -> bool:
    """Have a worker that hangs dumped, and see to the next look; true when it was."""
    if worker.state is not State.READY:
        worker.still_since = 0.0
        return False
    look_soon(fleet, worker, desk)
    reason = _request(fleet, facts, desk) or _heartbeat(fleet, worker, before, facts, desk)
    if not reason:
        return False
    worker.reason = reason
    desk.order(worker, Order.DUMP, reason=reason)
    if not worker.leaving and worker.failure is None:
        worker.failure = Failure(HANG, reason)
        fleet.judge(worker)
    return True


def look_soon(fleet: Fleet, worker: Worker, desk: Desk) -> None:
    """Have the next look early enough for the shortest limit that a request of ``worker`` may have."""
    if limit_s := worker.policy.request_timeout_s:
        fleet.look_by(desk.now + limit_s / LOOK_PART)


def _request(fleet: Fleet, facts: Observed, desk: Desk) -> str:
    if not facts.request_due_at:
        return ""
    due_at = facts.request_due_at + fleet.away_since(facts.busy_since)
    if desk.now < due_at:
        fleet.look_by(due_at)
        return ""
    age = seconds(desk.now - facts.busy_since)
    return f"request timeout: {facts.serving} has run {age} (limit {seconds(facts.request_limit_s)})"


def _heartbeat(fleet: Fleet, worker: Worker, before: Observed | None, facts: Observed, desk: Desk) -> str:
    limit_s = worker.policy.heartbeat_timeout_s
    turned = before is None or before.heartbeat_at != facts.heartbeat_at
    if turned or facts.busy_since or not facts.heartbeat_at or not limit_s:
        worker.still_since = 0.0
        return ""
    worker.still_since = worker.still_since or desk.now
    due_at = worker.still_since + limit_s
    if desk.now < due_at:
        fleet.look_by(due_at)
        return ""
    silent = seconds(desk.now - facts.heartbeat_at)
    return f"its loop has not turned for {silent} (heartbeat_timeout_s {seconds(limit_s)})"
