"""The other kind of application in a runner: WSGI under asgi, ASGI under sync and threads.

a2wsgi converts; what is here keeps its edges to this project's rules: an application's error
reaches the runner (which answers 500 and logs it), an ASGI application's event loop is a
thread made after the fork, its lifespan runs there, its state reaches each request, and
nothing goes on when the client has gone.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

from gwctl.config.settings import Limits
from gwctl.workers.body import BodyBuffer

WSGI_THREADS: Final = 16
"""Threads of a WSGI application under an asgi worker, as many requests of it run at once."""

_logger = logging.getLogger("gwctl")
_TASK_KEY: Final = "gwctl.asgi_task"
_COMPLETE_KEY: Final = "gwctl.asgi_complete"
_BODY_KEY: Final = "gwctl.body"


Headers = list[tuple[bytes, bytes]]


class Asgi2Application:
    """ASGI 2, ``application(scope)(receive, send)``, called as ASGI 3."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._application(scope)(receive, send)


class WsgiInAsgi:
    """A WSGI application for the asgi runner. Its threads start with the first request.

    A body is received before the application is called, as under the WSGI runners: a slow
    client holds a buffer, not a thread, and a body that came in chunks gets a CONTENT_LENGTH.
    """

    def __init__(self, application: Callable[..., Any], limits: Limits) -> None:
        from a2wsgi import WSGIMiddleware  # noqa: PLC0415 - only where it is needed

        self._application = application
        self._limits = limits
        self._warned = False
        self._middleware = WSGIMiddleware(cast("Any", self._checked), workers=WSGI_THREADS)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._middleware(scope, receive, send)
            return
        body = scope[_BODY_KEY] = BodyBuffer(self._limits)
        scope["headers"] = _for_environ(scope["headers"])
        try:
            if await _receive_all(receive, body):
                await self._middleware(scope, receive, send)
        finally:
            body.close()

    def _checked(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Run in a thread: what PEP 3333 forbids is treated as under the WSGI runners."""
        body = environ["asgi.scope"][_BODY_KEY]
        if body.size:
            environ["CONTENT_LENGTH"] = str(body.size)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ.update(
            {
                "wsgi.input": body.reader(),
                "wsgi.input_terminated": True,
                "wsgi.errors": sys.stderr,
            }
        )
        result = self._application(environ, start_response)
        if isinstance(result, bytes):
            if not self._warned:
                self._warned = True
                _logger.warning(
                    "the application returned bytes, served as one block; "
                    "WSGI wants an iterable of bytes (PEP 3333): return [body]"
                )
            return (result,)
        return _Blocks(result)


def _for_environ(headers: Headers) -> Headers:
    """Leave out what would spoof another field, and join cookies as such (see `gwctl.workers.environ`)."""
    kept = [header for header in headers if b"_" not in header[0]]
    cookies = [value for name, value in kept if name == b"cookie"]
    if len(cookies) > 1:
        kept = [header for header in kept if header[0] != b"cookie"]
        kept.append((b"cookie", b"; ".join(cookies)))
    return kept


async def _receive_all(receive: Any, body: BodyBuffer) -> bool:
    """Read the request's body; False when the client has gone."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return False
        body.feed(message.get("body", b""))
        more = message.get("more_body", False)
    return True


class _Blocks:
    """A WSGI response whose blocks are looked at; `close` reaches the application's own."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def __iter__(self) -> Iterator[bytes]:
        if self._result is None:
            raise TypeError("the application returned None; WSGI wants an iterable of bytes (PEP 3333)")
        for block in self._result:
            if isinstance(block, str):
                raise TypeError(
                    "the application yielded str; the body of a WSGI response is bytes (PEP 3333). "
                    "Yield bytes: text.encode() or b'...'"
                )
            yield block

    def close(self) -> None:
        close = getattr(self._result, "close", None)
        if close is not None:
            close()


class AsgiInWsgi:
    """An ASGI application for the sync and threads runners.

    Its event loop turns in a daemon thread of its own, started by `start`, which must come
    after the fork. WebSockets do not reach it: WSGI has none.
    """

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self._middleware: Callable[..., Iterable[bytes]] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.state: dict[str, Any] = {}

    def start(self) -> asyncio.AbstractEventLoop:
        """Start the loop's thread and return the loop."""
        import uvloop  # noqa: PLC0415 - only where it is needed
        from a2wsgi import ASGIMiddleware  # noqa: PLC0415

        self.loop = uvloop.new_event_loop()
        self._middleware = ASGIMiddleware(self._run, loop=self.loop)
        threading.Thread(target=self._turn, name="asgi", daemon=True).start()
        return self.loop

    def _turn(self) -> None:
        assert self.loop is not None
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        environ = scope["wsgi_environ"]
        environ[_TASK_KEY] = asyncio.current_task()
        scope["state"] = self.state.copy()
        if "client" not in scope and environ.get("REMOTE_ADDR"):
            scope["client"] = (environ["REMOTE_ADDR"], 0)  # a proxy has told no port

        async def noted(message: Any) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                environ[_COMPLETE_KEY] = True
            elif message["type"] == "http.response.start" and "headers" not in message:
                message = {**message, "headers": ()}  # optional in ASGI, not in a2wsgi
            await send(message)

        await self._application(scope, receive, noted)
        if _COMPLETE_KEY not in environ:  # a2wsgi would wait for the rest for ever
            raise RuntimeError("the ASGI application returned before its response was complete")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        assert self._middleware is not None, "start() comes first"

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if exc_info is not None:  # a2wsgi would answer 500 with a text of its own
                raise exc_info[1].with_traceback(exc_info[2])
            return start_response(status, headers)

        path = environ["PATH_INFO"]
        if not path.isascii():  # a2wsgi takes it for UTF-8, which is the client's to say
            environ["PATH_INFO"] = (
                path.encode("latin-1").decode("utf-8", "replace").encode().decode("latin-1")
            )
        finished = False
        try:
            yield from self._middleware(environ, start)
            finished = True
            if _COMPLETE_KEY not in environ:
                _raise_what_ended(environ[_TASK_KEY])
        finally:
            task = environ.get(_TASK_KEY)
            if not finished and task is not None and self.loop is not None:
                self.loop.call_soon_threadsafe(task.cancel)


def _raise_what_ended(task: asyncio.Task[None]) -> None:
    """Raise why an application left its response incomplete.

    a2wsgi 1.10 looks whether the application is done before it takes the error that ended it,
    and then calls the response whole: a client could not tell that half of it is missing.
    """
    error = task.exception()  # it is done: a2wsgi has waited for that
    if error is not None:
        raise error
