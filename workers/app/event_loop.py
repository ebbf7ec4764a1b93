"""Which event loop serves, and which one is there while the application is imported.

Code of an ASGI application may ask for the event loop at import, and means the one that serves.
Code of a WSGI application may do so as well, and run or close what it gets. As long as nobody
knows which of them it is (``worker = "auto"``) there are two loops: one for the import, which
serves if the application turns out to be ASGI and is the application's own otherwise.

Both are made before the import: what is made afterwards may be made of patched modules.

A loop turns for as long as its worker wants, whatever the application does to it: stop() only makes
it begin another turn, and sys.exit() in a task is an error of that task (`keep_turning`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Final, Literal

from gwctl.config.model.settings import PoolSettings
from gwctl.config.model.worker_class import ASGI, chosen
from gwctl.workers.app import fork_hooks
from gwctl.workers.observe.tracebacks import application_traceback, summary, told

if TYPE_CHECKING:
    from gwctl.workers.observe.throttled_log import ThrottledLog

Kind = Literal["uvloop", "asyncio"]

PASSED_ON_S: Final = 0.1
"""What ends the loop ends its task: whoever awaits that has so long to say whose request it was."""
turning: Final[set[int]] = set()
"""Threads in which whatever ends a loop is told by `keep_turning`."""
_IO_URING: Final = "UV_USE_IO_URING"


def new_loop(kind: Kind) -> asyncio.AbstractEventLoop:
    """Make an event loop, whatever policy is in force."""
    if kind == "asyncio":
        return asyncio.SelectorEventLoop()
    import uvloop  # noqa: PLC0415 - after the limits and the identity, like all that is large

    # The polling io_uring of libuv before 1.49 keeps all our descriptors open, the listeners among
    # them, for as long as any child that the application forked lives (tried: uvloop 0.19).
    chosen = os.environ.get(_IO_URING)
    if chosen is None:
        os.environ[_IO_URING] = "0"  # libuv looks once, when the first loop is made
    loop = uvloop.new_event_loop()
    if chosen is None:
        del os.environ[_IO_URING]
    return loop


def keep_turning(loop: asyncio.AbstractEventLoop, over: Callable[[], bool], throttled: ThrottledLog) -> None:
    """Turn ``loop`` until it stops and it is ``over``, in spite of what the application does to it.

    Other clients' requests are in it: whoever stops it, or exits in a task or a callback, gets a line
    in the log. What else comes out of it is its own failure, and passed on.
    """
    exits: list[BaseException] = []
    turning.add(get_ident())

    def tell() -> None:
        for error in exits[:]:
            exits.remove(error)
            if not told(error):
                throttled.error(
                    "exit in the loop",
                    "a task or callback of the application raised what ends an event loop; it turns on: "
                    f"{summary(error)}\n{application_traceback(error)}".rstrip("\n"),
                )

    try:
        while not over():
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                fork_hooks.end_if_child(error)
                exits.append(error)
                if not loop.is_closed():
                    loop.call_later(PASSED_ON_S, tell)
            else:
                fork_hooks.end_if_child()
                if not over():
                    throttled.warning(
                        "stopped loop",
                        "the application has stopped the event loop, in which other requests run: "
                        "it turns on. To end the worker, send it SIGTERM",
                    )
    finally:
        turning.discard(get_ident())
        tell()


def shown(kind: Kind) -> str:
    """Name what such a loop is made of, with its version where it has one."""
    if kind == "asyncio":
        return "asyncio"
    from uvloop._version import __version__ as version  # noqa: PLC0415 - see new_loop

    return f"uvloop {version}"


class Loops:
    """The loops of a worker that boots."""

    def __init__(self, settings: PoolSettings) -> None:
        self._kind: Kind = settings.loop
        self._for_import: asyncio.AbstractEventLoop | None = None
        self._spare: asyncio.AbstractEventLoop | None = None
        self._made: list[asyncio.AbstractEventLoop] = []
        classes = chosen(settings.worker)
        if any(each.shares_loop("asgi") for each in classes):
            self._for_import = self._new()
            asyncio.set_event_loop(self._for_import)
        if classes != (ASGI,):
            self._spare = self._new()

    def _new(self) -> asyncio.AbstractEventLoop:
        """One that lives as long as this: uvloop writes to stderr about each that is let go of while open."""
        loop = new_loop(self._kind)
        self._made.append(loop)
        return loop

    def serving(self, *, shared: bool) -> asyncio.AbstractEventLoop:
        """Return the loop that serves. ``shared``: the application runs in it, too."""
        imported, spare = self._for_import, self._spare
        self._for_import = self._spare = None
        if not shared:
            return spare if spare is not None else self._new()  # what the import made stays its own
        loop = imported
        if loop is None or loop.is_closed():
            loop, spare = spare, None
        if spare is not None:
            spare.close()
        if loop is None:
            loop = self._new()
        asyncio.set_event_loop(loop)  # again: asyncio.run() and new policies forget it
        return loop
