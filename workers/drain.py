"""A drain that takes its time: what is told of it meanwhile, and what is cut when its time is over.

While a worker drains, the request that runs longest stands where the master reads it, so that
whoever waits for the end can be told for what. At the end of ``drain_timeout_s`` the worker
itself gives up what its loop can give up: asyncio tasks are cancelled, bodies that have come
in part and responses that clients have yet to take are left. One record names them. Then the
lifespan's shutdown runs as after any other drain. A call that occupies the loop or a thread
cannot be given up; for that the master has the worker explain itself, and kills it.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from gwctl.ipc.scoreboard import BUSY_SINCE, LONGEST_SINCE, note_request
from gwctl.workers.exchange.states import BODY, BUSY, HEAD
from gwctl.workers.observe.introspection import Running, stack_of

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.http1.connections import ConnectionService
    from gwctl.workers.websocket.registry import WebSockets

NAMED_MAX: Final = 10
"""Requests that are named one by one."""
LAST_WORDS_S: Final = 0.3
"""How long clients may take what they are told at the end of the drain."""


def note_longest(service: ConnectionService) -> None:
    """Put the request that runs longest on the scoreboard; that of a sync worker is there already.

    While it drains it is noted like a sync worker's; siblings would otherwise take it for a sign of one
    that is stuck.
    """
    if service.context.worker_class.holds_loop:
        return
    floats = service.context.record.floats
    longest = service.runner.longest()
    if longest is None:
        floats[LONGEST_SINCE] = floats[BUSY_SINCE] = 0.0
        return
    line = longest.what.encode("latin-1", "replace") + b"\r\n"
    note_request(service.context.record.request, 0, longest.start if service.draining else 0.0, line)
    floats[LONGEST_SINCE] = longest.start


def unanswered(service: ConnectionService) -> int:
    """Return how many requests have begun to come and are not answered in full."""
    undone = _undone(service)
    in_calls = sum(each.state == BUSY for each in undone)
    if not service.context.worker_class.holds_loop:
        return len(undone)
    # The call that holds the loop need not have made its connection BUSY: nobody else looks meanwhile.
    return max(in_calls, service.active_requests) + len(undone) - in_calls


def _undone(service: ConnectionService) -> list[Exchange]:
    return [each for connection in service.open_connections() for each in connection.undone()]


def cut_rest(service: ConnectionService, websockets: WebSockets, timeout_s: float) -> int:
    """Give up what is left, and say what that was. Returns how many requests it leaves undone.

    What is in an application call that cannot be cancelled is counted, and goes on for now.
    """
    running = sorted(service.runner.under_way(), key=lambda each: each.start)
    cut_off = _undone(service)
    waiting = [each for each in cut_off if each.state != BUSY or not service.active_requests]
    cut = len(cut_off)
    lines = [line for each in running[:NAMED_MAX] for line in _told(each)]
    lines += [f"{each.what()}: {_why(each)}" for each in waiting[:NAMED_MAX]]
    more = max(0, len(running) - NAMED_MAX) + max(0, len(waiting) - NAMED_MAX)
    if more:
        lines.append(f"and {more} more")
    if websockets.left:
        lines.append(f"{websockets.left} WebSockets whose application has not ended")
    if lines:
        head = f"drain_timeout_s ({timeout_s:g} s) is over: {cut} requests cut"
        service.context.log.warning("\n".join([head.replace(" 1 requests", " 1 request"), *lines]))
    service.runner.give_up("the worker ends: drain_timeout_s is over")
    for connection in service.open_connections():
        if connection.state <= HEAD and connection.transport is not None:
            connection.close()
    for exchange in waiting:
        exchange.abandon()
        exchange.abort()
    websockets.leave()
    service.context.loop.call_later(LAST_WORDS_S, _leave, service)
    return cut


def _leave(service: ConnectionService) -> None:
    """Close what clients have not closed by now."""
    busy = service.active_requests
    for connection in service.open_connections():
        if not (busy and connection.state == BUSY):
            connection.abort()
    service.check_drained()


def _told(request: Running) -> list[str]:
    frames = stack_of(request.task) if request.task is not None else []
    return [f"{request.what}, {monotonic() - request.start:.1f} s", *(f"  {frame}" for frame in frames)]


def _why(exchange: Exchange) -> str:
    if exchange.state == BODY:
        return "its body had come in part"
    return "the client had not taken all of the response"
