"""SIGHUPs, several in a row (`make soak` makes many more), under a keep-alive load: no request fails, in any class of failure.

The same load against a build that closes idle connections at once shows that the zero is
not the client's blindness.
"""

from __future__ import annotations

import signal
import sys

import pytest

from tests.load.plan import Part, Plan
from tests.load.runner import Load, MixedLoad
from tests.soak import builds
from tests.support.apps import BARE
from tests.support.compiled import pure_only

RELOADS = 5
LINGER_S = 1.0
OTHER_INTERFACE = [
    ("sync", "asgi_bare:application", 3),
    ("threads", "asgi_bare:application", 3),
    ("asgi", "wsgi_bare:application", 3),
]
QUICK = {"settle_s": 0.05}


@pytest.mark.parametrize(
    ("worker", "app", "reloads"), [*((*case, RELOADS) for case in BARE.items()), *OTHER_INTERFACE]
)
def test_reloads_fail_no_request(gwctl_server, worker, app, reloads):
    """Every class of failure counts zero, also for clients that think for up to half of linger_s, and over HTTP/2.

    Each reload was adopted; the last generation answers.
    """
    timeouts = {"linger_s": LINGER_S}
    settings = {"worker": worker, "processes": 2, "reload": QUICK, "timeouts": timeouts, "http": ["h2", "h1"]}
    with gwctl_server(app, **settings) as server:
        hasty = Plan(server.url, 0.02, expect_body=b"hello")
        thinks = Plan(server.url, LINGER_S / 3, expect_body=b"hello")
        streams = Plan(server.url, 0.05, expect_body=b"hello", habit="http2")
        with MixedLoad([Part(hasty, 24), Part(thinks, 16), Part(streams, 2)]) as load:
            for count in range(1, reloads + 1):
                server.signal(signal.SIGHUP)
                server.wait_for_log(rf"adopted generation {count + 1}\b")
                load.wait_for_requests(50)
        for result in load.results:
            assert result.failures == {}, result
        assert sum(result.requests for result in load.results) > reloads * 50


@pure_only
def test_a_build_that_closes_idle_connections_at_once_fails_requests(gwctl_server, tmp_path):
    """The same client counts resets against it: the zero above is not its blindness."""
    script = tmp_path / "broken_build.py"
    script.write_text(builds.script("closes-idle"))
    command = (sys.executable, str(script))
    with gwctl_server(BARE["asgi"], worker="asgi", processes=2, reload=QUICK, command=command) as server:
        with Load(server.url, connections=32, think_s=0.0005, expect_body=b"hello") as load:
            generation = 1
            while not load.failed and generation < 10 * RELOADS:  # one reload is enough, nearly always
                generation += 1
                server.signal(signal.SIGHUP)
                server.wait_for_log(rf"adopted generation {generation}\b")
        assert load.result.failed > 0, load.result
        assert load.result.failures.keys() <= {"reset_reused", "reset_fresh"}, load.result
