"""A run of the simulation: episodes, each a fleet from its start to its end.

An episode is trouble for a while, then calm: from then on nothing fails and the fleet must
converge to what is wanted of it and fall silent. Then it is stopped and must end.
"""

from __future__ import annotations

from collections import Counter

from tests.sim.books import Unsafe
from tests.sim.mishaps import FAULTS, Faults
from tests.sim.recycling import judge_rest
from tests.sim.templates import judge_templates_at_rest
from tests.sim.world import Listener, World
from tests.support.core_story import rests

CALM_TURNS_MAX = 3000
CALM_S_MAX = 300.0
"""The longest row of deadlines that an end of all trouble can leave behind, several times over."""
TROUBLE_TURNS = 600


def episode(seed: int, *, faults: Faults = FAULTS, listener: Listener | None = None) -> World:
    """Play one through; raises what went wrong, with the seed in a note."""
    world = World(seed, faults, listener)
    try:
        turns = world.rng.randrange(20, TROUBLE_TURNS)
        while turns and world.finish is None:
            world.turn()
            turns -= 1
        world.calm()
        _until_quiet(world)
        if world.finish is None:
            _converged(world)
            world.stop(quick=world.rng.random() < 0.5)
            _until_quiet(world)
        _ended(world)
    except Exception as error:
        error.add_note(f"python -m tests.sim.run --episode {seed}   # turn {world.steps}")
        raise
    return world


def _until_quiet(world: World) -> None:
    """Until nothing is scheduled, nothing awaited and nothing due but a look at the scoreboard."""
    began_at = world.now
    for _ in range(CALM_TURNS_MAX):
        world.turn()
        if world.now > began_at + CALM_S_MAX:
            break
        if world.finish is not None or (not world.busy and rests(world.fleet)):
            return
    raise Unsafe(f"no rest after {world.now - began_at:.0f} s of calm: {world.fleet.state.reload}")


def _converged(world: World) -> None:
    fleet, observer = world.fleet, world.observer
    if (
        fleet.state.reload is not None
        or fleet.state.reload_waits
        or fleet.state.upgrade is not None
        or observer.asked
    ):
        raise Unsafe(f"calm, but a reload or a request is left: {observer.asked}")
    if set(fleet.state.pools) != set(observer.sizes):
        raise Unsafe(f"pools {set(fleet.state.pools)} instead of {set(observer.sizes)}")
    for name, size in observer.sizes.items():
        serving = [w for w in observer.workers.values() if w.pool == name and w.serving]
        if sorted(w.slot for w in serving) != list(range(size)):
            raise Unsafe(f"{name}: slots {sorted(w.slot for w in serving)} of {size} serve")
        if not all(map(observer.in_force, serving)):
            raise Unsafe(f"{name}: an abandoned generation serves")
        if fleet.state.pools[name].ready != size or fleet.state.pools[name].size != size:
            raise Unsafe(
                f"{name}: the fleet says {fleet.state.pools[name].ready}/{fleet.state.pools[name].size}"
            )
    judge_rest(observer)
    if len(world.alive) != sum(observer.sizes.values()) + judge_templates_at_rest(observer):
        raise Unsafe(f"{len(world.alive)} processes for {observer.sizes}")


def _ended(world: World) -> None:
    if world.finish is None:
        raise Unsafe("asked to stop, and did not")
    if world.alive:
        raise Unsafe(f"{len(world.alive)} processes were left behind")
    if world.fleet.step(world.now + 100, []):
        raise Unsafe("it acts after its end")


class FoundError(Exception):
    """An episode in which something was wrong; its cause says what. ``seed`` is the episode's."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.seed = seed


def run(seed: int, steps: int) -> Counter[str]:
    """Episodes until there were that many steps; returns what happened how often.

    Raises:
        FoundError: An episode went wrong.
    """
    seen: Counter[str] = Counter()
    number = 0
    while seen["steps"] < steps:
        episode_seed = seed * 1_000_003 + number
        try:
            world = episode(episode_seed)
        except Exception as error:
            raise FoundError(episode_seed) from error
        number += 1
        seen.update(world.seen)
        seen["steps"] += world.steps
        seen["episodes"] += 1
        if world.finish is not None:
            seen[f"finished with status {world.finish.status}"] += 1
    return seen
