"""An invented fleet: what a master and its admin process say of it, one turn after the other.

It knows nothing of HTTP (`tests.support.admin_stand_in` serves it) and nothing of real time: `World.turn` lets a second
pass. What happens is told by *scenes* (`tests.support.admin_scenes`): generators that change the world, and yield
where time passes. Documents are made of the structs of the product, sentences of its records, so that what
is drawn here is what there is.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gwctl.control import health
from gwctl.control.status import (
    KeptStatus,
    MasterStatus,
    MinuteStatus,
    PoolStatus,
    ReloadStatus,
    TemplateStatus,
    WorkerStatus,
    to_json_ready,
)
from gwctl.records.base import Process, Record, Strength
from gwctl.records.happening import happening
from gwctl.records.reloads import ReloadAdopted, ReloadBegun
from gwctl.records.workers import WorkerReady

MIB: Final = 1 << 20
HISTORY_S: Final = 900
STEP_S: Final = 5
KEPT_EVENTS: Final = 1000
LISTED: Final = 20

Scene = Generator[None, None, None]

REQUESTS: Final = (
    "GET / HTTP/1.1",
    "GET /cart HTTP/1.1",
    "GET /search?… HTTP/1.1",
    "POST /cart/items HTTP/1.1",
    "GET /products/1841 HTTP/1.1",
    "POST /checkout HTTP/1.1",
    "GET /account/orders?… HTTP/1.1",
)


@dataclass
class Call:
    """A request that is being served."""

    request: str
    seconds: float
    until_s: float = math.inf


@dataclass(eq=False)
class Worker:
    pool: str
    slot: int
    pid: int
    generation: int
    state: str = "ready"
    up_s: float = 0.0
    bias: float = 1.0
    """Of the pool's load it has so much more than its share, or less."""
    load: float = 0.0
    calls: list[Call] = field(default_factory=list)
    requests: int = 0
    errors: int = 0
    memory_bytes: int = 58 * MIB
    left_s: float | None = None
    replaced: str = ""
    from_disk: bool = False

    @property
    def process(self) -> Process:
        return Process(self.pool, self.slot, self.generation, self.pid)


@dataclass(eq=False)
class Pool:
    name: str
    worker: str = "threads"
    threads: int = 8
    size: int = 4
    rate: float = 210.0
    """Requests per second at a pressure of 1."""
    urls: tuple[str, ...] = ("http://127.0.0.1:8000",)
    pressure: float = 1.0
    failing: float = 0.0002
    """Part of its requests that end with 5xx."""
    p50_ms: float = 3.1
    backlog: int = 0
    restarts: int = 0
    note: str = ""
    workers: list[Worker] = field(default_factory=list)
    preload: bool = False
    sample: dict[str, Any] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        """How many requests a worker serves at once; 0: any number."""
        return {"threads": self.threads, "sync": 1}.get(self.worker, 0)

    @property
    def ready(self) -> list[Worker]:
        return [each for each in self.workers if each.state == "ready"]


class World:
    """One master with its pools. Same seed and time, same world."""

    def __init__(self, *pools: Pool, name: str = "shop", now: float = 0, seed: int = 7) -> None:
        self.name, self.pid, self.version = name, 4120, "0.3.0"
        self.pools = {pool.name: pool for pool in pools or (Pool("web"),)}
        self.now, self.up_s = now or time.time(), 273600.0
        self.generation, self.adopted_at, self.adopted_by = 4, self.now - 11000.0, "SIGHUP"
        self.phase, self.degraded = "serving", ""
        self.refused_at: float | None = None
        self.last_reload, self.last_reload_at = "generation 4 adopted in 3.9 s (SIGHUP)", self.adopted_at
        self.kept: tuple[int, float] | None = None
        self.accepts_s: float | None = None
        self.reload: ReloadStatus | None = None
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY_S // STEP_S)
        self.ended = False
        self.random = random.Random(seed)
        self._number, self._pid, self._turns = 1840, 4132, 0
        self._scenes: list[Scene] = []
        for pool in self.pools.values():
            for slot in range(pool.size):
                self.spawn(pool, slot, state="ready", up_s=11000.0 - slot)
        self._live_through_the_past()

    def _live_through_the_past(self) -> None:
        """The last reload, a worker that was recycled, and fifteen minutes of samples."""
        began, self.now = self.now, self.adopted_at
        self.tell(ReloadBegun(source="SIGHUP", generation=4, previous=3))
        for pool in self.pools.values():
            for worker in pool.workers[:8]:
                self.tell(worker_ready(pool, worker))
        strength = tuple(Strength(pool.name, pool.size, pool.size) for pool in self.pools.values())
        self.tell(ReloadAdopted(source="SIGHUP", generation=4, previous=3, took_s=3.9, pools=strength))
        self.now = began - HISTORY_S
        for _ in range(HISTORY_S // STEP_S):
            self.now += STEP_S
            self._move(STEP_S)
            self.history.append(self.sample())

    # ---- what scenes do to it

    def play(self, scene: Scene) -> None:
        """From now on, beside those that play already."""
        self._scenes.append(scene)

    def turn(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        self.now += seconds
        self.up_s += seconds
        self._scenes = [scene for scene in self._scenes if _goes_on(scene)]
        self._move(seconds)
        self._turns += 1
        if not self._turns % STEP_S:
            self.history.append(self.sample())

    def tell(self, record: Record) -> None:
        """Something happened."""
        self._number += 1
        what = happening(record, self._number, self.now, self.up_s, self.name)
        self.events.append(msgspec.json.decode(msgspec.json.encode(what)))

    def spawn(self, pool: Pool, slot: int, *, state: str = "starting", up_s: float = 0.0) -> Worker:
        self._pid += 1
        worker = Worker(pool.name, slot, self._pid, self.generation, state, up_s)
        worker.bias = self.random.uniform(0.75, 1.25)
        worker.memory_bytes = int(self.random.uniform(66, 78) * MIB) if up_s else 58 * MIB
        worker.requests = int(up_s * pool.rate / max(1, pool.size))
        pool.workers.append(worker)
        return worker

    def only_pool(self) -> Pool:
        return next(iter(self.pools.values()))

    # ---- how it lives

    def _move(self, seconds: float) -> None:
        for pool in self.pools.values():
            share = len(pool.ready) / max(1, pool.size)
            for worker in pool.workers:
                self._move_worker(pool, worker, seconds, share)
            pool.sample = self._pool_sample(pool)

    def _move_worker(self, pool: Pool, worker: Worker, seconds: float, share: float) -> None:
        worker.up_s += seconds
        slow = 0.08 * math.sin(self.now / 170 + worker.slot * 1.7)
        pull = 0.38 * pool.pressure * worker.bias / max(0.2, share) + slow
        if worker.state != "ready":
            pull = 0.0
        worker.load += (pull - worker.load) * min(1.0, 0.35 * seconds) + self.random.gauss(0, 0.035)
        worker.load = min(1.0, max(0.0, worker.load if worker.state == "ready" else 0.0))
        if worker.left_s is not None:
            worker.left_s = max(0.0, worker.left_s - seconds)
        worker.requests += int(self._rate_of(pool, worker) * seconds)
        lasting = [call for call in worker.calls if call.until_s > call.seconds + seconds]
        for call in lasting:
            call.seconds += seconds
        count = max(len(lasting), round(worker.load * (pool.slots or 12)))
        if worker.state == "ready":
            short = (self._short_call() for _ in range(count - len(lasting)))
            worker.calls = [*lasting, *short]
        else:
            worker.calls = lasting

    def _short_call(self) -> Call:
        call = Call(self.random.choice(REQUESTS), self.random.lognormvariate(-4.5, 1.2), 0)
        if self.random.random() < 0.004:
            call = Call("GET /reports/monthly?… HTTP/1.1", 0.95, self.random.uniform(4, 16))
        return call

    def _rate_of(self, pool: Pool, worker: Worker) -> float:
        return pool.rate / max(1, pool.size) * worker.load / 0.38 if worker.state == "ready" else 0.0

    # ---- what it says

    def _pool_sample(self, pool: Pool) -> dict[str, Any]:
        rate = sum(self._rate_of(pool, each) for each in pool.ready) * self.random.uniform(0.96, 1.04)
        crowd = sum(each.load for each in pool.ready) / max(1, len(pool.ready))
        slower = 1 + 2.5 * max(0.0, crowd - 0.5) ** 2 * 8
        tail = self.random.lognormvariate(0, 0.22)
        errors = sum(self.random.random() < pool.failing for _ in range(int(rate)))
        return {
            "requests_per_s": round(rate, 2),
            "errors_per_s": float(errors),
            "p50_ms": round(pool.p50_ms * slower * self.random.uniform(0.95, 1.05), 3) if rate else None,
            "p95_ms": round(pool.p50_ms * 6 * slower * tail, 3) if rate else None,
            "p99_ms": round(pool.p50_ms * 12.5 * slower * tail, 3) if rate else None,
            "busy": round(crowd, 4) if pool.slots else None,
            "memory_bytes": sum(each.memory_bytes for each in pool.workers),
            "connections": sum(self._connections(each) for each in pool.workers),
            "backlog": pool.backlog,
            "workers": {str(each.slot): round(each.load, 3) for each in pool.ready},
        }

    def _connections(self, worker: Worker) -> int:
        return len(worker.calls) + (int(22 + 14 * worker.load) if worker.state == "ready" else 0)

    def sample(self) -> dict[str, Any]:
        return {"at": round(self.now, 3), "pools": {pool.name: pool.sample for pool in self.pools.values()}}

    def status(self) -> dict[str, Any]:
        document = MasterStatus(
            name=self.name,
            pid=self.pid,
            version=self.version,
            up_s=self.up_s,
            generation=self.generation,
            phase=self.phase,
            accepts_s=self.accepts_s,
            adopted_at=self.adopted_at,
            adopted_by=self.adopted_by,
            degraded=self.degraded,
            last_reload=self.last_reload,
            last_reload_at=self.last_reload_at,
            refused_at=self.refused_at,
            kept=self._kept(),
            reload=self.reload,
            config="gw.toml",
            python="3.12.1",
            pools=tuple(map(self._pool_status, self.pools.values())),
        )
        word, why = health.of(document)
        return to_json_ready(msgspec.structs.replace(document, health=word, health_reason=why))

    def _kept(self) -> KeptStatus | None:
        if self.kept is None:
            return None
        generation, until = self.kept
        parked = {
            name: sum(each.generation == generation for each in pool.workers)
            for name, pool in self.pools.items()
        }
        return KeptStatus(generation, until, max(0.0, until - self.now), parked)

    def _pool_status(self, pool: Pool) -> PoolStatus:
        workers = sorted(pool.workers, key=lambda each: (each.slot, -each.generation, each.pid))
        templates = (TemplateStatus(4130, "ready", self.generation, self.up_s, 61 * MIB),)
        sample = pool.sample
        return PoolStatus(
            name=pool.name,
            worker=pool.worker,
            threads=pool.threads if pool.worker == "threads" else 1,
            size=pool.size,
            ready=len(pool.ready),
            urls=pool.urls,
            requests=sum(each.requests for each in workers),
            requests_per_s=sample["requests_per_s"],
            minute=self._minute(pool),
            backlog=pool.backlog,
            backlog_max=2048,
            restarts=pool.restarts,
            busy=sample["busy"],
            note=pool.note,
            workers=tuple(self._worker_status(pool, each) for each in workers),
            templates=templates if pool.preload else (),
        )

    def _minute(self, pool: Pool) -> MinuteStatus:
        samples = [each["pools"][pool.name] for each in self.history if pool.name in each["pools"]][-12:]
        requests = sum(each["requests_per_s"] for each in samples) * STEP_S
        errors = sum(each["errors_per_s"] for each in samples) * STEP_S

        def mean(name: str) -> float | None:
            values = [each[name] for each in samples if each[name] is not None]
            return round(sum(values) / len(values), 3) if values else None

        rate = requests / max(1, len(samples) * STEP_S)
        return MinuteStatus(60.0, int(requests), int(errors), round(rate, 2), mean("p50_ms"), mean("p99_ms"))

    def _worker_status(self, pool: Pool, worker: Worker) -> WorkerStatus:
        longest = max(worker.calls, key=lambda call: call.seconds, default=None)
        return WorkerStatus(
            slot=worker.slot,
            pid=worker.pid,
            state=worker.state,
            generation=worker.generation,
            up_s=round(worker.up_s, 3),
            requests=worker.requests,
            errors=worker.errors,
            requests_per_s=round(self._rate_of(pool, worker), 2),
            active=len(worker.calls),
            slots=pool.slots,
            request=longest.request if longest else "",
            request_s=round(longest.seconds, 3) if longest else 0.0,
            connections=self._connections(worker),
            memory_bytes=worker.memory_bytes,
            left_s=worker.left_s,
            replaced=worker.replaced,
            from_disk=worker.from_disk,
            files=24 + self._connections(worker),
            files_max=65536,
        )

    def requests(self) -> dict[str, Any]:
        found = sorted(self._under_way(), key=lambda each: -each["seconds"])
        return {"requests": found[:LISTED], "more": len(found[LISTED:])}

    def _under_way(self) -> Iterator[dict[str, Any]]:
        for pool in self.pools.values():
            for worker in pool.workers:
                for call in worker.calls:
                    yield {
                        "worker": f"{pool.name}.{worker.slot}",
                        "generation": worker.generation,
                        "pid": worker.pid,
                        "request": call.request,
                        "seconds": round(call.seconds, 3),
                    }


def worker_ready(pool: Pool, worker: Worker) -> Record:
    return WorkerReady(
        process=worker.process,
        worker_class=pool.worker,
        boot_s=0.42,
        import_s=0.39,
        memory_bytes=58 * MIB,
        parser="C",
    )


def _goes_on(scene: Scene) -> bool:
    return next(scene, True) is None
