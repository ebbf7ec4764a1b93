"""Clients that others wrote: httpx, and h2, which it is made of, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from tests.support import engine_apps
from tests.support.engine import Engine

BODY = bytes(range(256)) * 4000


@pytest.fixture
def engine(worker_class: str) -> Iterator[Engine]:
    application = engine_apps.asgi if worker_class == "asgi" else engine_apps.wsgi
    with Engine(application, worker_class, http=("h2", "h1")) as one:
        yield one


def test_httpx(engine: Engine) -> None:
    host, port = engine._listener.getsockname()
    with httpx.Client(http1=False, http2=True, base_url=f"http://{host}:{port}") as client:
        answer = client.get("/")
        assert (answer.http_version, answer.status_code, answer.text) == ("HTTP/2", 200, "hello")
        assert client.post("/echo", content=BODY).content == BODY
        assert client.get("/stream").text == "onetwothree"
        assert client.head("/length?9").headers["content-length"] == "9"
        assert client.get("/status/204").status_code == 204
        assert client.get("/raise").status_code == 500


def test_h2(engine: Engine) -> None:
    """It judges each frame that it is sent, and raises at what it should not have been."""
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    peer.initiate_connection()
    with engine.connect() as client:
        fields = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/echo")]
        for stream_id in (1, 3, 5):
            peer.send_headers(stream_id, fields)
            peer.send_data(stream_id, BODY[:1000], end_stream=stream_id != 5, pad_length=7)
        peer.send_headers(5, [("x-sum", "1")], end_stream=True)
        client.send(peer.data_to_send())
        bodies: dict[int, bytes] = {1: b"", 3: b"", 5: b""}
        ended: set[int] = set()

        def take(event: h2.events.Event) -> None:
            if isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id] += event.data
                peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                ended.add(event.stream_id)

        _converse(client.receive, client.send, peer, take, lambda: len(ended) == 3)
    assert bodies == dict.fromkeys((1, 3, 5), BODY[:1000])


def _converse(
    receive: Callable[[], bytes],
    send: Callable[[bytes], None],
    peer: h2.connection.H2Connection,
    take: Callable[[h2.events.Event], None],
    done: Callable[[], bool],
) -> None:
    while not done():
        for event in peer.receive_data(receive()):
            take(event)
        send(peer.data_to_send())
