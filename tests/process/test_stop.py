"""Stops: with a delay, what is said meanwhile, and what each class of worker counts as cut."""

from __future__ import annotations

import signal

import httpx
import pytest

from tests.load.plan import Plan
from tests.load.runner import Load, MixedLoad, Part
from tests.support.status import status_of

APPS = {"sync": "wsgi_bare:application", "threads": "wsgi_bare:application", "asgi": "asgi_bare:application"}


def test_a_delayed_stop_says_so_and_still_accepts(gwctl_server):
    """systemd and status know at once; new connections are served until TERM comes again, and none is lost."""
    with gwctl_server(APPS["sync"], processes=2, master={"drain_delay_s": 60}) as server:
        with Load(server.url, connections=4, expect_body=b"hello") as load:
            server.signal(signal.SIGTERM)
            server.wait_for_log(r"stopping \(SIGTERM\): accepting for 60 s more, then 2 workers finish")
            load.wait_for_requests(50)
            assert httpx.get(server.url).text == "hello"
            document = status_of(server)
            assert document["phase"] == "stopping"
            assert 30 < document["accepts_s"] < 60
            shown = server.gwctl("status", "-c", str(server.config)).stdout
            assert "stopping: accepting for 5" in shown
        assert load.result.failures == {}, load.result
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit() == 0
        assert "; 0 requests cut" in server.log


LINGER_S = 1.0


@pytest.mark.parametrize("worker", APPS)
def test_a_stop_under_load_only_refuses(gwctl_server, worker):
    """Keep-alive clients, hasty ones and those that think for up to half of linger_s, and new connections all
    the time: no response is truncated, no connection reset; what fails is refused, once nobody listens.
    """
    options = {"timeouts": {"linger_s": LINGER_S}, "bind": "127.0.0.1:0"}
    with gwctl_server(APPS[worker], worker=worker, processes=2, **options) as server:
        hasty = Plan(server.url, 0.005, expect_body=b"hello")
        thinks = Plan(server.url, LINGER_S / 3, expect_body=b"hello")
        short = Plan(server.url, 0.005, expect_body=b"hello", habit="short")
        with MixedLoad([Part(hasty, 8), Part(thinks, 16), Part(short, 8)]) as load:
            load.wait_for_requests(200)
            server.signal(signal.SIGTERM)
            assert server.wait_for_exit() == 0
        for part in load.results:
            assert part.failures.keys() <= {"refused"}, part
        assert "; 0 requests cut" in server.log
