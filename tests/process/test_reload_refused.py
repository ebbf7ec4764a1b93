"""What follows a reload that failed, or one that did not; test_reload_failures has the ways in which one fails."""

from __future__ import annotations

import json
import os
import signal

import httpx
import pytest

from tests.load.runner import Load
from tests.support.apps import write_shop
from tests.support.raw import RawClient, refuses
from tests.support.status import status_of
from tests.support.wait import until

GOOD = """
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'first']
"""
QUICK = {"settle_s": 0.2}
BROKEN = {
    "import": ("import prices_that_are_not_there\n", "No module named 'prices_that_are_not_there'"),
    "attribute": ("app_lication = None\n", "application"),
    "exit": ("raise SystemExit(7)\n", "SystemExit"),
}


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path, GOOD)


def reload(server):
    return server.gwctl("reload", "-c", str(server.config))


@pytest.mark.parametrize("fault", ["attribute", "exit"])
def test_broken_code_is_refused_and_nobody_notices(gwctl_server, shop, fault):
    """gwctl reload exits 1 with the application's reason; every request succeeds; the workers are the same."""
    source, reason = BROKEN[fault]
    options = {"allow_errors": ["."], "allow_kill": True, "reload": QUICK}
    with gwctl_server("shop:application", chdir=shop, processes=2, **options) as server:
        before = server.workers
        with Load(server.url, connections=8, expect_body=b"first") as load:
            (shop / "shop.py").write_text(source)
            result = reload(server)
            load.wait_for_requests(100)
        assert result.returncode == 1, result
        assert "generation 2 was not adopted" in result.stdout + result.stderr
        assert reason in result.stdout + result.stderr
        assert "gwctl/workers" not in result.stdout + result.stderr
        assert load.result.failures == {}, load.result
        until(lambda: server.workers == before, "the refused generation's workers to go")
        status = status_of(server)
        assert status["degraded"] == "disk differs from what runs"
        assert status["generation"] == 1
        assert status["pools"][0]["ready"] == 2


def test_what_a_respawn_runs_after_a_refusal(gwctl_server, shop):
    """Files are replaced in place and an old worker dies after the refusal: the respawn runs the new files.

    It fails, is said to be a respawn while degraded, and its sibling serves on.
    """
    options = {"allow_errors": ["."], "allow_kill": True, "reload": QUICK}
    with gwctl_server("shop:application", chdir=shop, processes=2, **options) as server:
        (shop / "shop.py").write_text(BROKEN["import"][0])
        assert reload(server).returncode == 1
        until(lambda: len(server.workers) == 2, "the refused generation's workers to go")
        sibling, victim = (
            int(server.wait_for_log(rf"web\.{slot} g1 +pid (\d+) ready")[1]) for slot in (0, 1)
        )
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(r"started while degraded \(disk differs from what runs\)")
        server.wait_for_log(r"web\.1 g1 .*prices_that_are_not_there")
        assert status_of(server)["degraded"] == "disk differs from what runs"
        assert sibling in server.workers
        assert httpx.get(server.url).text == "first"
        (shop / "shop.py").write_text(GOOD.replace("first", "second"))
        assert reload(server).returncode == 0
        assert httpx.get(server.url).text == "second"
        assert status_of(server)["degraded"] == ""


def test_a_reload_shows_its_phases_and_its_outcome_as_json(gwctl_server, shop):
    with gwctl_server("shop:application", chdir=shop, processes=2, reload=QUICK) as server:
        (shop / "shop.py").write_text(GOOD.replace("first", "second"))
        result = server.gwctl("reload", "--json", "-c", str(server.config))
        assert result.returncode == 0, result
        last = json.loads(result.stdout)
        assert last["generation"] == 2
        text = reload(server).stdout
        for phase in ("validate", "boot", "settle", "roll", "commit"):
            assert phase in text, text
        assert "adopted generation 3" in text
        assert httpx.get(server.url).text == "second"


def test_who_waits_at_a_listener_that_goes_is_served_and_a_removed_file_is_made_anew(
    gwctl_server, shop, tmp_path
):
    """The old workers are parked when the client connects: nobody accepts any more on what goes."""
    goes, stays = tmp_path / "goes.sock", tmp_path / "stays.sock"
    options = {"bind": ["127.0.0.1:0", f"unix:{goes}", f"unix:{stays}"], "reload": {"settle_s": 3.0}}
    with gwctl_server("shop:application", chdir=shop, **options) as server:
        server.tables["pool"]["web"]["bind"].remove(f"unix:{goes}")
        server.write_config()
        stays.unlink()
        server.signal(signal.SIGHUP)
        until(lambda: "parked" in states(server), "the old worker to be parked")
        with RawClient(f"unix:{goes}") as waits:
            assert waits.get().body == b"first"
        server.wait_for_log(r"adopted generation 2\b")
        assert refuses(f"unix:{goes}")
        with RawClient(f"unix:{stays}") as client:
            assert client.get().body == b"first"


def states(server):
    return [worker["state"] for worker in status_of(server)["pools"][0]["workers"]]


def test_pools_and_listeners_come_and_go_with_a_reload(gwctl_server, shop, tmp_path):
    """A new pool is served, a removed one is refused, and the one in both keeps its socket."""
    with gwctl_server("shop:application", chdir=shop, reload=QUICK) as server:
        path = tmp_path / "other.sock"
        server.tables["pool"]["other"] = {
            "app": "shop:application",
            "chdir": str(shop),
            "bind": [f"unix:{path}"],
            "processes": 1,
        }
        server.write_config()
        with Load(server.url, connections=4, expect_body=b"first") as load:
            assert reload(server).returncode == 0
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
                assert client.get("http://localhost/").text == "first"
            del server.tables["pool"]["other"]
            server.write_config()
            assert reload(server).returncode == 0
        assert load.result.failures == {}, load.result
        assert not path.exists()
        # Its old worker has the time to end that a drain gives it: until then the pool is shown.
        until(lambda: [pool["name"] for pool in status_of(server)["pools"]] == ["web"], "the pool to be gone")
