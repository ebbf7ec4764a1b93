"""Serves the dashboard and, in the place of an admin process, what an invented fleet says.

To work on the page, and to look at it in each situation:

    python -m tests.support.admin_stand_in                     calm, on http://127.0.0.1:9100
    python -m tests.support.admin_stand_in --scene refused     any of `tests.support.admin_scenes.SCENES`
    python -m tests.support.admin_stand_in --workers 64 --token secret --locked

Every request gets a connection of its own. Time in the world passes by `turn_s` of real seconds for each of its
seconds, or only when `StandIn.turn` says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from tests.support import admin_scenes
from tests.support.admin_world import World
from tests.support.page import PAGE, with_policy

T = TypeVar("T")

DUMP: Final = """\
web.2 g4 pid 4135, serving GET /export?… for 31 s
  worker: up 3 h 2 m, 10,233 requests, 71 MiB
  main thread (GET /export?…):
    File "/srv/shop/reports.py", line 88 in rows
    File "/srv/shop/views.py", line 12 in export
  2 threads without the application's code"""
PROFILE: Final = """\
998 samples in 10 s: threads were 6.1 s on a CPU, 2.2 s waiting, 31.7 s idle
   51 %  rows (/srv/shop/reports.py:88)
   22 %  total (/srv/shop/pricing.py:31)"""


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


class Answer(Exception):
    """What is answered, from wherever it is known."""

    def __init__(self, status: int, document: Any) -> None:
        super().__init__(status)
        self.status, self.document = status, document


class StandIn:
    """A server in a thread of its own; a context manager."""

    def __init__(
        self, world: World, *, token: str = "", locked: bool = False, turn_s: float = 0.0, port: int = 0
    ) -> None:
        """``locked``: reading needs the token, too. ``turn_s`` 0: time passes when it is told to."""
        self.world, self.token, self.locked, self.port = world, token, locked, port
        self.posts: list[tuple[str, Any]] = []
        self.resumed_at: list[str] = []
        """The Last-Event-ID of each stream that was asked for."""
        self.page: Callable[[], str] = lambda: with_policy(PAGE.read_text("utf-8"))
        self._turn_s, self._lost = turn_s, 0
        self._gone = False
        self._loop = asyncio.new_event_loop()
        self._turned: asyncio.Condition
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    # ---- what a test does to it

    def do(self, what: Callable[[World], T]) -> T:
        """Change or ask the world, in its own thread."""

        async def now() -> T:
            return what(self.world)

        return asyncio.run_coroutine_threadsafe(now(), self._loop).result(10)

    def play(self, scene: str) -> None:
        self.do(lambda world: world.play(admin_scenes.SCENES[scene](world)))

    def turn(self, times: int = 1) -> None:
        """Let so many seconds pass in the world, and tell who follows."""
        for _ in range(times):
            asyncio.run_coroutine_threadsafe(self._turn(), self._loop).result(10)

    def drop(self, *, for_good: bool = True) -> None:
        """Break all connections; ``for_good``: and those that come, until `come_back`."""
        self._gone = for_good

        def cut(_: World) -> None:
            for writer in self._open:
                writer.transport.abort()

        self.do(cut)

    def come_back(self) -> None:
        self._gone = False

    def lose(self, count: int) -> None:
        """Tell followers that they were too slow."""
        self._lost = count

    # ---- the server

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._loop.run_forever()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.close()

    async def _start(self) -> None:
        self._turned = asyncio.Condition()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        if self._turn_s:
            task = self._loop.create_task(self._pass_time())
            self._tasks.add(task)
        self._ready.set()

    async def _pass_time(self) -> None:
        while True:
            await asyncio.sleep(self._turn_s)
            await self._turn()

    async def _turn(self) -> None:
        self.world.turn()
        async with self._turned:
            self._turned.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if not self._gone:
                await self._answer(await _read(reader), writer)
                await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # gone, or the server ends
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        try:
            if asked.path == "/events":
                await self._stream(asked, writer)
            elif asked.path == "/":
                _write(writer, 200, self.page().encode(), "text/html; charset=utf-8")
            else:
                document = await (self._changed(asked) if asked.method == "POST" else self._read(asked))
                _write_json(writer, 200, document)
        except Answer as answer:
            _write_json(writer, answer.status, answer.document)

    # ---- reading

    def _may_read(self, asked: Asked) -> None:
        if self.locked and not self._has_token(asked):
            raise Answer(401, _error("unauthorized", "the token is needed"))

    def _has_token(self, asked: Asked) -> bool:
        return bool(self.token) and asked.headers.get("authorization") == f"Bearer {self.token}"

    async def _read(self, asked: Asked) -> Any:
        if asked.path == "/api/session":
            return {
                "name": self.world.name,
                "version": self.world.version,
                "token_accepted": self._has_token(asked),
                "changes": bool(self.token),
            }
        self._may_read(asked)
        match asked.path:
            case "/api/status":
                return self.world.status()
            case "/api/requests":
                return self.world.requests()
            case "/api/history":
                return {"seconds": 5, "samples": list(self.world.history)}
            case "/api/events":
                last = int(asked.query.get("last", ["100"])[0])
                return {"events": list(self.world.events)[-last:]}
        raise Answer(404, _error("not_found", "there is nothing here"))

    async def _stream(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        self._may_read(asked)
        resume = asked.headers.get("last-event-id", "")
        self.resumed_at.append(resume)
        newest = self.world.events[-1]["number"] if self.world.events else 0
        seen = int(resume) if resume else newest
        _write_head(writer, 200, "text/event-stream")
        while not writer.is_closing():
            seen = self._send_records(writer, seen)
            if self._lost:
                _write_event(writer, "lost", {"count": self._lost})
                self._lost = 0
            _write_event(writer, "status", self.world.status())
            _write_event(writer, "sample", self.world.sample())
            _write_event(writer, "requests", self.world.requests())
            if self.world.ended:
                _write_event(writer, "end", {})
                self._gone = True
                return
            await writer.drain()
            async with self._turned:
                await self._turned.wait()

    def _send_records(self, writer: asyncio.StreamWriter, seen: int) -> int:
        for event in self.world.events:
            if event["number"] > seen:
                seen = event["number"]
                _write_event(writer, "record", event, seen)
        return seen

    # ---- changes

    async def _changed(self, asked: Asked) -> Any:
        if not self.token:
            raise Answer(403, _error("forbidden", "no token is configured: nothing can be changed from here"))
        if not self._has_token(asked):
            raise Answer(401, _error("unauthorized", "the token is needed"))
        self.posts.append((asked.path, asked.body))
        world, body = self.world, asked.body or {}
        pool = world.pools.get(body.get("pool", ""))
        match asked.path:
            case "/api/reload" | "/api/rollback":
                return await self._reload(asked.path)
            case "/api/recycle" if pool is not None:
                chosen = [each for each in pool.ready if body.get("slot") in {None, each.slot}]
                world.play(admin_scenes.recycle(world, pool, body.get("slot")))
                return {"text": f"{pool.name}: {len(chosen)} of its workers are replaced", "pool": pool.name}
            case "/api/scale" if pool is not None:
                text = f"{pool.name}: {pool.size} -> {body['size']} workers"
                world.play(admin_scenes.scale(world, pool, body["size"]))
                return {"text": text, "size": body["size"]}
            case "/api/dump":
                return {"text": DUMP, "workers": []}
            case "/api/profile":
                return {"ok": True, "text": PROFILE, "path": "profile/0123abc"}
        raise Answer(400, _error("malformed", f"there is no such pool or path: {asked.path}"))

    async def _reload(self, path: str) -> Any:
        world, generation = self.world, self.world.generation
        if world.phase != "serving":
            raise Answer(409, _error("refused", "a reload is under way. Ask again when it has ended"))
        if path == "/api/rollback":
            world.play(admin_scenes.rollback(world))
        else:
            world.play(admin_scenes.reload(world, "admin"))
        while world.phase in {"serving", "reloading"} and world.generation == generation:
            async with self._turned:
                await self._turned.wait()
        return {"text": world.last_reload, "progress": []}


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.split("\r\n")
    method, target, _ = line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
    length = int(headers.get("content-length", "0"))
    body = await reader.readexactly(length) if length else b""
    url = urlsplit(target)
    return Asked(method, url.path, parse_qs(url.query), headers, json.loads(body) if body else None)


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _write_head(writer: asyncio.StreamWriter, status: int, kind: str, length: int | None = None) -> None:
    fields = {
        "Content-Type": kind,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; frame-ancestors 'none'",
        "Connection": "close",
    }
    if length is not None:
        fields["Content-Length"] = str(length)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *map(": ".join, fields.items()), "", ""]
    writer.write("\r\n".join(lines).encode())


def _write(writer: asyncio.StreamWriter, status: int, body: bytes, kind: str) -> None:
    _write_head(writer, status, kind, len(body))
    writer.write(body)


def _write_json(writer: asyncio.StreamWriter, status: int, document: Any) -> None:
    _write(writer, status, json.dumps(document).encode(), "application/json")


def _write_event(writer: asyncio.StreamWriter, kind: str, document: Any, number: int | None = None) -> None:
    name = f"id: {number}\n" if number is not None else ""
    writer.write(f"{name}event: {kind}\ndata: {json.dumps(document)}\n\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the dashboard with an invented fleet.")
    parser.add_argument("--scene", choices=admin_scenes.SCENES, default="calm")
    parser.add_argument("--workers", type=int, default=0, help="one pool of so many; 0: two small ones")
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--token", default="")
    parser.add_argument("--locked", action="store_true", help="reading needs the token, too")
    parser.add_argument("--turn", type=float, default=1.0, help="real seconds for each of the world")
    chosen = parser.parse_args()
    world = admin_scenes.many_workers(chosen.workers) if chosen.workers else admin_scenes.two_pools()
    stand_in = StandIn(world, token=chosen.token, locked=chosen.locked, turn_s=chosen.turn, port=chosen.port)
    with stand_in, suppress(KeyboardInterrupt):
        stand_in.play(chosen.scene)
        print(stand_in.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
