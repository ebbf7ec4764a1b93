"""Request ids: one for each request, from a trusted proxy or made here, for the application and the logs.

`identified` puts itself before the application, so who has them switched off pays for nothing. An id is taken

    from the header that the settings name, or the trace id of ``traceparent``, if the peer is a trusted proxy
    and the value is one that can stand in logs and headers;

else it is made: ten random digits of this process and a counter. The request then has it in that header,
whatever a client has sent there, in environ (``gwctl.request_id``) or scope (``extensions``), and in
`current` for as long as it runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gwctl.config.model.settings import PoolSettings

KEY: Final = "gwctl.request_id"
TRUSTED: Final = "gwctl.trusted_peer"
"""In what the requests of a trusted proxy's connection share; taken out before the application sees it."""
_SOUND: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_PREFIX_BYTES: Final = 5
_HEADS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
"""Messages of ASGI that have a response's header fields."""

Application = Callable[..., Any]
current: Final[ContextVar[str]] = ContextVar(KEY, default="")
"""Of the request that is served."""


class RequestIds:
    """Makes those of one process. To be made in it, not before its fork. Any thread."""

    def __init__(self, settings: PoolSettings) -> None:
        self.header = settings.request_id_header
        self.in_response = settings.request_id_in_response
        self._prefix = os.urandom(_PREFIX_BYTES).hex()
        self._next = count().__next__

    def of(self, said: str, traceparent: str) -> str:
        """Return the id that a trusted proxy said, else a new one."""
        if _SOUND.fullmatch(said):
            return said
        trace = _TRACEPARENT.fullmatch(traceparent)
        return trace[1] if trace is not None else self.new()

    def new(self) -> str:
        return f"{self._prefix}{self._next():06x}"


def identified(application: Application, interface: str, settings: PoolSettings) -> Application:
    """Return ``application`` as it is, or with ids for its requests if the settings name a header."""
    if not settings.request_id_header:
        return application
    ids = RequestIds(settings)
    return _wsgi(application, ids) if interface == "wsgi" else _asgi(application, ids)


def _wsgi(application: Application, ids: RequestIds) -> Application:
    variable = "HTTP_" + ids.header.upper().replace("-", "_")
    header, in_response = ids.header, ids.in_response

    def with_id(environ: dict[str, Any], start_response: Any) -> Any:
        if environ.pop(TRUSTED, False):
            request_id = ids.of(environ.get(variable, ""), environ.get("HTTP_TRACEPARENT", ""))
        else:
            request_id = ids.new()
        environ[KEY] = environ[variable] = request_id
        current.set(request_id)
        if not in_response:
            return application(environ, start_response)

        def start(status: Any, headers: Any, exc_info: Any = None) -> Any:
            if type(headers) is list:  # of others the server says what is wrong
                headers = [*headers, (header, request_id)]
            return start_response(status, headers, exc_info)

        return application(environ, start)

    return with_id


def _asgi(application: Application, ids: RequestIds) -> Application:
    name = ids.header.lower().encode()
    header, in_response = ids.header.encode(), ids.in_response

    async def with_id(scope: Any, receive: Any, send: Any) -> None:
        request_id = _scopes_id(scope, name, ids)
        encoded = request_id.encode()
        headers = scope["headers"]
        # In place: the access log of a WebSocket's handshake looks at the request's scope: the same list.
        headers[:] = [*(each for each in headers if each[0] != name), (name, encoded)]
        scope["extensions"] = {**scope.get("extensions", {}), KEY: {"id": request_id}}
        current.set(request_id)
        if not in_response:
            await application(scope, receive, send)
            return

        async def sending(message: Any) -> None:
            if message["type"] in _HEADS:
                message = {**message, "headers": [*message.get("headers", ()), (header, encoded)]}
            await send(message)

        await application(scope, receive, sending)

    return with_id


def named(what: str, request_id: Any) -> str:
    """``what`` a request is, with the id that was put where the application may change it."""
    return f"{what} [{request_id}]" if type(request_id) is str and _SOUND.fullmatch(request_id) else what


def of_scope(scope: Any) -> Any:
    """What is where the id of an ASGI request was put; None: nothing, or the application has changed that."""
    try:
        return scope["extensions"][KEY]["id"]
    except (KeyError, TypeError):
        return None


def _scopes_id(scope: Any, name: bytes, ids: RequestIds) -> str:
    if not scope.pop(TRUSTED, False):
        return ids.new()
    said = trace = ""
    for each, value in scope["headers"]:
        if each == name:
            said = f"{said},{value.decode('latin-1')}" if said else value.decode("latin-1")
        elif each == b"traceparent":
            trace = value.decode("latin-1")
    return ids.of(said, trace)
