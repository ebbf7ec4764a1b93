"""Request ids: one for each request, from a trusted proxy or made here, for the application and the logs.

An id is taken

    from the header that the settings name, or the trace id of ``traceparent``, if the peer is a trusted proxy
    and the value is one that can stand in logs and headers;

else it is made: ten random digits of this process and a counter. The request then has it in that header,
whatever a client has sent there, in environ (``gwctl.request_id``) or scope (``extensions``), and in
`current` for as long as it runs. Where responses have it too, it is a line of their own head: among the
fields of the application, which recur, one that is new each time would have none of them found again.

All of this is done for each request. So ids are made many at a time, in every form in which they are wanted,
and what is rare (a proxy that says one) is looked for before anything is done about it. A WSGI call gives a
request its id itself; `identified` puts itself before an ASGI application. And a context has one variable of
ours: a second one would cost as much as all the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from itertools import count, repeat
from struct import unpack
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from gwctl.config.model.settings import PoolSettings

KEY: Final = "gwctl.request_id"
SAID: Final = KEY
"""Only in environ or scope of a request that says an id (`saying`), until it has its own there: whether a
trusted proxy says it. In an environ only if so: what others say is replaced by the same name."""
_SOUND: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_PARENT: Final = b"traceparent"
_PREFIX_BYTES: Final = 5
_AT_ONCE: Final = 64
"""So many are made at a time: more would not stay in the processor's nearest caches until they are taken."""
_DIGITS: Final = tuple(
    [[f"{n:02x}" for n in range(end - 1, end - 1 - _AT_ONCE, -1)] for end in (64, 128, 192, 256)]
)
"""The last two, of those that are made at a time: the first is taken last."""
_HEADS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
"""Messages of ASGI that have a response's header fields."""

Application = Callable[..., Any]


class Request(Protocol):
    """An ASGI application's request, whose method the send is that it is given."""

    began_at: float
    own_line: bytes
    """Of the response's head, as HTTP/1.1 has it, where the request takes one."""


SERVED: Final[ContextVar[Any]] = ContextVar(KEY, default="")
"""Of the request that is served: its id; or when it began (monotonic), if it is one of ASGI; or both."""


def current() -> str:
    """Return the id of the request that is served; empty: there is none."""
    served = SERVED.get()
    if type(served) is tuple:
        return str(served[0])
    return served if type(served) is str else ""


def current_began_at() -> float:
    """Return when the ASGI request began that is served; 0.0: there is none."""
    served = SERVED.get()
    if type(served) is tuple:
        return float(served[1])
    return served if type(served) is float else 0.0


def mark_began(settings: PoolSettings) -> Callable[[float], object]:
    """Return what an ASGI request calls with the time at which it began, in its context."""
    return float if settings.request_id_header else SERVED.set  # where there are ids they bring it along


def saying(settings: PoolSettings) -> frozenset[bytes]:
    """Return the fields, in lower case, by which proxies say ids; none where requests have no ids."""
    header = settings.request_id_header
    return frozenset({header.lower().encode(), _PARENT}) if header else frozenset()


Made = tuple[str, bytes, bytes]
"""An id, as a response's head has it (a line; empty: it has none), and as the header fields of a scope have
it (empty: nobody wants that)."""


class RequestIds:
    """Makes those of one process. To be made in it, not before its fork. Any thread.

    Attributes:
        made: Those that nobody has yet; whoever takes one there saves a call of `new`.
        variable: What the header is called in an environ.
    """

    def __init__(self, settings: PoolSettings, *, encoded: bool = False) -> None:
        self.header = settings.request_id_header
        self.variable = "HTTP_" + self.header.upper().replace("-", "_")
        self.in_response = settings.request_id_in_response
        self.made: list[Made] = []
        self._encoded = encoded
        self._prefix = os.urandom(_PREFIX_BYTES).hex()
        self._next = count().__next__
        self._ids = [["", *[f"{each} " for each in digits]] for digits in _DIGITS]
        self._lines = [["", *[f"{each}\r\n" for each in digits]] for digits in _DIGITS]

    def of(self, said: str, traceparent: str) -> Made:
        """Return the id that a trusted proxy said, else a new one."""
        if _SOUND.fullmatch(said):
            return self._known(said)
        trace = _TRACEPARENT.fullmatch(traceparent)
        return self._known(trace[1]) if trace is not None else self.new()

    def of_environ(self, environ: dict[str, Any]) -> Made:
        """Return the same of a request that says one (`SAID`)."""
        return self.of(environ.get(self.variable, ""), environ.get("HTTP_TRACEPARENT", ""))

    def _known(self, request_id: str) -> Made:
        line = f"{self.header}: {request_id}\r\n".encode() if self.in_response else b""
        return request_id, line, request_id.encode()

    def new(self) -> Made:
        while True:
            try:
                return self.made.pop()
            except IndexError:
                self._make()

    def _make(self) -> None:
        """Make `_AT_ONCE`, in every form in as few steps."""
        number = self._next()
        begin = f"{self._prefix}{number // len(_DIGITS):04x}"
        part = number % len(_DIGITS)
        ids = begin.join(self._ids[part])
        lines: Iterable[bytes] = repeat(b"")
        if self.in_response:
            text = f"{self.header}: {begin}".join(self._lines[part]).encode()
            lines = unpack(f"{len(text) // _AT_ONCE}s" * _AT_ONCE, text)
        encoded = ids.encode().split() if self._encoded else repeat(b"")
        self.made.extend(list(zip(ids.split(), lines, encoded, strict=False)))


def ids_for(interface: str, settings: PoolSettings) -> RequestIds | None:
    """Return what makes the ids of WSGI calls; None: they have none, or what is served is no WSGI."""
    return RequestIds(settings) if interface == "wsgi" and settings.request_id_header else None


def identified(application: Application, interface: str, settings: PoolSettings) -> Application:
    """Return ``application``, with ids for its requests if it is ASGI and the settings name a header."""
    if interface == "wsgi" or not settings.request_id_header:
        return application
    return _asgi(application, RequestIds(settings, encoded=True))


def _asgi(application: Application, ids: RequestIds) -> Application:
    name = ids.header.lower().encode()
    header, in_response = ids.header.encode(), ids.in_response
    take, serve = ids.made.pop, SERVED.set

    def with_id(scope: Any, receive: Any, send: Any) -> Any:
        headers = scope["headers"]
        if SAID in scope:
            request_id, line, encoded = _said(headers, name, ids) if scope[SAID] else ids.new()
            # In place: the access log of a WebSocket's handshake looks at the same list.
            headers[:] = [each for each in headers if each[0] != name]
        else:
            try:
                request_id, line, encoded = take()
            except IndexError:
                request_id, line, encoded = ids.new()
        headers.append((name, encoded))
        extensions = scope["extensions"].copy()  # the connection's
        extensions[KEY] = {"id": request_id}
        scope["extensions"] = extensions
        scope[KEY] = request_id
        answering: Request = send.__self__
        try:
            began_at = answering.began_at
        except AttributeError:
            return web_socket(scope, receive, send, request_id)
        serve((request_id, began_at))
        if in_response:
            try:
                answering.own_line = line
            except AttributeError:  # it is answered by another loop
                send = _adding(send, (header, encoded))
        return application(scope, receive, send)

    def web_socket(scope: Any, receive: Any, send: Any, request_id: str) -> Any:
        serve(request_id)
        if in_response:
            send = _adding(send, (header, request_id.encode()))
        return application(scope, receive, send)

    return with_id


def _adding(send: Any, field: tuple[bytes, bytes]) -> Any:
    """Return a send that puts ``field`` into the heads of those who do not identify responses themselves."""

    async def sending(message: Any) -> None:
        if message["type"] in _HEADS:
            message = {**message, "headers": [*message.get("headers", ()), field]}
        await send(message)

    return sending


def _said(headers: Any, name: bytes, ids: RequestIds) -> Made:
    """Return the id that a trusted proxy says, else a new one."""
    said = trace = ""
    for each, value in headers:
        if each == name:
            said = f"{said},{value.decode('latin-1')}" if said else value.decode("latin-1")
        elif each == _PARENT:
            trace = value.decode("latin-1")
    return ids.of(said, trace)


def named(what: str, request_id: Any) -> str:
    """``what`` a request is, with the id that was put where the application may change it."""
    return f"{what} [{request_id}]" if type(request_id) is str and _SOUND.fullmatch(request_id) else what


def of_scope(scope: Any) -> Any:
    """What is where the id of an ASGI request was put; None: nothing, or the application has changed that."""
    try:
        return scope["extensions"][KEY]["id"]
    except (KeyError, TypeError):
        return None
