"""Good reloads only, of an application whose import takes a second: what do they cost those who are served?

Quiet rounds and rounds of reloads take turns, so that a machine that is busy with something
else is so for both. The figure is the ratio of the medians of their p99.9.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.load.plan import Part, Plan
from tests.load.result import Result
from tests.load.runner import MixedLoad
from tests.soak.stage import PATIENCE_S, Stage

IMPORT_S: Final = 1.0
PROCESSES: Final = 4
CONNECTIONS: Final = 32
THINK_S: Final = 0.02
LIMIT: Final = 1.2


@dataclass
class Cost:
    """Of one worker class."""

    worker: str
    quiet: list[Result] = field(default_factory=list)
    reloading: list[Result] = field(default_factory=list)
    reloads: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(result.failed for result in (*self.quiet, *self.reloading))

    @property
    def ratio(self) -> float:
        return median_ms(self.reloading, "p999_s") / median_ms(self.quiet, "p999_s")

    @property
    def ok(self) -> bool:
        return not self.failed and not self.refused and self.ratio <= LIMIT


def median_ms(results: Sequence[Result], name: str) -> float:
    return 1e3 * statistics.median(getattr(result, name) for result in results)


def measure(worker: str, rounds: int, round_s: float, broken: str = "") -> Cost:
    """Run ``rounds`` of each kind, ``round_s`` or a little more each."""
    cost = Cost(worker)
    with Stage(worker, import_s=IMPORT_S, processes=PROCESSES, broken=broken) as stage:
        for _ in range(rounds):
            cost.quiet.append(_loaded(stage, lambda: threading.Event().wait(round_s)))
            cost.reloading.append(_loaded(stage, lambda: _reload(stage, cost, round_s)))
    return cost


def _loaded(stage: Stage, work: Callable[[], object]) -> Result:
    plan = Plan(stage.server.url + "/", THINK_S, PATIENCE_S, expect_body=b"hello", label="keep-alive")
    with MixedLoad([Part(plan, CONNECTIONS)]) as load:
        work()
    return load.results[0]


def _reload(stage: Stage, cost: Cost, round_s: float) -> None:
    """One after the other."""
    end = time.monotonic() + round_s
    while time.monotonic() < end:
        stage.deploy()
        run = stage.server.gwctl("reload", "-c", str(stage.server.config))
        cost.reloads += 1
        if run.returncode:
            cost.refused.append(run.stdout + run.stderr)


def text(costs: Sequence[Cost]) -> str:
    heads = ("requests", "failed", "p50 ms", "p99 ms", "p99.9 ms", "longest ms")
    lines = [f"{'good reloads only':<24}" + "".join(f"{head:>12}" for head in heads)]
    for cost in costs:
        lines += [_row(f"{cost.worker}, quiet", cost.quiet)]
        lines += [_row(f"  {cost.reloads} reloads", cost.reloading)]
        lines += [f"  p99.9: {cost.ratio:.2f} times the quiet one (wanted: at most {LIMIT})"]
        lines += cost.refused
    return "\n".join(lines)


def _row(name: str, results: Sequence[Result]) -> str:
    counts = (f"{sum(r.requests for r in results):,}", f"{sum(r.failed for r in results)}")
    times = [median_ms(results, each) for each in ("p50_s", "p99_s", "p999_s", "max_s")]
    return f"{name:<24}" + "".join(f"{c:>12}" for c in (*counts, *(f"{t:.2f}" for t in times)))
