"""The load as a process of its own, started and read by a test.

    with Load(server.url, connections=32) as load:
        load.wait_for_requests(1000)
        os.kill(server.pid, signal.SIGHUP)
    assert load.result.failures == {}, load.result

A process of its own, because a test that waits for a server would otherwise share one
interpreter lock with the client that measures it.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Self

from tests.load.connection import Connection
from tests.load.plan import Part, Plan, encode_parts
from tests.load.result import Recorder, Result
from tests.load.streams import StreamingConnection
from tests.load.talk import TalkingConnection
from tests.support import started
from tests.support.wait import DEADLINE_S, until

PROGRESS_S = 0.05
CLIENTS: dict[str, type[Connection | StreamingConnection]] = {
    "websocket": TalkingConnection,
    "http2": StreamingConnection,
}
"""By habit; `Connection` is for all others."""


async def drive(
    parts: Sequence[Part], ended: Callable[[], bool], progress: Callable[[int, int], None]
) -> list[Result]:
    """Run them all until ``ended``; return a result for each.

    ``progress`` is told now and then, once every connection has begun, how many requests were
    begun and how many failed.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    begun = loop.time()
    recorders = [Recorder(part.plan.label) for part in parts]
    clients = [
        CLIENTS.get(part.plan.habit, Connection)(number, part.plan, recorder, stop)
        for part, recorder in zip(parts, recorders, strict=True)
        for number in range(part.connections)
    ]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    while not ended():
        if all(client.tried.is_set() for client in clients):
            progress(sum(r.requests for r in recorders), sum(r.failures.total() for r in recorders))
        await asyncio.wait(tasks, timeout=PROGRESS_S, return_when=asyncio.FIRST_EXCEPTION)
        if any(task.done() for task in tasks):
            break  # only a bug here ends a task early; gather shows it
    stop.set()
    await asyncio.gather(*tasks)
    return [recorder.result(loop.time() - begun) for recorder in recorders]


class MixedLoad:
    """Starts on entry (all connections have made a request by then), stops on exit."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = list(parts)
        self._process: started.Started | None = None
        self._reader: threading.Thread | None = None
        self._progress = (-1, 0)
        self._results: list[Result] | None = None

    @property
    def requests(self) -> int:
        """Requests begun so far; -1 before all connections have made one."""
        return self._progress[0]

    @property
    def failed(self) -> int:
        """Requests failed so far."""
        return self._progress[1]

    @property
    def results(self) -> list[Result]:
        """One for each part."""
        assert self._results is not None, "the load still runs or ended without a result"
        return self._results

    def wait_for_requests(self, more: int, timeout_s: float = DEADLINE_S) -> None:
        """Wait until ``more`` requests have been begun from now on. AssertionError: at once if the load ends."""
        goal = max(self.requests, 0) + more

        def begun() -> bool:
            if self.requests >= goal:
                return True
            assert not self._process_ended(), f"the load has ended at request {self.requests}"
            return False

        until(begun, lambda: f"request {goal}; there were {self.requests}", timeout_s)

    def __enter__(self) -> Self:
        self._process = started.start(
            ["--parts", encode_parts(self._parts)],
            module="tests.load",
            environ={**os.environ, "PYTHONPATH": str(started.ROOT)},
            cwd=started.ROOT,
            stdin=started.PIPE,
            stdout=started.PIPE,
            stderr=2,
        )
        assert self._process.stdout
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        until(lambda: self.requests >= 0 or self._process_ended(), "the load to begin")
        return self

    def _process_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _read(self, output: IO[bytes]) -> None:
        for line in io.BufferedReader(output):  # type: ignore[type-var] # by itself it reads byte by byte
            if not line.endswith(b"\n"):
                return  # it was killed in the midst of a line: who killed it says why, and there is no result
            if line.startswith(b"["):
                requests, failed = json.loads(line)
                self._progress = (requests, failed)
            elif self._results is None:
                self._results = [Result.from_json(line.decode())]
            else:
                self._results.append(Result.from_json(line.decode()))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        assert self._process.stdin
        assert self._reader
        self._process.stdin.close()
        try:
            status = self._process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        self._reader.join()
        if kind is None:
            assert status == 0, f"the load client ended with status {status}"

    @property
    def _patience_s(self) -> float:
        """For the end: each connection finishes the request it is in, and many figures are summed up."""
        return max(part.plan.timeout_s + part.plan.think_s for part in self._parts) + 2 * DEADLINE_S


class Load(MixedLoad):
    """Connections with one plan."""

    def __init__(
        self,
        url: str,
        *,
        connections: int = 32,
        think_s: float = 0.02,
        timeout_s: float = 10.0,
        expect_status: int = 200,
        expect_body: bytes | None = None,
        body: bytes = b"",
    ) -> None:
        plan = Plan(url, think_s, timeout_s, expect_status, expect_body, body)
        super().__init__([Part(plan, connections)])

    @property
    def result(self) -> Result:
        return self.results[0]
