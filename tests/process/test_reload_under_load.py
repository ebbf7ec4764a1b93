"""Twenty SIGHUPs under a keep-alive load: no request fails, in any class of failure.

The same load against a build that closes idle connections at once shows that the zero is
not the client's blindness.
"""

from __future__ import annotations

import signal

import pytest

from tests.load.runner import Load

RELOADS = 20
APPS = {"sync": "wsgi_bare:application", "threads": "wsgi_bare:application", "asgi": "asgi_bare:application"}
QUICK = {"settle_s": 0.05}


@pytest.mark.parametrize("worker", APPS)
def test_twenty_reloads_fail_no_request(gwctl_server, worker):
    """Every class of failure counts zero; each reload was adopted; the last generation answers."""
    with gwctl_server(APPS[worker], worker=worker, processes=2, reload=QUICK) as server:
        with Load(server.url, connections=32, think_s=0.005, expect_body=b"hello") as load:
            for count in range(1, RELOADS + 1):
                server.signal(signal.SIGHUP)
                server.wait_for_log(rf"adopted generation {count + 1}\b")
                load.wait_for_requests(50)
        assert load.result.failures == {}, load.result
        assert load.result.requests > RELOADS * 50


def test_closing_idle_connections_at_once_fails_requests(gwctl_server):
    """With linger_s = 0 a drain closes idle kept-alive connections at once: the same client counts resets."""
    timeouts = {"linger_s": 0.0}
    with gwctl_server(APPS["asgi"], worker="asgi", processes=2, reload=QUICK, timeouts=timeouts) as server:
        with Load(server.url, connections=64, think_s=0.0005, expect_body=b"hello") as load:
            generation = 1
            while not load.failed and generation < 40:
                generation += 1
                server.signal(signal.SIGHUP)
                server.wait_for_log(rf"adopted generation {generation}\b")
        assert load.result.failures.keys() <= {"reset_reused", "reset_fresh"}, load.result
        assert load.result.failed > 0, load.result
