"""The connection to the master: many requests at once over one socket, by `gwctl.control.protocol`.

Theory of operation
    The master takes eight open requests of one client, and refuses the ninth. So each method belongs to a
    lane, and a lane has so many requests open: what takes minutes (a reload) never stands in the way of what
    is answered at once (a probe). Together the lanes have fewer than eight places. Who finds none free waits
    in the lane's queue, the first come first; that is bounded, too.

    A request that was sent keeps its place until the master has answered it, even if nobody waits any more:
    the master counts so. A request that was not sent is forgotten with whoever made it. What anybody may ask
    and costs the master more than a moment (its history, what all its workers serve) comes with pauses.

    Descriptors come with the answer to a profile alone, and of those one is asked for at a time: what has
    come when it is answered belongs to it, and what nobody waits for is closed.

    What the master tells on the way (progress, events) goes to who made the request, as it comes and without
    being kept here. A line that is no line of the protocol ends the connection, as its end does: then all
    who wait are told, and whoever is to hear of it by `Link.on_gone`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from gwctl.admin.link.errors import AnsweredNoError, CrowdedError, GoneError, SilentError
from gwctl.admin.link.lines import Lines
from gwctl.admin.link.stream import Stream
from gwctl.control import protocol
from gwctl.wording import seconds

OnNews = Callable[[protocol.News], None]

WAITING_MAX: Final = 64
"""In the queue of one lane."""
_NAMES: Final = {kind: name for name, kind in protocol.METHODS.items()}


@dataclass(slots=True, eq=False)
class _Call:
    """One request. ``on_news`` is None when nobody listens any more."""

    params: protocol.Method
    on_news: OnNews | None
    answer: asyncio.Future[dict[str, Any]]
    passed: list[int] | None = None
    """Where descriptors go."""


def _knows_no_admin(call: _Call, refusal: protocol.Failure) -> bool:
    """It was upgraded to a version of before there were admin processes, and knows of none."""
    return refusal.code == protocol.NO_SUCH_METHOD and isinstance(
        call.params, protocol.Metrics | protocol.Health
    )


@dataclass(slots=True)
class _Lane:
    """Requests of one kind: ``width`` of them may be open at once. A place stays empty for ``pause_s``."""

    width: int
    pause_s: float
    open: int = 0
    waiting: deque[_Call] = field(default_factory=deque)


WIDTHS: Final = {"probes": 1, "figures": 1, "looks": 1, "changes": 1, "reloads": 2, "follow": 1}
PAUSES_S: Final = {"looks": 0.02}
_LANES: Final[dict[type[protocol.Method], str]] = {
    protocol.Health: "probes",
    protocol.Status: "figures",
    protocol.Metrics: "figures",
    protocol.Requests: "looks",
    protocol.Dump: "looks",
    protocol.Profile: "looks",
    protocol.LogLevel: "changes",
    protocol.Scale: "changes",
    protocol.Recycle: "changes",
    protocol.Reload: "reloads",
    protocol.Rollback: "reloads",
    protocol.Restart: "reloads",
}
"""What else there is stops the master or replaces it, and is not for whoever comes over HTTP."""


def _lane_of(params: protocol.Method) -> str:
    if isinstance(params, protocol.Events):
        return "follow" if params.follow else "looks"
    return _LANES[type(params)]


class Link:
    """The connection over ``sock``, which it takes over. All of it runs in one event loop."""

    def __init__(self, sock: socket.socket, on_gone: Callable[[str], None]) -> None:
        """``on_gone`` is called once, with the reason, if the connection ends before `close`."""
        self.gone = ""
        """Why the connection has ended; empty while it has not."""
        self.closed = asyncio.Event()
        self._sock = sock
        self._on_gone = on_gone
        self._stream: Stream | None = None
        self._passed: list[int] = []
        self._lines = Lines(protocol.ANSWER_BYTES_MAX)
        self._lanes = {name: _Lane(width, PAUSES_S.get(name, 0.0)) for name, width in WIDTHS.items()}
        self._sent: dict[int | str | None, _Call] = {}
        self._last_number = 0
        self._last_words = ""

    async def open(self) -> None:
        """Begin; also what was asked before is sent now.

        Raises:
            OSError: The socket is of no use.
        """
        if self.gone:
            return
        self._stream = Stream(self._sock, self._received, self._lost)
        for lane in self._lanes.values():
            self._send_next(lane)

    def close(self) -> None:
        """End the connection; who waits for an answer is told."""
        self._end("this process ends", tell=False)

    async def ask(
        self,
        params: protocol.Method,
        timeout_s: float | None,
        on_news: OnNews | None = None,
        passed: list[int] | None = None,
    ) -> dict[str, Any]:
        """Send ``params`` when their lane has room, and return the answer.

        Args:
            params: What is asked, and by its type the method.
            timeout_s: Until the answer, the time in the queue included; None: as long as it takes.
            on_news: Called for what the master tells before its answer. It must not raise.
            passed: Takes the descriptors that come with the answer: the caller's to close, also when this
                raises.

        Raises:
            AnsweredNoError: The master refuses.
            SilentError: No answer in time.
            CrowdedError: The queue is full.
            GoneError: The connection has ended, before or meanwhile.
        """
        if self.gone:
            raise GoneError(self.gone)
        lane = self._lanes[_lane_of(params)]
        if len(lane.waiting) >= WAITING_MAX:
            raise CrowdedError(f"{WAITING_MAX} requests wait already for the master")
        call = _Call(params, on_news, asyncio.get_running_loop().create_future(), passed)
        lane.waiting.append(call)
        self._send_next(lane)
        try:
            async with asyncio.timeout(timeout_s):
                return await call.answer
        except TimeoutError:
            raise SilentError(
                f"the master did not answer {_NAMES[type(params)]} within {seconds(timeout_s or 0.0)}"
            ) from None
        finally:
            call.on_news = call.passed = None
            if call in lane.waiting:
                lane.waiting.remove(call)

    def _send_next(self, lane: _Lane) -> None:
        if self._stream is None or self.gone:
            return
        while lane.waiting and lane.open < lane.width:
            call = lane.waiting.popleft()
            lane.open += 1
            self._last_number += 1
            self._sent[self._last_number] = call
            name = _NAMES[type(call.params)]
            self._stream.write(protocol.encode_request(name, call.params, self._last_number))

    # ---- what the loop calls

    def _received(self, data: bytes, passed: list[int]) -> None:
        self._passed += passed
        try:
            for line in self._lines.feed(data):
                self._hear(protocol.decode_incoming(line))
        except ValueError as error:
            self._end(f"the master does not speak gwctl's protocol: {error}", tell=True)

    def _lost(self, error: OSError | None) -> None:
        why = self._last_words or "the master has closed the connection"
        # In peace, or killed with something unread.
        known = error is None or isinstance(error, ConnectionError)
        self._end(why if known else f"{why} ({error})", tell=True)

    # ---- answers

    def _hear(self, incoming: protocol.Incoming) -> None:
        """Raises ValueError: It is not what its method says."""
        if incoming.method is not None:
            news = protocol.decode_news(incoming)
            call = self._sent.get(news.id) if news is not None else None
            if news is not None and call is not None and call.on_news is not None:
                call.on_news(news)
            return
        if incoming.id is None and incoming.error is not None:
            self._last_words = incoming.error.message  # why it is about to close
            return
        call = self._sent.get(incoming.id)
        if call is None:
            return
        if incoming.error is not None and _knows_no_admin(call, incoming.error):
            self._end("the master is of another version", tell=True)
            return
        del self._sent[incoming.id]
        if isinstance(call.params, protocol.Profile):
            self._hand_over(call)
        lane = self._lanes[_lane_of(call.params)]
        if lane.pause_s:
            asyncio.get_running_loop().call_later(lane.pause_s, self._free, lane)
        else:
            self._free(lane)
        if call.answer.done():
            return  # nobody waits any more
        if incoming.error is not None:
            call.answer.set_exception(AnsweredNoError(incoming.error))
        else:
            call.answer.set_result(incoming.result or {})

    def _hand_over(self, call: _Call) -> None:
        passed, self._passed = self._passed, []
        if call.passed is None or call.answer.done():
            _close(passed)
        else:
            call.passed += passed

    def _free(self, lane: _Lane) -> None:
        lane.open -= 1
        self._send_next(lane)

    def _end(self, why: str, *, tell: bool) -> None:
        if self.gone:
            return
        self.gone = why
        if self._stream is not None:
            self._stream.close()
        else:
            self._sock.close()
        _close(self._passed)
        self._passed.clear()
        waiting = [call for lane in self._lanes.values() for call in lane.waiting]
        for call in [*self._sent.values(), *waiting]:
            if not call.answer.done():
                call.answer.set_exception(GoneError(why))
        self._sent.clear()
        self.closed.set()
        if tell:
            self._on_gone(why)


def _close(passed: list[int]) -> None:
    for fd in passed:
        os.close(fd)
