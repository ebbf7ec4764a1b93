"""WebSockets: what all connections of a worker hold together is bounded, and who holds little is served."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from gwctl.config.model.settings import WebSocketSettings
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.observe.throttled_log import ThrottledLog
from gwctl.workers.websocket import memory as websocket_memory
from gwctl.workers.websocket.memory import Memory
from tests.support.compiled import pure_only
from tests.support.engine import Client, Engine
from tests.support.wait import until
from tests.support.websocket import (
    ACCEPTED,
    BINARY,
    CONT,
    TEXT,
    Echo,
    close_frame,
    frame,
    gone,
    open_on,
    read_close,
    read_frame,
)

KIB = 1024
MIB = 1024 * KIB
LIMIT = 4 * MIB
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"
STEP_MAX = 256 * KIB + 64 * KIB
"""What is counted only after the fact: one read of the socket, one step of unpacking."""


def settings(**others: Any) -> WebSocketSettings:
    return WebSocketSettings(**{"message_bytes_max": MIB, "memory_bytes_max": LIMIT, **others})


class Peak:
    """The most that was ever counted."""

    def __init__(self, engine: Engine) -> None:
        self.bytes = 0
        self.memory: Memory = engine.server.websockets._around.memory
        peak = self

        class Watched(Memory):
            def __setattr__(self, name: str, value: Any) -> None:
                super().__setattr__(name, value)
                if name == "total":
                    peak.bytes = max(peak.bytes, value)

        self.memory.__class__ = Watched  # type: ignore[assignment]


@contextmanager
def crowd(engine: Engine, count: int, *headers: bytes, path: bytes = b"/") -> Iterator[list[Client]]:
    with ExitStack() as stack:
        clients = [stack.enter_context(engine.connect(receive_buffer=4096)) for _ in range(count)]
        for client in clients:
            open_on(client, *headers, path=path)
        yield clients


def echoes(client: Client, text: bytes) -> None:
    client.send(frame(TEXT, text))
    assert read_frame(client) == (TEXT, text)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_memory, "PATIENCE_S", 0.1)


def unfinished(size: int, *, packed: bool, parts: int = 1) -> bytes:
    """A message of ``size`` bytes that lacks its end, in fragments."""
    data = b"x" * (size // parts)
    if packed:
        data = zlib.compress(data, wbits=-15)
        packer = zlib.compressobj(wbits=-15)
        pieces = [
            packer.compress(b"x" * (size // parts)) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(parts)
        ]
    else:
        pieces = [data] * parts
    return b"".join(
        frame(CONT if at else BINARY, piece, fin=False, rsv=4 if packed and not at else 0)
        for at, piece in enumerate(pieces)
    )


@pure_only
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("parts", [1, 50])
def test_unfinished_messages(packed: bool, parts: int) -> None:
    """20 MiB in messages that never end: held are 4; an echo is served all the time."""
    with Engine(Echo(), "asgi", websocket=settings()) as engine, engine.connect() as friend:
        open_on(friend)
        peak = Peak(engine)
        with crowd(engine, 20, DEFLATE) as clients:
            for client in clients:
                with contextlib.suppress(TimeoutError):
                    client.sock.settimeout(0.05)
                    client.send(unfinished(MIB - KIB, packed=packed, parts=parts))
                client.sock.settimeout(20)
                echoes(friend, b"hello")
                echoes(friend, b"h" * 50_000)
            closed = 0
            for client in clients:
                with contextlib.suppress(TimeoutError):
                    client.sock.settimeout(0.02)
                    assert read_close(client)[0] == 1013
                    closed += 1
            echoes(friend, b"still here")
        assert peak.bytes <= LIMIT + STEP_MAX
        assert peak.bytes > LIMIT // 2
        friend.send(close_frame(1000))
        assert read_close(friend)[0] == 1000
        friend.sock.close()
        gone(engine)
        assert peak.memory.total == 0
        warnings = [line for line in engine.log.splitlines() if " warn " in line]
        assert len(warnings) == 1
        assert "closed with 1013" in warnings[0]
        assert "websocket.memory_bytes_max is 4.0 MiB" in warnings[0]


def test_a_large_message_has_its_turn_when_those_that_never_end_are_gone() -> None:
    with Engine(Echo(), "asgi", websocket=settings()) as engine, engine.connect() as friend:
        open_on(friend)
        with crowd(engine, 8, DEFLATE) as clients:
            for client in clients:
                client.send(unfinished(MIB - KIB, packed=True))
            memory = engine.server.websockets._around.memory
            until(lambda: memory._waiting or engine.log, "the budget to be used up")
            friend.send(frame(BINARY, b"z" * 500_000))
            assert read_frame(friend) == (BINARY, b"z" * 500_000)


def test_those_that_wait_and_leave_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_memory, "PATIENCE_S", 60)
    with Engine(Echo(), "asgi", websocket=settings()) as engine:
        memory = engine.server.websockets._around.memory
        with crowd(engine, 8, DEFLATE) as clients:
            for client in clients:
                client.send(unfinished(MIB - KIB, packed=True))
            until(lambda: memory._waiting, "some to wait")
            lost = engine.call(lambda: list(memory._waiting))

            def use(size: int) -> None:
                memory.total += size

            engine.call(lambda: use(2 * LIMIT))  # no room comes of it for those who are left
            engine.call(lambda: [one.transport.abort() for one in lost])
            until(
                lambda: not engine.call(lambda: set(lost) & set(engine.server.websockets._all())),
                "those to be lost",
            )
            assert not engine.call(lambda: set(lost) & set(memory._waiting))
            engine.call(lambda: use(-2 * LIMIT))
            monkeypatch.setattr(websocket_memory, "PATIENCE_S", 0.1)
            engine.call(memory._out_of_patience)  # the rest, if they wait by now
        gone(engine)
        assert not memory._waiting
        assert memory.total == 0


@pure_only
def test_messages_that_nobody_receives() -> None:
    """The queues of many applications that are behind count together."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        if scope["path"] == "/stuck":
            await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        ends.append(message["code"])

    go = asyncio.Event()
    ends: list[int] = []
    with Engine(application, "asgi", websocket=settings()) as engine, engine.connect() as friend:
        open_on(friend)
        peak = Peak(engine)
        with crowd(engine, 12, path=b"/stuck") as clients:
            for client in clients:
                client.send(frame(BINARY, b"x" * (MIB - KIB)))
                echoes(friend, b"hello")
            until(lambda: "closed with 1013" in engine.log, "one to be closed")
            assert peak.bytes <= LIMIT + MIB + STEP_MAX
            engine.call(go.set)
            until(lambda: 1013 in ends, "its application to be told")
            echoes(friend, b"still here")
        friend.sock.close()
        gone(engine)
        assert peak.memory.total == 0


def test_output_that_nobody_takes() -> None:
    """It counts as well, and who has most of it is aborted: a close frame would wait behind it."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        if scope["path"] == "/push":
            await send({"type": "websocket.send", "bytes": bytes(6 * MIB)})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})

    with Engine(application, "asgi", websocket=settings(per_message_deflate=False)) as engine:
        with engine.connect() as friend:
            open_on(friend)
            with crowd(engine, 20, path=b"/push"):
                websockets = engine.server.websockets
                until(lambda: "closed with 1013" in engine.log, "one to be cut")
                until(
                    lambda: engine.call(lambda: sum(one.unsent() for one in websockets._all())) <= LIMIT,
                    "enough to be cut",
                )
                echoes(friend, b"still here")
        gone(engine)
        assert engine.server.websockets._around.memory.total == 0


def test_one_message_always_has_room() -> None:
    """However small the budget is."""
    small = settings(memory_bytes_max=1)
    with Engine(Echo(), "asgi", websocket=small) as engine, engine.connect() as client:
        open_on(client)
        client.send(frame(BINARY, b"x" * MIB))
        assert read_frame(client) == (BINARY, b"x" * MIB)
        assert engine.log == ""


@pure_only
def test_no_limit() -> None:
    with Engine(Echo(), "asgi", websocket=settings(memory_bytes_max=0)) as engine:
        peak = Peak(engine)
        with crowd(engine, 8, DEFLATE) as clients:
            for client in clients:
                client.send(unfinished(MIB - KIB, packed=True))
            until(lambda: peak.memory.total > 7 * MIB, "all to be held")
        gone(engine)
        assert engine.log == ""


# ---- the budget alone


class Fake:
    """A holder that is told things."""

    def __init__(self, memory: list[Memory], size: int = 0, unsent: int = 0) -> None:
        self.memory = memory
        self.size = 0
        self.output = unsent
        self.events: list[str] = []
        self.wants = size

    def grow(self, by: int) -> bool:
        """Return whether it must wait."""
        memory = self.memory[0]
        self.size += by
        memory.total += by
        return memory.total + memory.output > memory.ease and memory.must_wait(self)

    def unsent(self) -> int:
        return self.output

    def go_on(self) -> None:
        self.events.append("go on")

    def give_way(self, reason: str) -> None:
        self.events.append("closed")
        self.output = 0

    def name(self) -> str:
        return "fake"


def budget(count: int) -> tuple[Memory, list[Fake], asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    box: list[Memory] = []
    holders = [Fake(box) for _ in range(count)]
    box.append(Memory(loop, settings(), holders, ThrottledLog(Log(2, Level.ERROR, "test"))))
    return box[0], holders, loop


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_the_smallest_goes_first_when_there_is_room() -> None:
    memory, (large, middle, small, tiny), loop = budget(4)
    assert not large.grow(2 * MIB)
    assert not middle.grow(MIB)
    assert middle.grow(200 * KIB)
    assert small.grow(100 * KIB)
    assert not tiny.grow(KIB)
    memory.forget(large)
    turn(loop)
    assert small.events == middle.events == ["go on"]
    assert not memory._waiting
    loop.close()


def test_who_is_closed_because_another_goes_on_does_not_go_on() -> None:
    """What the first unpacks is too much for all together, and the one behind it holds most."""
    memory, (leaving, quiet, first, second), loop = budget(4)
    failed: list[Any] = []
    loop.set_exception_handler(lambda _loop, context: failed.append(context))
    first.go_on = lambda: first.events.append(f"waits: {first.grow(1100 * KIB)}")  # type: ignore[method-assign]
    assert not quiet.grow(1400 * KIB)
    assert not leaving.grow(200 * KIB)
    assert second.grow(1500 * KIB)
    assert first.grow(100 * KIB)
    memory.forget(leaving)
    turn(loop)
    assert first.events == ["waits: False"]
    assert second.events == ["closed"]
    assert not failed
    loop.close()


def test_nobody_goes_while_there_is_none() -> None:
    memory, (large, middle, small), loop = budget(3)
    assert not large.grow(2 * MIB + 512 * KIB)
    assert middle.grow(600 * KIB)
    assert small.grow(200 * KIB)
    middle.size -= 10
    memory.total -= 10
    memory.shrank()
    turn(loop)
    assert not middle.events
    assert not small.events
    loop.close()


def test_beyond_the_budget_the_largest_is_closed_at_once() -> None:
    memory, (large, middle, small), loop = budget(3)
    assert not large.grow(2 * MIB)
    assert not middle.grow(MIB)
    small.grow(MIB + KIB)
    assert large.events == ["closed"]
    assert memory.total == 2 * MIB + KIB
    loop.close()


def test_output_that_was_taken_is_no_longer_counted() -> None:
    memory, (one, two), loop = budget(2)
    memory.wrote(10 * MIB)
    turn(loop)
    assert (memory.output, memory.written) == (0, 0)
    two.output = 3 * MIB
    memory.wrote(4 * MIB)
    turn(loop)
    assert memory.output == 3 * MIB
    assert one.grow(512 * KIB)
    two.output = 2 * MIB
    memory.measure_soon()
    turn(loop)
    turn(loop)
    assert one.events == ["go on"]
    assert not one.grow(KIB)
    two.output = 10 * MIB
    memory.wrote(8 * MIB)
    turn(loop)
    assert two.events == ["closed"]
    assert memory.output == 0
    loop.close()


def test_who_writes_to_many_in_one_turn_waits_for_its_end() -> None:
    """What clients take is sent in between; nobody is closed for it."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        sends.append(send)
        if scope["path"] == "/all":
            for one in sends:
                await one({"type": "websocket.send", "bytes": bytes(MIB // 4)})
        await receive()

    sends: list[Any] = []
    with (
        Engine(application, "asgi", websocket=settings(per_message_deflate=False)) as engine,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(engine.connect()) for _ in range(40)]
        for number, client in enumerate(clients):
            open_on(client, path=b"/" if number < 39 else b"/all")
        for client in clients:
            assert len(read_frame(client)[1]) == MIB // 4
        assert engine.log == ""
