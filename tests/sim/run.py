"""Run the simulation for long: ``python -m tests.sim.run --seed 1 --steps 1000000``.

Prints how fast it went and how often what happened, so that a look shows whether the faults
that were meant to occur did. On failure the last turns of the episode are told, and its seed,
with which ``--episode SEED`` tells more of them. ``--jobs`` plays so many runs side by side,
each with a seed of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from collections import Counter

from tests.sim.episodes import FoundError, episode, run
from tests.sim.story import Story

SHORT = 8
"""Turns that are told of an episode that went wrong."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=None, help="of the run; drawn when not given")
    parser.add_argument("--steps", type=int, default=1_000_000, help="at least that many")
    parser.add_argument("--episode", type=int, default=None, help="tell one episode")
    parser.add_argument("--last", type=int, default=30, help="turns of it that are told")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time, seeds in a row")
    options = parser.parse_args(arguments)
    if options.episode is not None:
        return _tell(options.episode, options.last)
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    began = time.perf_counter()
    try:
        seen = _play(seed, options.steps, options.jobs)
    except FoundError as found:
        _tell(found.seed, min(options.last, SHORT))
        print(f"\nmake sim found this. More of it:  python -m tests.sim.run --episode {found.seed}")
        return 1
    took_s = time.perf_counter() - began
    for what, count in sorted(seen.items()):
        print(f"{count:>10,}  {what}")
    print(f"{seen['steps'] / took_s:,.0f} steps/s, no rule was broken")
    return 0


def _play(seed: int, steps: int, jobs: int) -> Counter[str]:
    if jobs == 1:
        return run(seed, steps)
    seen: Counter[str] = Counter()
    with multiprocessing.Pool(jobs) as pool:
        for part in pool.starmap(run, [(seed + job, steps // jobs) for job in range(jobs)]):
            seen.update(part)
    return seen


def _tell(seed: int, last: int) -> int:
    story = Story(last)
    try:
        episode(seed, listener=story.heard)
    except Exception as error:
        print(story)
        print(f"{type(error).__name__}: {error}\n" + "\n".join(error.__notes__))
        return 1
    print(story)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
