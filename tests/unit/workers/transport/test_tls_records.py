"""The order of what is encrypted on one TLS connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import engine_apps
from tests.support.engine import Engine
from tests.support.tls import Files, connect


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_what_tls_itself_says_does_not_overtake_a_response(worker_class: str, tmp_path: Path) -> None:
    """Such as the answer to a key update, while an output has a record that the socket did not take."""

    def say(engine: Engine) -> None:
        (connection,) = engine.server._connections
        layer, output = connection.tls, connection.response.output
        assert layer is not None
        if worker_class == "sync":
            output._unsent = layer.encrypt(b"first ")
        else:
            output.send(b"third")
        layer.ssl.write(b"second ")  # a record that waits where those of TLS itself do
        layer._flush()
        if worker_class == "sync":
            output.send(b"third")  # the call goes on

    shop = Files(tmp_path, "shop.example")
    application = engine_apps.application(worker_class)
    with Engine(application, worker_class, tls=shop.server()) as engine, connect(engine) as client:
        assert client.get("/").body == b"hello"
        engine.call(lambda: say(engine))
        expected = b"first second third" if worker_class == "sync" else b"second third"
        assert client.read_exactly(len(expected)) == expected
