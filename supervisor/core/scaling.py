"""The size of pools: as somebody asked for it, or as a pool that sets it itself decides (`autoscale`).

Rules
    - Nobody decides while something else changes the workers: before the fleet has served once, during a
      reload, a rollback, an upgrade or a stop. Samples are taken all the same.
    - Nor while what is on disk is not what runs: who is let go then does not come back as it was.
    - ``auto`` follows what machine and control groups allow, as that changes: a quota that is raised, memory
      that is taken away.
    - A size that was set by hand stays, until somebody asks for ``auto``, or a reload brings other bounds.
"""

from __future__ import annotations

from typing import Any, assert_never

from gwctl.config.model.types import WORKERS_MAX
from gwctl.records.scale_words import AUTOSCALE, answer
from gwctl.records.scaling import PoolNotScaled, PoolScaled, ScaleFigures
from gwctl.supervisor.core import commands, wording
from gwctl.supervisor.core.autoscale import SAMPLE_S, Changed, Held, Standing
from gwctl.supervisor.core.events import CapacityMeasured, LoadObserved, ScaleAsked
from gwctl.supervisor.core.policy import PoolPolicy, ScalePolicy
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.state import FleetState, Phase
from gwctl.supervisor.core.turn import Turn


def apply_event(fleet: FleetState, event: ScaleAsked | LoadObserved | CapacityMeasured, turn: Turn) -> None:
    """Somebody has asked for a size, the load of a pool was observed, or what the machine allows measured."""
    match event:
        case ScaleAsked():
            _asked(fleet, event, turn)
        case LoadObserved():
            _observed(fleet, event, turn)
        case CapacityMeasured():
            _measured(fleet, event, turn)
        case _:
            assert_never(event)


# ---- by what is allowed


def differs(fleet: FleetState, found: CapacityMeasured) -> bool:
    """Whether a pool is to go by something else, now that so much is allowed."""
    return any(_goes_by(pool, found) != (pool.policy, pool.allowed_as) for pool in _free(fleet))


def _goes_by(pool: Pool, found: CapacityMeasured) -> tuple[PoolPolicy, str]:
    """The policy of the pool where so much is allowed, and why in words."""
    if not pool.policy.by_capacity:
        return pool.policy.allowed(0, found.cpus), ""
    fits = _fits(pool, found)
    why = filter(None, (found.why, pool.footprint.why(found.memory_bytes, fits)))
    return pool.policy.allowed(max(1, min(found.processes, fits)), found.cpus), ", ".join(why)


def _fits(pool: Pool, found: CapacityMeasured) -> int:
    """How many workers of the pool there is memory for. Nobody is let go by what is only guessed."""
    footprint, has = pool.footprint, pool.policy.size_max
    if footprint.other_code:
        return has
    fits = footprint.fits(found.memory_bytes, found.master_bytes)
    return fits if footprint.own_bytes else max(has, fits)


def note_sizes(pool: Pool, now: float) -> None:
    """What its workers take was observed. Those that have not lived long do not count beside others."""
    if not pool.policy.by_capacity:
        return
    found = [
        (worker.ready_at, worker.observed.private_bytes, worker.observed.memory_bytes)
        for worker in pool.in_force
        if worker.serving
        and worker.ready_at is not None
        and worker.observed
        and worker.observed.private_bytes
    ]
    lived = [each for each in found if now - each[0] >= pool.policy.healthy_after_s]
    if found:
        pool.footprint.observe([(own, held) for _, own, held in lived or found], now)


def _free(fleet: FleetState) -> list[Pool]:
    """Those whose size nothing else decides on just now."""
    if fleet.ending is not None or fleet.phase is not Phase.SERVING or fleet.queue.waiting:
        return []
    return [pool for pool in fleet.pools.values() if pool.size and not pool.degraded]


def _measured(fleet: FleetState, event: CapacityMeasured, turn: Turn) -> None:
    for pool in _free(fleet):
        policy, why = _goes_by(pool, event)
        changed, was = policy != pool.policy, pool.size
        pool.policy, pool.allowed_as = policy, why
        if pool.scaling.by_hand or not changed or policy.scale is not None:
            continue  # within its bounds a pool moves by its own rules
        pool.size = policy.size
        if pool.size != was:
            fleet.dirty.add(pool.name)
            turn.note(PoolScaled(pool=pool.name, was=was, size=pool.size, asked=pool.size, source=why))


# ---- by itself


def sampled(fleet: FleetState) -> tuple[str, ...]:
    """The pools whose load is to be observed."""
    if fleet.ending is not None:
        return ()
    return tuple(name for name, pool in fleet.pools.items() if pool.sets_own_size)


def _observed(fleet: FleetState, load: LoadObserved, turn: Turn) -> None:
    """A pool's load was observed: give it the size that follows, and see to the next sample."""
    pool = fleet.pools.get(load.pool)
    if pool is None or not pool.sets_own_size or fleet.ending is not None or fleet.broken:
        return
    policy, scaling = pool.policy.scale, pool.scaling
    if policy is None:
        return
    says_something = scaling.observe(load, policy, turn.now)
    if not says_something or not scaling.rests(policy, pool.size):
        fleet.sample_by(turn.now + SAMPLE_S, turn)
    if not says_something or paused(fleet, pool):
        return
    standing = Standing(pool.size, pool.ready, _fails(pool, turn.now))
    found = scaling.decide(standing, load, policy, turn.now)
    if scaling.tells(found, policy, turn.now) and isinstance(found, Held):
        figures = _figures(pool, policy, load)
        turn.note(PoolNotScaled(pool=pool.name, size=pool.size, obstacle=found.obstacle, figures=figures))
    if isinstance(found, Changed):
        was, pool.size = pool.size, found.size
        scaling.changed(was, pool.size, policy, turn.now)
        fleet.dirty.add(pool.name)
        turn.note(
            PoolScaled(
                pool=pool.name,
                was=was,
                size=pool.size,
                asked=pool.size,
                source=AUTOSCALE,
                cause=found.cause,
                figures=_figures(pool, policy, load),
            )
        )


def _fails(pool: Pool, now: float) -> bool:
    """A slot has failed twice in a row, and no worker of it has proved itself since."""
    failing = {number for number, slot in pool.slots.items() if slot.failures > 1 and number < pool.size}
    if not failing:
        return False
    proved = {
        worker.slot
        for worker in pool.in_force
        if worker.ready_at is not None and now - worker.ready_at >= pool.policy.healthy_after_s
    }
    return not failing <= proved


def _figures(pool: Pool, policy: ScalePolicy, load: LoadObserved | None = None) -> ScaleFigures:
    scaling = pool.scaling
    return ScaleFigures(
        need=scaling.need,
        ready=pool.ready,
        busy=round(scaling.busy, 2),
        waiting=load.waiting if load is not None else 0,
        min=policy.min,
        max=policy.max,
        cpus=round(max(0.0, load.cpus), 2) if load is not None else 0.0,
        cpus_max=policy.cpus,
        free_bytes=load.free_bytes if load is not None else None,
        worker_bytes=load.worker_bytes if load is not None else 0,
    )


def paused(fleet: FleetState, pool: Pool) -> str:
    """Why a pool that sets its size itself keeps the one that it has; empty: it does not."""
    if pool.scaling.by_hand:
        return wording.set_by_hand(pool.scaling.by_hand)
    if fleet.phase is not Phase.SERVING:
        return wording.of_phase(fleet.phase.value)
    if fleet.queue.waiting:
        return wording.of_phase(Phase.RELOADING.value)
    return fleet.degraded if pool.degraded else ""


# ---- by hand


def _asked(fleet: FleetState, event: ScaleAsked, turn: Turn) -> None:
    """Set the size of a pool, or of all."""
    fleet.dirty.update(fleet.pools)
    names = [event.pool] if event.pool else [name for name, pool in fleet.pools.items() if pool.size]
    refusal = _refusal(fleet, event)
    if refusal:
        commands.answer(turn, event.request, refusal, {"pool": event.pool}, ok=False)
        return
    done = [_set(fleet, fleet.pools[name], event, turn) for name in names]
    text = "\n".join(line for line, _ in done)
    result = done[0][1] if len(done) == 1 else {"pools": [each for _, each in done]}
    commands.answer(turn, event.request, text, result, ok=True)


def _refusal(fleet: FleetState, event: ScaleAsked) -> str:
    if fleet.ending is not None:
        return wording.STOPPING
    known = [name for name, pool in fleet.pools.items() if pool.size]
    if event.pool and event.pool not in known:
        return wording.no_such_pool(event.pool, known)
    sizes = [_wanted(fleet.pools[name], event) for name in ([event.pool] if event.pool else known)]
    return wording.too_many() if max(sizes, default=0) > WORKERS_MAX else ""


def _wanted(pool: Pool, event: ScaleAsked) -> int:
    """The size that was asked for, whether a pool can have it or not."""
    if event.auto:
        return pool.policy.scale.clamp(pool.size) if pool.policy.scale is not None else pool.policy.size
    return (pool.size if event.size is None else event.size) + event.delta


def _set(fleet: FleetState, pool: Pool, event: ScaleAsked, turn: Turn) -> tuple[str, dict[str, Any]]:
    was, policy = pool.size, pool.policy.scale
    wanted = _wanted(pool, event)
    pool.size = max(1, wanted)
    pool.scaling.by_hand = "" if event.auto else event.source or "hand"
    pool.scaling.begin_anew()
    if fleet.reload is not None and pool.name in fleet.reload.sizes:
        fleet.reload.sizes[pool.name] = pool.size  # the new generation gets as many
    held = pool.rolled_back and pool.size > pool.ready and pool.degraded
    record = PoolScaled(
        pool=pool.name,
        was=was,
        size=pool.size,
        asked=wanted,
        source=event.source,
        fixed=policy is not None and not event.auto,
        released=policy is not None and event.auto,
        figures=_figures(pool, policy) if policy is not None and event.auto else None,
        held=fleet.degraded if held else "",
    )
    turn.note(record)
    result: dict[str, Any] = {"pool": pool.name, "size": pool.size, "was": was}
    if record.held:
        result["held"] = record.held
    return f"{pool.name}: {answer(record)}", result
