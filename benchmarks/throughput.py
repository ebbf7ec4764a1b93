"""Requests a second: one worker on one core beside other servers, for several workloads.

    python -m benchmarks.throughput [--workloads hello,post] [--only NAME,NAME] [--all] [--quick]
                                    [--rounds N] [--seconds S] [--output FOLDER] [--no-plot]

Rounds go in turn (A B C A B C), so that a machine that gets slower or faster is so for all;
medians are compared. Each measurement starts its server afresh. Absolute figures differ from
machine to machine: the ratios are what counts.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.checks import check
from benchmarks.contenders import NGINX, Contender, everybody
from benchmarks.measure import CONNECTIONS, measure
from benchmarks.results import Results
from benchmarks.selection import named, packages, split
from benchmarks.servers import ServerFailed, cores, running
from benchmarks.tables import footnotes, targets_table, versions_line, workload_table
from benchmarks.targets import Verdict, judge
from benchmarks.tools import RESULTS, ROOT, find, need, shown, write_results
from benchmarks.workloads import BY_NAME, QUICK, WORKLOADS, Workload

Plan = dict[Workload, list[Contender]]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    names = ",".join(BY_NAME)
    parser.add_argument("--workloads", type=split, default=list(BY_NAME), help=f"of {names}; default: all")
    parser.add_argument("--only", type=split, default=[], help="contenders of this name, or with this in it")
    parser.add_argument("--all", action="store_true", help="every contender in every workload")
    parser.add_argument("--quick", action="store_true", help="hello world, for those that the targets name")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, help="of each measurement; default: hello 3, others 2")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for JSON and plot")
    parser.add_argument("--no-plot", action="store_true")
    options = parser.parse_args(argv)
    if unknown := set(options.workloads) - set(BY_NAME):
        parser.error(f"no such workload: {', '.join(sorted(unknown))} (there are {names})")
    if options.rounds < 1 or (options.seconds is not None and options.seconds < 1):
        parser.error("--rounds and --seconds are at least 1")
    if options.quick:
        options.workloads = ["hello"]
    return options


def plan(options: argparse.Namespace) -> Plan:
    """Who is measured in which workload, in the order of the tables of contenders."""
    chosen: Plan = {}
    for name in options.workloads:
        workload = BY_NAME[name]
        chosen[workload] = [c for c in everybody().values() if wanted(c, workload, options)]
    return chosen


def wanted(contender: Contender, workload: Workload, options: argparse.Namespace) -> bool:
    if not workload.can(contender):
        return False
    if options.only:
        return named(contender.name, options.only)
    if options.all:
        return True
    few = QUICK if options.quick else workload.few
    return not few or contender.name in few


def available(chosen: Plan, results: Results) -> tuple[Plan, dict[str, str]]:
    """Install what is needed; leave out, and note, whoever lacks something. Also returns versions."""
    contenders = {c.name: c for of_workload in chosen.values() for c in of_workload}.values()
    frameworks = [w.framework for w in chosen if w.framework]
    for python in {c.python for c in contenders if c.python}:
        peers.install_beside(Path(python), frameworks)
    versions, missing = peers.install(packages(contenders), frameworks)
    if any(c is NGINX for c in contenders) and not find("nginx", "nginx"):
        missing["nginx"] = "no nginx here (Debian: apt install nginx)"
    for workload, of_workload in chosen.items():
        for contender in list(of_workload):
            if why := lacks(contender, workload, missing):
                results.miss(workload.name, contender.name, why)
                of_workload.remove(contender)
    versions["gwctl"] = peers.own_versions().get("gwctl", "?")
    return chosen, versions


def lacks(contender: Contender, workload: Workload, missing: dict[str, str]) -> str:
    if contender is NGINX:
        return missing.get("nginx", "")
    if contender.ours:
        versions = (
            peers.installed(Path(contender.python).parent.parent)
            if contender.python
            else peers.own_versions()
        )
        there = not workload.framework or peers.key(workload.framework) in versions
        return "" if there else f"{workload.framework} is not installed beside gwctl"
    needed = [*contender.packages, *([workload.framework] if workload.framework else [])]
    return next((missing[package] for package in needed if package in missing), "")


def measure_workload(
    workload: Workload, contenders: Sequence[Contender], rounds: int, seconds: int, results: Results
) -> None:
    print(f"\n{workload.title}: {rounds} rounds of {seconds} s", flush=True)
    for number in range(1, rounds + 1):
        for contender in contenders:
            if results.fails(workload.name, contender.name):
                continue
            try:
                with running(contender, workload, core=cores()[0]) as server:
                    check(server, workload)
                    sample = measure(server, workload, seconds)
            except ServerFailed as failed:
                results.fail(workload.name, contender.name, str(failed))
                print(f"  {number}  {contender.name:<28} FAILING  {failed}", flush=True)
                continue
            results.add(workload.name, contender.name, sample)
            note = f"  {sample.failures:,} failed" if sample.failures else ""
            print(f"  {number}  {contender.name:<28} {sample.requests_per_s:>9,.0f} req/s{note}", flush=True)


def metadata(options: argparse.Namespace, versions: dict[str, str]) -> dict[str, object]:
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()}, {processor()}, {os.cpu_count()} cores",
        "versions": versions,
        "rounds": options.rounds,
        "connections": CONNECTIONS,
    }


def processor() -> str:
    """The model, where Linux tells."""
    path = Path("/proc/cpuinfo")
    lines: Iterator[str] = iter(path.read_text("utf-8").splitlines() if path.exists() else [])
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.machine())


def verdict_json(verdict: Verdict) -> dict[str, object]:
    return {
        "what": verdict.title,
        "ratio": verdict.ratio,
        "ratio_per_cpu_s": verdict.ratio_cpu,
        "at_least": verdict.target.at_least,
        "goal": verdict.target.goal,
        "verdict": verdict.word,
    }


def plot(json_file: Path) -> None:
    python = peers.plot_python()
    if python:
        picture = json_file.with_suffix(".png")
        script = ROOT / "benchmarks" / "plot.py"
        done = subprocess.run([str(python), str(script), str(json_file), str(picture)], check=False)
        print(f"plot in {shown(picture)}" if done.returncode == 0 else "the plot failed")


def main() -> None:
    options = arguments()
    if len(cores()) < 2:
        sys.exit("two processor cores are needed: one for the server, one for wrk")
    need("wrk", "wrk")
    began = time.monotonic()
    results = Results()
    chosen, versions = available(plan(options), results)
    try:
        for workload, contenders in chosen.items():
            seconds = options.seconds or (3 if workload.name == "hello" else 2)
            measure_workload(workload, contenders, options.rounds, seconds, results)
    except KeyboardInterrupt:
        print("\ninterrupted: the rest is what was measured until then")
    about = metadata(options, versions)
    print(f"\n{versions_line(versions)}\nCPython {about['python']}, {about['machine']}")
    for workload in WORKLOADS:
        if workload in chosen:
            print(workload_table(workload, results))
    print(footnotes())
    verdicts = judge(results)
    print(targets_table(verdicts))
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes")
    titles = {workload.name: workload.title for workload in chosen}
    whole = {**about, "titles": titles, "workloads": results.as_json()}
    whole["targets"] = [verdict_json(verdict) for verdict in verdicts]
    json_file = write_results("throughput", whole, options.output)
    if not options.no_plot:
        plot(json_file)


if __name__ == "__main__":
    main()
