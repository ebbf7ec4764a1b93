"""``gwctl recycle``: workers are replaced under load, and nobody notices."""

from __future__ import annotations

import json
import signal

import pytest

from tests.load.runner import Load
from tests.support.apps import BARE, write_shop
from tests.support.server import GwctlServer
from tests.support.status import status_of

GOOD = """
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'hello']
"""


def serving_of(server: GwctlServer) -> set[int]:
    (pool,) = status_of(server)["pools"]
    return {each["pid"] for each in pool["workers"] if each["state"] == "ready"}


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
@pytest.mark.parametrize("preload", [False, True])
def test_all_of_a_pool_without_a_failed_request(gwctl_server, worker: str, preload: bool) -> None:
    with gwctl_server(BARE[worker], worker=worker, processes=2, preload=preload) as server:
        before = serving_of(server)
        with Load(server.url, connections=8, expect_body=b"hello") as load:
            done = server.gwctl("recycle", "web", "--json", "-c", str(server.config))
            load.wait_for_requests(100)
        assert done.returncode == 0, done.stdout
        assert load.result.failures == {}, load.result
        answer = json.loads(done.stdout)
        assert set(answer["pids"]) == before
        assert answer["text"].startswith("web: 2 workers replaced in ")
        assert len(serving_of(server)) == 2
        assert not serving_of(server) & before
        status = status_of(server)
        assert (status["pools"][0]["restarts"], status["generation"]) == (0, 1)


def test_one_worker(gwctl_server) -> None:
    with gwctl_server(BARE["sync"], worker="sync", processes=2) as server:
        first, second = (each["pid"] for each in status_of(server)["pools"][0]["workers"])
        done = server.gwctl("recycle", "web.1", "-c", str(server.config))
        assert (done.returncode, done.stderr) == (0, "")
        assert first in serving_of(server)
        assert second not in serving_of(server)
        server.wait_for_log(rf"web\.1 g1 +pid {second} is recycled: it was named by gwctl recycle")


def test_a_successor_that_cannot_start_is_told_and_the_old_one_serves_on(gwctl_server, tmp_path) -> None:
    shop = write_shop(tmp_path, GOOD)
    with gwctl_server("shop:application", chdir=shop, allow_errors=["import", "broken"]) as server:
        (pid,) = server.workers
        (shop / "shop.py").write_text("raise ValueError('broken')")
        done = server.gwctl("recycle", "web", "-c", str(server.config))
        assert done.returncode == 1
        assert (
            "web: 1 worker is replaced, each when its successor serves, but 1 of 1 serve on: " in done.stderr
        )
        assert pid in server.workers
        (shop / "shop.py").write_text(GOOD)
        server.wait_for_log(r"pid \d+ ready in", count=2)


@pytest.mark.parametrize(
    ("worker", "status", "error"),
    [
        ("shop", 1, "no pool named 'shop'; there is: web\n"),
        ("web.7", 1, "no worker serves in web.7\n"),
        ("web.x", 2, "names no worker: write a pool, or one of it, as in web or web.2"),
    ],
)
def test_who_does_not_exist(gwctl_server, worker: str, status: int, error: str) -> None:
    with gwctl_server(BARE["sync"], worker="sync") as server:
        done = server.gwctl("recycle", worker, "-c", str(server.config))
        assert done.returncode == status
        assert error in done.stderr


def test_not_while_what_is_on_disk_is_not_what_runs(gwctl_server, tmp_path) -> None:
    shop = write_shop(tmp_path, GOOD)
    with gwctl_server("shop:application", chdir=shop, allow_errors=["not adopted"]) as server:
        (shop / "shop.py").write_text("raise ValueError('broken')")
        server.signal(signal.SIGHUP)
        server.wait_for_log("generation 2 was not adopted")
        done = server.gwctl("recycle", "web", "-c", str(server.config))
        assert (done.returncode, done.stderr) == (
            1,
            "their successors would run other code: disk differs from what runs. Reload instead\n",
        )
