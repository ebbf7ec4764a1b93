"""Memory of idle servers: four workers, hello world.

    python -m benchmarks.memory [--workers 4] [--only NAME,NAME] [--output FOLDER]

Every worker has answered before, then nothing happens. Resident size (RSS) counts pages that
processes share in each of them; proportional set size (PSS) divides those by the number of
sharers, so that a sum of PSS is what the server costs the machine. From /proc/PID/smaps_rollup.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.selection import servers, split
from benchmarks.servers import Server, ServerFailed, running, session
from benchmarks.tools import RESULTS, write_results

SETTLE_S = 1.0
WORKERS_TIMEOUT_S = 15.0
REQUESTS = 200
KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Size:
    """One process, in MiB."""

    rss: float
    pss: float


@dataclass(frozen=True)
class Memory:
    """``workers`` are the largest processes below the master, ``helpers`` what else it started."""

    master: Size
    workers: list[Size]
    helpers: list[Size]

    @property
    def sum_pss(self) -> float:
        return sum(size.pss for size in (self.master, *self.workers, *self.helpers))

    def worker(self, name: str) -> float | None:
        """Median over the workers; None of a server that has none."""
        return statistics.median(getattr(size, name) for size in self.workers) if self.workers else None


def parse_size(text: str) -> Size:
    """From the text of smaps_rollup."""
    found = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB$", text, re.MULTILINE))
    return Size(int(found["Rss"]) / KIB_PER_MIB, int(found["Pss"]) / KIB_PER_MIB)


def arrange(master: Size, others: Sequence[Size], workers: int) -> Memory:
    largest = sorted(others, key=lambda size: -size.pss)
    return Memory(master, largest[:workers], largest[workers:])


def measure(contender: Contender, workers: int) -> Memory:
    with running(contender, workers=workers) as server:
        wait_for_workers(server, workers if contender.workers else 0)
        for _ in range(REQUESTS):
            ask(server)
        time.sleep(SETTLE_S)
        leader, *others = session(server.pid)
        sizes = [
            parse_size(Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")) for pid in (leader, *others)
        ]
        return arrange(sizes[0], sizes[1:], workers if contender.workers else 0)


def wait_for_workers(server: Server, workers: int) -> None:
    end = time.monotonic() + WORKERS_TIMEOUT_S
    while len(session(server.pid)) <= workers:
        if time.monotonic() > end:
            raise ServerFailed(f"fewer than {workers} workers after {WORKERS_TIMEOUT_S:g} s")
        time.sleep(0.05)
    time.sleep(SETTLE_S)  # they exist; now they import


def ask(server: Server) -> None:
    """On a connection of its own, so that every worker gets some."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", "/", headers={"Connection": "close"})
    connection.getresponse().read()
    connection.close()


def row(name: str, memory: Memory) -> str:
    mark = "*" if name.startswith("gwctl") else " "
    figures = (
        memory.master.rss,
        memory.master.pss,
        memory.worker("rss"),
        memory.worker("pss"),
        memory.sum_pss,
    )
    return f"{mark} {name:<22}" + "".join(f"{'-' if f is None else f'{f:.1f}':>12}" for f in figures)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--only", type=split, default=[])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    chosen, absent, versions = servers(options.only)
    heads = ("master RSS", "master PSS", "worker RSS", "worker PSS", "sum of PSS")
    print(f"\nMiB, {options.workers} workers, idle\n{'':24}" + "".join(f"{head:>12}" for head in heads))
    results, failing = {}, {}
    for contender in chosen:
        try:
            memory = measure(contender, options.workers)
        except (ServerFailed, OSError, http.client.HTTPException) as failed:
            failing[contender.name] = str(failed)
            print(f"  {contender.name:<22}  FAILING: {failed}", flush=True)
            continue
        results[contender.name] = {**dataclasses.asdict(memory), "sum_pss": memory.sum_pss}
        print(row(contender.name, memory), flush=True)
    for name, why in absent.items():
        print(f"  {name:<22}  missing: {why}")
    document = {
        "unit": "MiB",
        "workers": options.workers,
        "versions": versions,
        "servers": results,
        "missing": absent,
        "failing": failing,
    }
    write_results("memory", document, options.output)


if __name__ == "__main__":
    main()
