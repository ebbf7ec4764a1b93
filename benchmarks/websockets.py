"""WebSockets beside other servers: one worker on one core, its client on another.

    python -m benchmarks.websockets [--cases echo32,room] [--only NAME,NAME] [--rounds N] [--seconds S]
                                    [--output FOLDER]

    echo32, echo4k   16 connections, each sends a text of 32 bytes or 4 KiB and waits until it has it back
    room             1,000 connections, one of which says 128 bytes, and all get them: times, not rates
    idle             10,000 connections that say nothing: memory for each

Rounds go in turn, as in `benchmarks.throughput`, and medians are compared. ``us`` is the processor time of
the server for one message (of room: for one of those that it sends), which other work on the machine changes
less than the rate; ``client`` is the client's time for the same, which has to be less, or the client is what
is measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import peers
from benchmarks.contenders import CONTENDERS, UVICORN, Contender, compiled, gwctl, peer
from benchmarks.memory import parse_size
from benchmarks.selection import packages, split
from benchmarks.servers import Server, ServerFailed, cores, cpu_s, running, session
from benchmarks.tools import RESULTS, ROOT, need, write_results
from benchmarks.workloads import HELLO, Workload

APP = Workload("sockets", "WebSockets", {"asgi": "sockets:asgi"}, HELLO)
TIMEOUT_S = 120.0
SETTLE_S = 1.0
NAME = 30


@dataclass(frozen=True)
class Case:
    """``size``: bytes of a message."""

    name: str
    path: str
    connections: int
    size: int
    title: str


CASES = {
    case.name: case
    for case in (
        Case("echo32", "echo", 16, 32, "a text of 32 bytes and back, 16 connections"),
        Case("echo4k", "echo", 16, 4096, "a text of 4 KiB and back, 16 connections"),
        Case("room", "room", 1000, 128, "one says 128 bytes to 1,000"),
        Case("idle", "idle", 10_000, 0, "10,000 connections that say nothing"),
    )
}


@dataclass(frozen=True)
class Sample:
    """What one run showed; of a case that does not have it, a figure is 0.

    Attributes:
        rate: Messages a second.
        cpu_us: Processor time of the server for each, microseconds.
        client_us: The client's.
        median_ms: Of room: until all had it.
        kib: Of idle: for each connection.
    """

    rate: float = 0.0
    cpu_us: float = 0.0
    client_us: float = 0.0
    median_ms: float = 0.0
    kib: float = 0.0


def contenders() -> Iterator[Contender]:
    """Ours, and those of the others that speak WebSocket."""
    yield gwctl("asgi")
    if python := compiled():
        yield gwctl("asgi", "compiled", python=python)
    for flavour in ("websockets", "websockets-sansio", "wsproto"):
        more = ("wsproto",) if flavour == "wsproto" else ()
        server = peer(f"uvicorn, {flavour}", "asgi", "uvicorn", *UVICORN, "--no-access-log", "--ws", flavour)
        yield replace(server, packages=("uvicorn", *more))
    arguments = (
        "--interface",
        "asgi",
        "--workers",
        "{workers}",
        "--port",
        "{port}",
        "--log-level",
        "warning",
    )
    yield peer("granian asgi", "asgi", "granian", *arguments, "--log-level", "warning", "{app}")
    yield next(contender for contender in CONTENDERS if contender.name == "hypercorn")


def measure(contender: Contender, case: Case, seconds: float) -> Sample:
    """Start the server afresh, and play the case.

    Raises:
        ServerFailed: It does not do what it should.
    """
    with running(contender, APP, core=cores()[0]) as server:
        if case.name == "idle":
            return measure_idle(server, case)
        play(server, case, min(seconds, 1.0))  # the interpreter specialises what runs often
        before = cpu_s(server.pid)
        got = play(server, case, seconds)
        used = cpu_s(server.pid) - before
        count = got["messages"] * (case.connections if case.name == "room" else 1)
        return Sample(
            count / got["seconds"],
            used / count * 1e6,
            got["cpu_s"] / count * 1e6,
            got.get("median_ms", 0.0),
        )


def client(server: Server, case: Case, seconds: float) -> list[str]:
    pin = [need("taskset", "util-linux"), "-c", str(cores()[1])]
    arguments = [server.port, case.path, case.connections, case.size, seconds]
    return [*pin, sys.executable, "-m", "benchmarks.websocket_client", *map(str, arguments)]


def play(server: Server, case: Case, seconds: float) -> dict[str, float]:
    run = subprocess.run(
        client(server, case, seconds),
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=TIMEOUT_S,
    )
    if run.returncode:
        raise ServerFailed(run.stderr.strip().splitlines()[-1])
    found: dict[str, float] = json.loads(run.stdout)
    return found


def measure_idle(server: Server, case: Case) -> Sample:
    before = held_kib(server)
    with subprocess.Popen(
        client(server, case, 0),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if not process.stdout.readline():
            raise ServerFailed(process.stderr.read().strip().splitlines()[-1])
        time.sleep(SETTLE_S)
        held = held_kib(server) - before
        process.communicate()
    return Sample(kib=held / case.connections)


def held_kib(server: Server) -> float:
    """What all processes of the server have of memory; the kernel's is not counted."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text("ascii") for pid in session(server.pid)]
    return sum(parse_size(text).pss for text in texts) * 1024


def middle(samples: Sequence[Sample]) -> Sample:
    names = Sample.__dataclass_fields__
    return Sample(*(statistics.median(getattr(sample, name) for sample in samples) for name in names))


def table(case: Case, found: dict[str, list[Sample]], failed: dict[str, str]) -> str:
    lines = [f"\n{case.title}"]
    rows = {name: middle(samples) for name, samples in found.items() if samples}
    if case.name == "idle":
        lines.append(f"{'':<{NAME}} {'KiB each':>9}")
        lines += [f"  {name:<{NAME - 2}} {row.kib:>9.1f}" for name, row in rows.items()]
    else:
        lines.append(f"{'':<{NAME}} {'messages/s':>10} {'us':>7} {'client':>7} {'median ms':>10}")
        lines += [
            f"  {name:<{NAME - 2}} {row.rate:>10,.0f} {row.cpu_us:>7.2f} {row.client_us:>7.2f}"
            f" {row.median_ms:>10.2f}"
            for name, row in rows.items()
        ]
    lines += [f"  {name:<{NAME - 2}} FAILING   {why}" for name, why in failed.items()]
    return "\n".join(lines)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.websockets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", type=split, default=list(CASES), help=f"of {','.join(CASES)}")
    parser.add_argument("--only", type=split, default=[], help="servers with this in their name")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for JSON")
    options = parser.parse_args(argv)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    options = arguments()
    if len(cores()) < 2:
        sys.exit("two processor cores are needed: one for the server, one for its client")
    servers = [c for c in contenders() if not options.only or any(text in c.name for text in options.only)]
    versions, missing = peers.install(packages(servers), ())
    results: dict[str, dict[str, list[Sample]]] = {}
    for case in map(CASES.__getitem__, options.cases):
        found: dict[str, list[Sample]] = {server.name: [] for server in servers}
        failed: dict[str, str] = {}
        for _ in range(1 if case.name == "idle" else options.rounds):
            for server in servers:
                if absent := [missing[package] for package in server.packages if package in missing]:
                    failed[server.name] = absent[0]
                if server.name in failed:
                    continue
                try:
                    found[server.name].append(measure(server, case, options.seconds))
                except (ServerFailed, subprocess.TimeoutExpired) as error:
                    failed[server.name] = str(error)
        print(table(case, found, failed), flush=True)
        results[case.name] = found
    print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))
    samples = {
        case: {name: [asdict(sample) for sample in some] for name, some in found.items()}
        for case, found in results.items()
    }
    write_results("websockets", {"versions": versions, "cases": samples}, options.output)


if __name__ == "__main__":
    main()
