"""Nothing that an application writes into shared memory, or cuts off from it, hurts the master or another pool."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.support.installation import Installation
from tests.support.server import APPS
from tests.support.status import status_of
from tests.support.wait import until

CLASSES = [("sync", False), ("threads", False), ("asgi", False), ("sync", True), ("asgi", True)]
IDS = [f"{worker}{'-preload' * preload}" for worker, preload in CLASSES]


def app_of(worker: str) -> str:
    return f"hostile:{'asgi' if worker == 'asgi' else 'application'}"


def a_pool(worker: str = "sync", **more: Any) -> dict[str, Any]:
    return {"app": app_of(worker), "worker": worker, "chdir": str(APPS), "processes": 1, **more}


@pytest.mark.parametrize(("worker", "preload"), CLASSES, ids=IDS)
def test_a_worker_can_cut_nothing_off_and_has_nothing_of_another_pool(gwctl_server, worker, preload):
    """What the master has mapped cannot be made shorter; one board is mapped and held, that of the pool.

    A request of the other pool is not to be found in it.
    """
    bind = ["127.0.0.2:0"]
    with gwctl_server(
        app_of(worker), worker=worker, preload=preload, bind="127.0.0.1:0", pools={"other": a_pool(bind=bind)}
    ) as server:
        other = server.wait_for_log(r"http://127\.0\.0\.2:\d+")[0]
        held = httpx.get(f"{server.url}/held").text
        assert held.count("mapped /memfd:gwctl-scoreboard") == 1, held
        assert held.count("gwctl-scoreboard") == 2, f"the mapping, and the descriptor it keeps: {held}"
        assert httpx.get(f"{other}/?SECRET").text == "hello"
        assert httpx.get(f"{other}/find?SECRET").text == "1", "the application finds its own"
        assert httpx.get(f"{server.url}/find").text == "0"
        assert httpx.get(f"{server.url}/attack/truncate").text == "0 truncated"
        before = status_of(server)["pools"]
        assert httpx.get(f"{other}/").text == "hello"
        assert [pool["ready"] for pool in before] == [1, 1]


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_the_master_kills_nobody_for_what_cannot_be_true(gwctl_server, worker):
    """A request since before the worker was born, a heartbeat of no time, random bytes: said once, not acted on."""
    # The shortest limit, which no request has, makes the master look often.
    limits = {"request_timeout_s": 20, "request_timeout_paths": ["/nobody 0.2"], "heartbeat_timeout_s": 20}
    timeouts = {**limits, "drain_timeout_s": 1}
    # A worker whose own record says that it is busy may wait for that at its end.
    end = {"allow_errors": ["did not finish within 1 s of draining"], "allow_kill": True}
    with gwctl_server(app_of(worker), worker=worker, processes=2, timeouts=timeouts, **end) as server:
        pids = sorted(server.workers)
        for name in ("busy_since_long_ago", "busy_in_the_future", "heartbeats_of_no_time", "scribble"):
            assert httpx.get(f"{server.url}/attack/{name}").status_code == 200
        server.wait_for_log(
            r"warn +web\.\d g1 +the scoreboard's record of pid \d+ cannot be true: it ", count=1
        )
        assert httpx.get(f"{server.url}/").text == "hello"
        counted = status_of(server)["pools"][0]["requests"]
        assert 0 <= counted < 1000
        assert sorted(server.workers) == pids
        assert server.log.count("cannot be true") <= 2, "once for each worker"
        assert "killed" not in server.log
        assert "timeout" not in server.log
        assert "has not turned" not in server.log


def test_an_upgrade_from_one_board_for_all_that_is_not_sealed(gwctl_server, tmp_path):
    """A master of before: what its workers can cut off is never mapped by the one that takes over."""
    installed = Installation(tmp_path)
    installed.edit("gwctl/ipc/scoreboard.py", "                sealed_files.seal(fd)\n", "")
    installed.edit(
        "gwctl/supervisor/children/scoreboards.py",
        "scoreboard.LAYOUT, fields, pool)",
        "scoreboard.LAYOUT, fields)",
    )
    options = {"reload": {"settle_s": 1.0}, "environ": installed.environ, "allow_errors": ["died: signal 7"]}
    with gwctl_server(app_of("threads"), worker="threads", processes=2, **options) as server:
        for _ in range(5):
            assert httpx.get(f"{server.url}/").text == "hello"
        installed.edit(
            "gwctl/ipc/scoreboard.py",
            "os.ftruncate(fd, size)\n",
            "os.ftruncate(fd, size)\n                sealed_files.seal(fd)\n",
        )
        installed.edit(
            "gwctl/supervisor/children/scoreboards.py",
            "scoreboard.LAYOUT, fields)",
            "scoreboard.LAYOUT, fields, pool)",
        )
        server.signal(signal.SIGUSR2)
        server.wait_for_log(r"upgraded from .* 2 workers kept")
        counted = status_of(server)["pools"][0]["requests"]
        assert counted >= 5, "what they have counted is read"
        with suppress(httpx.TransportError):  # it cuts off what it writes to itself
            httpx.get(f"{server.url}/attack/truncate")
        status_of(server)
        until(lambda: status_of(server)["generation"] == 2, "the reload that follows")
        assert httpx.get(f"{server.url}/attack/truncate").text == "0 truncated"
