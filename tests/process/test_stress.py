"""Many clients of every habit at once: each gets its own responses, all of them, in order, and its end.

The mix is random, from a seed that a failure names: single requests and pipelines, in one
piece and in pieces cut anywhere, GET, HEAD and POST, quick, streamed and slow answers; a
connection ends with ``Connection: close``, with the client's half-close right behind the last
request, with a reset that nobody need answer, or by the client. STRESS_S makes it last.
"""

from __future__ import annotations

import asyncio
import collections
import os
import random
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.apps import by_class
from tests.support.compiled import pure_only
from tests.support.raw import reset_at_close

SECONDS = float(os.environ.get("STRESS_S", "2"))
CLIENTS = 48
LATE_S = 10.0
"""For any one answer or end: far beyond what the slow calls of all clients take."""
ENDS = ("kept", "kept", "close", "half-close", "reset")

Asked = tuple[str, bytes]
"""The method, and the body that answers it."""


class Stress:
    """What one client after the other met: ``failures`` by what it was, with an example."""

    def __init__(self, address: tuple[str, int], seed: int, seconds: float) -> None:
        self.address = address
        self.seed = seed
        self.until = asyncio.get_running_loop().time() + seconds
        self.answers = self.connections = 0
        self.failures: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, str] = {}

    def fail(self, what: str, example: object) -> None:
        self.failures[what] += 1
        self.examples.setdefault(what, f"{example} (seed {self.seed})")

    def goes_on(self) -> bool:
        """Until the time is over, and something has been answered: a busy machine may let it pass unused."""
        return self.answers <= CLIENTS or asyncio.get_running_loop().time() < self.until

    async def client(self, number: int) -> None:
        dice = random.Random(f"{self.seed}.{number}")
        while self.goes_on() and not self.failures:
            self.connections += 1
            reader, writer = await asyncio.open_connection(*self.address)
            try:
                await self.talk(Talk(dice, number, self.connections, reader, writer))
            finally:
                writer.close()

    async def talk(self, talk: Talk) -> None:
        dice = talk.dice
        end = dice.choice(ENDS)
        rounds = dice.randint(1, 6)
        for left in reversed(range(rounds)):
            closing = end == "close" and not left
            asked, data = talk.requests(closing)
            sending = asyncio.create_task(talk.send(data, end if not left else "kept"))
            if end == "reset" and not left:
                await sending
                return
            for method, body in asked:
                await self.expect(talk, method, body)
                if self.failures:
                    sending.cancel()
                    return  # what follows on this connection would only repeat it
            await sending
        if end != "kept":
            await self.expect_end(talk, end)

    async def expect(self, talk: Talk, method: str, body: bytes) -> None:
        try:
            async with asyncio.timeout(LATE_S):
                found = await talk.response(method)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.fail("lost", f"{error!r} instead of {body[:80]!r}")
        except TimeoutError:
            self.fail("late", f"no {body[:80]!r}")
        except (ValueError, asyncio.LimitOverrunError) as error:
            self.fail("garbled", f"{error} instead of {body[:80]!r}")
        else:
            self.answers += 1
            if found != (b"" if method == "HEAD" else body):
                self.fail("mismatch", f"{found[:80]!r} instead of {body[:80]!r}")

    async def expect_end(self, talk: Talk, end: str) -> None:
        try:
            async with asyncio.timeout(LATE_S):
                more = await talk.reader.read(100)
        except TimeoutError:
            self.fail("late close", end)
        except ConnectionError as error:
            self.fail("reset", f"{error!r} after {end}")
        else:
            if more:
                self.fail("surplus", f"{more!r} after {end}")


class Talk:
    """One connection of one client."""

    def __init__(
        self,
        dice: random.Random,
        client: int,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.dice = dice
        self.reader = reader
        self._name = f"{client}.{number}"
        self._writer = writer
        self._count = 0

    def requests(self, closing: bool) -> tuple[list[Asked], bytes]:
        """Return a pipeline, often of one, and what is sent for it. ``closing``: its last one says so."""
        count = self.dice.choice((1, 1, 1, 2, 3, 12))
        made = [self._request(closing and not left) for left in reversed(range(count))]
        return [asked for asked, _ in made], b"".join(data for _, data in made)

    def _request(self, closing: bool) -> tuple[Asked, bytes]:
        self._count += 1
        dice = self.dice
        method = dice.choice(("GET", "GET", "GET", "GET", "HEAD", "POST"))
        kind = dice.choices(("PLAIN", "STREAM", "SLOW"), (900, 98, 2))[0]  # sync gathers only what is fast
        path = f"/{kind}/{self._name}.{self._count}"
        lines = [f"{method} {path} HTTP/1.1", "Host: test"]
        body = b""
        if method == "POST":
            body = dice.randbytes(dice.choice((0, 10, 10, 10, 3000, 40_000))).hex().encode()
            lines.append(f"Content-Length: {len(body)}")
        if closing:
            lines.append("Connection: close")
        data = "\r\n".join([*lines, "", ""]).encode() + body
        return (method, f"{method} {path} ".encode() + body), data

    async def send(self, data: bytes, end: str) -> None:
        try:
            for piece in self._pieces(data):
                self._writer.write(piece)
                await asyncio.sleep(0)
            if end == "half-close":
                self._writer.write_eof()
            elif end == "reset":
                sock: socket.socket = self._writer.get_extra_info("socket")
                reset_at_close(sock)
                self._writer.transport.abort()
            else:
                await self._writer.drain()
        except ConnectionError:
            pass  # whoever reads hears of it

    def _pieces(self, data: bytes) -> list[bytes]:
        if self.dice.random() < 0.6:
            return [data]
        cuts = sorted(self.dice.randrange(len(data)) for _ in range(self.dice.randint(1, 4)))
        return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    async def response(self, method: str) -> bytes:
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise ValueError(repr(head[:80]))
        if method == "HEAD":
            return b""
        if b"\r\ntransfer-encoding: chunked\r\n" in head:
            return await self._chunks()
        size = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        return await self.reader.readexactly(int(size))

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body


async def stress(url: str, seed: int, seconds: float) -> Stress:
    host, _, port = url.removeprefix("http://").rpartition(":")
    run = Stress((host, int(port)), seed, seconds)
    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(run.client(number))
    return run


APPS = by_class("told:wsgi", "told:asgi")


@pytest.mark.parametrize("worker", APPS)
def test_every_client_gets_its_own_answers(gwctl_server: Any, worker: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    with gwctl_server(APPS[worker], worker=worker, processes=2) as server:
        run = asyncio.run(stress(server.url, seed, SECONDS))
    assert not run.failures, (run.failures, run.examples)
    assert run.answers > CLIENTS, run.answers


OVERTAKING = """
from gwctl.workers.http1.protocol import Connection

def data_received(self, data, received=Connection.data_received):
    self.queued = False
    received(self, data)

def resume(self, go_on=Connection.resume):
    self.queued = False
    go_on(self)

Connection.data_received = data_received
Connection.resume = resume

from gwctl.cli import main
main()
"""


@pure_only
def test_a_build_whose_responses_overtake_each_other_is_found_out(gwctl_server: Any, tmp_path: Path) -> None:
    """The zeros above are not the clients' blindness."""
    script = tmp_path / "overtaking.py"
    script.write_text(OVERTAKING)
    command = (sys.executable, str(script))
    with gwctl_server("told:wsgi", worker="sync", command=command) as server:
        run = asyncio.run(stress(server.url, 1, 20.0))  # ends with the first failure
    assert run.failures
