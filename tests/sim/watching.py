"""Reloads that watch, under random loads: how often good ones are refused, and how surely bad ones are.

The real core goes through one reload after the other. Workers boot at once and never fail; what they answer is drawn
for each look: how many requests (Poisson), how many of them fail (binomial), how long each took (lognormal). As a
rule of thumb the 95th percentile is ``exp(1.65 spread)`` times the median: 1.6 times for a spread of 0.3, 3.7
times for 0.8.

    python -m tests.sim.watching --trials 20000     the table of docs/adr/0037-watching-reloads.md
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from gwctl import durations
from gwctl.durations import PLACES
from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.policy import PoolPolicy, WatchPolicy

SIZE = 4
DEFAULTS = PoolPolicy(size=SIZE, settle_s=2.0, watch=WatchPolicy(watch_s=30.0))
LIFE_S = 600.0
"""For how long the old generation has served before."""


@dataclass(frozen=True)
class Manner:
    """How the requests of one generation fare."""

    errors: float = 0.001
    median_s: float = 0.02
    spread: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", tuple(accumulate(self._shares())))

    def _shares(self) -> list[float]:
        ends = [durations.begin_s(place + 1) for place in range(PLACES - 1)]
        below = [0.0, *(self._below(end_s) for end_s in ends), 1.0]
        return [after - before for before, after in pairwise(below)]

    def _below(self, seconds: float) -> float:
        z = math.log(seconds / self.median_s) / self.spread
        return 0.5 * (1 + math.erf(z / math.sqrt(2)))

    def draw(self, rng: random.Random, count: int) -> list[int]:
        counts = [0] * PLACES
        for place in rng.choices(range(PLACES), cum_weights=self.shares, k=count):  # type: ignore[attr-defined]
            counts[place] += 1
        return counts


class Counters:
    """Of one worker."""

    def __init__(self, manner: Manner, at: float) -> None:
        self.manner = manner
        self.at = at
        self.requests = self.errors = 0
        self.durations = [0] * PLACES

    def go_on(self, rng: random.Random, per_s: float, now: float) -> None:
        """It is asked ``per_s`` times a second until now."""
        count = poisson(rng, per_s * (now - self.at))
        self.at = now
        self.requests += count
        self.errors += binomial(rng, count, self.manner.errors)
        self.durations = [a + b for a, b in zip(self.durations, self.manner.draw(rng, count), strict=True)]

    @property
    def figures(self) -> ev.Figures:
        return ev.Figures(self.requests, self.errors, tuple(self.durations))


class Trial:
    """One reload. ``refused`` says in what the new generation was found to be worse; empty: it was adopted."""

    def __init__(
        self,
        seed: int,
        per_s: float,
        old: Manner,
        new: Manner,
        policy: PoolPolicy = DEFAULTS,
        before: Manner | None = None,
    ) -> None:
        """``before``: how the old generation fared until the reload, if not as in it."""
        self.rng = random.Random(seed)
        self.per_s = per_s
        self.manners = {1: before or old, 2: new}
        self.now = 1000.0
        self.fleet = Fleet({"web": policy})
        self.counters: dict[int, Counters] = {}
        self.news: list[ev.Event] = []
        self.refused: str | None = None
        self.took_s = 0.0
        self._step()
        self._until(LIFE_S)
        for counters in self.counters.values():
            counters.go_on(self.rng, min(20.0, per_s / SIZE), self.now)
            counters.manner = old
        self.news.append(ev.ReloadAsked(1, "gwctl reload"))
        self.policies = {"web": policy}
        began_at = self.now
        self._until(3600.0)
        self.took_s = self.now - began_at

    def _until(self, seconds: float) -> None:
        end = self.now + seconds
        while self.refused is None:
            self._step()
            if self.news:
                continue
            deadline = self.fleet.next_deadline()
            assert deadline is not None
            if deadline > end:
                self.now = end
                break
            self.now = deadline

    def _step(self) -> None:
        batch, self.news = self.news, []
        for action in self.fleet.step(self.now, batch):
            match action:
                case act.Spawn(worker=worker, generation=generation):
                    self.counters[worker] = Counters(self.manners[generation], self.now)
                    self.news += [ev.Spawned(worker, 1000 + worker), ev.Ready(worker)]
                case act.Serve() | act.Park():
                    self._share()
                    self.counters[action.worker].at = self.now
                case act.Prepare(generation=generation):
                    self.news.append(ev.Prepared(generation, self.policies))
                case act.Measure():
                    self._share()
                    figures = {worker: counters.figures for worker, counters in self.counters.items()}
                    self.news.append(ev.Measured({"web": figures}))
                case act.Answer(ok=ok, result=result):
                    self.refused = "" if ok else result["watched"][0]["worse"]
                case _:
                    pass

    def _share(self) -> None:
        """Those that serve have had the requests since they were last asked."""
        serving = [worker for worker in self.fleet.turn.workers.values() if worker.serving]
        for worker in serving:
            counters = self.counters[worker.id]
            counters.go_on(self.rng, self.per_s / len(serving), self.now)


def poisson(rng: random.Random, mean: float) -> int:
    if mean > 100:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count


def binomial(rng: random.Random, count: int, share: float) -> int:
    mean = count * share
    if mean > 100 and count - mean > 100:
        return min(count, max(0, round(rng.gauss(mean, math.sqrt(mean * (1 - share))))))
    if share < 0.02:
        return min(count, poisson(rng, mean))
    return sum(rng.random() < share for _ in range(count))


# ---- what is asked of it


def good(rng: random.Random) -> tuple[float, Manner, Manner]:
    """A load at random, and a new generation that fares as the old one does."""
    per_s = math.exp(rng.uniform(math.log(1), math.log(300)))
    errors = rng.choice((0.0, math.exp(rng.uniform(math.log(0.0001), math.log(0.3)))))
    manner = Manner(errors, math.exp(rng.uniform(math.log(0.001), math.log(1.0))), rng.uniform(0.05, 1.2))
    return per_s, manner, manner


def refused(trials: int, seed: int, load: Callable[[random.Random], tuple[float, Manner, Manner]]) -> float:
    """The share of reloads that are refused."""
    rng = random.Random(seed)
    return sum(bool(Trial(rng.getrandbits(32), *load(rng)).refused) for _ in range(trials)) / trials


NORMAL = Manner()
WORSE: Sequence[tuple[str, Manner, Manner]] = (
    ("as good as before", NORMAL, NORMAL),
    ("2 % fail, 1 % before: as many as may", Manner(0.01), Manner(0.02)),
    ("5 % fail, 0.1 % before", NORMAL, Manner(0.05)),
    ("20 % fail, 0.1 % before", NORMAL, Manner(0.2)),
    ("twice as slow: as slow as it may be", NORMAL, Manner(median_s=0.04)),
    ("3x as slow, spread 0.3", Manner(spread=0.3), Manner(spread=0.3, median_s=0.06)),
    ("3x as slow, spread 0.8", Manner(spread=0.8), Manner(spread=0.8, median_s=0.06)),
)
LOADS = (2.0, 5.0, 10.0, 25.0, 50.0, 200.0)


def table(trials: int, seed: int) -> str:
    lines = ["| new generation | " + " | ".join(f"{load:g}/s" for load in LOADS) + " |"]
    lines.append("|---" * (len(LOADS) + 1) + "|")
    for name, old, new in WORSE:
        shares = [
            refused(trials, seed, lambda _rng, load=load, old=old, new=new: (load, old, new))  # type: ignore[misc]
            for load in LOADS
        ]
        lines.append(f"| {name} | " + " | ".join(f"{100 * share:.4g} %" for share in shares) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=2000, help="good reloads under random loads")
    parser.add_argument("--each", type=int, default=200, help="reloads for each place in the table")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(table(options.each, options.seed), flush=True)
    share = refused(options.trials, options.seed, good)
    print(f"\ngood reloads under random loads: {share * options.trials:.0f} of {options.trials} refused")


if __name__ == "__main__":
    main()
