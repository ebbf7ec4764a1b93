"""How a pool of four workers shares its load: balance, waiting behind slow requests, accepting.

    python -m benchmarks.balance            # all scenarios, all servers
    python -m benchmarks.balance --only sync --seconds 5

    one by one   64 kept-alive connections opened one after the other, each asking for 5 ms of sleep
    all at once  the same, opened together
    two slow     30 clients ask for replies at once, every few milliseconds; 2 for ones that take 1 s
    one percent  32 clients, 1 % of all requests take 1 s

The application tells when and in which process it worked, so how long a request waited, and
whether a worker was idle meanwhile, is known and not guessed. A fast request counts as *held
up* when it waited over 100 ms in which some worker had nothing to do.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks import peers
from benchmarks.contenders import granian, gunicorn, gwctl
from benchmarks.servers import running
from benchmarks.tools import write_results
from benchmarks.workloads import Workload

WORKERS = 4
HELD_UP_S = 0.1
WAITING = Workload("waiting", "sleeps as asked", {"wsgi": "waiting:wsgi"}, b"")
ONE_THREAD = {"GWCTL_THREADS": "1"}
CONTENDERS = (
    gwctl("sync"),
    dataclasses.replace(gwctl("threads"), name="gwctl threads, 1", environment=ONE_THREAD),
    gunicorn("sync", "sync"),
    dataclasses.replace(gunicorn("gthread", "threads", "--threads", "1"), name="gunicorn gthread, 1"),
    granian("granian wsgi", "sync", "--interface", "wsgi", "--blocking-threads", "1"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """Times of one request. ``began`` and ``ended`` are the application's."""

    sent: float
    received: float
    pid: int
    began: float
    ended: float
    slow: bool


@dataclass
class Result:
    server: str
    scenario: str
    requests: int
    per_s: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    held_up: int
    failures: int
    workers: dict[int, int] = field(default_factory=dict)
    """Requests by pid."""


class Client:
    """One connection, kept alive while the server allows."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, ms: int) -> Request:
        sent = time.monotonic()
        if self._streams is None:
            await self.open()
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(f"GET /{ms} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        pid, began, ended = (await reader.readexactly(length)).split()
        if b"connection: close" in head:
            self.close()
        return Request(sent, time.monotonic(), int(pid), float(began), float(ended), ms >= 1000)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Load:
    """Clients that ask until a time, and what came of it."""

    def __init__(self, port: int, until: float) -> None:
        self._port = port
        self.until = until
        self.start = time.monotonic()
        self.requests: list[Request] = []
        self.failures = 0

    async def client(self, ms: Iterable[int], think_s: float = 0.0, client: Client | None = None) -> None:
        client = client or Client(self._port)
        pauses = random.Random(id(client))
        for each in ms:
            if time.monotonic() >= self.until:
                break
            try:
                self.requests.append(await client.ask(each))
            except (OSError, EOFError):
                self.failures += 1
                client.close()
            if think_s:
                await asyncio.sleep(think_s * pauses.uniform(0.5, 1.5))
        client.close()


def forever(ms: int, slow_part: float = 0.0) -> Iterable[int]:
    chance = random.Random(ms)
    while True:
        yield 1000 if slow_part and chance.random() < slow_part else ms


async def until_all_work(port: int) -> None:
    """Wait until each worker has answered: servers say that they run before all of theirs do."""
    pids: set[int] = set()
    end = time.monotonic() + 5
    while len(pids) < WORKERS and time.monotonic() < end:
        clients = [Client(port) for _ in range(2 * WORKERS)]
        pids |= {each.pid for each in await asyncio.gather(*[client.ask(20) for client in clients])}
        for client in clients:
            client.close()


async def one_by_one(port: int, seconds: float) -> Load:
    load = Load(port, time.monotonic() + seconds + 3)
    async with asyncio.TaskGroup() as group:
        for _ in range(64):
            client = Client(port)
            await client.ask(5)
            group.create_task(load.client(forever(5), client=client))
        load.requests.clear()
        load.start = time.monotonic()
        load.until = load.start + seconds
    return load


async def all_at_once(port: int, seconds: float) -> Load:
    clients = [Client(port) for _ in range(64)]
    await asyncio.gather(*[client.open() for client in clients])
    load = Load(port, time.monotonic() + seconds)
    await asyncio.gather(*[load.client(forever(5), client=client) for client in clients])
    return load


async def two_slow(port: int, seconds: float) -> Load:
    load = Load(port, time.monotonic() + seconds)
    fast = [load.client(forever(0), think_s=0.01) for _ in range(30)]
    await asyncio.gather(*fast, *[load.client(forever(1000)) for _ in range(2)])
    return load


async def one_percent(port: int, seconds: float) -> Load:
    load = Load(port, time.monotonic() + seconds)
    chance = random.Random(1)

    def mixed() -> Iterable[int]:
        while True:
            yield 1000 if chance.random() < 0.01 else 0

    await asyncio.gather(*[load.client(mixed(), think_s=0.2) for _ in range(32)])
    return load


SCENARIOS = {
    "one by one": one_by_one,
    "all at once": all_at_once,
    "two slow": two_slow,
    "one percent": one_percent,
}


def idle_while(start: float, end: float, busy: dict[int, list[Request]]) -> float:
    """Return for how long between ``start`` and ``end`` some worker had nothing to do."""
    edges: list[tuple[float, int]] = []
    for calls in busy.values():
        for call in calls:
            if call.began < end and call.ended > start:
                edges.append((max(call.began, start), 1))
                edges.append((min(call.ended, end), -1))
    idle, working, at = 0.0, 0, start
    for when, change in sorted(edges):
        if working < len(busy):
            idle += when - at
        at = when
        working += change
    return idle + (end - at if working < len(busy) else 0.0)


def judge(server: str, scenario: str, load: Load) -> Result:
    fast = [each for each in load.requests if not each.slow] or load.requests
    times = sorted(each.received - each.sent for each in fast)
    busy: dict[int, list[Request]] = {}
    for each in load.requests:
        busy.setdefault(each.pid, []).append(each)
    for n in range(WORKERS - len(busy)):
        busy[-n - 1] = []  # a worker that never got a request
    late = [each for each in fast if each.began - each.sent > HELD_UP_S]
    held_up = sum(idle_while(each.sent, each.began, busy) > HELD_UP_S for each in late)
    in_time = sum(each.received < load.until for each in load.requests)
    return Result(
        server,
        scenario,
        len(load.requests),
        round(in_time / (load.until - load.start), 1),
        round(times[len(times) // 2] * 1000, 1),
        round(times[min(len(times) - 1, len(times) * 99 // 100)] * 1000, 1),
        round(times[-1] * 1000, 1),
        held_up,
        load.failures,
        {pid: len(calls) for pid, calls in busy.items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", default="", help="servers whose name contains this")
    parser.add_argument("--scenario", default="", help="scenarios whose name contains this")
    arguments = parser.parse_args()
    chosen = [each for each in CONTENDERS if arguments.only in each.name]
    found, missing = peers.install({name for each in chosen for name in each.packages}, ())
    for name, why in missing.items():
        print(f"{name} is left out: {why}")
    chosen = [each for each in chosen if all(name in found for name in each.packages)]
    print(f"{'':22}{'':14}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'longest':>9}{'held up':>9}{'failed':>8}")
    results = []
    for name, scenario in SCENARIOS.items():
        for contender in chosen:
            if arguments.scenario in name:
                with running(contender, WAITING, workers=WORKERS) as server:
                    asyncio.run(until_all_work(server.port))
                    load = asyncio.run(scenario(server.port, arguments.seconds))
                results.append(one := judge(contender.name, name, load))
                print(
                    f"{one.server:22}{one.scenario:14}{one.per_s:9.1f}{one.p50_ms:9.1f}{one.p99_ms:9.1f}"
                    f"{one.longest_ms:9.1f}{one.held_up:9}{one.failures:8}  {sorted(one.workers.values())}",
                    flush=True,
                )
    write_results("balance", [dataclasses.asdict(each) for each in results])


if __name__ == "__main__":
    main()
