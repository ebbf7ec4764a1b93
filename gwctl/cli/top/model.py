"""From what a master answers, sample by sample, to the figures of ``gwctl top``: pure.

Requests per second are between two samples, percentiles and errors over those of the last `WINDOW_S`. The
clock is the master's own (``up_s``). Of the first sample there is no difference: then the figures are those
that ``gwctl status`` shows. A master that was started anew begins anew here, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gwctl.control.metrics import MasterMetrics, PoolMetrics
from gwctl.control.requests import RequestUnderWay, WorkerRequests, workers_of
from gwctl.control.status import MasterStatus, PoolStatus, WorkerStatus
from gwctl.errors import ControlError

WINDOW_S: Final = 10.0
HISTORY: Final = 16
"""So many samples of how busy a pool was are kept."""
_BUCKET_MS: Final = 0.1


class Worker(msgspec.Struct, frozen=True):
    """One worker; ``slots`` is how many requests it can serve at once, 0 for no limit."""

    pool: str
    slot: int
    pid: int
    state: str
    generation: int
    up_s: float
    active: int
    slots: int
    requests_per_s: float
    cpu: float | None
    """Processors in use, between two samples: 0.5 is half of one. None: not known yet."""
    connections: int
    memory_bytes: int
    served: tuple[RequestUnderWay, ...] = ()
    """The longest first; not all of them when there are many."""
    left_s: float | None = None
    """How long a draining worker may still take."""
    replaced: str = ""
    loop_held: bool = False
    """Its loop does not answer: of what it serves only the scoreboard tells."""

    @property
    def name(self) -> str:
        return f"{self.pool}.{self.slot}"

    @property
    def longest_s(self) -> float:
        return self.served[0].age_s if self.served else 0.0


class Pool(msgspec.Struct, frozen=True):
    """``busy`` is the part of what its ready workers can do at once; None where there is no limit."""

    name: str
    worker: str
    """Its worker class."""
    size: int
    ready: int
    scaling: str
    """Between which numbers it sets its size itself; empty: it is fixed."""
    active: int
    busy: float | None
    requests_per_s: float
    p99_ms: float | None
    errors: float | None
    """Part of the requests that ended with 5xx; None without requests."""
    backlog: int | None
    backlog_max: int | None
    restarts: int
    note: str
    load: tuple[float, ...]
    """How busy it was in the last samples, from 0 to 1, the newest last."""
    workers: tuple[Worker, ...]


class Model(msgspec.Struct, frozen=True):
    """One master at one moment."""

    name: str
    pid: int
    version: str
    generation: int
    phase: str
    up_s: float
    health: str
    health_reason: str
    requests_per_s: float
    p99_ms: float | None
    errors: float | None
    pools: tuple[Pool, ...]
    upgrades: int = 0
    """How often it was."""


def _phase(status: MasterStatus) -> str:
    """``serving``; of a reload also where it is: ``reloading: watch``."""
    reload = status.reload
    if reload is None or not reload.phases:
        return status.phase
    return f"{status.phase}: {', '.join(dict.fromkeys(reload.phases.values()))}"


class Sample(msgspec.Struct, frozen=True):
    """One answer to each question. A master that does not know ``metrics`` or ``requests`` says less."""

    status: MasterStatus
    metrics: MasterMetrics | None = None
    under_way: dict[int, WorkerRequests] = {}
    """By pid."""


def sample(
    status: dict[str, Any], metrics: dict[str, Any] | None = None, requests: dict[str, Any] | None = None
) -> Sample:
    """Read the answers.

    Raises:
        ControlError: They are none.
    """
    try:
        workers = workers_of(requests or {})
        return Sample(
            msgspec.convert(status, MasterStatus),
            msgspec.convert(metrics, MasterMetrics) if metrics else None,
            {worker.pid: worker for worker in workers},
        )
    except msgspec.ValidationError as error:
        raise ControlError(f"the master's answer is not understood ({error}); try gwctl status") from None


class History:
    """The samples of the last `WINDOW_S`, and how busy the pools were a little longer."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()
        self._load: dict[str, deque[float]] = {}

    def add(self, new: Sample) -> Model:
        """Take a sample; return what it shows beside those before it."""
        if self._samples and not _follows(new.status, self._samples[-1].status):
            self._samples.clear()
            self._load.clear()
        before = self._samples[-1] if self._samples else None
        self._samples.append(new)
        while len(self._samples) > 2 and new.status.up_s - self._samples[1].status.up_s >= WINDOW_S:
            self._samples.popleft()
        oldest = self._samples[0] if before is not None else None
        pools = tuple(self._pool(pool, new, before, oldest) for pool in new.status.pools)
        status = new.status
        return Model(
            name=status.name,
            pid=status.pid,
            version=status.version,
            generation=status.generation,
            phase=_phase(status),
            up_s=status.up_s,
            health=status.health or status.phase,
            health_reason=status.health_reason,
            requests_per_s=sum(pool.requests_per_s for pool in pools),
            p99_ms=_p99_ms(status.pools, new.metrics, _metrics(oldest)),
            errors=_errors(status.pools, oldest.status.pools if oldest is not None else None),
            pools=pools,
            upgrades=new.metrics.upgrades.get("done", 0) if new.metrics is not None else 0,
        )

    def _pool(self, pool: PoolStatus, new: Sample, before: Sample | None, oldest: Sample | None) -> Pool:
        earlier = _named(before, pool.name)
        seconds = new.status.up_s - before.status.up_s if before is not None else 0.0
        cpu = _cpu_by_pid(new.metrics, _metrics(before), seconds)
        workers = tuple(
            _worker(worker, pool.name, new, _before(worker, earlier), seconds, cpu.get(worker.pid))
            for worker in pool.workers
        )
        active = sum(worker.active for worker in workers)
        load = self._load.setdefault(pool.name, deque(maxlen=HISTORY))
        load.append(float(active) if pool.busy is None else pool.busy)
        most = 1.0 if pool.busy is not None else max(1.0, *load)
        per_s = pool.requests_per_s
        if earlier is not None and seconds > 0:
            per_s = max(0, pool.requests - earlier.requests) / seconds
        old = _named(oldest, pool.name)
        return Pool(
            name=pool.name,
            worker=pool.worker,
            size=pool.size,
            ready=pool.ready,
            scaling=pool.scaling.brief if pool.scaling is not None else "",
            active=active,
            busy=pool.busy,
            requests_per_s=round(per_s, 2),
            p99_ms=_p99_ms((pool,), new.metrics, _metrics(oldest)),
            errors=_errors((pool,), (old,) if old is not None else None),
            backlog=pool.backlog,
            backlog_max=pool.backlog_max,
            restarts=pool.restarts,
            note=pool.note,
            load=tuple(round(min(1.0, each / most), 4) for each in load),
            workers=workers,
        )


def _follows(new: MasterStatus, old: MasterStatus) -> bool:
    """It is the same master, later."""
    return new.pid == old.pid and new.up_s >= old.up_s


def _metrics(of: Sample | None) -> MasterMetrics | None:
    return of.metrics if of is not None else None


def _named(of: Sample | None, name: str) -> PoolStatus | None:
    return next((pool for pool in of.status.pools if pool.name == name), None) if of is not None else None


def _before(worker: WorkerStatus, pool: PoolStatus | None) -> WorkerStatus | None:
    return next((each for each in pool.workers if each.pid == worker.pid), None) if pool is not None else None


def _worker(
    worker: WorkerStatus,
    pool: str,
    new: Sample,
    before: WorkerStatus | None,
    seconds: float,
    cpu: float | None,
) -> Worker:
    per_s = worker.requests_per_s
    if before is not None and seconds > 0:
        per_s = max(0, worker.requests - before.requests) / seconds
    told = new.under_way.get(worker.pid)
    found = sorted(told.requests, key=lambda each: -each.age_s) if told is not None else ()
    served = tuple(RequestUnderWay(each.request, round(each.age_s, 3)) for each in found)
    if not served and worker.request:
        served = (RequestUnderWay(worker.request, worker.request_s),)
    return Worker(
        pool=pool,
        slot=worker.slot,
        pid=worker.pid,
        state=worker.state,
        generation=worker.generation,
        up_s=worker.up_s,
        active=max(worker.active, len(served)),
        slots=worker.slots,
        requests_per_s=round(per_s, 2),
        cpu=cpu,
        connections=worker.connections,
        memory_bytes=worker.memory_bytes,
        served=served,
        left_s=worker.left_s,
        replaced=worker.replaced,
        loop_held=told is not None and told.loop_held,
    )


def _cpu_by_pid(new: MasterMetrics | None, before: MasterMetrics | None, seconds: float) -> dict[int, float]:
    if new is None or before is None or seconds <= 0:
        return {}
    used = {worker.pid: worker.cpu_s for pool in before.pools for worker in pool.workers}
    return {
        worker.pid: round(max(0.0, worker.cpu_s - used[worker.pid]) / seconds, 3)
        for pool in new.pools
        for worker in pool.workers
        if worker.pid in used
    }


def _errors(new: Sequence[PoolStatus], old: Sequence[PoolStatus] | None) -> float | None:
    """Part of the requests since ``old`` that ended with 5xx, or of the last minute."""
    if old is None:
        minutes = [pool.minute for pool in new if pool.minute is not None]
        requests, errors = sum(each.requests for each in minutes), sum(each.errors for each in minutes)
    else:
        requests = sum(pool.requests for pool in new) - sum(pool.requests for pool in old)
        errors = sum(pool.errors for pool in new) - sum(pool.errors for pool in old)
    return round(min(1.0, max(0, errors) / requests), 6) if requests > 0 else None


def _p99_ms(
    pools: Sequence[PoolStatus], new: MasterMetrics | None, old: MasterMetrics | None
) -> float | None:
    """Of all requests since ``old``; else of the last minute, of the pool where it is longest."""
    if new is None or old is None:
        known = [pool.minute.p99_ms for pool in pools if pool.minute is not None]
        return max((each for each in known if each is not None), default=None)
    names = {pool.name for pool in pools}
    now, then = (_counts([pool for pool in each.pools if pool.name in names]) for each in (new, old))
    then += [0] * (len(now) - len(then))
    return percentile_ms([max(0, a - b) for a, b in zip(now, then, strict=False)], 0.99)


def _counts(pools: Sequence[PoolMetrics]) -> list[int]:
    length = max((len(pool.durations.counts) for pool in pools), default=0)
    return [sum(sum(pool.durations.counts[i : i + 1]) for pool in pools) for i in range(length)]


def percentile_ms(counts: Sequence[int], part: float) -> float | None:
    """The duration that ``part`` of the requests stayed below, by interpolation; None without requests.

    ``counts`` are those of `gwctl.control.metrics.Durations`.
    """
    wanted = sum(counts) * part
    passed = 0
    for index, count in enumerate(counts):
        if count and passed + count >= wanted:
            high = _BUCKET_MS * (1 << index)
            low = high / 2 if index else 0.0
            return round(low + (high - low) * (wanted - passed) / count, 3)
        passed += count
    return None
