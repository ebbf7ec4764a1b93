"""Header fields in whatever an application gives them in: each is sent, once, and as it was then."""

from __future__ import annotations

import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.engine import Client, Engine

FIELDS = [(b"content-type", b"text/html"), (b"set-cookie", b"sid=1"), (b"set-cookie", b"b=2")]
PLAIN = [(b"x-a", b"1"), (b"x-b", b"2")]


class OnlyIterable:
    """Neither a sequence nor an iterator."""

    def __init__(self, fields: Any) -> None:
        self._fields = fields

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._fields))


class OnlyItems:
    """Iterable as sequences were before iterators."""

    def __init__(self, fields: Any) -> None:
        self._fields = list(fields)

    def __getitem__(self, index: int) -> Any:
        return self._fields[index]


WAYS: dict[str, Callable[[Any], Any]] = {
    "generator": lambda fields: (field for field in fields),
    "iterator": iter,
    "map": lambda fields: map(tuple, fields),
    "filter": lambda fields: filter(None, fields),
    "zip": lambda fields: zip(*zip(*fields, strict=True), strict=True),
    "chain of lists": lambda fields: (list(field) for field in fields),
    "tuple of lists": lambda fields: tuple([list(field) for field in fields]),
    "list of lists": lambda fields: [list(field) for field in fields],
    "pairs that are iterators": lambda fields: (iter(field) for field in fields),
    "deque": deque,
    "iterable": OnlyIterable,
    "sequence": OnlyItems,
}
MAPPINGS: dict[str, Callable[[Any], Any]] = {
    "items": lambda fields: dict(fields).items(),
    "iterator of items": lambda fields: iter(OrderedDict(fields).items()),
}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def head_lines(client: Client) -> list[bytes]:
    """The fields of a response's head as they came."""
    return client.read_until(b"\r\n\r\n").split(b"\r\n")[1:-2]


@pytest.mark.parametrize("blocks", [[body(b"hello")], [body(b"he", more=True), body(b"llo")]])
@pytest.mark.parametrize("way", [*WAYS, *MAPPINGS])
def test_each_field_is_sent_once(way: str, blocks: list[Any]) -> None:
    """Also when some are known from a response before, and when those before are not, and the other way round."""
    make = (WAYS | MAPPINGS)[way]
    fields = PLAIN if way in MAPPINGS else FIELDS

    async def application(scope, receive, send):
        given = fields[::-1] if scope["path"] == "/reversed" else fields
        await send({"type": "http.response.start", "status": 200, "headers": make(given)})
        for block in blocks:
            await send(block)

    with Engine(application, "asgi") as engine, engine.connect() as client:
        for path, expected in [(b"/", fields)] * 2 + [(b"/reversed", fields[::-1])] * 2:
            client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            lines = head_lines(client)
            assert lines[: len(expected)] == [b"%b: %b" % field for field in expected]
            if len(blocks) == 1:
                assert client.read_exactly(5) == b"hello"
            else:
                assert b"".join(client.chunks()) == b"hello"
        assert engine.log == ""


@pytest.mark.parametrize("more", [True, False])
def test_what_happens_to_a_list_afterwards_does_not_change_the_response(more: bool) -> None:
    async def application(scope, receive, send):
        headers = list(FIELDS)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        headers.clear()
        await send(body(b"hello", more))
        if more:
            await send(body(b""))

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head_lines(client)[:3] == [b"%b: %b" % field for field in FIELDS]


@pytest.mark.parametrize("way", [*WAYS, *MAPPINGS])
def test_trailers_and_early_hints(way: str) -> None:
    make = (WAYS | MAPPINGS)[way]
    links = [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]

    async def application(scope, receive, send):
        given = iter(links) if way != "deque" else deque(links)
        await send({"type": "http.response.early_hint", "links": given})
        start = {"type": "http.response.start", "status": 200, "headers": make(PLAIN), "trailers": True}
        await send(start)
        await send(body(b"hello"))
        await send({"type": "http.response.trailers", "headers": make(PLAIN)})

    with Engine(application, "asgi") as engine, engine.connect() as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
            assert head_lines(client) == [b"Link: " + link for link in links]
            assert head_lines(client)[:2] == [b"x-a: 1", b"x-b: 2"]
            assert client.chunk() == b"hello"
            assert client.read_until(b"\r\n\r\n") == b"0\r\nx-a: 1\r\nx-b: 2\r\n\r\n"
        assert engine.log == ""


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("denied", [True, False])
@pytest.mark.parametrize("way", [*WAYS, *MAPPINGS])
def test_the_answer_to_a_websockets_handshake(way: str, denied: bool) -> None:
    make = (WAYS | MAPPINGS)[way]
    fields = PLAIN if way in MAPPINGS else FIELDS

    async def application(scope, receive, send):
        await receive()
        if denied:
            headers = list(fields)
            given = headers if way == "list of lists" else make(fields)
            await send({"type": "websocket.http.response.start", "status": 401, "headers": given})
            headers.clear()
            await send({"type": "websocket.http.response.body", "body": b"go"})
        else:
            await send({"type": "websocket.accept", "headers": make(fields)})
            await send({"type": "websocket.close"})

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(HANDSHAKE)
        lines = head_lines(client)
        assert [line for line in lines if line.partition(b":")[0] in dict(fields)] == [
            b"%b: %b" % field for field in fields
        ]
        assert engine.log == ""


def test_no_headers_at_all() -> None:
    async def application(scope, receive, send):
        more: dict[str, Any] = {} if scope["path"] == "/" else {"headers": None}
        await send({"type": "http.response.start", "status": 200, **more})
        await send(body(b"hello"))

    with Engine(application, "asgi") as engine, engine.connect() as client:
        assert client.get("/").body == client.get("/none").body == b"hello"
        assert engine.log == ""


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (5, "headers must be an iterable of pairs of name and value, not int"),
        ({b"x": b"y"}, "must be a pair"),
        (iter([(b"x", b"y", b"z")]), "must be a pair"),
        (((name, b"v") for name in [b"x", "y"]), "must be bytes"),
        ([(bytearray(b"x"), b"y")], "must be bytes"),
        ([(b"x", 5)], "must be bytes"),
        (iter([(b"x", b"a\r\nb")]), "control characters"),
    ],
)
def test_what_is_no_header_is_a_500_that_says_so(headers: Any, words: str) -> None:
    """Nothing is left out in silence: a cookie that is missing is found out much later."""

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(body(b"hello"))

    with Engine(application, "asgi") as engine, engine.connect() as client:
        assert client.get().status == 500
        engine.wait_for_log(words)


def test_an_iterator_that_fails_fails_the_start_and_leaves_room_for_another() -> None:
    def failing() -> Iterator[tuple[bytes, bytes]]:
        yield b"x", b"y"
        raise KeyError("no value")

    async def application(scope, receive, send):
        try:
            await send({"type": "http.response.start", "status": 200, "headers": failing()})
        except KeyError:
            await send({"type": "http.response.start", "status": 404, "headers": iter(PLAIN)})
        await send(body(b"hello"))

    with Engine(application, "asgi") as engine, engine.connect() as client:
        response = client.get()
        assert (response.status, response.headers["x-a"], response.body) == (404, "1", b"hello")


# ---- the body against Content-Length


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("length", "messages", "words"),
    [
        (2, [body(b"hello")], "the body has 5 bytes, but Content-Length says 2"),
        (0, [body(b"hello")], "the body has 5 bytes, but Content-Length says 0"),
        (5, [body(b"hell")], "the body has 4 bytes, but Content-Length says 5"),
        (5, [body(b"")], "the body has 0 bytes, but Content-Length says 5"),
        (9, [body(b"x" * 200_000)], "the body has 200000 bytes, but Content-Length says 9"),
        (2, [body(b"hello", more=True), body(b"")], "the body is longer than Content-Length says"),
    ],
)
def test_a_wrong_length_is_a_500_as_long_as_nothing_was_sent(
    length: int, messages: list[Any], words: str, method: str
) -> None:
    """The first response, and one whose head is known from a response that was right."""

    async def application(scope, receive, send):
        right = scope["path"] == "/right"
        headers = [(b"content-length", b"%d" % length), (b"x-a", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for message in [body(b"r" * length)] if right else messages:
            await send(message)

    request = f"{method} /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with Engine(application, "asgi", access_log=True) as engine:
        for right in (False, True):
            with engine.connect() as client:
                if right:
                    client.send((request % "right").encode())
                    assert client.response().body == b"r" * length
                client.send((request % "wrong").encode())
                response = client.response()
                assert (response.status, response.headers["connection"]) == (500, "close")
                assert client.at_end()
                engine.wait_for_log(words)


def test_a_wrong_length_is_a_500_also_if_the_application_does_not_mind() -> None:
    async def application(scope, receive, send):
        await send(
            {"type": "http.response.start", "status": 200, "headers": iter([(b"content-length", b"2")])}
        )
        with contextlib.suppress(RuntimeError):
            await send(body(b"hello"))

    with Engine(application, "asgi") as engine, engine.connect() as client:
        assert client.get().status == 500
        engine.wait_for_log("returned without a response")


def test_a_length_that_is_of_no_body_is_none_of_that() -> None:
    """HEAD and 304 say the length of what they do not send."""

    async def application(scope, receive, send):
        status = 304 if scope["path"] == "/304" else 200
        headers = [(b"content-length", b"12345")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(body(b""))

    with Engine(application, "asgi") as engine, engine.connect() as client:
        assert client.get("/304").status == 304
        client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response(head_only=True).headers["content-length"] == "12345"
        assert engine.log == ""
