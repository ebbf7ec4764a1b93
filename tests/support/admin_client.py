"""An HTTP client of the admin application in memory: ASGI calls, streams of events, and clients that don't read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gwctl.admin.app import NOTHING, Admin, Besides
from tests.support.admin_master import FakeMaster, eventually

LOOPBACK = ("127.0.0.1", 9100)
ELSEWHERE = ("10.0.0.5", 9100)
UNIX = ("/run/gwctl/admin.sock", None)
Server = tuple[str, int | None] | None


@dataclass(frozen=True)
class Reply:
    """A whole response."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class ServerSent:
    """One server-sent event."""

    name: str
    id: str
    data: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def scope(
    method: str, target: str, fields: dict[str, str] | None, server: Server, client: str = "127.0.0.1"
) -> dict[str, Any]:
    """That of a request as gwctl's engine makes it."""
    path, _, query = target.partition("?")
    named = {"host": "127.0.0.1:9100"} | (fields or {})
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in named.items()],
        "server": server,
        "client": None if server is not None and server[1] is None else (client, 4711),
    }


@dataclass
class Exchange:
    """One request that may still be under way."""

    task: asyncio.Task[None]
    left: asyncio.Event
    messages: list[dict[str, Any]]
    reads: asyncio.Event
    """Clear: the client takes nothing, and what is sent waits."""

    async def reply(self) -> Reply:
        await self.task
        start, *blocks = self.messages
        fields = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        assert not blocks[-1]["more_body"]
        return Reply(start["status"], fields, b"".join(each["body"] for each in blocks))

    def leave(self) -> None:
        self.left.set()
        self.reads.set()


@dataclass
class Client:
    """Asks ``admin``, as one who came to ``server`` does."""

    admin: Admin
    server: Server = LOOPBACK
    address: str = "127.0.0.1"
    fields: dict[str, str] = field(default_factory=dict)

    def begin(
        self,
        method: str,
        target: str,
        fields: dict[str, str] | None = None,
        body: tuple[bytes, ...] = (b"",),
        *,
        whole: bool = True,
    ) -> Exchange:
        """Send a request; ``whole``: its body is complete with the last block."""
        left, reads = asyncio.Event(), asyncio.Event()
        reads.set()
        messages: list[dict[str, Any]] = []
        blocks = list(body)

        async def receive() -> dict[str, Any]:
            if blocks:
                block = blocks.pop(0)
                return {"type": "http.request", "body": block, "more_body": bool(blocks) or not whole}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            await reads.wait()
            if not left.is_set():
                messages.append(message)

        asked = scope(method, target, self.fields | (fields or {}), self.server, self.address)
        task = asyncio.ensure_future(self.admin(asked, receive, send))
        return Exchange(task, left, messages, reads)

    async def ask(
        self, method: str, target: str, fields: dict[str, str] | None = None, body: bytes = b""
    ) -> Reply:
        return await self.begin(method, target, fields, (body,)).reply()

    async def get(self, target: str, **fields: str) -> Reply:
        return await self.ask(
            "GET", target, {name.replace("_", "-"): value for name, value in fields.items()}
        )

    async def post(self, target: str, document: Any = None, token: str = "secret") -> Reply:
        fields = {"content-type": "application/json"}
        if token:
            fields["authorization"] = f"Bearer {token}"
        body = b"" if document is None else json.dumps(document).encode()
        return await self.ask("POST", target, fields, body)

    def follow(self, target: str = "/events", **fields: str) -> Following:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return Following(self.begin("GET", target, named))


class Following:
    """A stream of events, read event by event."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._given = 0

    @property
    def text(self) -> str:
        return b"".join(each["body"] for each in self.exchange.messages[1:]).decode()

    def events(self) -> list[ServerSent]:
        """All that have come."""
        found = []
        for part in self.text.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in part.split("\n") if ": " in line)
            if "event" in fields:
                found.append(ServerSent(fields["event"], fields.get("id", ""), fields["data"]))
        return found

    async def began(self) -> Following:
        await eventually(lambda: len(self.exchange.messages) > 1, "the stream to begin")
        return self

    async def next(self, name: str = "") -> ServerSent:
        """Wait for the next event, or the next one with this name; those before it are skipped."""

        def found() -> ServerSent | None:
            for at, each in enumerate(self.events()[self._given :], self._given):
                if not name or each.name == name:
                    self._given = at + 1
                    return each
            return None

        event: ServerSent = await eventually(found, f"an event {name}")
        return event

    async def leave(self) -> None:
        self.exchange.leave()
        await self.exchange.task


@asynccontextmanager
async def serving(
    master: FakeMaster, token: str = "secret", besides: Besides = NOTHING
) -> AsyncIterator[Admin]:
    """The application between its startup and its shutdown, with ``master`` at the other end."""
    admin = Admin(master.socket(), token, "shop", besides=besides)
    await master.begin()
    async with living(admin) as messages:
        assert messages == [{"type": "lifespan.startup.complete"}]
        yield admin
    await master.end()


@asynccontextmanager
async def living(admin: Admin) -> AsyncIterator[list[dict[str, Any]]]:
    """The lifespan of ``admin``; yields what it has sent so far."""
    sent: list[dict[str, Any]] = []
    shutdown = asyncio.Event()
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked > 1:
            await shutdown.wait()
        return {"type": "lifespan.startup" if asked == 1 else "lifespan.shutdown"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    life = asyncio.ensure_future(admin({"type": "lifespan"}, receive, send))
    await eventually(lambda: sent, "the startup")
    try:
        yield sent
    finally:
        shutdown.set()
        await life
