"""ASGI lifespan: uvicorn's implementation, with failures that are never swallowed.

What an application did decides, and the ``lifespan`` setting (auto, on; off: it is never called):

    answered startup.complete       it runs
    answered startup.failed, or     the boot fails with its message
      called sys.exit
    raised after it had received    auto: served without, as the specification says, with a warning that
      lifespan.startup              has its traceback, since that may be a startup that broke;
                                    on: the boot fails with it
    raised before it received       it does not know lifespan. auto: served without;
      anything, returned, or sent   on: the boot fails
      something else (an http answer)

A lifespan that ends in the middle of a worker's life is logged as an error; the worker
serves on, as under other servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, Final, Literal

from gwctl.errors import BootError
from gwctl.log.event_log import Log
from gwctl.workers.app import fork_hooks
from gwctl.workers.observe.tracebacks import application_traceback, fault, summary

Mode = Literal["auto", "on", "off"]

_EXITS: Final = (SystemExit, KeyboardInterrupt)
_FAILURES: Final = (Exception, *_EXITS)
_LAST_WORDS_S: Final = 1.0
"""After startup.failed: how long the application's own exception is waited for."""


class LifespanError(BootError):
    """The application refused to start or broke while starting."""


class NotLifespanError(Exception):
    """Raised into an application that answers lifespan with a message of another protocol."""


class Lifespan:
    """One application's lifespan, to be used from one event loop.

    ``state`` is filled by the application.
    """

    def __init__(self, call: Any, state: dict[str, Any], log: Log, mode: Mode = "auto") -> None:
        from uvicorn.lifespan.on import LifespanOn  # noqa: PLC0415 - WSGI workers do without uvicorn

        from gwctl.workers.app.uvicorn_config import make_config  # noqa: PLC0415

        self._call = call
        self._log = log
        self._wanted = mode == "on"
        self._protocol = LifespanOn(make_config(self._run))
        self._protocol.state = state
        self._protocol.logger = _silent_logger()
        self._ended = asyncio.Event()
        self._received = False
        self._stopping = False
        self._error: BaseException | None = None
        self._failure: str | None = None
        self.running = False
        """It answered startup.complete, so it is owed a shutdown."""

    async def startup(self) -> None:
        """Run the application's startup.

        Raises:
            LifespanError: With the application's message and traceback.
        """
        await self._protocol.startup()
        if self._failure is not None:
            await self._wait_for_end(_LAST_WORDS_S)
            raise LifespanError(_failed("startup", self._failure), self._traceback())
        if self.running:
            return
        error = self._error
        why = f": {summary(error)}" if error is not None else ""
        broke = self._received and error is not None and not isinstance(error, NotLifespanError)
        if broke and (self._wanted or isinstance(error, _EXITS)):
            raise LifespanError(f"lifespan startup failed{why}", self._traceback())
        if self._wanted:
            raise LifespanError(f'the application does not use lifespan, and `lifespan` is "on"{why}')
        if broke:
            self._log.warning(
                f"the application raised at lifespan startup{why}. Served without lifespan, as `lifespan` is "
                f'"auto": "off" does not call it, "on" refuses to start\n{self._traceback()}'
            )
        else:
            self._log.debug(f"the application does not use lifespan{why}")

    async def shutdown(self, timeout_s: float) -> None:
        """Run the application's shutdown; what goes wrong is logged, since the worker ends anyway."""
        if not self.running:
            return
        self._stopping = True
        try:
            await asyncio.wait_for(self._protocol.shutdown(), max(timeout_s, 0.0))
        except TimeoutError:
            self._log.warning(
                f"lifespan shutdown was not finished after {timeout_s:.1f} s: ending without it"
            )
            return
        await self._wait_for_end(_LAST_WORDS_S)
        if self._failure is not None:
            self._log.error(_failed("shutdown", self._failure) + "\n" + self._traceback())
        elif self._error is not None:
            self._log.error(f"lifespan shutdown failed: {summary(self._error)}", fault=fault(self._error))

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        """Stand between uvicorn and the application, to see what it does."""

        async def noting_receive() -> Any:
            message = await receive()
            self._received = True
            return message

        async def noting_send(message: Any) -> None:
            kind = message["type"]
            if not kind.startswith("lifespan."):
                raise NotLifespanError(f"sent {kind} in the lifespan scope")
            if kind.endswith(".failed"):
                self._failure = message.get("message", "")
            await send(message)
            if kind == "lifespan.startup.complete":
                self.running = True

        try:
            await self._call(scope, noting_receive, noting_send)
        except asyncio.CancelledError as error:
            if not self.running:
                self._error = error
            elif not self._stopping:
                self._log.warning(
                    "the lifespan was cancelled, as by an application that cancels all tasks: what its "
                    "shutdown does was done now, and will not be done at the end"
                )
            raise
        except _FAILURES as error:
            fork_hooks.end_if_child(error)
            self._error = error
            if self.running and not self._stopping:
                self._log.error(f"the lifespan ended by itself: {summary(error)}", fault=fault(error))
            raise
        finally:
            self._ended.set()

    async def _wait_for_end(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):  # it answered; that it does not return is its own affair
            await asyncio.wait_for(self._ended.wait(), timeout_s)

    def _traceback(self) -> str:
        return application_traceback(self._error) if self._error is not None else ""


def in_loop(loop: asyncio.AbstractEventLoop | None, work: Coroutine[Any, Any, None]) -> Any:
    """Make ``work`` awaitable here, run in ``loop`` of another thread, or here when None."""
    if loop is None:
        return work
    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


def _failed(phase: str, message: str) -> str:
    """Starlette puts a whole traceback into the message: its last line is what happened."""
    lines = [line for line in message.strip().splitlines() if line.strip()]
    return f"lifespan {phase} failed" + (f": {lines[-1].strip()}" if lines else "")


def _silent_logger() -> logging.Logger:
    """Say nothing: what uvicorn would log is said above, in our words."""
    logger = logging.getLogger("gwctl.lifespan")
    logger.setLevel(logging.CRITICAL + 1)
    return logger
