"""WebSocket frames, right and wrong, however the input is cut, over TCP, TLS and Unix sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gwctl.config.model.settings import WebSocketSettings
from tests.support.engine import Client, Engine
from tests.support.tls import Files
from tests.support.tls import connect as connect_tls
from tests.support.wait import until
from tests.support.websocket import CLOSE, Echo, gone, handshake
from tests.support.websocket_cases import CASES, MESSAGE_BYTES_MAX, Case, frames_until_close

SETTINGS = WebSocketSettings(message_bytes_max=MESSAGE_BYTES_MAX)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
BYTES_MAX = 1500
"""Longer input is not sent byte by byte."""


class Served:
    """An engine that echoes, and a client's way to it."""

    def __init__(self, engine: Engine, echo: Echo, connect: Callable[[], Client], wired: bool) -> None:
        self.engine = engine
        self.echo = echo
        self.connect = connect
        self.wired = wired
        """Each send of the client arrives as such, whatever the kernel does."""


@pytest.fixture(scope="module", params=["tcp", "tls", "unix"])
def served(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    echo = Echo()
    how = request.param
    files = Files(Path(tmp_path_factory.mktemp("tls")), "shop.example")
    options: dict[str, Any] = {"tls": {"tls": files.server()}, "unix": {"unix": True}}.get(how, {})
    with Engine(echo, "asgi", websocket=SETTINGS, **options) as engine:
        yield Served(
            engine,
            echo,
            (lambda: connect_tls(engine)) if how == "tls" else engine.connect,
            how == "tls",
        )


def send_whole(served: Served, client: Client, opening: bytes, data: bytes) -> None:
    client.send(opening)
    client.buffer += client.read_until(b"\r\n\r\n")
    client.send(data)


def send_joined(_served: Served, client: Client, opening: bytes, data: bytes) -> None:
    """The frames come in the packet of the handshake."""
    client.send(opening + data)


def send_bytes(served: Served, client: Client, opening: bytes, data: bytes) -> None:
    """Byte by byte, each as one read of the socket."""
    client.send(opening)
    client.buffer += client.read_until(b"\r\n\r\n")
    if served.wired:
        for at in range(len(data)):
            client.send(data[at : at + 1])
        return
    (protocol,) = served.engine.call(served.engine.server.websockets._all)

    def feed() -> None:
        for at in range(len(data)):
            protocol.data_received(data[at : at + 1])

    served.engine.call(feed)


@contextmanager
def asking(served: Served, case: Case, send: Callable[..., None]) -> Iterator[Client]:
    served.echo.messages.clear()
    opening = handshake(*([DEFLATE] if case.deflate else []))
    with served.connect() as client:
        send(served, client, opening, case.data)
        status, _ = client.head()
        assert status == 101
        yield client
    gone(served.engine)


COMBINATIONS = [
    pytest.param(name, send, id=f"{name}-{send.__name__}")
    for name, case in CASES.items()
    for send in (send_whole, send_joined, send_bytes)
    if send is not send_bytes or len(case.data) <= BYTES_MAX
]


@pytest.mark.parametrize(("name", "send"), COMBINATIONS)
def test_case(served: Served, name: str, send: Callable[..., None]) -> None:
    case = CASES[name]
    with asking(served, case, send) as client:
        frames, code = frames_until_close(client, case)
        assert code == case.code
        known = len(case.frames)
        assert tuple(frames[:known]) == case.frames
        assert len(frames) - known <= case.unanswered  # byte by byte the application may be in time to answer
    told = served.echo.messages
    messages = case.unanswered + sum(opcode < CLOSE for opcode, _ in case.frames)
    if case.unanswered:
        until(lambda: len(told) >= messages, "the application to be told")
        told = told[:messages]
    else:
        until(lambda: told and told[-1]["type"] == "websocket.disconnect", "the application to be told")
        assert told.pop()["code"] == case.code
    assert [message["type"] for message in told] == ["websocket.receive"] * messages
    assert not [line for line in served.engine.log.splitlines() if " error " in line or " warn " in line]
