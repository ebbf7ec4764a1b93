"""What can go wrong in the simulated world and how likely it is, and the processes it befalls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Faults:
    """How likely each mishap is, where it can happen."""

    spawn_fails: float = 0.0
    boot_hangs: float = 0.0
    boot_fails: float = 0.0
    dies: float = 0.0
    loses_link: float = 0.0
    leaves: float = 0.0
    drain_hangs: float = 0.0
    quit_ignored: float = 0.0
    unreaped: float = 0.0
    settings_wrong: float = 0.0
    generation_broken: float = 0.0
    unobserved: float = 0.0
    swells: float = 0.0
    late: float = 0.0


NO_FAULTS = Faults()
FAULTS = Faults(
    spawn_fails=0.03,
    boot_hangs=0.02,
    boot_fails=0.03,
    dies=0.3,
    loses_link=0.03,
    leaves=0.05,
    drain_hangs=0.05,
    quit_ignored=0.1,
    unreaped=0.02,
    settings_wrong=0.1,
    generation_broken=0.25,
    unobserved=0.05,
    swells=0.05,
    late=0.002,
)


class Process:
    __slots__ = ("alive", "deaf", "ending", "generation", "id", "pool", "rate", "ready_at", "swells")

    def __init__(self, worker: int, pool: str, generation: int, rate: float, *, swells: bool) -> None:
        self.id = worker
        self.pool = pool
        self.generation = generation
        self.alive = True
        self.deaf = False  # its channel is closed: it can be told nothing
        self.ending = False
        self.rate = rate
        self.ready_at = float("inf")
        self.swells = swells

    def requests(self, now: float) -> int:
        return int(max(0.0, now - self.ready_at) * self.rate)

    def memory_bytes(self, now: float) -> int:
        """It grows, beyond `SOFT_BYTES` in time; that of one that swells beyond `HARD_BYTES`."""
        grown = 10 + max(0.0, now - self.ready_at) * 8
        return int(grown * 4 if self.swells else min(grown, 150))


SOFT_BYTES = 100
HARD_BYTES = 200
