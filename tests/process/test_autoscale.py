"""A pool that sets its size itself, with a real master: load makes it grow, quiet makes it shrink, nobody notices."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.load.plan import Part, Plan
from tests.load.runner import Load, MixedLoad
from tests.support.server import GwctlServer
from tests.support.status import status_of
from tests.support.wait import until

WAITS = """
import asyncio, time

def wsgi(environ, start_response):
    time.sleep(0.05)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]

async def asgi(scope, receive, send):
    if scope["type"] == "http":
        time.sleep(0.02)
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})
"""
"""Both hold what serves them and use no processor. The second is wrong so, and often met."""
QUIET_S = 3.0


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "shop.py").write_text(WAITS)
    return {"chdir": tmp_path, "processes": {"min": 1, "max": 4, "shrink_after_s": QUIET_S}}


def web(server: GwctlServer):
    return status_of(server)["pools"][0]


def is_of(size):
    def judge(server: GwctlServer) -> bool:
        pool = web(server)
        return pool["size"] == size == pool["ready"] == len(pool["workers"])

    return judge


@pytest.mark.parametrize(
    ("worker", "app", "more"),
    [("sync", "wsgi", {}), ("threads", "wsgi", {"threads": 2}), ("asgi", "asgi", {})],
)
def test_load_makes_it_grow_and_quiet_makes_it_shrink(gwctl_server, shop, worker, app, more):
    """Some clients keep their connections. An asgi worker keeps those: only new ones come to new workers."""
    with gwctl_server(f"shop:{app}", worker=worker, **shop, **more) as server:
        assert web(server)["scaling"]["max"] == 4
        hasty = Plan(server.url, 0.001, expect_body=b"hello", habit="short")
        stays = Plan(server.url, 0.001, expect_body=b"hello")
        with MixedLoad([Part(hasty, 24), Part(stays, 4)]) as load:
            until(lambda: is_of(4)(server), "four workers")
            load.wait_for_requests(100)
        assert [each.failures for each in load.results] == [{}, {}], load.results
        with Load(server.url, connections=1, think_s=1.0, expect_body=b"hello") as quiet:
            until(lambda: is_of(1)(server), "one worker")
        assert quiet.result.failures == {}, quiet.result
        assert "workers (autoscale): " in server.log
        assert "1 worker (autoscale): fewer were enough for long" in server.log


def test_by_hand_and_back(gwctl_server, shop):
    with gwctl_server("shop:wsgi", worker="sync", **shop) as server:
        assert server.gwctl("scale", "web", "3").stdout == (
            "web: 1 -> 3 workers. It stays so until `gwctl scale web auto`\n"
        )
        scaling = web(server)["scaling"]
        assert scaling["by_hand"]
        assert scaling["paused"].startswith("its size was set by gwctl scale")
        assert server.gwctl("scale", "web", "auto").stdout == (
            "web: stays at 3 workers, from now on 1 to 4 by load\n"
        )
        until(lambda: is_of(1)(server), "one worker")
        server.signal(signal.SIGTTIN)
        until(lambda: is_of(2)(server), "two workers")
        server.wait_for_log(r"1 -> 2 workers \(SIGTTIN\)\. It stays so until")


def test_its_size_outlives_reloads_and_upgrades(gwctl_server, shop):
    """A reload in the middle of the load keeps what was found; the new program goes on with it."""
    with gwctl_server("shop:wsgi", worker="sync", reload={"settle_s": 0.1}, **shop) as server:
        with Load(server.url, connections=24, think_s=0.001, expect_body=b"hello") as load:
            until(lambda: is_of(4)(server), "four workers")
            server.signal(signal.SIGHUP)
            server.wait_for_log(r"adopted generation 2\b.*web 4/4 ready")
            assert server.gwctl("upgrade").returncode == 0
            server.wait_for_log(r"adopted generation 3\b.*web 4/4 ready")
            load.wait_for_requests(50)
        assert load.result.failures == {}, load.result
        until(lambda: is_of(1)(server), "one worker")


def test_other_bounds_by_a_reload(gwctl_server, shop):
    with gwctl_server("shop:wsgi", worker="sync", reload={"settle_s": 0.1}, **shop) as server:
        server.tables["pool"]["web"]["processes"] = {"min": 2, "max": 3}
        server.write_config()
        assert "web.processes" in server.gwctl("config", "diff", "-c", str(server.config)).stdout
        assert server.gwctl("reload").returncode == 0
        pool = web(server)
        assert (pool["size"], pool["scaling"]["min"], pool["scaling"]["max"]) == (2, 2, 3)


MEASURED = re.compile(r"CPUs? by affinity.*, memory allows \d+ of \d+ MiB each")


def test_auto_follows_the_processors_that_it_may_use() -> None:
    """As when a container is resized in place: here by affinity, which takes no right to change."""
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("one processor")
    with GwctlServer("wsgi_bare:application", worker="sync", processes="auto") as server:
        assert re.search(r"web: [2-9]\d* workers \(auto: ", server.log), server.log
        os.sched_setaffinity(server.pid, {min(cpus)})
        server.wait_for_log(r"-> 1 worker \(1 CPU by affinity.*\)")
        until(lambda: len(server.workers) == 1, "the others to drain")
        os.sched_setaffinity(server.pid, cpus)
        server.wait_for_log(r"web +1 -> [2-9]\d* workers \(")
        until(lambda: len(server.workers) >= 2, "them to come back")
        until(lambda: MEASURED.search(web(server)["allowed_as"]), "its workers to be measured")
