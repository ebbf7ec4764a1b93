"""Requests a second, hello world, one worker on one core, beside other servers.

    python -m benchmarks.throughput [--rounds 3] [--seconds 4] [--only gwctl]

Rounds go in turn (A B C A B C), so that a machine that gets slower or faster is so for all;
medians are compared. Absolute figures differ from machine to machine: the ratios are what counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence

from benchmarks.contenders import CONTENDERS, RATIOS, Contender, install_peers
from benchmarks.measure import Sample, ServerFailed, measure, running, wrk
from benchmarks.tools import need, write_results

WARMUP_S = 1
Samples = dict[str, list[Sample]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--only", default="", help="contenders whose name contains this")
    return parser.parse_args()


def measure_all(contenders: Sequence[Contender], rounds: int, seconds: int) -> Samples:
    samples: Samples = {}
    for number in range(1, rounds + 1):
        for contender in contenders:
            try:
                with running(contender) as (port, pid):
                    wrk(port, WARMUP_S)
                    sample = measure(port, pid, seconds)
            except ServerFailed as failed:
                print(f"round {number}  {contender.name}: failed\n{failed}")
                continue
            samples.setdefault(contender.name, []).append(sample)
            note = f"  {sample.failures} failed" if sample.failures else ""
            print(
                f"round {number}  {contender.name:<18} {sample.requests_per_s:>9,.0f} req/s{note}", flush=True
            )
    return samples


def medians(samples: Samples) -> dict[str, float]:
    return {name: statistics.median(s.requests_per_s for s in runs) for name, runs in samples.items()}


def cpu_medians(samples: Samples) -> dict[str, float]:
    return {name: statistics.median(s.requests_per_cpu_s for s in runs) for name, runs in samples.items()}


def ratios(rates: Mapping[str, float]) -> dict[str, float]:
    """Of the pairs of which both were measured."""
    return {f"{a} / {b}": rates[a] / rates[b] for a, b in RATIOS if a in rates and b in rates}


def main() -> None:
    options = arguments()
    if (os.cpu_count() or 1) < 2:
        sys.exit("two processor cores are needed: one for the server, one for wrk")
    need("wrk", "wrk")
    versions = install_peers()
    contenders = [
        c for c in CONTENDERS if options.only in c.name and (not c.package or c.package in versions)
    ]
    samples = measure_all(contenders, options.rounds, options.seconds)
    rates = medians(samples)
    cpu_rates = cpu_medians(samples)
    print("\nmedians                req/s  req/cpu-s")
    for name, rate in sorted(rates.items(), key=lambda item: -item[1]):
        print(f"  {name:<18} {rate:>9,.0f}  {cpu_rates[name]:>9,.0f}")
    for name, ratio in ratios(rates).items():
        print(f"  {name:<34} {ratio:>6.2f}  {ratios(cpu_rates)[name]:>6.2f}")
    write_results(
        "throughput",
        {
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.release()}, {os.cpu_count()} cores",
            "versions": versions,
            "seconds": options.seconds,
            "median_requests_per_s": rates,
            "ratios": ratios(rates),
            "median_requests_per_cpu_s": cpu_rates,
            "ratios_per_cpu_s": ratios(cpu_rates),
            "samples": {name: [dataclasses.asdict(s) for s in runs] for name, runs in samples.items()},
        },
    )


if __name__ == "__main__":
    main()
