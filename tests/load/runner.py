"""The load as a process of its own, started and read by a test.

    with Load(server.url, connections=32, think_s=0.005) as load:
        load.wait_for_requests(1000)
        os.kill(server.pid, signal.SIGHUP)
    assert load.result.failures == {}, load.result

A process of its own, because a test that waits for a server would otherwise share one
interpreter lock with the client that measures it.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.load.connection import Connection, Plan
from tests.load.result import Recorder, Result
from tests.support.wait import DEADLINE_S, until

ROOT = Path(__file__).resolve().parents[2]
PROGRESS_S = 0.05


async def drive(
    plan: Plan, connections: int, ended: Callable[[], bool], progress: Callable[[Recorder], None]
) -> Result:
    """Run ``connections`` of them until ``ended``; ``progress`` is told now and then once all have begun."""
    loop = asyncio.get_running_loop()
    recorder, stop = Recorder(), asyncio.Event()
    begun = loop.time()
    clients = [Connection(number, plan, recorder, stop) for number in range(connections)]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    while not ended():
        if all(client.tried.is_set() for client in clients):
            progress(recorder)
        await asyncio.wait(tasks, timeout=PROGRESS_S, return_when=asyncio.FIRST_EXCEPTION)
        if any(task.done() for task in tasks):
            break  # only a bug here ends a task early; gather shows it
    stop.set()
    await asyncio.gather(*tasks)
    return recorder.result(loop.time() - begun)


class Load:
    """Starts on entry (all connections have made a request by then), stops on exit."""

    def __init__(
        self,
        url: str,
        *,
        connections: int = 32,
        think_s: float = 0.005,
        timeout_s: float = 10.0,
        expect_status: int = 200,
        expect_body: bytes | None = None,
        body: bytes = b"",
    ) -> None:
        self._plan = Plan(url, think_s, timeout_s, expect_status, expect_body, body)
        self._connections = connections
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._progress = (-1, 0)
        self._result: Result | None = None

    @property
    def requests(self) -> int:
        """Requests begun so far; -1 before all connections have made one."""
        return self._progress[0]

    @property
    def failed(self) -> int:
        """Requests failed so far."""
        return self._progress[1]

    @property
    def result(self) -> Result:
        assert self._result is not None, "the load still runs or ended without a result"
        return self._result

    def wait_for_requests(self, more: int, timeout_s: float = DEADLINE_S) -> None:
        """Wait until ``more`` requests have been begun from now on."""
        goal = max(self.requests, 0) + more
        until(lambda: self.requests >= goal, lambda: f"request {goal}; there were {self.requests}", timeout_s)

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.load", "--plan", encode_plan(self._plan)]
        command += ["--connections", str(self._connections), "--until-end-of-input"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        until(lambda: self.requests >= 0 or self._process_ended(), "the load to begin")
        return self

    def _process_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _read(self, output: IO[str]) -> None:
        for line in output:
            if line.startswith("["):
                requests, failed = json.loads(line)
                self._progress = (requests, failed)
            else:
                self._result = Result.from_json(line)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        assert self._process.stdin
        assert self._reader
        self._process.stdin.close()
        try:
            status = self._process.wait(self._plan.timeout_s + DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        self._reader.join()
        if kind is None:
            assert status == 0, f"the load client ended with status {status}"


def encode_plan(plan: Plan) -> str:
    """As one argument; bytes in base 64."""
    fields = dataclasses.asdict(plan)
    for name in ("expect_body", "body"):
        if fields[name] is not None:
            fields[name] = base64.b64encode(fields[name]).decode()
    return json.dumps(fields)


def decode_plan(text: str) -> Plan:
    fields = json.loads(text)
    for name in ("expect_body", "body"):
        if fields[name] is not None:
            fields[name] = base64.b64decode(fields[name])
    return Plan(**fields)
