"""Stops: with a delay, what is said meanwhile, and what each class of worker counts as cut."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.load.plan import Part, Plan
from tests.load.runner import Load, MixedLoad
from tests.support.apps import BARE
from tests.support.server import APPS
from tests.support.status import status_of


def test_a_delayed_stop_says_so_and_still_accepts(gwctl_server):
    """systemd and status know at once; new connections are served until TERM comes again, and none is lost."""
    with gwctl_server(BARE["sync"], processes=2, master={"drain_delay_s": 60}) as server:
        with Load(server.url, connections=4, expect_body=b"hello") as load:
            server.signal(signal.SIGTERM)
            server.wait_for_log(r"stopping \(SIGTERM\): accepting for 60 s more, then 2 workers finish")
            load.wait_for_requests(50)
            assert httpx.get(server.url).text == "hello"
            document = status_of(server)
            assert document["phase"] == "stopping"
            assert 30 < document["accepts_s"] < 60
            shown = server.gwctl("status", "-c", str(server.config)).stdout
            assert re.search(r"stopping: accepting for [345]\d(\.\d)? s more", shown), shown
        assert load.result.failures == {}, load.result
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit() == 0
        assert "; 0 requests cut" in server.log


LINGER_S = 1.0


@pytest.mark.parametrize("worker", BARE)
def test_a_stop_under_load_only_refuses(gwctl_server, worker):
    """Keep-alive clients, hasty ones and those that think for up to half of linger_s, and new connections all
    the time: no response is truncated, no connection reset; what fails is refused, once nobody listens.
    """
    options = {"timeouts": {"linger_s": LINGER_S}, "bind": "127.0.0.1:0"}
    with gwctl_server(BARE[worker], worker=worker, processes=2, **options) as server:
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


def test_a_stop_in_the_middle_of_a_reload_gives_that_up(gwctl_server, tmp_path):
    """At once, although the canary would boot for long; whoever waits for the reload is told; clients notice nothing."""
    module = tmp_path / "shop.py"
    good = (
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'first']\n"
    )
    module.write_text(good)
    options = {"bind": "127.0.0.1:0", "worker": "threads", "processes": 2}
    with gwctl_server("shop:application", chdir=tmp_path, **options) as server:
        with Load(server.url, connections=8, expect_body=b"first") as load:
            module.write_text("import time\ntime.sleep(60)\n")
            with ThreadPoolExecutor(1) as executor:
                reload = executor.submit(server.gwctl, "reload", "--name", "test")
                server.wait_for_log("generation 1 -> 2")
                load.wait_for_requests(50)
                server.signal(signal.SIGTERM)
                assert server.wait_for_exit() == 0
                asked = reload.result(30)
        assert asked.returncode == 1
        assert "generation 2 was not adopted: the fleet stops" in asked.stdout + asked.stderr
        assert load.result.failures.keys() <= {"refused"}, load.result
        assert "; 0 requests cut" in server.log


def test_a_stop_says_until_when_all_are_gone_and_keeps_it(gwctl_server):
    """Whoever ignores everything, in any class, and a template too."""
    settings = {"chdir": str(APPS), "processes": 1, "timeouts": {"drain_timeout_s": 0.3}}
    pools = {
        "threads": {"app": "wsgi_bare:application", "worker": "threads", "bind": "127.0.0.1:0", **settings},
        "asgi": {"app": "asgi_bare:application", "worker": "asgi", "bind": "127.0.0.1:0", **settings},
    }
    with gwctl_server(
        "wsgi_bare:application",
        worker="sync",
        preload=True,
        timeouts={"drain_timeout_s": 0.3},
        pools=pools,
        allow_kill=True,
        allow_errors=["did not finish within"],
    ) as server:
        for pid in server.workers:
            os.kill(pid, signal.SIGSTOP)
        server.signal(signal.SIGTERM)
        said = server.wait_for_log(r"3 workers finish, at most 0\.30 s, and are gone within ([0-9.]+) s")
        server.wait_for_exit()
        ended = server.wait_for_log(r"stopped in ([0-9.]+) s; .*3 workers and 1 template had to be killed")
        # For the kernel to reap them, and what is forgiven when the master itself did not run for a while.
        assert float(ended[1]) <= float(said[1]) + 4
