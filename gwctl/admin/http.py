"""A request of ASGI and its answer, as far as this process needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import parse_qsl, quote, unquote

from gwctl.json_text import encode

BODY_BYTES_MAX: Final = 1 << 16
BODY_S: Final = 10.0
QUERY_FIELDS_MAX: Final = 100
COMMON: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Fields of every answer: nobody keeps it, guesses what it is, or gets it into a page of another origin."""
JSON: Final = "application/json"
PLAIN: Final = "text/plain; charset=utf-8"

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Fields = tuple[tuple[str, str], ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes
    content_type: str = PLAIN
    fields: Fields = ()


class RefusedError(Exception):
    """The answer to a request is no; ``code`` is for programs, ``more`` for the JSON of the error."""

    def __init__(
        self, status: int, code: str, message: str, fields: Fields = (), more: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields
        self.more = more or {}


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


def json_answer(document: object, status: int = HTTPStatus.OK, fields: Fields = ()) -> Answer:
    return Answer(status, encode(document), JSON, fields)


def refusal(error: RefusedError, *, as_json: bool) -> Answer:
    if as_json:
        document = {"error": {"code": error.code, "message": str(error)} | error.more}
        return json_answer(document, error.status, error.fields)
    return Answer(error.status, f"{error}\n".encode(errors="backslashreplace"), PLAIN, error.fields)


class Request:
    """One request. ``path`` has its parts between the slashes, decoded one by one."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        self.path = tuple(unquote(part) for part in raw.decode("latin-1").removeprefix("/").split("/"))
        self._receive = receive
        self._gone = False

    @property
    def is_api(self) -> bool:
        return self.path[0] == "api"

    def field(self, name: str) -> str | None:
        """A header field; None if it is not there. One that came several times is joined by commas."""
        wanted = name.encode()
        found = [value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted]
        return ", ".join(found) if found else None

    def query(self, *known: str) -> dict[str, list[str]]:
        """The query's fields, of which there are those in ``known``.

        Raises:
            RefusedError: There is another one, or very many.
        """
        found: dict[str, list[str]] = {}
        try:
            pairs = parse_qsl(
                self.scope["query_string"].decode("latin-1"),
                keep_blank_values=True,
                max_num_fields=QUERY_FIELDS_MAX,
            )
        except ValueError:
            malformed(f"the query has more than {QUERY_FIELDS_MAX} fields")
        for name, value in pairs:
            if name not in known:
                there_is = f"there is {', '.join(known)}" if known else "there is none"
                malformed(f"no field {name!r} in the query: {there_is}")
            found.setdefault(name, []).append(value)
        return found

    async def body(self) -> bytes:
        """All of it.

        Raises:
            RefusedError: It is too long, or does not come.
            ClientGoneError: Its client has gone.
        """
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                more = True
                while more:
                    message = await self._next()
                    parts.append(message.get("body", b""))
                    more = message.get("more_body", False)
                    size += len(parts[-1])
                    if size > BODY_BYTES_MAX:
                        raise RefusedError(413, "too_large", f"a body may have {BODY_BYTES_MAX} bytes")
        except TimeoutError:
            raise RefusedError(408, "slow", f"the body did not come within {BODY_S:g} s") from None
        return b"".join(parts)

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        return message

    async def left(self) -> None:
        """Return when the client has gone."""
        try:
            while True:
                await self._next()
        except ClientGoneError:
            return

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work``, unless the client goes before it is done.

        Raises:
            ClientGoneError: It has.
        """
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(self.left())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGoneError
            return task.result()
        finally:
            for each in (task, gone):
                each.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)


@dataclass(slots=True)
class Response:
    """Where an answer is sent: whole, or in blocks after `begin`."""

    send: Send
    head_only: bool

    async def whole(self, answer: Answer) -> None:
        length = ("content-length", str(len(answer.body)))
        await self.begin(answer.status, answer.content_type, (length, *answer.fields))
        await self.block(b"" if self.head_only else answer.body, more=False)

    async def begin(self, status: int, content_type: str, fields: Fields) -> None:
        named = (("content-type", content_type), *fields)
        headers = [*((name.encode(), value.encode("latin-1", "replace")) for name, value in named), *COMMON]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def block(self, data: bytes, *, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})


def malformed(message: str) -> NoReturn:
    """Refuse what the client has sent.

    Raises:
        RefusedError: Always.
    """
    raise RefusedError(400, "malformed", message)
