"""Applications whose calls wait, under eight threads: what they serve, and how long a client waits.

    python -m benchmarks.threads [--workloads hello,sleep-1] [--only gwctl] [--beside NAME=FOLDER ...]

All servers run at the same time, on one core, and are asked in turn: what the machine is busy with besides
concerns all of them. Figures are medians of the rounds.

    req/s     requests a second
    us/req    processor time of the server for each of them
    p50 ...   how long clients waited, in milliseconds
    of ours   req/s as a share of that of gwctl with eight threads, round by round

``--beside`` names checkouts of other versions of gwctl, which are measured beside this one. Where there are
compiled modules beside the sources, those are what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Contender, Launch, compiled, gwctl, settings
from benchmarks.costs import cpu_clock_s
from benchmarks.measure import parse, warm_up
from benchmarks.selection import split
from benchmarks.servers import Server, ServerFailed, cores, running, session
from benchmarks.tools import ROOT, need, write_results
from benchmarks.workloads import HELLO_WORLD

APP = "blocking:wsgi"
TAIL = 'function done(_, latency, _) io.write("p99.9 " .. latency:percentile(99.9) .. " us\\n") end\n'
OURS = "gwctl threads"
DATABASE_S = 10.0
TIMEOUT_S = 30
ALONE = ", 1"
"""At the end of the names of those with one thread, which are measured where calls do not wait."""


@dataclass(frozen=True)
class Load:
    """``connections`` clients ask for ``path``, each as soon as it has its answer."""

    path: str
    connections: int


LOADS = {
    "hello": Load("/", 32),
    "hello@1": Load("/", 1),
    "sleep-0.05": Load("/sleep/0.05", 32),
    "sleep-0.15": Load("/sleep/0.15", 32),
    "sleep-1": Load("/sleep/1", 32),
    "sleep-5": Load("/sleep/5", 32),
    "sleep-50": Load("/sleep/50", 32),
    "sleep-1@8": Load("/sleep/1", 8),
    "sleep-50@8": Load("/sleep/50", 8),
    "mixed": Load("/mixed", 32),
    "mixed@4": Load("/mixed", 4),
    "cpu-10": Load("/cpu/10", 32),
    "database": Load("/database", 32),
}


@dataclass
class Subject:
    """A server that runs, and one list for each figure, with an entry for each round."""

    name: str
    server: Server
    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    p999_ms: list[float] = field(default_factory=list)

    def ask(self, load: Load, seconds: int) -> None:
        """Have wrk ask for so many seconds.

        Raises:
            ServerFailed: Not all requests were answered.
        """
        command = command_for(self.server, load)
        pids = session(self.server.pid)
        before = cpu_clock_s(pids)
        run = subprocess.run(
            [*command[:-1], f"-d{seconds}s", command[-1]], check=False, capture_output=True, text=True
        )
        used = cpu_clock_s(pids) - before
        sample = parse(run.stdout)
        if sample.failures:
            raise ServerFailed(f"{sample.failures} of {sample.requests} requests failed", run.stdout)
        found = re.search(r"^p99\.9 ([\d.]+) us$", run.stdout, re.MULTILINE)
        self.per_s.append(sample.requests_per_s)
        self.cpu_us.append(used / max(1, sample.requests) * 1e6)
        self.p50_ms.append(sample.p50_ms)
        self.p99_ms.append(sample.p99_ms)
        self.p999_ms.append(float(found[1]) / 1000 if found else 0.0)


def command_for(server: Server, load: Load) -> list[str]:
    """Without the duration; the address comes last."""
    script = server.folder / "tail.lua"
    script.write_text(TAIL, "utf-8")
    command = [need("taskset", "util-linux"), "-c", str(cores()[1]), need("wrk", "wrk"), "--latency", "-t1"]
    command += [f"-c{load.connections}", f"--timeout={TIMEOUT_S}s", "-s", str(script)]
    return [*command, f"http://127.0.0.1:{server.port}{load.path}"]


# ---- who takes part


def with_threads(contender: Contender, name: str, threads: int) -> Contender:
    def command(launch: Launch) -> list[str]:
        made = contender.command(launch)
        written = re.sub(r"(?m)^threads = \d+$", f"threads = {threads}", settings("threads", launch))
        (launch.folder / "gw.toml").write_text(written, "utf-8")
        return made

    return dataclasses.replace(contender, name=name, command=command)


def contenders(beside: Mapping[str, Path]) -> list[Contender]:
    ours = gwctl("threads")
    found = [ours, with_threads(ours, f"{OURS}{ALONE}", 1)]
    for name, folder in beside.items():
        path = {"PYTHONPATH": str(folder.resolve())}
        found.append(dataclasses.replace(ours, name=f"{OURS}, {name}", environment=path))
    if python := compiled():
        build = gwctl("threads", "compiled", python=python)
        found += [build, with_threads(build, f"{build.name}{ALONE}", 1)]
    peers = [one for one in CONTENDERS if one.name in ("gunicorn gthread", "granian wsgi, 8")]
    return found + peers


@contextlib.contextmanager
def database() -> Iterator[None]:
    """One runs, and the servers that are started meanwhile know where."""
    with tempfile.TemporaryDirectory(prefix="gwctl-bench-") as folder:
        path = Path(folder) / "database"
        pin = [need("taskset", "util-linux"), "-c", str(cores()[1])]
        process = subprocess.Popen([*pin, sys.executable, "-m", "benchmarks.database", str(path)], cwd=ROOT)
        try:
            end = time.monotonic() + DATABASE_S
            while not path.exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise ServerFailed("the database has not started")
                time.sleep(0.01)
            os.environ["BENCH_DATABASE"] = str(path)
            yield
        finally:
            process.kill()
            process.wait()


# ---- the rounds


def measure(subjects: Sequence[Subject], load: Load, rounds: int, seconds: int) -> None:
    for subject in subjects:
        warm_up(command_for(subject.server, load))
    for turn in range(rounds):
        first = turn % len(subjects)
        for subject in [*subjects[first:], *subjects[:first]]:
            subject.ask(load, seconds)


def row(subject: Subject, ours: Subject) -> str:
    share = statistics.median(a / b for a, b in zip(subject.per_s, ours.per_s, strict=True))
    values = [subject.p50_ms, subject.p99_ms, subject.p999_ms]
    waits = "".join(f"{statistics.median(each):>10.2f}" for each in values)
    rate, cpu = statistics.median(subject.per_s), statistics.median(subject.cpu_us)
    return f"{subject.name:<34}{rate:>10,.0f}{cpu:>9.1f}{waits}{share:>9.2f}"


def checkout(text: str) -> tuple[str, Path]:
    """Read NAME=FOLDER."""
    name, _, folder = text.partition("=")
    if not (Path(folder) / "gwctl" / "__init__.py").exists():
        raise argparse.ArgumentTypeError(f"{text}: no NAME=FOLDER with a checkout of gwctl")
    return name, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.threads",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--beside", type=checkout, nargs="+", default=[], help="NAME=FOLDER ...")
    parser.add_argument("--workloads", type=split, default=list(LOADS), help=f"of {','.join(LOADS)}")
    parser.add_argument("--only", type=split, default=[""], help="servers with this in their names")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    options = parser.parse_args()
    chosen = {name: load for name, load in LOADS.items() if any(one in name for one in options.workloads)}
    workload = dataclasses.replace(HELLO_WORLD, apps={"wsgi": APP})
    results = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(database())
        subjects = [
            (one.name, stack.enter_context(running(one, workload, core=cores()[0])))
            for one in contenders(dict(options.beside))
            if any(part in one.name for part in options.only)
        ]
        for name, load in chosen.items():
            print(f"\n{name:<34}{'req/s':>10}{'us/req':>9}{'p50':>10}{'p99':>10}{'p99.9':>10}{'of ours':>9}")
            asked = [Subject(*one) for one in subjects if load.path == "/" or not one[0].endswith(ALONE)]
            measure(asked, load, options.rounds, options.seconds)
            ours = next((one for one in asked if one.name == OURS), asked[0])
            print("\n".join(row(one, ours) for one in asked), flush=True)
            results[name] = {
                one.name: {key: value for key, value in vars(one).items() if isinstance(value, list)}
                for one in asked
            }
    write_results("threads", {"rounds": options.rounds, "seconds": options.seconds, "loads": results})


if __name__ == "__main__":
    main()
