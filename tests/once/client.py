"""Sends POSTs with numbers of their own, each once, and writes down which were answered: a process of its own.

python -m tests.once.client PORT POSTS CONNECTIONS FOLDER

No number is ever sent again, so a second run of one is the server's doing. Connections have habits:
one request at a time, up to eight in a row before the first answer, a new connection for each, the
body some time after the head, several in a row with a pause before each. Whoever is cut goes on with a new connection and further numbers.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import re
import sys
import time
import traceback
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

DIGITS: Final = 10
IN_A_ROW_MAX: Final = 8
LATE_S: Final = 0.002
SILENT_MAX_S: Final = 60.0
RECONNECT_S: Final = 0.02
REFUSED: Final = 0xFFFF
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass
class Sent:
    """What became of each number. ``status`` 0: no answer; ``answered_at``: monotonic seconds."""

    posts: int
    status: array[int] = field(init=False)
    answered_at: array[float] = field(init=False)
    connected_at: array[float] = field(init=False)
    """When the connection on which it was sent was begun: a server may have accepted it any time after that."""
    mixed: list[str] = field(default_factory=list)
    """Answers that were another number's."""
    begun: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self.status = array("H", bytes(2 * self.posts))
        self.answered_at = array("d", bytes(8 * self.posts))
        self.connected_at = array("d", bytes(8 * self.posts))

    def write(self, folder: Path) -> None:
        for name in ("status", "answered_at", "connected_at"):
            (folder / f"sent-{name}").write_bytes(getattr(self, name).tobytes())
        (folder / "sent-mixed").write_text("".join(f"{each}\n" for each in self.mixed), "utf-8")
        (folder / "sent-counts").write_text(f"{self.begun} {self.refused}", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> Sent:
        status = (folder / "sent-status").read_bytes()
        sent = cls(len(status) // 2)
        for name in ("status", "answered_at", "connected_at"):
            whole = array(getattr(sent, name).typecode)
            whole.frombytes((folder / f"sent-{name}").read_bytes())
            setattr(sent, name, whole)
        sent.mixed = (folder / "sent-mixed").read_text("utf-8").splitlines()
        sent.begun, sent.refused = map(int, (folder / "sent-counts").read_text("utf-8").split())
        return sent


class Connection(asyncio.Protocol):
    """One connection; ``lost`` is done when it is over."""

    def __init__(self, habit: int, sent: Sent, numbers: itertools.count[int], begun_at: float) -> None:
        self._habit = habit
        self._sent = sent
        self._numbers = numbers
        self._waiting: list[int] = []
        self._buffer = b""
        self._transport: asyncio.Transport
        self._at = begun_at
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._silence: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        count = 1 + next(self._numbers) % IN_A_ROW_MAX if self._habit in {1, 4} else 1
        first = self._sent.begun
        self._waiting = list(range(first, min(first + count, self._sent.posts)))
        self._sent.begun += len(self._waiting)
        if not self._waiting or self._closing:
            self._transport.close()
            return
        if self._silence is not None:
            self._silence.cancel()
        self._silence = self._loop.call_later(SILENT_MAX_S, self._transport.abort)
        for number in self._waiting:
            self._sent.connected_at[number] = self._at
        if self._habit == 4:
            self._one_by_one(list(self._waiting))
            return
        for number in self._waiting:
            head, body = _request(number)
            if self._habit == 3:
                self._transport.write(head + body[:3])
                self._loop.call_later(LATE_S, self._late, body[3:])
            else:
                self._transport.write(head + body)

    def _one_by_one(self, numbers: list[int]) -> None:
        self._late(b"".join(_request(numbers.pop(0))))
        if numbers:
            self._loop.call_later(LATE_S, self._one_by_one, numbers)

    def _late(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            status, length = _STATUS.match(head), _LENGTH.search(head)
            assert status, head
            size = int(length[1]) if length else 0
            if len(self._buffer) < end + 4 + size:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            self._answered(int(status[1]), body, close=_CLOSE.search(head) is not None)

    def _answered(self, status: int, body: bytes, *, close: bool) -> None:
        if not self._waiting:
            self._sent.mixed.append(f"an answer that nobody asked for: {status} {body!r}")
            self._transport.abort()
            return
        number = self._waiting.pop(0)
        self._sent.status[number] = status
        self._sent.answered_at[number] = time.monotonic()
        if status == 200 and body != b"%0*d" % (DIGITS, number):
            self._sent.mixed.append(f"{number} was answered with {body!r}")
        if close or self._habit == 2:
            self._closing = True
            self._transport.close()
        elif not self._waiting:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._silence is not None:
            self._silence.cancel()
        if not self.lost.done():
            self.lost.set_result(None)


def _request(number: int) -> tuple[bytes, bytes]:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % DIGITS
    return head, b"%0*d" % (DIGITS, number)


async def one(port: int, habit: int, sent: Sent, numbers: itertools.count[int]) -> None:
    loop = asyncio.get_running_loop()
    while sent.begun < sent.posts:
        make = functools.partial(Connection, habit, sent, numbers, time.monotonic())
        try:
            _, connection = await loop.create_connection(make, "127.0.0.1", port)
        except OSError:
            sent.refused += 1
            await asyncio.sleep(RECONNECT_S)
        else:
            await connection.lost


async def drive(port: int, posts: int, connections: int) -> Sent:
    sent, numbers = Sent(posts), itertools.count()
    asyncio.get_running_loop().set_exception_handler(
        _give_up
    )  # a bug here must not look like a silent server
    async with asyncio.TaskGroup() as group:
        for index in range(connections):
            group.create_task(one(port, index % 5, sent, numbers))
    return sent


def _give_up(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    traceback.print_exception(error)
    print(context["message"], file=sys.stderr, flush=True)
    os._exit(1)


def main() -> None:
    port, posts, connections = map(int, sys.argv[1:4])
    uvloop.run(drive(port, posts, connections)).write(Path(sys.argv[4]))


if __name__ == "__main__":
    main()
