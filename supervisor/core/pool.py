"""A pool: its workers and slots, what they are there for, what is wanted of them, the bounds on their number.

`reconcile` brings the one to the other.
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct, field

from gwctl.records.base import Strength
from gwctl.supervisor.core.autoscale import Scaling
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.sizing import Footprint
from gwctl.supervisor.core.slot import Slot
from gwctl.supervisor.core.worker import Order, State, Worker


class Pool(Struct, eq=False):
    name: str
    policy: PoolPolicy
    """Of the current generation; of the candidate for a pool that is only there."""
    size: int
    """Workers wanted of the current generation; 0: the current generation has no such pool."""
    generation: int = 0
    """That of its workers in force: the last adopted one that began workers here; 0: there was none yet."""
    slots: dict[int, Slot] = field(default_factory=dict)
    members: dict[int, Worker] = field(default_factory=dict)
    """By worker number."""
    templates: dict[int, Worker] = field(default_factory=dict)
    """Of its generations, by number: see `template`."""
    retry_at: float | None = None
    """When a vacant slot may be tried again."""
    restarts: int = 0
    """Workers that ended unplanned after they were ready, or before, since the master was started."""
    differs_since: float | None = None
    """When a reload was refused, and since then what is on disk is not what runs."""
    alone: bool = False
    """It is restarted, or goes back from a restart: no worker is begun beside one of another generation."""
    rolled_back: int = 0
    """The generation from which it was gone back to the one in force; 0: it was not."""
    scaling: Scaling = field(default_factory=Scaling)
    footprint: Footprint = field(default_factory=Footprint)
    """What a worker of it takes."""
    allowed_as: str = ""
    """Why ``auto`` is as many as it is, in words; empty: it is not ``auto``, or not measured yet."""

    @property
    def sets_own_size(self) -> bool:
        """It does so by what is seen of its load."""
        return self.policy.scale is not None and self.size > 0 and not self.scaling.by_hand

    @property
    def workers(self) -> list[Worker]:
        """By slot, the oldest first."""
        return sorted(self.members.values(), key=lambda worker: (worker.slot, worker.id))

    @property
    def ready(self) -> int:
        """How many accept connections."""
        return sum(1 for worker in self.members.values() if worker.serving and not worker.leaving)

    @property
    def strength(self) -> Strength:
        return Strength(self.name, self.ready, self.size)

    @property
    def counts(self) -> Counter[str]:
        """Workers by state, named as in `State`."""
        return Counter(worker.state.value for worker in self.members.values())

    @property
    def empty(self) -> bool:
        """Nothing is wanted of it and nothing is left of it."""
        return not self.size and not self.members and not self.templates

    def template_of(self, generation: int) -> Worker | None:
        """The template of the generation, in whatever state; None: there is none, or it is on its way out."""
        for template in self.templates.values():
            if template.generation == generation and not template.leaving:
                return template
        return None

    @property
    def keeps_code(self) -> bool:
        """A respawn runs what its generation has run from its beginning, whatever is on disk by now."""
        template = self.template_of(self.generation)
        if template is None or template.state is not State.READY:
            return False
        return self.differs_since is None or template.requested_at < self.differs_since

    @property
    def degraded(self) -> bool:
        """A respawn would run something else than the others do."""
        return self.differs_since is not None and self.size > 0 and not self.keeps_code

    @property
    def in_force(self) -> list[Worker]:
        """Those that hold a slot of the generation in force."""
        return self.of_generation(self.generation)

    def has_others(self, generation: int) -> bool:
        """A process of another generation is there.

        One that was killed and that the kernel does not let go of runs nothing any more; nobody waits for it.
        """
        lives = (*self.members.values(), *self.templates.values())
        return any(life.generation != generation and not life.unreaped for life in lives)

    def adopt(self, generation: int, policy: PoolPolicy | None, size: int) -> None:
        """A new generation is in force; without ``policy`` it has no such pool."""
        self.generation = generation
        if policy is None or not self.size or not policy.sized_as(self.policy):
            self.scaling = Scaling()
        self.footprint.other_code = self.footprint.own_bytes > 0
        self.policy = policy or self.policy
        self.size = size
        self.slots.clear()
        self.differs_since = None
        self.rolled_back = 0
        self.alone = False

    def size_after(self, policy: PoolPolicy) -> int:
        """Its size once ``policy`` is in force: that which it has, unless the settings' own has changed."""
        if not self.size:
            return policy.size
        if policy.sized_as(self.policy):
            return self.size
        return policy.size if policy.scale is None else policy.scale.clamp(self.size)

    def slot(self, number: int) -> Slot:
        return self.slots.setdefault(number, Slot())

    def of_generation(self, generation: int) -> list[Worker]:
        """Those that hold a slot of it."""
        return [
            worker
            for worker in self.members.values()
            if worker.generation == generation and not worker.leaving
        ]


class Wanted(Struct, frozen=True):
    """What is wanted of a pool now, besides its size."""

    generation: int
    """The pool's generation in force."""
    candidate: int = 0
    """The generation that a reload tries, or a rollback goes back to; 0: none."""
    policy: PoolPolicy | None = None
    """The candidate's; None: the candidate does not have this pool."""
    new: int = 0
    """How many workers of the candidate are begun; 0 if they are all there are."""
    new_in_the_end: int = 0
    """How many it needs to take over."""
    replace: bool = False
    """Old workers make room for new ones."""
    recycle: bool = False
    """Successors may be begun for workers that are due for one (`Worker.replace_reason`)."""
    atomic: bool = False
    """All new workers take over at one instant."""
    release_clients: bool = False
    """Old workers that are parked have their clients come to the new ones, which are watched."""
    serve_new: bool = True
    """New workers serve as soon as they can; else they wait."""
    kept: int = 0
    """The generation whose parked workers stay, for a rollback; 0: none."""
    hold: bool = False
    """No worker of the current generation is begun while another serves: its code is not on disk."""
    alone: bool = False
    """All others end, whoever serves, before the first worker of the candidate is begun; without a candidate,
    of the current generation."""

    wait: bool = False
    """Nobody serves yet: another master's workers do."""

    @property
    def to_be_alone(self) -> int:
        """The generation that is."""
        return self.candidate or self.generation


class View:
    """Lives for one `reconcile`.

    Attributes:
        old: Of the current generation, by slot.
        successors: Of the current generation, for slots that another still has.
        new: Of the candidate, by slot.
        kept: Of the kept generation.
        strays: Of generations that nobody wants.
        active: How many are starting or ready.
        serving: How many accept.
        room: How many more may be parked or draining.
        crowded: Others are there beside the generation that is to be alone.
    """

    __slots__ = (
        "active",
        "crowded",
        "kept",
        "leaving",
        "new",
        "old",
        "pool",
        "room",
        "serving",
        "strays",
        "successors",
        "wanted",
    )

    def __init__(self, pool: Pool, wanted: Wanted) -> None:
        self.pool = pool
        self.wanted = wanted
        self.old: dict[int, Worker] = {}
        self.successors: dict[int, Worker] = {}
        self.new: dict[int, Worker] = {}
        self.kept: list[Worker] = []
        self.strays: list[Worker] = []
        self.leaving: list[Worker] = []
        self.crowded = False
        self.active = self.serving = parked = departing = 0
        for worker in pool.members.values():
            state = worker.state
            if worker.leaving:
                self.leaving.append(worker)
                if state is State.REQUESTED:
                    self.active += 1
                else:
                    departing += 1
                continue
            if state is State.PARKED:
                parked += 1
            else:
                self.active += 1
                if state is State.READY and worker.told is Order.SERVE:
                    self.serving += 1
            self._sort(worker)
        self.room = draining_limit(pool, wanted) - parked - departing

    def _sort(self, worker: Worker) -> None:
        wanted = self.wanted
        if worker.generation == wanted.generation:
            (self.successors if worker.successor else self.old)[worker.slot] = worker
        elif worker.generation == wanted.candidate:
            self.new[worker.slot] = worker
        elif worker.generation == wanted.kept and worker.state not in _BOOTING:
            self.kept.append(worker)
        else:
            self.strays.append(worker)

    def old_ready(self) -> list[Worker]:
        """Old workers within the size that accept or could, in the order of their slots."""
        size = self.pool.size
        return [w for slot, w in sorted(self.old.items()) if w.state is State.READY and slot < size]

    def to_release(self) -> list[Worker]:
        """Whoever of the current generation accepts or could: successors and those beyond the size, too."""
        return [w for w in (*self.old.values(), *self.successors.values()) if w.state is State.READY]

    def may_begin_new(self) -> bool:
        """An atomic reload has none of its workers serve to bound how many boot at once."""
        wanted = self.wanted
        if not wanted.atomic or wanted.policy is None:
            return True
        booting = sum(1 for worker in self.new.values() if worker.state in _BOOTING)
        return booting < wanted.policy.surge_of(wanted.new_in_the_end)

    def holds(self) -> bool:
        """No worker of the current generation is to be begun, as another serves or will."""
        wanted = self.wanted
        if wanted.alone:
            return wanted.candidate > 0 or self.crowded
        if not (wanted.candidate or wanted.hold):
            return False
        switching = wanted.atomic and wanted.replace
        return switching or self.serving > 0 or any(w.state in COMING for w in self.old.values())


_BOOTING = frozenset({State.REQUESTED, State.STARTING})
COMING = _BOOTING | {State.READY}


def draining_limit(pool: Pool, wanted: Wanted) -> int:
    """How many may be parked and draining: as set, but never fewer than a reload has to park."""
    policy = wanted.policy or pool.policy
    return max(policy.draining_max or 2 * max(pool.size, wanted.new_in_the_end), pool.size)


def active_limit(pool: Pool, wanted: Wanted) -> int:
    """How many may be starting and ready.

    Size and surge, or as many canaries; but both generations whole for an atomic reload: its workers are
    all ready before the first of them serves. As many of them as the surge says boot at once.
    """
    policy = wanted.policy or pool.policy
    size = max(pool.size, wanted.new_in_the_end)
    if wanted.atomic:
        return pool.size + wanted.new_in_the_end
    more = policy.canaries_of(size) if wanted.candidate else recycled_at_once(pool)
    return size + max(policy.surge_of(size), more)


def recycled_at_once(pool: Pool) -> int:
    """How many may be replaced at the same time: as set, but not all that there are."""
    return min(pool.policy.recycle.at_once, max(1, pool.size - 1))
