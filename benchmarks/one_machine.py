"""What one machine serves: the unit that docs/scaling.md counts in.

    python -m benchmarks.one_machine [--seconds 5] [--rounds 3]

gwctl with one worker and with as many as there are cores. wrk, with 32 kept-alive connections, takes its
share of the same cores, so that a machine that serves alone does more. What changes less with that is how
many requests a second of processor time serves: times the cores, at 70 % of them, that is what to plan with.
Let the machine be quiet all the same: others in its caches take a quarter of it, and more.

    req/s      median of the rounds
    req/cpu-s  for each second of processor time of gwctl, all of its processes
    cores      that it used
    p99        in ms, with 32 requests at once
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.contenders import Kind, gwctl
from benchmarks.measure import CONNECTIONS, Sample, parse, warm_up
from benchmarks.servers import ServerFailed, cores, cpu_s, running
from benchmarks.tools import need, write_results
from benchmarks.workloads import BY_NAME, Workload

CASES: Final[tuple[tuple[str, Kind], ...]] = (
    ("hello", "sync"),
    ("hello", "threads"),
    ("hello", "asgi"),
    ("flask", "sync"),
    ("flask", "threads"),
)
BUSY: Final = 0.7
"""The share of a machine that is planned with: what comes beyond it in a moment must have room."""


@dataclass(frozen=True)
class Unit:
    """Medians over the rounds."""

    workload: str
    kind: str
    workers: int
    requests_per_s: float
    requests_per_cpu_s: float
    cores: float
    p99_ms: float


def measure(workload: Workload, kind: Kind, workers: int, seconds: int) -> tuple[Sample, float, float]:
    """One round: what wrk says, and processor and wall time meanwhile."""
    with running(gwctl(kind), workload, workers=workers) as server:
        address = f"http://127.0.0.1:{server.port}{workload.path}"
        command = [need("wrk", "wrk"), "--latency", "-t1", f"-c{CONNECTIONS}", address]
        warm_up(command)
        began, used = time.monotonic(), cpu_s(server.pid)
        run = subprocess.run(
            [*command[:-1], f"-d{seconds}s", address], check=False, capture_output=True, text=True
        )
        used, wall = cpu_s(server.pid) - used, time.monotonic() - began
    sample = parse(run.stdout)
    if sample.failures:
        raise ServerFailed(f"{sample.failures} of {sample.requests} requests failed", run.stdout)
    return sample, used, wall


def unit(name: str, kind: Kind, workers: int, seconds: int, rounds: int) -> Unit:
    found = [measure(BY_NAME[name], kind, workers, seconds) for _ in range(rounds)]
    return Unit(
        name,
        kind,
        workers,
        statistics.median(sample.requests_per_s for sample, _, _ in found),
        statistics.median(sample.requests / used for sample, used, _ in found),
        statistics.median(used / wall for _, used, wall in found),
        statistics.median(sample.p99_ms for sample, _, _ in found),
    )


def lines(units: Sequence[Unit], count: int) -> list[str]:
    """A table of Markdown; the last column is what a machine of so many cores is worth."""
    heads = (
        "application",
        "class",
        "workers",
        "req/s",
        "req/cpu-s",
        "cores",
        "p99 ms",
        f"{BUSY:.0%} of {count} cores",
    )
    made = [f"| {' | '.join(heads)} |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for each in units:
        planned = round(each.requests_per_cpu_s * count * BUSY, -2)
        rates = f"{each.requests_per_s:,.0f} | {each.requests_per_cpu_s:,.0f}"
        figures = f"{rates} | {each.cores:.2f} | {each.p99_ms:.1f} | {planned:,.0f}"
        made.append(f"| {each.workload} | {each.kind} | {each.workers} | {figures} |")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one_machine", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    count = len(cores())
    units = [
        unit(name, kind, workers, options.seconds, options.rounds)
        for name, kind in CASES
        for workers in sorted({1, count})
    ]
    print("\n".join(lines(units, count)))
    print(f"load of the machine meanwhile: {os.getloadavg()[0]:.1f}")
    write_results("one_machine", {"units": [dataclasses.asdict(each) for each in units], "cores": count})


if __name__ == "__main__":
    main()
