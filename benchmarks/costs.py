"""What being seen costs: access log, request ids, metrics and all that goes with them, beside none of it.

    python -m benchmarks.costs [--only sync,asgi] [--rounds 30]

All servers of a class run at the same time, on one core, and are asked in turn, a second each: what the
machine is busy with besides concerns all of them. The processor time of the worker for each request is
compared, within a round.

    costs    the share of its requests that a busy worker serves less: median of all rounds, and quartiles
    beside   processor time of master and admin process, asked or not, as a share of one core
    master, admin   their memory in MiB, RSS and PSS
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders import KINDS, Contender, Kind, Launch, gwctl, settings
from benchmarks.measure import parse, warm_up, wrk_command
from benchmarks.memory import Size, parse_size
from benchmarks.selection import split
from benchmarks.servers import Server, ServerFailed, cores, running, session
from benchmarks.tools import write_results
from benchmarks.workloads import HELLO_WORLD

PLAIN = "nothing"
IDS = 'request_id_header = "X-Request-ID"\n'
TOLD = "request_id_in_response = true\n"
SEEN = """capture_output = true
application_metrics = true
health_path = "/healthz"

[pool.web.timeouts]
slow_request_s = 1

[log]
format = "json"

[admin]
bind = "unix:{folder}/admin.sock"

[statsd]
to = "unix:{folder}/statsd.sock"
gunicorn_names = true
"""
VARIANTS = {
    PLAIN: "",
    "access log, combined": 'access_log = "{folder}/access.log"\n',
    "access log, JSON": 'access_log = "{folder}/access.log"\naccess_log_format = "json"\n',
    "request ids": IDS,
    "request ids, in responses": IDS + TOLD,
    "all but those": SEEN,
    "all but an access log": IDS + TOLD + SEEN,
}
"""What stands in the pool's table, or after it, beside what `settings` writes."""
SCRAPE_S = 15.0
"""As often as Prometheus does by itself."""


def variant(kind: Kind, text: str) -> Contender:
    contender = gwctl(kind)

    def command(launch: Launch) -> list[str]:
        made = contender.command(launch)
        written = settings(kind, launch) + text.format(folder=launch.folder)
        if SEEN in text:
            written = written.replace('control = "off"', f'control = "{launch.folder}/control.sock"')
        (launch.folder / "gw.toml").write_text(written, "utf-8")
        return made

    return dataclasses.replace(contender, command=command)


def cpu_clock_s(pids: Sequence[int]) -> float:
    """Processor time of these processes so far, to the nanosecond (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


@dataclass
class Subject:
    """A server that runs, its processes, and the worker's time for a request in each round."""

    server: Server
    workers: list[int]
    admins: list[int]
    per_request_s: list[float] = field(default_factory=list)
    beside_s: float = 0.0

    @classmethod
    def of(cls, server: Server) -> Subject:
        titles = {pid: Path(f"/proc/{pid}/cmdline").read_text("utf-8") for pid in session(server.pid)}
        workers = [pid for pid, title in titles.items() if title.startswith("gwctl: worker")]
        admins = [pid for pid, title in titles.items() if title.startswith("gwctl: admin")]
        if len(workers) != 1 or {server.pid, *workers, *admins} != set(titles):
            raise ServerFailed(f"its processes are {titles}")
        return cls(server, workers, admins, beside_s=-cpu_clock_s([server.pid, *admins]))

    def ask(self) -> None:
        """Have wrk ask for a second."""
        command = wrk_command(self.server, HELLO_WORLD)
        before = cpu_clock_s(self.workers)
        run = subprocess.run(
            [*command[:-1], "-d1s", command[-1]], check=False, capture_output=True, text=True
        )
        used = cpu_clock_s(self.workers) - before
        sample = parse(run.stdout)
        if sample.failures:
            raise ServerFailed(f"{sample.failures} of {sample.requests} requests failed", run.stdout)
        self.per_request_s.append(used / sample.requests)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("admin")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@contextlib.contextmanager
def looked_at(folder: Path) -> Iterator[None]:
    """Somebody scrapes the admin listener, has the dashboard open, and takes figures for statsd.

    Raises:
        ServerFailed: Not all of that has worked.
    """
    over = threading.Event()
    problems: list[str] = []
    figures = 0

    def scrape() -> None:
        while True:
            connection = UnixConnection(folder / "admin.sock")
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            if answer.status != 200 or b"gwctl_requests_total" not in answer.read():
                problems.append(f"/metrics: {answer.status}")
            connection.close()
            if over.wait(SCRAPE_S):
                return

    def follow() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # as it is cut off in the end
            while stream.readline():
                pass
        if not over.is_set():
            problems.append("/events ended")

    def take() -> None:
        nonlocal figures
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                figures += len(statsd.recv(65536))

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as statsd:
        statsd.bind(str(folder / "statsd.sock"))
        statsd.settimeout(0.5)
        followed = UnixConnection(folder / "admin.sock")
        followed.request("GET", "/events")
        held = followed.sock
        stream = followed.getresponse()
        threads = [threading.Thread(target=each, daemon=True) for each in (scrape, follow, take)]
        for thread in threads:
            thread.start()
        yield
        over.set()
        held.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(15)
    if not figures:
        problems.append("statsd was sent nothing")
    if problems:
        raise ServerFailed("; ".join(problems))


@dataclass(frozen=True)
class Cost:
    """Shares of one: of requests (median, lower and upper quartile), of a core."""

    variant: str
    per_request_us: float
    median: float
    lower: float
    upper: float
    beside: float
    master: Size
    admin: Size | None


def costs(plain: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """Median and quartiles of the share of requests that are served less, from seconds for each."""
    shares = [1 - before / after for before, after in zip(plain, others, strict=True)]
    lower, median, upper = statistics.quantiles(shares, n=4)
    return median, lower, upper


def measure(kind: Kind, rounds: int) -> list[Cost]:
    with contextlib.ExitStack() as stack:
        subjects = {}
        for name, text in VARIANTS.items():
            server = stack.enter_context(running(variant(kind, text), core=cores()[0]))
            if SEEN in text:
                stack.enter_context(looked_at(server.folder))
            warm_up(wrk_command(server, HELLO_WORLD))
            subjects[name] = Subject.of(server)
        began = time.monotonic()
        names = list(subjects)
        for number in range(rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                subjects[name].ask()
        wall_s = time.monotonic() - began
        return [result(name, each, subjects[PLAIN], wall_s) for name, each in subjects.items()]


def result(name: str, subject: Subject, plain: Subject, wall_s: float) -> Cost:
    beside_s = subject.beside_s + cpu_clock_s([subject.server.pid, *subject.admins])
    master, *admins = [
        parse_size(Path(f"/proc/{pid}/smaps_rollup").read_text("ascii"))
        for pid in (subject.server.pid, *subject.admins)
    ]
    return Cost(
        name,
        statistics.median(subject.per_request_s) * 1e6,
        *costs(plain.per_request_s, subject.per_request_s),
        beside_s / wall_s,
        master,
        admins[0] if admins else None,
    )


def size(size: Size | None) -> str:
    return f"{size.rss:.1f} / {size.pss:.1f}" if size else "-"


def row(cost: Cost) -> str:
    spread = f"({cost.lower:.1%} to {cost.upper:.1%})"
    return (
        f"  {cost.variant:<25}{cost.per_request_us:>8.2f}{cost.median:>8.1%}  {spread:<20}"
        f"{cost.beside:>8.2%}{size(cost.master):>15}{size(cost.admin):>15}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--only", type=split, default=list(KINDS), help=f"of {','.join(KINDS)}")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    if unknown := set(options.only) - set(KINDS):
        parser.error(f"no such class: {', '.join(sorted(unknown))} (there are {', '.join(KINDS)})")
    if options.rounds < 2:
        parser.error("--rounds is at least 2")
    found = {}
    for kind in KINDS:
        if kind in options.only:
            print(
                f"\n{kind:<27}{'us/req':>8}{'costs':>8}{'beside':>30}{'master':>15}{'admin':>15}", flush=True
            )
            found[kind] = measure(kind, options.rounds)
            print("\n".join(map(row, found[kind])), flush=True)
    document = {kind: [dataclasses.asdict(cost) for cost in each] for kind, each in found.items()}
    write_results("costs", {"rounds": options.rounds, "costs": document})


if __name__ == "__main__":
    main()
