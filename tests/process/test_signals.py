"""What each signal to the master does, and that the log tells it as a short story."""

from __future__ import annotations

import re
import signal
import threading
from contextlib import suppress

import httpx
import pytest

from tests.support.apps import BARE
from tests.support.clients import ask_in_vain
from tests.support.status import active_requests, status_of
from tests.support.wait import until

APP = "wsgi_bare:application"
STUBBORN = """
import asyncio, time
def application(environ, start_response):
    time.sleep(30)
async def live(scope, receive, send):
    if scope["type"] == "http":
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                pass
"""


def test_ttin_and_ttou_change_the_number_of_workers(gwctl_server):
    with gwctl_server(APP, worker="sync", processes=2) as server:
        server.signal(signal.SIGTTIN)
        until(lambda: len(server.workers) == 3, "a third worker")
        server.wait_for_log(r"web\.2 g1 +pid \d+ ready")
        server.signal(signal.SIGTTOU)
        until(lambda: len(server.workers) == 2, "two workers again")
        assert httpx.get(server.url).text == "hello"


def test_ttou_never_takes_the_last_worker(gwctl_server):
    with gwctl_server(APP, worker="sync", processes=1) as server:
        before = server.workers
        server.signal(signal.SIGTTOU)
        server.wait_for_log("at least 1|never below 1|last worker|1 worker")
        assert server.workers == before


def test_hup_replaces_every_worker_and_keeps_the_master(gwctl_server):
    with gwctl_server(APP, worker="sync", processes=2, reload={"settle_s": 0.05}) as server:
        before = set(server.workers)
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"adopted generation 2\b")
        until(lambda: len(server.workers) == 2 and not before & set(server.workers), "only new workers")
        assert httpx.get(server.url).text == "hello"


def test_usr1_reopens_the_access_log(gwctl_server, tmp_path):
    """After a rotation the next request is in the new file, not in the one that was moved away."""
    path = tmp_path / "access.log"
    with gwctl_server(APP, worker="sync", processes=1, access_log=str(path)) as server:
        httpx.get(f"{server.url}/?before")
        until(lambda: "/?before" in path.read_text(), "the request in the access log")
        path.rename(tmp_path / "access.log.1")
        server.signal(signal.SIGUSR1)
        server.wait_for_log("reopened the logs")
        httpx.get(f"{server.url}/?after")
        until(lambda: path.exists() and "/?after" in path.read_text(), "the next one in the new file")
        assert "/?after" not in (tmp_path / "access.log.1").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_quick_stop_ends_at_once_with_status_0(gwctl_server, number):
    """A request of 30 s does not hold it up."""
    server = gwctl_server(APP, worker="threads", processes=2)
    with server:
        client = threading.Thread(target=ask_in_vain, args=(f"{server.url}/sleep?30",))
        client.start()
        until(lambda: active_requests(server), "the request to be served")
        server.signal(number)
        assert server.wait_for_exit(10) == 0
        client.join(10)
        assert not client.is_alive()


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_graceful_stop_finishes_the_request_in_hand(gwctl_server, worker):
    app = BARE[worker]
    with gwctl_server(app, worker=worker, processes=1) as server:
        answers: list[str] = []
        client = threading.Thread(
            target=lambda: answers.append(httpx.get(f"{server.url}/sleep?2", timeout=20).text)
        )
        client.start()
        until(lambda: active_requests(server), "the request to be served")
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit(20) == 0
        client.join(20)
        assert answers == ["slept"]
        assert "0 requests cut" in server.log


def test_second_term_escalates(gwctl_server):
    with gwctl_server(APP, worker="sync", processes=1, allow_errors=["."], allow_kill=True) as server:
        client = threading.Thread(target=ask_in_vain, args=(f"{server.url}/sleep?30",))
        client.start()
        until(lambda: active_requests(server), "the request to be served")
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGTERM)
        server.wait_for_log(r"stopping \(SIGTERM\): 1 worker finishes")
        until(lambda: _stops_at_once(server), "the stop to be quick")
        assert server.wait_for_exit(10) == 0, "a signal that comes at the very end is no way to end"
        client.join(10)


def _stops_at_once(server) -> bool:
    with suppress(ProcessLookupError):  # it was quick
        server.signal(signal.SIGTERM)  # again and again: the first ones may be taken for echoes
    return "at once, within" in server.log or "killing" in server.log


@pytest.mark.parametrize("worker", ["sync", "threads"])
def test_a_request_that_dies_with_a_killed_worker_counts_as_cut(gwctl_server, worker):
    """Whoever was killed could not say what it left undone; the scoreboard does, and the log names it."""
    options = {"timeouts": {"drain_timeout_s": 0.5}, "allow_errors": ["."], "allow_kill": True}
    with gwctl_server(APP, worker=worker, processes=1, **options) as server:
        client = threading.Thread(target=ask_in_vain, args=(f"{server.url}/sleep?30",))
        client.start()
        until(lambda: active_requests(server), "the request to be served")
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit(20) == 0
        client.join(10)
        assert "; 1 request cut; 1 worker had to be killed" in server.log
        if worker == "sync":
            server.wait_for_log(r"of draining, serving GET /sleep\?… for \d\.?\d? s\n")


def test_a_busy_worker_shows_its_request_and_its_connection(gwctl_server):
    """Also a sync worker, whose loop stands still meanwhile."""
    with gwctl_server(APP, worker="sync", processes=1) as server:
        client = threading.Thread(target=ask_in_vain, args=(f"{server.url}/sleep?5",))
        client.start()

        def shown() -> tuple[int, str, int]:
            worker = status_of(server)["pools"][0]["workers"][0]
            return worker["active"], worker["request"], worker["connections"]

        until(lambda: shown() == (1, "GET /sleep?…", 1), lambda: f"the request to be shown, not {shown()}")
        client.join(10)


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_a_request_that_a_second_stop_cuts_is_counted_once(gwctl_server, tmp_path, worker):
    """The end of the drain has counted it already, but could not end it."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    app = "stubborn:live" if worker == "asgi" else "stubborn:application"
    with gwctl_server(
        app,
        worker=worker,
        chdir=tmp_path,
        timeouts={"drain_timeout_s": 0.2},
        allow_errors=["."],
        allow_kill=True,
    ) as server:
        client = threading.Thread(target=ask_in_vain, args=(server.url,))
        client.start()
        until(lambda: active_requests(server), "the request to be served")
        server.signal(signal.SIGTERM)
        if worker == "sync":  # the call holds the loop: nothing is cut before the worker is killed
            server.wait_for_log("stopping")
        else:
            server.wait_for_log("drain_timeout_s .* is over: 1 request cut")
        server.signal(signal.SIGINT)
        server.wait_for_exit()
        client.join(10)
        assert re.search(r"stopped in .*; 1 request cut", server.log), server.log
