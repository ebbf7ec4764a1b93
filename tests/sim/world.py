"""A fake world around the real core: processes that boot, crash, hang and drain, all from one seed.

The world plays the shell and the kernel. It owns the clock, a heap of things that will happen,
and for each action of the core invents what a machine could make of it. News travels with
random delays, so that it is read in any order: an exit before the fork is known, readiness
after the exit, end of file without an exit, several deaths at once. The master itself may be
late (stopped alone) or asleep together with everything else (suspended). `tests.sim.observer` judges.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from msgspec.structs import replace

from gwctl.records.base import TEMPLATE
from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.policy import PoolPolicy, RecyclePolicy, WatchPolicy
from tests.sim.machine import Machine
from tests.sim.mishaps import (
    FAULTS,
    HARD_BYTES,
    NEVER,
    NO_FAULTS,
    REPORT,
    SOFT_BYTES,
    Faults,
    Process,
    told_of,
)
from tests.sim.scaling import some_bounds, some_load
from tests.sim.upgrades import UpgradeObserver, Upgrades

Listener = Callable[[float, Sequence[ev.Event], Sequence[act.Action]], None]

POOLS = ("web", "live", "admin")
_FIRST = frozenset({ev.LoadObserved, ev.CapacityMeasured})


class World:
    """Drives one `Fleet` from its start; `turn` is one turn of the master's loop."""

    def __init__(self, seed: int, faults: Faults = FAULTS, listener: Listener | None = None) -> None:
        self.listener = listener
        self.rng = random.Random(seed)
        self._chance = copy(self.rng)
        """Of takeovers: what else happens is not changed by them."""
        self.faults = faults
        self.now = self.rng.random() * 1000
        self.seen: Counter[str] = Counter()
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[..., None], Any]] = []
        self._pushed = 0
        self._batch: list[ev.Event] = []
        self._processes: dict[int, Process] = {}
        self._requests = 0
        self._disk_broken = self._disk_fails = False
        self._prepared: dict[int, dict[str, PoolPolicy]] = {}
        self.finish: act.Finish | None = None
        self._machine = Machine(copy(self.rng))
        names = POOLS[: self.rng.choice((1, 1, 2, 3))]
        self.policies = {name: self._policy(name) for name in names}
        self.fleet = Fleet(self.policies)
        self.observer = UpgradeObserver(self.policies)
        self._upgrades = Upgrades(self)
        self.asking = True
        self.idle_from = float("inf")
        self._schedule_requests()

    # ---- time

    def _at(self, delay: float, happens: Callable[..., None], what: Any) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (self.now + delay, self._pushed, happens, what))

    def _read(self, event: ev.Event) -> None:
        self._batch.append(event)

    def _news(self, delay: float, event: ev.Event) -> None:
        self._at(delay * self.rng.random(), self._read, event)

    def turn(self) -> list[act.Action]:
        """Sleep until something happens or a deadline is due, then let the fleet step."""
        rng = self.rng
        deadline = self.fleet.next_deadline()
        wake = self._heap[0][0] if self._heap else deadline
        if deadline is not None and wake is not None and deadline < wake:
            wake = deadline
        if wake is None:
            wake = self.now + 1.0
        jitter = rng.random()
        if jitter < 0.3:
            wake += rng.random() * 0.03  # several things in one turn
        elif jitter > 1 - self.faults.late:
            wake = self._away(wake)
        self.now = max(self.now, wake)
        self._elapse()
        batch, self._batch = self._batch, []
        batch.sort(key=lambda event: type(event) not in _FIRST)  # so that the observer can follow
        actions = self._step(batch)
        if not batch and rng.random() < 0.1:
            self._again()
        return actions

    def _away(self, wake: float) -> float:
        """The master does not run for a while; half of the time nobody else does either."""
        away = 1.0 + self.rng.expovariate(1 / 20)
        if self.rng.random() < 0.5:
            self._heap = [(at + away, n, happens, what) for at, n, happens, what in self._heap]
            self.seen["suspended"] += 1
        else:
            self.seen["master stopped"] += 1
        return wake + away

    def _elapse(self) -> None:
        heap, now = self._heap, self.now
        while heap and heap[0][0] <= now:
            at, _, happens, what = heapq.heappop(heap)
            self.now = min(at, now)
            happens(what)
        self.now = now

    def _step(self, batch: list[ev.Event]) -> list[act.Action]:
        self.steps += 1
        deadline = self.fleet.next_deadline()
        actions = self.fleet.step(self.now, batch)
        if self.listener is not None:
            self.listener(self.now, batch, actions)
        self.observer.saw(self.now, batch, actions, deadline, self.fleet.next_deadline())
        if any(isinstance(event, ev.CapacityMeasured) for event in batch):
            self._note_allowed()
        for action in actions:
            self._perform(action)
        self._upgrades.saw(batch, actions)
        return actions

    def _note_allowed(self) -> None:
        """What ``auto`` would be now is what somebody gets who asks for it."""
        for name, pool in self.fleet.state.pools.items():
            known = self.observer.policies.get(name)
            if known is not None and known.by_capacity and pool.policy.by_capacity:
                self.observer.policies[name] = replace(known, size=pool.policy.size)

    def _again(self) -> None:
        """A step with no news does nothing."""
        assert self._step([]) == [], "a step with no news acted"

    # ---- what people do

    def _schedule_requests(self) -> None:
        rng = self.rng
        asked = (
            (15, self._ask_reload),
            (20, self._ask_scale),
            (25, self._ask_recycle),
            (400, self._ask_stop),
            (40, self._ask_restart),
        )
        for mean, asks in asked:
            self._at(rng.expovariate(1 / mean), asks, mean)
        self._at(self._chance.expovariate(1 / 100), self._ask_takeover, 100)

    def _request(self) -> int:
        if self.rng.random() < 0.3:
            return 0
        self._requests += 1
        return self._requests

    def _ask_reload(self, mean: float) -> None:
        if self.asking:
            for _ in range(self.rng.choice((1, 1, 1, 3))):
                self._read(ev.ReloadAsked(self._request(), "SIGHUP", self._some_pools()))
            self._at(self.rng.expovariate(1 / mean), self._ask_reload, mean)

    def _ask_restart(self, mean: float) -> None:
        if self.asking:
            self._read(ev.RestartAsked(self._request(), "gwctl restart", self._some_pools()))
            self._at(self.rng.expovariate(1 / mean), self._ask_restart, mean)

    def _ask_takeover(self, mean: float) -> None:
        """By a master that fails before it is ready, or hangs: what one that gets there begins is a stop."""
        if self.asking:
            self._read(ev.TakeoverAsked(0, "gwctl start --takeover", self._chance.choice((3.0, 30.0))))
            self._at(self._chance.expovariate(1 / mean), self._ask_takeover, mean)

    def _some_pools(self) -> tuple[str, ...]:
        """None stands for all; any may be named, also one that is not there."""
        return () if self.rng.random() < 0.6 else tuple(self.rng.sample(POOLS, self.rng.choice((1, 1, 2))))

    def _ask_scale(self, mean: float) -> None:
        if self.asking:
            pool = self.rng.choice(("", *POOLS))
            if self.rng.random() < 0.3:
                asked = ev.ScaleAsked(self._request(), pool, auto=True)
            elif self.rng.random() < 0.5:
                asked = ev.ScaleAsked(self._request(), pool, size=self.rng.randrange(6))
            else:
                asked = ev.ScaleAsked(self._request(), pool, delta=self.rng.choice((-1, 1)))
            self._read(asked)
            self._at(self.rng.expovariate(1 / mean), self._ask_scale, mean)

    def _ask_recycle(self, mean: float) -> None:
        if self.asking:
            pool, slot = self.rng.choice(POOLS), self.rng.choice((None, None, 0, 1, 2))
            self._read(ev.RecycleAsked(self._request(), pool, slot))
            self._at(self.rng.expovariate(1 / mean), self._ask_recycle, mean)

    def _ask_stop(self, mean: float) -> None:
        if self.asking:
            self.stop(quick=self.rng.random() < 0.3)
            self._at(self.rng.expovariate(1 / 4), self._ask_stop, mean)

    def stop(self, *, quick: bool = False) -> None:
        delay_s = self.rng.choice((0.0, 0.0, 4.0))
        self._read(ev.StopAsked(self._request(), "SIGTERM", quick=quick, delay_s=delay_s))

    def _policy(self, name: str) -> PoolPolicy:
        rng = self.rng
        size = rng.randrange(1, 5)
        policy = PoolPolicy(
            size=size,
            scale=some_bounds(rng, size),
            boot_timeout_s=rng.choice((1.0, 3.0)),
            drain_timeout_s=rng.choice((1.0, 5.0)),
            settle_s=rng.choice((0.0, 0.5, 2.0)),
            surge=rng.choice((1, 1, 2)),
            surge_percent=rng.choice((0, 0, 0, 50)),
            canaries=rng.choice((1, 1, 2)),
            canaries_percent=rng.choice((0, 0, 0, 50)),
            watch=WatchPolicy(watch_s=rng.choice((0.0, 0.0, 4.0))),
            draining_max=rng.choice((0, 0, 1, 4)),
            backoff_min_s=0.5,
            backoff_max_s=rng.choice((1.0, 8.0)),
            healthy_after_s=rng.choice((1.0, 10.0)),
            breaker_failures=rng.choice((0, 3)),
            breaker_retry_s=rng.choice((5.0, 20.0)),
            heartbeat_timeout_s=rng.choice((0.0, 2.0, 8.0)),
            request_timeout_s=rng.choice((0.0, 0.0, 3.0, 12.0)),
            dump_grace_s=0.5,
            quit_grace_s=0.5,
            recycle=RecyclePolicy(
                requests_max=rng.choice((0, 100, 400)),
                age_max_s=40.0 if name == POOLS[0] else 0.0,  # several such pools might never rest together
                jitter_percent=rng.choice((0, 50)),
                memory_soft_bytes=rng.choice((0, SOFT_BYTES)),
                memory_hard_bytes=rng.choice((0, HARD_BYTES)),
                at_once=rng.choice((1, 1, 2)),
            ),
            preload=rng.random() < 0.4,
        )
        return self._machine.minds(policy)

    def _new_policies(self) -> dict[str, PoolPolicy]:
        """What gw.toml says at a reload: mostly the same."""
        rng = self.rng
        policies = {name: replace(policy) for name, policy in self.policies.items()}  # read anew
        if rng.random() < 0.3:
            name = rng.choice(POOLS)
            if name in policies and len(policies) > 1:
                del policies[name]
            else:
                policies[name] = self._policy(name)
        if rng.random() < 0.3:
            name = rng.choice(sorted(policies))
            size = rng.randrange(1, 5)
            scale = some_bounds(rng, size)
            auto = policies[name].by_capacity and scale is None
            policies[name] = replace(policies[name], size=size, scale=scale, by_capacity=auto)
        return policies

    # ---- what the shell does

    def _perform(self, action: act.Action) -> None:
        self.seen[type(action).__name__] += 1
        if type(action) is act.Answer:
            self.seen["answered yes" if action.ok else "answered no"] += 1
        self._take_over(action)
        match action:
            case act.Spawn():
                self._spawn(action)
            case act.Prepare(generation=generation, pools=pools):
                self._prepare(generation, pools)
            case act.Note(record=record):
                self.seen.update(told_of(record))
            case act.Observe(load_of=pools):
                self._at(0.0, self._observe, pools)
            case act.Measure(pools=pools):
                self._at(0.0, self._measure, pools)
            case act.Drain(worker=worker):
                self._drain(self._processes.get(worker))
            case act.Quit(worker=worker):
                self._quit(self._processes.get(worker))
            case act.Kill(worker=worker, reason=reason):
                self.seen["killed for its memory"] += "memory_hard_bytes" in reason
                self.seen["killed as asked"] += reason == "the fleet stops at once"
                self._kill(self._processes.get(worker), reason)
            case act.Spare():
                self._spare(action)
            case act.Dump(worker=worker):  # some come round, a few of them too late
                self._recovers(self._processes.get(worker))
            case act.Adopt(generation=generation):
                self.policies = self._prepared[generation]
            case act.Finish():
                self.finish = action
            case _:
                pass

    def _take_over(self, action: act.Action) -> None:
        if type(action) is act.OfferListeners and self._chance.random() < 0.7:
            self._news(self._chance.expovariate(1 / 5), ev.SuccessorEnded("it ended before it was ready"))

    def _prepare(self, generation: int, pools: Sequence[str]) -> None:
        if self.rng.random() < self.faults.settings_wrong:
            self._news(0.1, ev.PrepareFailed(generation, "gw.toml:7: no such setting"))
            return
        policies = self._taken(self._new_policies(), pools)
        if not policies or not policies.keys() | self.policies.keys() >= {*pools}:
            self.seen["unknown pool"] += 1
            self._news(0.1, ev.PrepareFailed(generation, "no pool named so", unknown=True))
            return
        self.seen["reload of some"] += bool(pools)
        self._disk_broken = self._breaks()
        self._disk_fails = self.rng.random() < self.faults.generation_broken
        self._prepared = {generation: policies}
        changed = policies != self.policies
        self._news(self.rng.choice((0.0, 0.1)), ev.Prepared(generation, policies, changed=changed))

    def _breaks(self) -> bool:
        """Whether what is on disk now cannot be imported."""
        return self.rng.random() < self.faults.generation_broken

    def _taken(self, new: dict[str, PoolPolicy], pools: Sequence[str]) -> dict[str, PoolPolicy]:
        """What a reload of these pools takes of the settings."""
        if not pools:
            return new
        left = {name: policy for name, policy in self.policies.items() if name not in pools}
        return left | {name: new[name] for name in pools if name in new}

    def _observe(self, pools: Sequence[str]) -> None:
        """The scoreboard of those that live; what it says is read before or after other news of them."""
        for pool in pools:
            serving = sum(p.pool == pool and p.ready_at < NEVER for p in self._processes.values())
            idle = self.idle_from < float("inf")
            self._news(0.02, some_load(self.rng, pool, serving, idle=idle))
        for process in self._processes.values():
            if self.rng.random() >= self.faults.unobserved:
                self._news(self.rng.choice((0.0, 0.02)), process.observed(self.now, self.idle_from, self.rng))
        for event in self._machine.observed(self):
            self._read(event)

    def _measure(self, pools: tuple[str, ...]) -> None:
        """What is counted of those that live; now and then it is late, or garbage."""
        found: dict[str, dict[int, ev.Figures]] = {pool: {} for pool in pools}
        for process in self._processes.values():
            if process.pool in found and not process.is_template:
                found[process.pool][process.id] = process.figures(min(self.now, self.idle_from), self.rng)
        if self.rng.random() >= self.faults.unobserved:
            self._news(self.rng.choice((0.0, 0.0, 0.02)), ev.Measured(found))
        self.seen["measured"] += 1

    def _spare(self, action: act.Spare) -> None:
        if action.worker in self._processes:
            self._at(0.0, self._read, ev.Spared(action.worker, action.reason, REPORT))

    # ---- what processes do

    def _spawn(self, action: act.Spawn) -> None:
        rng, faults = self.rng, self.faults
        template = self._processes.get(action.template) if action.template is not None else None
        if rng.random() < faults.spawn_fails or (action.template is not None and template is None):
            self._spawn_fails(action.worker)
            return
        self.seen["template"] += action.slot == TEMPLATE
        self.seen["forked by a template"] += template is not None
        if template is not None and (template.owed or rng.random() < faults.owes):
            self.seen["template does not answer"] += 1
            template.owed.append(action.worker)
            return
        swells, rate = rng.random() < faults.swells, rng.choice((1, 20))
        policies = self._prepared.get(action.generation, self.policies)
        fails = self._disk_fails and action.generation in self._prepared
        process = Process(action, policies[action.pool], rate, swells=swells, fails=fails)
        self._processes[action.worker] = process
        told_s = 8.0 if rng.random() < faults.fork_is_late else 0.02
        self._news(told_s, ev.Spawned(action.worker, 1000 + action.worker))
        jitter = rng.random()
        if jitter < faults.boot_hangs:
            return
        boot_s = rng.random() * 0.6
        if jitter < faults.boot_hangs + faults.boot_fails or (self._disk_broken and rng.random() < 0.7):
            self._at(boot_s * rng.random(), self._boot_fails, process)
        else:
            self._at(boot_s, self._boots, process)

    def _spawn_fails(self, worker: int) -> None:
        self._news(0.01, ev.SpawnFailed(worker, "out of memory", self.rng.random()))

    def _boot_fails(self, process: Process) -> None:
        if process.alive:
            if self.rng.random() < 0.6:
                kind = self.rng.choice(("import", "lifespan", "boot"))
                self._news(0.02, ev.BootFailed(process.id, kind, "cannot import shop", "Traceback ..."))
            if self.rng.random() < 0.9:
                self._exit(process, self.rng.choice((0, 1, 3, 4, -11)))

    def _boots(self, process: Process) -> None:
        if not process.alive:
            return
        rng, faults = self.rng, self.faults
        process.ready_at = self.now
        self._news(0.02, ev.Ready(process.id))
        jitter = rng.random()
        life_s = rng.expovariate(1 / 15)
        if jitter < faults.dies:
            self._at(life_s, self._dies, process)
        elif jitter < faults.dies + faults.loses_link:
            self._at(life_s, self._loses_link, process)
        elif jitter < faults.dies + faults.loses_link + faults.leaves:
            self._at(life_s, self._leaves, process)
        elif not process.is_template and rng.random() < faults.sticks:
            self._at(life_s, self._sticks, process)

    def _sticks(self, process: Process) -> None:
        if self.faults is not NO_FAULTS and process.alive:
            self.seen["hang"] += 1
            if process.hang(self.now, self.rng):
                self._news(0.02, ev.Stuck(process.id, "GET /", 30.0))

    def _recovers(self, process: Process | None) -> None:
        if process is not None and self.rng.random() < self.faults.recovers:
            self._at(self.rng.random() * process.policy.dump_grace_s * 1.3, Process.recover, process)

    def _dies(self, process: Process) -> None:
        if self.faults is not NO_FAULTS:
            self.seen["crash"] += process.alive
            self._exit(process, self.rng.choice((1, -11, -9)))

    def _loses_link(self, process: Process) -> None:
        if self.faults is not NO_FAULTS and process.alive:
            process.channel_closed = True
            self.seen["link lost"] += 1
            self._news(0.01, ev.ChannelClosed(process.id))

    def _leaves(self, process: Process) -> None:
        """Somebody sends it a TERM."""
        if process.alive and not process.ending and not process.sticks:
            process.ending = True
            self.seen["left by itself"] += 1
            if self.rng.random() < 0.7 and not process.is_template:
                self._news(0.02, ev.DrainStarted(process.id))
            self._at(self.rng.random() * 2, self._ends, process)

    def _ends(self, process: Process) -> None:
        self._exit(process, 0)

    def _exit(self, process: Process, status: int) -> None:
        if process.alive:
            process.alive = False
            del self._processes[process.id]
            if self.rng.random() < 0.5:
                self._news(0.02, ev.ChannelClosed(process.id))
            self._news(0.02, ev.Exited(process.id, status, self.rng.random()))
            for worker in process.owed:
                self._spawn_fails(worker)

    def _drain(self, process: Process | None) -> None:
        """Over its channel, or by a signal where that has ended."""
        if process is None or process.ending:
            return
        process.ending = True
        if process.sticks:
            return
        if self.rng.random() < 0.5 and not process.channel_closed:
            self._news(0.02, ev.DrainStarted(process.id))
        if self.rng.random() >= self.faults.drain_hangs:
            self._at(self.rng.random() * 0.9, self._ends, process)

    def _quit(self, process: Process | None) -> None:
        if process is None or process.still_at < NEVER:
            return
        if self.rng.random() >= self.faults.quit_ignored:
            self._at(self.rng.random() * 0.3, self._ends, process)

    def _kill(self, process: Process | None, reason: str) -> None:
        if process is not None:
            self._at(0.0, self._read, ev.Killed(process.id, reason))
            stuck_s = 30 if self.rng.random() < self.faults.unreaped else 0
            self._at(stuck_s + self.rng.random() * 0.05, self._killed, process)

    def _killed(self, process: Process) -> None:
        self._exit(process, -9)

    # ---- faults off

    def calm(self) -> None:
        """From now on nothing goes wrong and nobody asks for anything."""
        self.faults = NO_FAULTS
        self.asking = False
        self.idle_from = self.now
        asks = (
            self._ask_reload,
            self._ask_restart,
            self._ask_scale,
            self._ask_recycle,
            self._ask_stop,
            self._ask_takeover,
            self._upgrades.ask,
        )
        self._heap = [each for each in self._heap if each[2] not in asks]
        heapq.heapify(self._heap)
        self._disk_broken = self._disk_fails = False

    @property
    def busy(self) -> bool:
        """Something is still going to happen."""
        return bool(self._heap or self._batch) or any(p.will_be_found for p in self._processes.values())

    @property
    def alive(self) -> dict[int, Process]:
        return self._processes
