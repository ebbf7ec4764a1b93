"""Workers replaced although they work, in a real server: no request is lost, and the log says why."""

from __future__ import annotations

import re
from contextlib import suppress

import httpx

from tests.support.status import status_of
from tests.support.wait import until

SHOP = """
import os
hoard = []
def application(environ, start_response):
    if environ["PATH_INFO"] == "/hoard":
        hoard.append(b"x" * (int(environ["QUERY_STRING"]) << 20))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
YOUNG = {"healthy_after_s": 0.5}


def shop(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    return {"app": "shop:application", "chdir": tmp_path, "worker": "sync", "crash": YOUNG}


def steadily(server, done, path="/"):
    """Send requests until ``done``; every one must succeed. Returns the pids that answered."""
    pids = set()
    with httpx.Client(base_url=server.url) as client:

        def answered():
            response = client.get(path)
            assert response.status_code == 200
            pids.add(int(response.text))
            return done()

        until(answered, "the log to say it", timeout_s=40)
    return pids


RECYCLED = r"info +web\.(\d) g1 +pid (\d+) is recycled: it has served"


def test_workers_are_replaced_by_requests_and_none_is_lost(gwctl_server, tmp_path):
    recycle = {"requests_max": 20, "jitter_percent": 0}
    with gwctl_server(**shop(tmp_path), processes=2, recycle=recycle) as server:
        first = set(server.workers)
        recycled = re.compile(RECYCLED + r" [\d,]+ requests \(limit 20\); .* MiB")
        pids = steadily(server, lambda: len(recycled.findall(server.log)) >= 2)
        gone = {int(pid) for _, pid in recycled.findall(server.log)}
        assert gone & first
        assert gone & pids


def test_workers_that_are_due_together_are_replaced_one_at_a_time(gwctl_server, tmp_path):
    """All four are too old at the first look at the scoreboard; requests go on without a failure."""
    recycle = {"age_max_s": 1, "jitter_percent": 0}
    with gwctl_server(**shop(tmp_path), processes=4, recycle=recycle) as server:
        # Where all this takes long, a successor is too old again before the last one's turn has come.
        steadily(
            server, lambda: {slot for slot, _ in re.findall(RECYCLED, server.log)} == {"0", "1", "2", "3"}
        )
        assert_one_at_a_time(server.log)


def assert_one_at_a_time(log):
    """Between two lines that say so the successor became ready."""
    between = re.split(r"is recycled:", log)[1:-1]
    assert between
    for text in between:
        assert re.search(r"pid \d+ ready in", text), log


def test_a_worker_above_the_soft_limit_of_memory_is_replaced(gwctl_server, tmp_path):
    recycle = {"memory_soft_bytes": 150 << 20}
    with gwctl_server(**shop(tmp_path), recycle=recycle) as server:
        (victim,) = server.workers
        assert httpx.get(server.url + "/hoard?150").text == str(victim)
        match = server.wait_for_log(
            rf"pid {victim} is recycled: it holds (\d+) MiB \(limit 150 MiB\)", timeout_s=30
        )
        assert int(match[1]) > 150
        until(lambda: victim not in server.workers, "the large worker to go", 30)
        assert httpx.get(server.url).status_code == 200
        (worker,) = status_of(server)["pools"][0]["workers"]
        assert worker["memory_bytes"] < 150 << 20


def test_a_worker_above_the_hard_limit_of_memory_is_killed_with_the_reason(gwctl_server, tmp_path):
    recycle = {"memory_soft_bytes": 0, "memory_hard_bytes": 150 << 20}
    options = {"allow_errors": ["killed", "hard"], "allow_kill": True}
    with gwctl_server(**shop(tmp_path), recycle=recycle, **options) as server:
        (victim,) = server.workers
        with suppress(httpx.TransportError):  # it may be looked at, and so be killed, before it has answered
            assert httpx.get(server.url + "/hoard?150").text == str(victim)
        server.wait_for_log(
            rf"pid {victim} killed: it holds \d+ MiB of memory, and memory_hard_bytes is 150 MiB; [01] requests? in",
            timeout_s=30,
        )
        server.wait_for_log(r"web\.0 g1 +pid \d+ ready", count=2)
        assert httpx.get(server.url).text != str(victim)


def test_without_limits_nobody_is_replaced(gwctl_server, tmp_path):
    """The same load for as long as a replacement takes elsewhere: two looks at the scoreboard."""
    with gwctl_server(**shop(tmp_path)) as server:
        before = server.workers
        (slow,) = status_of(server)["pools"][0]["workers"]
        steadily(server, lambda: status_of(server)["pools"][0]["requests_per_s"] > 0)
        assert server.workers == before
        assert slow["pid"] in before
