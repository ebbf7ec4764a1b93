"""An address that a reload removes is free at once, also while a worker of the old generation is in a long call."""

from __future__ import annotations

import errno
import signal
import socket
from pathlib import Path

import httpx

from tests.support.raw import request_on
from tests.support.server import GwctlServer
from tests.support.status import active_requests
from tests.support.wait import until

APPLICATION = """
import os, time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/long":
        while not os.path.exists("over"):
            time.sleep(0.01)
    start_response("200 OK", [])
    return [b"done"]
"""


def test_a_worker_in_a_long_call_holds_no_address_that_was_removed(tmp_path: Path) -> None:
    """Clients are refused, not left unanswered; the address can be bound again; the call ends as it should."""
    (tmp_path / "lasting.py").write_text(APPLICATION)
    with (
        socket.socket() as reserved,
        GwctlServer(
            "lasting:application", worker="sync", chdir=tmp_path, processes=2, reload={"settle_s": 0.1}
        ) as server,
    ):
        # Bound, it is given to nobody else who asks for any port; as it does not listen, the server can have it, too.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        config = server.config
        alone = config.read_text()
        (bind,) = [line for line in alone.splitlines() if line.startswith("bind")]
        both = alone.replace(bind, bind.rstrip("]") + f', "127.0.0.1:{port}"]')

        def reload(text: str, generation: int) -> None:
            config.write_text(text)
            server.signal(signal.SIGHUP)
            server.wait_for_log(f"info .* adopted generation {generation} ")

        reload(both, 2)
        with request_on(server.url, "/long", "Connection: close") as lasting:
            until(lambda: active_requests(server), "the call to begin")
            reload(alone, 3)
            with socket.socket() as late:
                late.settimeout(20)
                assert late.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
            reload(both, 4)
            assert httpx.get(f"http://127.0.0.1:{port}/").text == "done"
            (tmp_path / "over").touch()
            assert lasting.recv(100).startswith(b"HTTP/1.1 200 ")
