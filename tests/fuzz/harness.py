"""The HTTP engine without network and threads, for fuzzing: bytes in, an outcome out.

`Rig` holds the engine four times: sync and asgi, each with either parser. A message is given to
each of them, in parts, and each time the same must come of it: the same requests seen by the
application, the same statuses, the same end. The transport and the socket are objects that keep
what is written; the loop, the runners and the rest are real.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gwctl.log.level import Level
from gwctl.workers.exchange.states import BUSY
from gwctl.workers.http1.protocol import Connection
from tests.apps import seen as applications
from tests.conformance.case import LIMITS
from tests.support.engine import PARSERS, Engine

TURNS_MAX = 400
"""Turns of the loop in which everything must have come to rest."""

_STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


class Broken(AssertionError):
    """An invariant does not hold."""


class Wire:
    """Transport and socket of one connection: keeps what is written."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.out = bytearray()
        self.closing = False
        self.reset = False
        self.ended = False

    # as a transport

    def write(self, data: bytes) -> None:
        if self.ended:
            raise Broken("written after the end was said")
        self.out += data

    def write_eof(self) -> None:
        self.ended = True

    def getsockopt(self, _level: int, _option: int, size: int = 0) -> int:
        if size:
            raise OSError("no such facts of a socket that is played")
        return 0

    def shutdown(self, _how: int) -> None:
        """Its end is said when it is closed."""

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.reset = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    # as a socket

    def send(self, data: bytes) -> int:
        self.write(data)
        return len(data)

    def recv(self, _size: int, _flags: int = 0) -> bytes:
        raise BlockingIOError  # its client is there, and says no more than it is given

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 80

    def setsockopt(self, *_option: Any) -> None:
        pass


@dataclass(frozen=True)
class Outcome:
    """What came of a message. ``after_end``: the server only ended it when the client did."""

    seen: tuple[str, ...]
    statuses: tuple[int, ...]
    after_end: bool


class Setting:
    """One engine, its loop run from here."""

    def __init__(self, worker_class: str, parser: str) -> None:
        self.name = f"{worker_class}/{parser}"
        application = applications.asgi if worker_class == "asgi" else applications.wsgi
        self.engine = Engine(application, worker_class, parser=parser, limits=LIMITS)
        self.engine.loop.set_exception_handler(lambda _loop, context: self.errors.append(repr(context)))
        self.errors: list[str] = []
        self.engine._start()
        self.engine.server.context.log.level = Level.INFO  # at debug each refusal would write a line

    def close(self) -> None:
        engine = self.engine
        engine.server.quit()
        engine.loop.run_until_complete(asyncio.sleep(0))
        engine.loop.close()

    def play(self, parts: Sequence[bytes]) -> Outcome:
        """Give ``parts`` to a new connection, then its end.

        Raises:
            Broken: An exception escaped, something was logged as an error, or there is no rest.
        """
        applications.LOG.clear()
        wire = Wire()
        before = self.engine.log_path.stat().st_size
        outcome: Outcome = self.engine.loop.run_until_complete(self._play(wire, parts))
        if self.errors:
            raise Broken(f"{self.name}: {self.errors.pop()}")
        if self.engine.log_path.stat().st_size != before:
            log = self.engine.log_path.read_bytes()[before:].decode("utf-8", "replace")
            if " error " in log:
                raise Broken(f"{self.name}: {log}")
        return outcome

    async def _play(self, wire: Wire, parts: Sequence[bytes]) -> Outcome:
        server = self.engine.server
        connection = Connection(server, wire, ("127.0.0.1", 1), None)  # type: ignore[arg-type]
        server.admit(connection)
        connection.connection_made(wire)  # type: ignore[arg-type]
        for part in parts:
            if wire.closing:
                break
            connection.data_received(part)
            await self._rest(connection)
        ended_before = wire.closing or wire.ended
        if not wire.closing and not connection.eof_received():
            wire.closing = True
        await self._rest(connection)
        connection.connection_lost(None)
        await self._rest(connection)
        return Outcome(
            tuple(map(_comparable, applications.LOG)),
            self._statuses(bytes(wire.out)),
            not ended_before,
        )

    async def _rest(self, connection: Connection) -> None:
        """Wait until the loop has nothing left to do for ``connection`` before more comes."""
        quiet = 0
        for _ in range(TURNS_MAX):
            await asyncio.sleep(0)
            waiting = connection.request is not None and connection.framer is not None
            quiet = quiet + 1 if not connection.tail and (connection.state != BUSY or waiting) else 0
            if quiet > 3:
                return
        if not connection.lost:
            raise Broken(f"{self.name}: no rest in {TURNS_MAX} turns: state {connection.state}")

    def _statuses(self, out: bytes) -> tuple[int, ...]:
        """Take the responses apart; what is not one of ours in full is a broken invariant."""
        statuses = []
        at = 0
        while at < len(out):
            match = _STATUS.match(out, at)
            if match is None:
                raise Broken(f"{self.name}: not a response: {out[at : at + 200]!r}")
            status = int(match[1])
            at = match.end()
            if status == 100:
                continue
            statuses.append(status)
            length = re.search(rb"Content-Length: (\d+)\r\n", match[2])
            if length is None:
                raise Broken(f"{self.name}: a response without a length: {match[0]!r}")
            if status >= 400 and b"Connection: close\r\n" not in match[2]:
                raise Broken(f"{self.name}: a refusal without Connection: close")
            # A response to HEAD has no body: then the next response, or the end, stands here.
            if out[at : at + 9] not in {b"HTTP/1.1 ", b""}:
                at += int(length[1])
        return tuple(statuses)


def _comparable(seen: dict[str, Any]) -> str:
    """What WSGI and ASGI applications must see alike.

    WSGI knows bodies by their length alone, and no names with underscores.
    """
    framing = {"content-length", "transfer-encoding"}
    headers = {
        name: value for name, value in seen["headers"].items() if name not in framing and "_" not in name
    }
    return json.dumps({**seen, "headers": headers}, sort_keys=True)


class Rig:
    """All settings side by side."""

    def __init__(self) -> None:
        self.settings = [
            Setting(worker_class, parser) for worker_class in ("sync", "asgi") for parser in PARSERS
        ]

    def close(self) -> None:
        for setting in self.settings:
            setting.close()

    def check(self, message: bytes, cuts: Sequence[int] = ()) -> Outcome:
        """Play ``message`` whole and cut at ``cuts`` everywhere; return what came of it.

        Raises:
            Broken: See the module.
        """
        places = [0, *sorted({cut % (len(message) + 1) for cut in cuts}), len(message)]
        parts = [message[start:end] for start, end in itertools.pairwise(places) if end > start]
        expected: Outcome | None = None
        # An upgrade leaves this engine; WSGI knows none.
        settings = self.settings[: len(PARSERS)] if b"websocket" in message.lower() else self.settings
        for setting in settings:
            for cut, given in (("whole", [message] if message else []), ("in parts", parts)):
                outcome = setting.play(given)
                if expected is None:
                    expected = outcome
                elif outcome != expected:
                    raise Broken(
                        f"{setting.name} {cut}: {outcome}, but {self.settings[0].name} whole: {expected}"
                    )
        assert expected is not None
        return expected
