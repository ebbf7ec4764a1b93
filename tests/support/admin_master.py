"""A master reduced to its end of a socket, for the admin application: it answers what the test says.

    master = FakeMaster(status=lambda params: {"name": "shop"})
    admin = Admin(master.socket(), "secret", "shop")
    master.silent.add("health")      # asked from now on, and not answered
    await master.asked("health")     # wait until it was
    master.answer_all("health")

Like the real one it takes eight requests at once, and counts each that it has not answered.
"""

from __future__ import annotations

import asyncio
import functools
import json
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from socket import socket as Socket  # noqa: N812 - `FakeMaster.socket` is another
from typing import Any

from gwctl.control import protocol
from gwctl.supervisor.control.server import REQUESTS_MAX
from tests.support.wait import DEADLINE_S

Document = dict[str, Any]
Answer = Callable[[Document], Document]


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own, and fail if it hangs or leaves something behind in the loop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            problems: list[Document] = []
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
            async with asyncio.timeout(DEADLINE_S):
                await test(*args, **kwargs)
            await asyncio.sleep(0)
            assert problems == []

        asyncio.run(main())

    return run


async def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of ``condition``, letting the loop turn meanwhile."""
    try:
        async with asyncio.timeout(DEADLINE_S / 2):
            while not (value := condition()):  # noqa: ASYNC110 - there is no event for conditions in general
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"waited {DEADLINE_S / 2:g} s for {what}") from None
    return value


@dataclass
class Asked:
    """One request as it came."""

    number: int
    method: str
    params: Document


HEALTH: Document = {
    "phase": "serving",
    "generation": 5,
    "pools": {
        "web": {"size": 4, "ready": 4, "ready_min": 1, "started": True},
        "api": {"size": 2, "ready": 2, "ready_min": 2, "started": True},
    },
}
METRICS: Document = {
    "name": "shop",
    "version": "1.2.3",
    "pid": 4120,
    "up_s": 12.5,
    "generation": 5,
    "phase": "serving",
    "health": "healthy",
    "pools": [{"name": "web", "worker": "threads", "size": 4, "ready": 4}],
}
STATUS: Document = {
    "name": "shop",
    "pid": 4120,
    "up_s": 12.5,
    "health": "healthy",
    "health_reason": "",
    "pools": [],
}


def happening(number: int, **more: Any) -> Document:
    """An event as a master tells it."""
    return {"number": number, "kind": "worker_ready", "level": "info", "text": f"event {number}"} | more


@dataclass
class FakeMaster:
    """Answers as ``answers`` say, by method. An answer that is a `protocol.Failure` refuses."""

    answers: dict[str, Callable[[Document], Any]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    history: list[Document] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.requests: list[Asked] = []
        self.open: dict[int, Asked] = {}
        self.followers: list[int] = []
        self.refused = 0
        self._ours, self._theirs = socket.socketpair()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    def socket(self) -> socket.socket:
        """The end for the application."""
        return self._theirs

    async def begin(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._ours)
        self._reading = asyncio.create_task(self._read(reader))

    async def end(self) -> None:
        """Close the connection, as a master does that ends."""
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.transport.abort()
        else:
            self._ours.close()
        await asyncio.sleep(0)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._take(json.loads(line))

    def _take(self, message: Document) -> None:
        asked = Asked(message["id"], message["method"], message["params"])
        self.requests.append(asked)
        if len(self.open) >= REQUESTS_MAX:
            self.refused += 1
            self.fail(asked.number, protocol.Failure(protocol.UNAVAILABLE, "8 requests wait already"))
            return
        self.open[asked.number] = asked
        if asked.method not in self.silent:
            self._answer(asked)

    def _answer(self, asked: Asked) -> None:
        if asked.method in self.answers:
            found = self.answers[asked.method](asked.params)
        elif asked.method == "events":
            self._tell_history(asked)
            return
        else:
            found = {"health": HEALTH, "metrics": METRICS, "status": STATUS, "requests": {"workers": []}}.get(
                asked.method, {"text": "done"}
            )
        if isinstance(found, protocol.Failure):
            self.fail(asked.number, found)
        else:
            self.answer(asked.number, found)

    def _tell_history(self, asked: Asked) -> None:
        for event in self.history:
            self.say(protocol.encode_event(asked.number, json.dumps(event).encode()))
        if asked.params.get("follow"):
            self.followers.append(asked.number)
        else:
            self.answer(asked.number, {"events": len(self.history), "lost": 0})

    # ---- what a test says

    def say(self, line: bytes) -> None:
        assert self._writer is not None
        self._writer.write(line)

    def answer(self, number: int, result: Document) -> None:
        self.open.pop(number, None)
        self.say(protocol.encode_result(number, result))

    def pass_on(self, number: int, result: Document, ends: list[Socket]) -> None:
        """Answer with sockets, which are the other's from then on."""
        assert self._writer is not None
        self.open.pop(number, None)
        with socket.fromfd(self._ours.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            socket.send_fds(sock, [protocol.encode_result(number, result)], [each.fileno() for each in ends])
        for each in ends:
            each.close()

    def fail(self, number: int | None, failure: protocol.Failure) -> None:
        if number is not None:
            self.open.pop(number, None)
        self.say(protocol.encode_error(number, failure))

    def answer_all(self, method: str, result: Document | None = None) -> None:
        """Answer what waits, as ``answers`` say or with ``result``; and what comes from now on."""
        self.silent.discard(method)
        for asked in [each for each in self.open.values() if each.method == method]:
            if result is None:
                self._answer(asked)
            else:
                self.answer(asked.number, result)

    def happens(self, event: Document) -> None:
        self.history.append(event)
        for number in self.followers:
            self.say(protocol.encode_event(number, json.dumps(event).encode()))

    def count(self, method: str) -> int:
        """How often it was asked that."""
        return sum(each.method == method for each in self.requests)

    async def asked(self, method: str, times: int = 1) -> Asked:
        """Wait until it was, that often; return the last."""
        await eventually(lambda: self.count(method) >= times, f"{method} to be asked {times} times")
        return [each for each in self.requests if each.method == method][times - 1]
