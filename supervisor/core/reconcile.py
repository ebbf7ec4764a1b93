"""The orders that bring the workers of one pool to what is wanted of it.

`reconcile` is level-triggered: it looks at the workers, not at what just happened, and acts on
the difference to `Wanted`. Called twice with nothing new it does nothing the second time.

Rules
    - A slot of the current generation holds one worker until that one is dead or leaving.
    - Spawning: starting + ready stay within size + surge; an atomic reload has both generations
      whole instead, and as many of the new one as the surge booting at once.
    - Parking and scaling down: parked + draining stay within ``draining_max``; both wait for
      room. Undoing a reload does not wait: what failed must not go on serving.
    - New workers serve before old ones are parked, one old for each new; should new ones be
      lost again, parked ones serve again. A canary that is to wait yet serves if nobody does.
    - An atomic reload, and a rollback, have all new workers ready, then all old ones release their
      clients in one step, and have all new ones serve in the next. Should none of the new ones serve
      any more, all old ones do again: the two never serve side by side.
    - A restart, and going back from one, lets go of all workers of other generations whoever serves, and of
      their templates; the first of its own is begun when the last process of those is reaped.
    - Workers of a kept generation stay parked; not all together, should one be the last that serves.
    - The last serving worker of a pool is never drained to get rid of it (it may be surplus or
      belong to an abandoned generation) before another one serves.
    - A worker that is due to be replaced keeps its slot until its successor serves; it is let go then, or
      before where there is no room for both (`Worker.ends_first`) and another serves;
      and at most `recycled_at_once` are on their way in and out. A successor whose place becomes free
      takes it at once; a reload or a smaller size has no use for successors, and lets them go.
    - While another master's place is to be taken, no worker serves before all are ready.
    - While a reload is under way, no worker of the current generation is spawned: it would run
      what is on disk now, which is what the reload is trying out, with the old settings. Nor
      after a rollback, whose code is on no disk. The exception is a pool without a serving worker:
      one at a time, with the usual backoff.
"""

from __future__ import annotations

from gwctl.records.workers import WorkerReplaced
from gwctl.supervisor.core import crash, templates
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.pool import COMING, Pool, View, Wanted, active_limit, recycled_at_once
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Order, State, Worker


def reconcile(pool: Pool, wanted: Wanted, turn: Turn) -> None:
    """Order what brings the pool towards what is wanted."""
    if pool.templates:
        templates.let_go(pool, _generations(pool, wanted), turn)
    view = View(pool, wanted)
    if wanted.alone:
        _clear(view, turn)
    if view.successors:
        _succeed(view, turn)
    if wanted.serve_new or not (view.serving or wanted.atomic):
        for worker in view.new.values():
            if worker.state in _CAN_SERVE and worker.told is not Order.SERVE:
                _serve(view, worker, turn)
    if not (wanted.replace or wanted.wait):
        for worker in view.old.values():
            if not worker.serving and worker.state in _CAN_SERVE:
                _serve(view, worker, turn)
    _retire(view, turn)
    if wanted.replace:
        _replace(view, turn)
    for worker in view.kept:
        _release_clients(view, worker, turn)
    _spawn(view, turn)
    crash.watch_breakers(pool, view.old, turn)
    if not wanted.candidate:
        _recycle(view, turn)


_CAN_SERVE = frozenset({State.READY, State.PARKED})


def _generations(pool: Pool, wanted: Wanted) -> set[int]:
    """Those of which workers may yet be started."""
    if wanted.alone:
        return {wanted.to_be_alone}
    current = {wanted.generation, wanted.kept} if pool.size else set()
    return current if wanted.policy is None else current | {wanted.candidate}


def _clear(view: View, turn: Turn) -> None:
    """Let go of all others; one that fails by itself stays what it is: a failure."""
    holders = (view.old, view.successors) if view.wanted.candidate else ()
    for slots in holders:
        for slot, worker in list(slots.items()):
            if worker.state in _CAN_BE_TOLD:
                del slots[slot]
                _let_go(view, worker, turn)
    for worker in (*view.strays, *view.kept):
        _let_go(view, worker, turn)
    view.strays, view.kept = [], []
    view.crowded = view.pool.has_others(view.wanted.to_be_alone)
    view.pool.alone = view.crowded or view.wanted.candidate > 0


def _serve(view: View, worker: Worker, turn: Turn) -> None:
    if worker.state is State.PARKED:
        view.room += 1
        view.active += 1
    turn.order(worker, Order.SERVE)
    view.serving += 1


def _succeed(view: View, turn: Turn) -> None:
    """Successors take over when they serve, or when nobody holds their place any more."""
    for slot, successor in list(view.successors.items()):
        outgoing = view.old.get(slot)
        if outgoing is None:
            _inherit(view, successor)
        elif view.wanted.candidate or slot >= view.pool.size:
            if successor.state is State.READY and view.room <= 0:
                if not successor.serving and not view.wanted.atomic:
                    _serve(view, successor, turn)
            elif successor.state in _CAN_BE_TOLD and not _is_last(view, successor):
                del view.successors[slot]
                _let_go(view, successor, turn)
        elif successor.state in _CAN_SERVE:
            if not successor.serving:
                _serve(view, successor, turn)
            if outgoing.state is State.READY and view.room > 0:  # else it fails by itself: that is a failure
                _let_go(view, outgoing, turn)
                _inherit(view, successor)


def _inherit(view: View, successor: Worker) -> None:
    successor.successor = False
    view.old[successor.slot] = view.successors.pop(successor.slot)


def _replace(view: View, turn: Turn) -> None:
    """Park one old worker for each new one that serves, or let parked ones serve again."""
    atomic = view.wanted.atomic
    new_serving = {slot for slot, worker in view.new.items() if worker.serving}
    keep = _old_to_keep(view, len(new_serving))
    ready = view.to_release() if atomic and not keep else view.old_ready()
    # those whose slot has its new worker go first, and before them those not yet serving
    ready.sort(key=lambda worker: (worker.serving, worker.slot not in new_serving))
    while len(ready) > keep and (atomic or view.room > 0):  # all or none: the room was seen to before
        worker = ready.pop(0)
        view.room -= 1
        view.active -= 1
        view.serving -= worker.serving
        turn.order(worker, Order.RELEASE_CLIENTS if atomic or view.wanted.release_clients else Order.PARK)
    for worker in ready:
        if not worker.serving:
            _serve(view, worker, turn)
    for worker in [w for w in view.old.values() if w.state is State.PARKED][: max(0, keep - len(ready))]:
        _serve(view, worker, turn)


def _old_to_keep(view: View, new_serving: int) -> int:
    """How many old workers are to serve beside ``new_serving`` new ones."""
    wanted, size = view.wanted, view.pool.size
    if wanted.atomic:
        return size if wanted.serve_new and not new_serving and wanted.new_in_the_end else 0
    return 0 if new_serving >= wanted.new_in_the_end else max(0, size - new_serving)


def _release_clients(view: View, worker: Worker, turn: Turn) -> None:
    """Have a worker of the kept generation parked and without clients."""
    if worker.told is Order.RELEASE_CLIENTS or worker.state not in _CAN_SERVE or _is_last(view, worker):
        return
    if worker.state is State.READY:
        view.room -= 1
        view.active -= 1
        view.serving -= worker.serving
    turn.order(worker, Order.RELEASE_CLIENTS)


def _retire(view: View, turn: Turn) -> None:
    """Let go of those that are not wanted, and order what could not be ordered before."""
    size, new_size = view.pool.size, view.wanted.new_in_the_end
    for worker in view.leaving:
        _send_away(view, worker, turn)
    for worker in view.strays:
        if not _is_last(view, worker):
            _let_go(view, worker, turn)
    for holders, wanted in ((view.old, size), (view.new, new_size)):
        if len(holders) > wanted or any(slot >= wanted for slot in holders):
            for slot in sorted(holders, reverse=True):
                if slot >= wanted and not _is_last(view, holders[slot]):
                    _let_go_when_room(view, holders, slot, turn)


def _is_last(view: View, worker: Worker) -> bool:
    """It alone serves a pool that is to be served."""
    return worker.serving and view.serving <= 1 and (view.pool.size > 0 or view.wanted.new > 0)


def _let_go_when_room(view: View, holders: dict[int, Worker], slot: int, turn: Turn) -> None:
    worker = holders[slot]
    if worker.state not in _CAN_BE_TOLD or (worker.state is State.READY and view.room <= 0):
        return  # one that fails by itself stays what it is: a failure
    del holders[slot]
    _let_go(view, worker, turn)


def _let_go(view: View, worker: Worker, turn: Turn) -> None:
    worker.leaving = True
    view.leaving.append(worker)
    if worker.state is State.READY:
        view.serving -= worker.serving
        view.room -= 1
    if worker.state is not State.REQUESTED and worker.state is not State.PARKED:
        view.active -= 1
    _send_away(view, worker, turn)


def _send_away(view: View, worker: Worker, turn: Turn) -> None:
    """Tell a leaving worker, unless it was told or has no process yet."""
    if worker.state is State.STARTING:
        turn.order(worker, Order.QUIT)
    elif worker.state in _CAN_SERVE:
        # nobody else accepts for a pool that is no more: what waits in the backlog is its to serve
        turn.order(worker, Order.DRAIN, sweep=view.pool.size == 0)


def _spawn(view: View, turn: Turn) -> None:
    pool, wanted = view.pool, view.wanted
    limit = active_limit(pool, wanted)
    pool.retry_at = None
    if wanted.policy is not None:
        for slot in range(wanted.new):
            if slot not in view.new and view.active < limit and view.may_begin_new():
                worker = _begin(view, slot, wanted.candidate, wanted.policy, turn)
                if worker is not None:
                    view.new[slot] = worker
    if view.holds():
        return
    awaited = _awaited(view)
    for slot in range(pool.size):
        if slot in view.old or slot in awaited:
            continue
        due = pool.slot(slot).next_try_at
        if due > turn.now:
            pool.retry_at = due if pool.retry_at is None else min(due, pool.retry_at)
        elif view.active < limit:
            _begin(view, slot, wanted.generation, pool.policy, turn)
            if wanted.candidate or wanted.hold:
                pool.retry_at = None
                return


def _awaited(view: View) -> set[int]:
    """Slots of those that are to end first, as there is no room for two; unless nobody serves any more."""
    if not view.serving:
        return set()
    return {worker.slot for worker in view.leaving if worker.ends_first and not worker.unreaped}


_CAN_BE_TOLD = COMING | _CAN_SERVE


def _begin(view: View, slot: int, generation: int, policy: PoolPolicy, turn: Turn) -> Worker | None:
    """Start a worker; None: not before its template is ready."""
    pool, number = view.pool, None
    if policy.preload:
        source = templates.ready(pool, generation, policy, turn)
        if source is None:
            return None
        number = source.id
    view.active += 1
    worker = turn.spawn(pool.name, slot, generation, policy, number)
    pool.members[worker.id] = worker
    return worker


def _recycle(view: View, turn: Turn) -> None:
    """Begin successors, as long as not too many workers are being replaced."""
    pool = view.pool
    limit, most = active_limit(pool, view.wanted), recycled_at_once(pool)
    replacing = len(view.successors) + sum(1 for worker in view.leaving if worker.replace_reason)
    for slot, outgoing in sorted(view.old.items()):
        if not outgoing.replace_reason or view.wanted.hold or not (view.wanted.recycle or outgoing.stuck):
            continue
        if not outgoing.serving or slot in view.successors or slot >= pool.size:
            continue
        if replacing >= most or view.active >= limit:
            return
        due = pool.slot(slot).next_try_at
        if due > turn.now:
            pool.retry_at = due if pool.retry_at is None else min(due, pool.retry_at)
            continue
        if outgoing.ends_first and view.serving > 1:  # else it alone serves by now
            if view.room > 0:
                _tell_succession(pool, outgoing, turn)
                del view.old[slot]
                _let_go(view, outgoing, turn)
                replacing += 1
            continue
        successor = _begin(view, slot, view.wanted.generation, pool.policy, turn)
        if successor is None:
            return
        replacing += 1
        successor.successor = True
        _tell_succession(pool, outgoing, turn)


def _tell_succession(pool: Pool, outgoing: Worker, turn: Turn) -> None:
    """Say once that it is replaced, and why."""
    if outgoing.succession_told:
        return
    outgoing.succession_told = True
    if outgoing.ready_at is not None:  # failures before its time are over, not its successors'
        pool.slot(outgoing.slot).lived(turn.now - outgoing.ready_at, outgoing.policy)
    turn.note(WorkerReplaced(process=outgoing.process, reason=outgoing.replace_reason, stuck=outgoing.stuck))
