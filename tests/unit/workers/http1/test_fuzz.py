"""Rubbish and near-rubbish: no exception escapes, nothing hangs, both parsers agree, the server serves on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.engine import PARSERS, WORKER_CLASSES, Engine
from tests.support.engine_apps import application

LIMITS = {"request_line_bytes_max": 300, "header_bytes_max": 300, "headers_max": 20, "body_bytes_max": 5000}

PIECES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n", b"POST /echo HTTP/1.1\r\n", b"HEAD /stream HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n",
        b"Host: x\r\n", b"Host:\r\n", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"content-length: 03\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked \r\n", b"Expect: 100-continue\r\n",
        b"Connection: close\r\n", b"Connection: keep-alive, x\r\n", b"A: b\r\n", b"A:\tb \r\n", b"A: \xff\r\n",
        b"\r\n", b"\n", b"\r", b" ", b"\0", b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nT: v\r\n\r\n", b":",
        b"Upgrade: websocket\r\n", b"A_B: c\r\n", b"x" * 400, b"HTTP/1.1", b"GET ", b"http://h/",
    ]
)  # fmt: skip
MESSAGES = st.lists(PIECES | st.binary(max_size=8), min_size=1, max_size=12).map(b"".join)


@pytest.fixture(scope="module", params=WORKER_CLASSES)
def engines(request: pytest.FixtureRequest) -> Iterator[list[Engine]]:
    kind = request.param
    if len(PARSERS) < 2:
        pytest.skip("the C parser is not installed: nothing to compare with")
    with (
        Engine(application(kind), kind, parser=PARSERS[0], limits=LIMITS) as one,
        Engine(application(kind), kind, parser=PARSERS[1], limits=LIMITS) as two,
    ):
        yield [one, two]


def served(engine: Engine, message: bytes) -> list[bytes]:
    """Send ``message`` and the end; return the statuses."""
    with engine.connect() as client:
        try:
            client.send(message)
            client.finish_sending()
            answer = client.rest()
        except (ConnectionResetError, BrokenPipeError):
            return [b"reset"]
    return [line[9:12] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(message=MESSAGES)
def test_what_one_parser_accepts_the_other_accepts(engines: list[Engine], message: bytes) -> None:
    one, two = (served(engine, message) for engine in engines)
    assert one == two
    for engine in engines:
        with engine.connect() as client:
            assert client.get("/").body == b"hello"
        assert not engine.loop_errors
