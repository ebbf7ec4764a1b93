"""What the WebSockets of a worker do in one turn of the loop: so much together, and in the order in which they came."""

from __future__ import annotations

import asyncio
import zlib
from functools import partial
from itertools import pairwise
from typing import Any

from gwctl.config.model.settings import PoolSettings
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.http1.response_head import HeadBuilder
from gwctl.workers.websocket.answers import Http1Answer
from gwctl.workers.websocket.handshake import judge, websocket_scope
from gwctl.workers.websocket.protocol import TURN_WORK, WebSocket
from gwctl.workers.websocket.send import OPEN
from gwctl.workers.websocket.surroundings import ALL_WORK, Surroundings, Turn
from tests.support.websocket import ACCEPTED, BINARY, KEY, frame

CLIENTS = 40
MESSAGE_BYTES = 300_000
HANDSHAKE = [
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", KEY),
    (b"sec-websocket-extensions", b"permessage-deflate"),
]


def test_a_turn_ends_when_enough_was_done_for_all() -> None:
    """Each does a part in its turn, and all come to theirs before any has a second one."""
    done: list[tuple[int, int]] = []

    async def scenario() -> None:
        turn = Turn(asyncio.get_running_loop())
        count = 3 * ALL_WORK // TURN_WORK

        def part_of(number: int) -> None:
            done.append((turn.current(), number))
            turn.work += TURN_WORK
            if len(done) < 2 * count:
                turn.wait(partial(part_of, number))

        for number in range(count):
            turn.wait(partial(part_of, number))
        while len(done) < 2 * count:  # noqa: ASYNC110 - turns of the loop are what it is about
            await asyncio.sleep(0)
        assert sorted(number for _, number in done[:count]) == list(range(count))

    asyncio.run(scenario())
    turns = [number for number, _ in done]
    assert max(turns.count(number) for number in turns) * TURN_WORK <= ALL_WORK
    assert all(later - earlier <= 1 for earlier, later in pairwise(turns))


class Sink(asyncio.Transport):
    """Takes whatever is written."""

    paused = False

    def write(self, data: Any) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def test_what_forty_clients_have_unpacked_is_bounded_in_each_turn() -> None:
    received: list[int] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        received.append(len((await receive())["bytes"]))
        await receive()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        log = Log(2, Level.ERROR, "test")
        around = Surroundings(
            loop, application, {}, PoolSettings(app="x"), HeadBuilder(bytes), log, lambda: None
        )
        sinks = [Sink() for _ in range(CLIENTS)]
        opening = judge(HANDSHAKE, per_message_deflate=True)
        scope = websocket_scope({"path": "/", "query_string": b""}, opening, {})
        sockets = [
            WebSocket(around, opening, scope, sink, Http1Answer(sink, around.heads), lambda *_: None)
            for sink in sinks
        ]
        for each in sockets:
            each.connection_made(each.transport)
        while not all(each._stage == OPEN for each in sockets):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        pack = zlib.compressobj(wbits=-15)
        packed = pack.compress(bytes(MESSAGE_BYTES)) + pack.flush(zlib.Z_SYNC_FLUSH)
        for each in sockets:
            each.data_received(frame(BINARY, packed[:-4], rsv=4))
        assert 0 < around.turn.work <= ALL_WORK + TURN_WORK
        assert not received
        assert all(sink.paused for sink in sinks), "more is read while others wait"
        while len(received) < CLIENTS:
            await asyncio.sleep(0)
            assert around.turn.work <= ALL_WORK + TURN_WORK
        assert not any(sink.paused for sink in sinks)
        for each in sockets:
            each.connection_lost(None)
        while around.tasks:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        assert around.memory.total == 0

    asyncio.run(scenario())
    assert received == [MESSAGE_BYTES] * CLIENTS
