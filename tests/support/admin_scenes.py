"""What happens to an invented fleet: reloads that work and that do not, crashes, too much load, a stop, hostile names.

Each scene is a generator that changes the world and yields where a second passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gwctl.control.status import ReloadStatus
from gwctl.records.base import Strength
from gwctl.records.master import MasterStopped, StopBegun, StopPlan
from gwctl.records.reloads import Keeping, ReloadAdopted, ReloadBegun, ReloadRefused, Standing
from gwctl.records.report import ProcessReport, ThreadReport
from gwctl.records.scaling import PoolScaled
from gwctl.records.workers import (
    Death,
    Retry,
    SlotKeepsDying,
    WorkerBooting,
    WorkerDied,
    WorkerFinished,
    WorkerKilled,
    WorkerReplaced,
)
from gwctl.watched import Served, Watched
from tests.support.admin_world import MIB, Call, Pool, Scene, Worker, World, worker_ready

TRACEBACK: Final = """\
File "/srv/shop/views.py", line 12, in <module>
  from shop.prices import tax_rate
ImportError: cannot import name 'tax_rate' from 'shop.prices' (/srv/shop/prices.py)"""

HOSTILE: Final = '<img src=x onerror="window.hurt=1"><script>window.hurt=2</script>"\'&lt;${window.hurt=3}'
"""In the place of everything that clients and applications choose."""

OTHERS_REQUEST: Final = "GET /export?… HTTP/1.1"


def seconds(count: float) -> Scene:
    for _ in range(int(count)):
        yield


# ---- workers


def boot(world: World, worker: Worker, takes_s: float = 2) -> Scene:
    world.tell(WorkerBooting(process=worker.process, stage="import"))
    yield from seconds(takes_s)
    worker.state = "ready"
    world.tell(worker_ready(world.pools[worker.pool], worker))


def drain(world: World, worker: Worker, takes_s: float = 2) -> Scene:
    """It finishes what it has, and is gone."""
    worker.state, worker.left_s = "draining", 30.0
    yield from seconds(takes_s)
    world.pools[worker.pool].workers.remove(worker)
    world.tell(WorkerFinished(process=worker.process, took_s=takes_s))


def recycle(world: World, pool: Pool, slot: int | None = None) -> Scene:
    """One after the other, each when its successor serves."""
    for worker in [each for each in pool.ready if slot in {None, each.slot}]:
        worker.replaced = "was named by gwctl recycle"
        world.tell(WorkerReplaced(process=worker.process, reason=worker.replaced))
        yield from boot(world, world.spawn(pool, worker.slot))
        yield from drain(world, worker)


def scale(world: World, pool: Pool, size: int) -> Scene:
    world.tell(PoolScaled(pool=pool.name, was=pool.size, size=size, asked=size))
    pool.size = size
    for slot in range(len(pool.ready), size):
        yield from boot(world, world.spawn(pool, slot))
    for worker in [each for each in pool.ready if each.slot >= size]:
        yield from drain(world, worker)


# ---- reloads


def reload(world: World, source: str = "SIGHUP", keep_s: float = 300, slow: float = 1.0) -> Scene:
    """Canary, settle, roll, commit: the phases of docs/lifecycle.md."""
    previous, began = world.generation, world.now
    world.tell(ReloadBegun(source=source, generation=previous + 1, previous=previous))
    world.phase = "reloading"
    yield from seconds(slow)
    old = {pool.name: list(pool.ready) for pool in world.pools.values()}
    yield from _together(_canary(world, pool, previous + 1, slow) for pool in world.pools.values())
    yield from seconds(3 * slow)
    yield from _together(_roll(world, pool, old[pool.name], slow) for pool in world.pools.values())
    yield from seconds(3 * slow)
    _adopt(world, previous, source, began, keep_s)
    if not keep_s:
        leaving = [worker for workers in old.values() for worker in workers]
        yield from _together(drain(world, worker, 2 + worker.slot % 3) for worker in leaving)


def _canary(world: World, pool: Pool, generation: int, slow: float) -> Scene:
    worker = world.spawn(pool, 0)
    worker.generation = generation
    yield from boot(world, worker, 3 * slow)


def _roll(world: World, pool: Pool, old: list[Worker], slow: float) -> Scene:
    """One is parked for each that serves."""
    generation = max(worker.generation for worker in pool.workers)
    at_once = max(1, len(old) // 8)
    for first in range(0, len(old), at_once):
        group = old[first : first + at_once]
        for worker in group:
            worker.state = "parked"
        if first + at_once >= len(old):
            continue
        new = [world.spawn(pool, slot) for slot in range(first + at_once, min(len(old), first + 2 * at_once))]
        if first == 0:
            new += [world.spawn(pool, slot) for slot in range(1, at_once)]
        for worker in new:
            worker.generation = generation
        yield from _together(boot(world, worker, 2 * slow) for worker in new)


def _adopt(world: World, previous: int, source: str, began: float, keep_s: float) -> None:
    world.generation, world.phase = previous + 1, "serving"
    world.adopted_at, world.adopted_by = world.now, source
    world.refused_at, world.degraded = None, ""
    world.kept = (previous, world.now + keep_s) if keep_s else None
    took = world.now - began
    world.tell(
        ReloadAdopted(
            source=source,
            generation=world.generation,
            previous=previous,
            took_s=took,
            pools=_strength(world),
            keeping=Keeping(previous, keep_s) if keep_s else None,
        )
    )
    world.last_reload = f"generation {world.generation} adopted in {took:.1f} s ({source})"
    world.last_reload_at = world.now


def rollback(world: World) -> Scene:
    """The switch: all at one instant."""
    assert world.kept is not None
    generation, previous, began = world.kept[0], world.generation, world.now
    world.tell(ReloadBegun(source="gwctl rollback", generation=generation, previous=previous, rollback=True))
    world.phase = "reloading"
    yield from seconds(2)
    for pool in world.pools.values():
        for worker in pool.workers:
            worker.state = "ready" if worker.generation == generation else "parked"
    yield from seconds(3)
    world.generation, world.phase, world.kept = generation, "serving", (previous, world.now + 300)
    took = world.now - began
    world.tell(
        ReloadAdopted(
            source="gwctl rollback",
            generation=generation,
            previous=previous,
            rollback=True,
            took_s=took,
            pools=_strength(world),
            keeping=Keeping(previous, 300),
        )
    )
    world.last_reload = f"rolled back to generation {generation} in {took:.1f} s (gwctl rollback)"
    world.last_reload_at = world.now


def watched(world: World) -> Scene:
    """The canary of web serves and is watched; live waits for it."""
    following = world.generation + 1
    world.tell(ReloadBegun(source="SIGHUP", generation=following, previous=world.generation))
    world.phase = "reloading"
    for pool in world.pools.values():
        worker = world.spawn(pool, 0)
        worker.generation = following
        yield from boot(world, worker, 1)
    for second in range(1, 31):
        old = Served(world.generation, 160 * second, 0, 0.038)
        new = Served(following, 40 * second, 2 * second, 0.0412)
        seen = Watched("web", "watch", float(second), old, new, 2.0, 2.0, 50)
        phases = dict.fromkeys(world.pools, "watch")
        world.reload = ReloadStatus(
            following, "SIGHUP", second + 3.0, False, phases, watches=("web",), watched=(seen,)
        )
        yield from seconds(1)


def refused(world: World, source: str = "gwctl reload") -> Scene:
    """The canary cannot import; all goes on as before."""
    previous = world.generation
    world.tell(ReloadBegun(source=source, generation=previous + 1, previous=previous))
    world.phase = "reloading"
    yield from seconds(1)
    canaries = [world.spawn(pool, 0) for pool in world.pools.values()]
    for worker in canaries:
        worker.generation = previous + 1
        world.tell(WorkerBooting(process=worker.process, stage="import"))
    yield from seconds(4)
    for worker in canaries:
        world.pools[worker.pool].workers.remove(worker)
    world.phase, world.refused_at = "serving", world.now
    pool = canaries[0].pool
    reason = "cannot import shop.wsgi: ImportError: cannot import name 'tax_rate' from 'shop.prices'"
    world.degraded = "disk differs from what runs"
    world.last_reload = f"generation {previous + 1} was not adopted: {pool}: {reason} ({source})"
    world.last_reload_at = world.now
    world.tell(
        ReloadRefused(
            source=source,
            generation=previous + 1,
            pool=pool,
            phase="boot",
            kind="import",
            reason=reason,
            traceback=TRACEBACK,
            standing=Standing(previous, _strength(world), disk_differs=True),
        )
    )


def _strength(world: World) -> tuple[Strength, ...]:
    return tuple(Strength(pool.name, pool.size, pool.size) for pool in world.pools.values())


def _together(scenes: Iterator[Scene]) -> Scene:
    """All of them at a time, until the last has ended."""
    left = list(scenes)
    while left:
        left = [scene for scene in left if next(scene, True) is None]
        if left:
            yield


# ---- what goes wrong


def keeps_dying(world: World, slot: int = 3) -> Scene:
    """A slot that is tried once a minute."""
    pool = world.only_pool()
    for _ in range(3):
        worker = next(each for each in pool.workers if each.slot == slot)
        pool.workers.remove(worker)
        pool.restarts += 1
        death = Death(-11, ready_s=0.8, serving="GET /resize")
        world.tell(WorkerDied(process=worker.process, death=death, retry=Retry(1, 2, 20)))
        world.spawn(pool, slot)
        yield
    pool.workers = [each for each in pool.workers if each.slot != slot]
    world.tell(
        SlotKeepsDying(
            pool=pool.name,
            slot=slot,
            deaths=5,
            within_s=90,
            retry_s=60,
            ready=len(pool.ready),
            size=pool.size,
        )
    )
    while True:
        for left in range(60, 0, -1):
            pool.note = f"slot {slot} keeps dying: next try in {left} s"
            yield


def killed(world: World, slot: int = 1) -> Scene:
    """A request ran over its limit."""
    pool = world.only_pool()
    worker = next(each for each in pool.ready if each.slot == slot)
    worker.calls.append(Call("POST /checkout?… HTTP/1.1", 26.0))
    yield from seconds(4)
    frames = ('File "/srv/shop/pay.py", line 88 in charge', 'File "/usr/lib/python3.12/socket.py", line 707')
    thread = ThreadReport(1, "pool-3", main=False, request="POST /checkout?…", request_s=30, frames=frames)
    report = ProcessReport(1020, 10233, 74 * MIB, threads=(thread,), idle_threads=7)
    reason = "request timeout: POST /checkout?… has run 30.0 s (limit 30 s)"
    world.tell(WorkerKilled(process=worker.process, reason=reason, report=report))
    pool.workers.remove(worker)
    pool.restarts += 1
    yield from boot(world, world.spawn(pool, slot))


def long_request(world: World, slot: int = 2, request: str = OTHERS_REQUEST, age_s: float = 31.0) -> Scene:
    worker = next(each for each in world.only_pool().ready if each.slot == slot)
    worker.calls.append(Call(request, age_s))
    yield


def overloaded(world: World) -> Scene:
    """More comes than can be served."""
    pool = world.only_pool()
    for _ in range(25):
        pool.pressure = min(3.4, pool.pressure + 0.2)
        pool.backlog = int(pool.backlog * 1.2 + 9) if pool.pressure > 2 else 0
        pool.failing = 0.004
        yield
    while True:
        pool.backlog = max(200, min(1900, pool.backlog + world.random.randint(-60, 70)))
        yield


def stop(world: World) -> Scene:
    """All finish what they have; then the master is gone."""
    workers = [worker for pool in world.pools.values() for worker in pool.workers]
    world.phase = "stopping"
    plan = StopPlan("drain", len(workers), finish_s=30, gone_s=33)
    world.tell(StopBegun(source="SIGTERM", plan=plan))
    yield from _together(drain(world, worker, 2 + worker.slot) for worker in workers)
    world.tell(MasterStopped(took_s=6, cut=0))
    yield
    world.ended = True


def hostile(world: World) -> Scene:
    """Clients and applications choose names to hurt whoever looks."""
    pool = world.only_pool()
    pool.note, pool.urls = HOSTILE, (HOSTILE,)
    world.degraded, world.last_reload = HOSTILE, HOSTILE
    world.adopted_by = HOSTILE
    for worker in pool.workers:
        worker.calls.append(Call(f"GET /{HOSTILE} HTTP/1.1", 40.0))
        worker.replaced = HOSTILE
    death = Death(-11, ready_s=0.8, serving=HOSTILE)
    world.tell(WorkerDied(process=pool.workers[0].process, death=death, retry=Retry(), traceback=HOSTILE))
    world.tell(
        ReloadRefused(
            source=HOSTILE,
            generation=5,
            pool="web",
            phase="boot",
            kind="x",
            reason=HOSTILE,
            traceback=HOSTILE,
        )
    )
    yield


# ---- worlds to look at


def two_pools(now: float = 0) -> World:
    live = Pool("live", "asgi", size=2, rate=46, urls=("unix:/run/shop/live.sock",), p50_ms=1.2, preload=True)
    return World(Pool("web"), live, now=now)


def many_workers(count: int = 64, now: float = 0) -> World:
    return World(Pool("web", "sync", size=count, rate=45.0 * count, p50_ms=11.0), now=now)


SCENES: Final[dict[str, Callable[[World], Scene]]] = {
    "calm": long_request,
    "reload": lambda world: reload(world, slow=3, keep_s=0),
    "keep": reload,
    "watched": watched,
    "refused": refused,
    "degraded": keeps_dying,
    "killed": killed,
    "overloaded": overloaded,
    "stop": stop,
    "hostile": hostile,
}
