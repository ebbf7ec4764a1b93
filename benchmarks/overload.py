"""Three times the load that a pool can bear: how much is answered in time, and how soon it recovers.

    python -m benchmarks.overload                 # sync, threads and asgi
    python -m benchmarks.overload --only sync --seconds 20 --times 3

Requests come at fixed times, whatever becomes of those before (an open load), each on a
connection of its own, from clients that give up and close after `PATIENCE_S`. Each takes
`TASK_MS` in an application that sleeps, so what a pool can do is known: tasks at once divided by
the time of one. *In time* is what was answered with 200 within `PATIENCE_S`, as part of that.
*Recovery* is how long after the last of them the first request takes that is answered within twice its time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contenders import Contender, Launch, gwctl, settings
from benchmarks.servers import running
from benchmarks.tools import write_results
from benchmarks.workloads import Workload

WORKERS = 2
PATIENCE_S = 5.0
TASK_MS = 50
QUEUE_TIMEOUT_S = 2.0
WAITING = Workload("waiting", "sleeps as asked", {"wsgi": "waiting:wsgi", "asgi": "waiting:asgi"}, b"")
AT_ONCE = {"sync": 1, "threads": 8, "asgi": 8}
"""Tasks of one worker."""


@dataclass(frozen=True)
class Result:
    """``in_time`` is part of ``capacity``, which is in requests a second, as ``load``."""

    server: str
    capacity: float
    load: float
    in_time: float
    refused: int
    given_up: int
    failed: int
    recovery_s: float


def limited(kind: str) -> Contender:
    """One with a limit on waiting, and on the tasks of an asgi worker."""
    contender = gwctl(kind)  # type: ignore[arg-type]

    def command(launch: Launch) -> list[str]:
        made = contender.command(launch)
        config = launch.folder / "gw.toml"
        bound = f"requests_max = {AT_ONCE[kind]}\n" if kind == "asgi" else ""
        more = f"\n[pool.web.timeouts]\nqueue_timeout_s = {QUEUE_TIMEOUT_S}\n"
        config.write_text(
            settings(kind, launch).replace("threads = ", "threads = 8 #") + bound + more, "utf-8"
        )
        return made

    return dataclasses.replace(contender, command=command)


class Load:
    """What became of the requests, by name."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.outcomes: dict[str, int] = {}

    async def ask(self, *, count: bool = True) -> str:
        """One request on its own connection; return what became of it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                outcome = await self._ask()
        except TimeoutError:
            outcome = "given up"
        except OSError:
            outcome = "failed"
        if count:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        return outcome

    async def _ask(self) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"GET /%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % TASK_MS)
            answer = await reader.read(12)
            return {b"HTTP/1.1 200": "in time", b"HTTP/1.1 503": "refused"}.get(answer, "failed")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def press(self, per_s: float, seconds: float) -> None:
        """Ask ``per_s`` times a second, whatever becomes of it."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(int(per_s * seconds)):
                await asyncio.sleep(max(0.0, start + number / per_s - time.monotonic()))
                group.create_task(self.ask())
            self.over_at = time.monotonic()
            self.lasted_s = self.over_at - start  # longer than asked for, where the client is too slow
            group.create_task(self._recover())

    async def _recover(self) -> None:
        """Ask one after the other until one is answered as if nothing had been."""
        while True:
            began = time.monotonic()
            if await self.ask(count=False) == "in time" and time.monotonic() - began < 2 * TASK_MS / 1000:
                self.recovery_s = time.monotonic() - self.over_at
                return


def measure(kind: str, port: int, times: float, seconds: float) -> Result:
    capacity = WORKERS * AT_ONCE[kind] / (TASK_MS / 1000)
    load = Load(port)
    asyncio.run(load.press(times * capacity, seconds))
    outcome: Callable[[str], int] = lambda name: load.outcomes.get(name, 0)  # noqa: E731
    return Result(
        f"gwctl {kind}",
        capacity,
        round(sum(load.outcomes.values()) / load.lasted_s, 1),
        round(outcome("in time") / (capacity * load.lasted_s), 3),
        outcome("refused"),
        outcome("given up"),
        outcome("failed"),
        round(load.recovery_s, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--times", type=float, default=3.0)
    parser.add_argument("--only", default="", help="classes whose name contains this")
    arguments = parser.parse_args()
    print(
        f"{'':16}{'can do':>8}{'asked':>8}{'in time':>9}{'503':>8}{'gave up':>9}{'failed':>8}{'recovery':>10}"
    )
    results = []
    for kind in AT_ONCE:
        if arguments.only in kind:
            with running(limited(kind), WAITING, workers=WORKERS) as server:
                one = measure(kind, server.port, arguments.times, arguments.seconds)
            results.append(one)
            print(
                f"{one.server:16}{one.capacity:6.0f}/s{one.load:6.0f}/s{one.in_time:9.1%}{one.refused:8}"
                f"{one.given_up:9}{one.failed:8}{one.recovery_s:8.2f} s",
                flush=True,
            )
    write_results("overload", [dataclasses.asdict(each) for each in results])


if __name__ == "__main__":
    main()
