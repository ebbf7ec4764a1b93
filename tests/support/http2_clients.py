"""Clients of HTTP/2 that ask again and again and go elsewhere when they are told to; each failure counts.

A request fails if it has no answer and the server did not say that it was never seen: a reset, the end of the
connection, another status or body. What comes behind the last stream of a GOAWAY, and what is refused
(REFUSED_STREAM), is asked again, as RFC 9113 section 8.7 has it.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from gwctl.workers.http2 import wire
from tests.support.http2 import Http2Client, Stream
from tests.support.memory_wire import End
from tests.support.wait import DEADLINE_S, until

AT_ONCE = 8


def is_over(stream: Stream) -> bool:
    return stream.is_over


class Http2Clients:
    """``clients`` connections at once, each with `AT_ONCE` streams; ``connect`` makes a socket."""

    def __init__(self, connect: Callable[[], socket.socket], clients: int, body: bytes) -> None:
        self._connect = connect
        self._body = body
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        self.answered = Counter[str]()
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _exc: object, _tb: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def wait_for(self, more: int) -> None:
        """Wait until so many more are answered."""
        wanted = self.answered.total() + more
        until(lambda: self.answered.total() >= wanted or self.failures, "answers")

    def _ask(self) -> None:
        while not self._stop.is_set():
            with Http2Client(sock=self._connect()) as client:
                self.answered["connections"] += 1
                while not (self._stop.is_set() or client.goaways or client.ended.is_set()):
                    streams = [client.open() for _ in range(AT_ONCE)]
                    for stream in streams:
                        until(partial(is_over, stream), "an answer or an end")
                        self._judge(client, stream)

    def _judge(self, client: Http2Client, stream: Stream) -> None:
        last = client.goaways[-1][0] if client.goaways else stream.stream_id
        if stream.got(End) and stream.head()[0] == 200 and stream.body == self._body:
            self.answered["requests"] += 1
        elif stream.stream_id > last or stream.code == wire.REFUSED_STREAM:
            self.answered["asked again"] += 1
        else:
            self.failures.append(f"stream {stream.stream_id}, last {last}: {stream.events}")
