"""Telling an application's error from its way of passing on that the client is gone.

`ClientGone` raised by send() comes back wrapped: Starlette makes ClientDisconnect of it, or
WebSocketDisconnect, task groups make a group of it. None of these is anybody's error once the
client is gone. What an application raises while it tidies up after them is one.
"""

from __future__ import annotations

from typing import Final

from gwctl.workers.observe.errors import ClientGone

_NAMES: Final = frozenset(
    {
        "ClientDisconnect",
        "ClientDisconnected",
        "RequestAborted",
        "WebSocketDisconnect",
        "WebSocketDisconnected",
    }
)


def is_disconnect(error: BaseException) -> bool:
    """Tell whether ``error`` says no more than that the client is gone. Ask only when it is."""
    left = [error]
    while left:
        one = left.pop()
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions  # not by recursion: groups may be nested as deep as an application likes
        elif not isinstance(one, ClientGone) and type(one).__name__ not in _NAMES:
            return False
    return True
