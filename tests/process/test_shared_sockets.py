"""What an application does to the listener that it shares: siblings and master go on."""

from __future__ import annotations

import re
from contextlib import suppress

import httpx
import pytest

from tests.process.test_hostile_channel import serving
from tests.process.test_shared_memory import app_of
from tests.support.wait import until


@pytest.mark.parametrize(
    ("worker", "bind"), [("sync", None), ("asgi", "127.0.0.1:0")], ids=["sync-inherited", "asgi-bound"]
)
def test_a_tcp_listener_that_was_shut_down_listens_again(gwctl_server, worker, bind):
    """On the same port, for the same workers; said once, and by workers not without end."""
    allow = ["was shut down; clients that waited there were reset. It listens again", "cannot accept on"]
    with gwctl_server(app_of(worker), worker=worker, processes=2, bind=bind, allow_errors=allow) as server:
        pids = server.workers
        with suppress(httpx.TransportError):
            httpx.get(f"{server.url}/attack/shut_down_listeners")
        until(lambda: serving(server), "the pool to serve again")
        assert server.workers == pids
        assert len(re.findall("It listens again", server.log)) == 1
        assert len(re.findall("cannot accept on", server.log)) <= 2


def test_a_unix_listener_that_was_shut_down_is_bound_anew_by_a_reload(gwctl_server, tmp_path):
    path = tmp_path / "web.sock"
    allow = ["was shut down and cannot be mended: nobody can connect until gwctl reload binds it anew"]
    with gwctl_server(
        app_of("sync"), worker="sync", bind=f"unix:{path}", allow_errors=allow, reload={"settle_s": 0.0}
    ) as server:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://shop/attack/shut_down_listeners").text == "1 shut down"
        server.wait_for_log(r"error master +the listener unix:\S+ of pool web was shut down")
        assert server.gwctl("reload").returncode == 0
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://shop/").text == "hello"
