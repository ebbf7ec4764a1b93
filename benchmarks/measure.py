"""One measurement: a server on one core, wrk on another, and how disturbed both were.

The machine may be shared, so beside the rate stand
- the rate for each second of processor time that the server was given (``requests_per_cpu_s``): what
  others do to the machine hardly changes it, and where it is far above the plain rate the run was
  disturbed, or the server waited for wrk;
- the share of its core that the server used (``server_share``), near 1 where it was the bottleneck;
- the share of either core that was taken by anybody else (``others``).
"""

from __future__ import annotations

import dataclasses
import re
import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import Server, ServerFailed, cores, cpu_s
from benchmarks.tools import need
from benchmarks.workloads import Workload

CONNECTIONS = 32
WARMUP_S = 0.3
UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Sample:
    """``failures`` counts socket errors, time-outs and statuses other than 2xx and 3xx."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failures: int
    requests: int = 0
    requests_per_cpu_s: float = 0.0
    server_share: float = 0.0
    others: float = 0.0


@dataclass(frozen=True)
class CoreTimes:
    """Seconds that a core has spent so far: in processes, in interrupts, taken by the hypervisor."""

    processes: float
    interrupts: float
    stolen: float

    def __sub__(self, earlier: CoreTimes) -> CoreTimes:
        return CoreTimes(
            self.processes - earlier.processes,
            self.interrupts - earlier.interrupts,
            self.stolen - earlier.stolen,
        )


def core_times(core: int, text: str | None = None) -> CoreTimes:
    """From /proc/stat: user nice system idle iowait irq softirq steal, in hundredths of a second."""
    found = re.search(rf"^cpu{core} (.*)$", text or Path("/proc/stat").read_text("ascii"), re.MULTILINE)
    fields = [int(field) / 100 for field in found[1].split()] if found else [0.0] * 8
    return CoreTimes(sum(fields[0:3]), sum(fields[5:7]), fields[7])


def others_share(core: CoreTimes, own_s: float, wall_s: float) -> float:
    """Share of ``wall_s`` in which a core worked for others than us (``own_s``), at the least.

    Kernels differ in whether time in interrupts, which for loopback is a good part of the
    server's work, is counted as a process's own. It is where we used more than all processes had.
    """
    busy = core.processes + (core.interrupts if own_s > core.processes else 0.0)
    return max(0.0, busy - own_s + core.stolen) / wall_s


def measure(server: Server, workload: Workload, seconds: int) -> Sample:
    """A warm-up, then a run of wrk with the use of the cores beside it."""
    command = wrk_command(server, workload)
    warm_up(command)
    server_core, client_core = cores()[:2]
    began, cpu_before, wrk_before = time.monotonic(), cpu_s(server.pid), children_s()
    before = core_times(server_core), core_times(client_core)
    run = subprocess.run(
        [*command[:-1], f"-d{seconds}s", command[-1]], check=False, capture_output=True, text=True
    )
    used, wrk_used = cpu_s(server.pid) - cpu_before, children_s() - wrk_before
    wall = time.monotonic() - began
    sample = parse(run.stdout)
    others = max(
        others_share(core_times(server_core) - before[0], used, wall),
        others_share(core_times(client_core) - before[1], wrk_used, wall),
    )
    return dataclasses.replace(
        sample,
        requests_per_cpu_s=sample.requests / used if used else 0.0,
        server_share=used / wall,
        others=others,
    )


def children_s() -> float:
    """Processor time of our children that have ended: while a server runs, that is wrk."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def wrk_command(server: Server, workload: Workload) -> list[str]:
    """Without the duration; the address comes last."""
    command = [need("taskset", "util-linux"), "-c", str(cores()[1]), need("wrk", "wrk"), "--latency"]
    command += ["-t1", f"-c{CONNECTIONS}"]
    script = workload.script(server.folder)
    if script:
        command += ["-s", str(script)]
    return [*command, f"http://127.0.0.1:{server.port}{workload.path}"]


def warm_up(command: list[str]) -> None:
    """The interpreter specialises code after a few hundred calls. wrk knows whole seconds only."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(WARMUP_S)
    process.send_signal(signal.SIGINT)
    process.wait()


def parse(text: str) -> Sample:
    """Read wrk's report."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    total = re.search(r"(\d+) requests in ", text)
    if not rate or not total:
        raise ServerFailed("wrk made no report", text)
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad_status = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failures = sum(map(int, errors.groups())) if errors else 0
    failures += int(bad_status[1]) if bad_status else 0
    return Sample(float(rate[1]), latency_ms(text, "50"), latency_ms(text, "99"), failures, int(total[1]))


def latency_ms(text: str, percent: str) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    return float(found[1]) * UNITS_MS[found[2]] if found else 0.0
