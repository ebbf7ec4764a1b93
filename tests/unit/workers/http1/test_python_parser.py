"""The short way of the parser in Python never says anything else than gunicorn's parser would."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.asgi.parser import PythonProtocol
from hypothesis import given
from hypothesis import strategies as st

from gwctl.workers.http1.python_parser import PythonParser
from tests.fuzz.messages import MESSAGES, WORDS

FIELDS_MAX = 20


def slow() -> Any:
    return PythonProtocol(on_headers_complete=lambda: True, limit_request_fields=FIELDS_MAX)


def outcome(parser: Any, message: bytes) -> Any:
    try:
        parser.feed(message)
    except Exception as error:
        return type(error)
    if not parser.is_complete:
        return None
    headers = [(bytes(name), bytes(value)) for name, value in parser.headers]
    rest = bytes(parser.remaining())
    return parser.method, parser.path, parser.http_version, headers, parser.should_keep_alive, rest


def check(message: bytes) -> bool:
    """Compare; return whether the short way was taken."""
    parser = PythonParser(slow, FIELDS_MAX)
    assert outcome(parser, message) == outcome(slow(), message)
    return parser.is_complete and parser._slow is None


def test_sound_heads_take_the_short_way() -> None:
    assert check(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert check(b"GET / HTTP/1.0\r\n\r\n")
    assert check(b"GET /a?b=c HTTP/1.0\r\nConnection: Keep-Alive\r\nX-Empty:\r\n\r\nGET / HTTP/1.1")
    assert check(b"POST /p HTTP/1.1\r\nHost:\tx \r\nCookie: a=b; c=\xe9\r\nContent-Length: 3\r\n\r\nabc")


@pytest.mark.parametrize(
    "message",
    [
        b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n A: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close, upgrade\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(FIELDS_MAX + 1)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    ],
)
def test_others_do_not(message: bytes) -> None:
    assert not check(message)


def test_messages_of_the_conformance_table() -> None:
    assert sum(check(message) for message in MESSAGES) > len(MESSAGES) // 10


@given(st.data())
def test_any_message(data: st.DataObject) -> None:
    """A message of the table with parts of it replaced by words that mean something to a parser."""
    message = data.draw(st.sampled_from(MESSAGES))[:500]
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(message)))
        to = data.draw(st.integers(at, min(at + 8, len(message))))
        message = message[:at] + data.draw(st.sampled_from(WORDS)) + message[to:]
    check(message)


def test_a_parser_is_used_again_after_either_way() -> None:
    parser = PythonParser(slow, FIELDS_MAX)
    for message in (
        b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"TRACE /2 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /3 HTTP/1.0\r\n\r\nrest",
    ):
        parser.feed(message[:10] if b"TRACE" in message else message)
        if not parser.is_complete:
            parser.feed(message[10:])
        assert parser.is_complete
        assert parser.path in message
        assert parser.remaining() == message.partition(b"\r\n\r\n")[2]
        parser.reset()
        assert not parser.is_complete
